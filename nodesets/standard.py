"""Namespace 0: every node of the standard nodeset, from a compact table (OPC 10000-6 Annex F).

``tools/write_standard.py`` makes the table; ``tools/standard.txt`` says what it adds.
"""

from __future__ import annotations

import json
import lzma
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import accumulate
from typing import Any, Final, NamedTuple

_DATA_TYPE_DEFINITION: Final = 23


class StandardNode(NamedTuple):
    """One node of namespace 0, as an address space needs it; descriptions are left out."""

    number: int
    """Its identifier."""
    node_class: int
    browse_name: str
    display_name: str
    attributes: Mapping[int, bytes]
    """Binary Variants by AttributeId: every attribute that the standard gives a value but NodeId, NodeClass,
    the names, Value and those that depend on the user. One object for all nodes that are equal in this."""
    value: bytes | None
    """The Value as a binary Variant, None where the standard gives none."""
    role_permissions: Mapping[int, int] | None
    """Permissions by the role's number, None where the default holds."""
    access_restrictions: int


@dataclass(frozen=True, slots=True)
class StandardNodeSet:
    """All of namespace 0."""

    version: str
    published: str
    """ISO 8601, UTC."""
    nodes: list[StandardNode]
    """By rising number."""
    references: list[tuple[int, int, int]]
    """Source, type and target of every reference, in its forward direction."""


def load() -> StandardNodeSet:
    """Read the table this package carries."""
    packed = (resources.files("nodesets") / "standard.json.xz").read_bytes()
    table = json.loads(lzma.decompress(packed))
    numbers = list(accumulate(table["numbers"]))
    sources, kinds, targets = table["references"]
    return StandardNodeSet(
        table["version"],
        table["published"],
        list(_nodes(table, numbers)),
        [
            (numbers[source], numbers[kind], numbers[target])
            for source, kind, target in zip(accumulate(sources), kinds, targets, strict=True)
        ],
    )


def _nodes(table: dict[str, Any], numbers: list[int]) -> Iterator[StandardNode]:
    sets = [{int(key): a2b_base64(text) for key, text in one.items()} for one in table["attribute_sets"]]
    roles = [{int(key): given for key, given in one.items()} for one in table["role_sets"]]
    names = table["browse_names"]
    shown = dict(zip(*table["display_names"], strict=True))
    values, definitions = (dict(zip(*table[name], strict=True)) for name in ("values", "definitions"))
    permissions = {position: (rest, roles[given]) for position, rest, given in table["permissions"]}
    nothing = (0, None)
    columns = zip(numbers, table["node_classes"], names, table["attributes"], strict=True)
    for position, (number, node_class, name, held) in enumerate(columns):
        attributes: Mapping[int, bytes] = sets[held]
        definition = definitions.get(position)
        if definition is not None:
            attributes = {**attributes, _DATA_TYPE_DEFINITION: a2b_base64(definition)}
        value = values.get(position)
        restrictions, own = permissions.get(position, nothing)
        yield StandardNode(
            number,
            node_class,
            name,
            shown.get(position, name),
            attributes,
            None if value is None else a2b_base64(value),
            own,
            restrictions,
        )
