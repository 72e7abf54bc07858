"""How a device's structures are encoded, from the DataTypeDefinitions it gives (OPC 10000-3 §8.48)."""

from __future__ import annotations

import dataclasses
import enum
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sources.opcua.beside import Turns, beside_if_long
from sources.opcua.mapping import Field, Layout, key_of, standard_number
from sources.opcua.stack import decode_variant, ua
from sources.opcua.wire import Raw
from sources.quality import is_bad

log = logging.getLogger(__name__)

_FIELDS: Final = 2_000
"""Fields looked at before others get a turn."""
_A_DEFINITION: Final = 10
"""How many of them a definition costs beside its own."""
_NUMBER_TYPES: Final = frozenset({26, 27, 28})
_ENUMERATION: Final = 29
_LAST_BUILT_IN: Final = 25
_MAX_ANCESTORS: Final = 50
MOST_FIELDS: Final = 5_000
"""Of one structure; one that has more is not understood."""


async def structure(raw: Raw | None) -> Any | None:
    """The StructureDefinition that a DataTypeDefinition is; None for another, and where it makes no sense."""
    if raw is None or is_bad(raw.status) or not raw.variant:
        return None
    try:
        found = (await beside_if_long(decode_variant, raw.variant)).Value
    except Exception:  # whatever the stack makes of a stranger's bytes
        log.debug("a definition cannot be read", exc_info=True)
        return None
    if not isinstance(found, ua.StructureDefinition) or len(found.Fields or []) > MOST_FIELDS:
        return None
    return found


class Defined(NamedTuple):
    """A structure's DataType: its StructureDefinition, and the binary encodings that references name."""

    definition: Any
    encodings: Sequence[bytes]


async def layouts(structures: Mapping[bytes, Defined], above: Mapping[bytes, bytes]) -> dict[bytes, Layout]:
    """Layouts by the NodeId of their encoding; ``above`` has the type above a type.

    A structure with a field that is not understood, or whose own has one, has none. Takes time linear in
    the fields, and gives others their turns.
    """
    made = {key: Layout() for key in structures}
    turns = Turns(_FIELDS)
    users: dict[int, list[bytes]] = {}
    """By the identity of a layout, the structures that have a field of it."""
    odd: list[bytes] = []
    for key, one in structures.items():
        await turns.take(_A_DEFINITION + len(one.definition.Fields or []))
        if not _fill(made[key], one.definition, made, above):
            odd.append(key)
            continue
        for field in made[key].fields:
            if field.layout is not None:
                users.setdefault(id(field.layout), []).append(key)
    left_out = set(odd)
    while odd:
        using = users.pop(id(made[odd.pop()]), ())
        await turns.take(_A_DEFINITION + len(using))
        fresh = set(using) - left_out
        left_out |= fresh
        odd += fresh
    found: dict[bytes, Layout] = {}
    for key, one in structures.items():
        if key in left_out:
            continue
        await turns.take(_A_DEFINITION + len(one.encodings))
        encoding = one.definition.DefaultEncodingId
        if encoding is not None and not encoding.is_null():
            found[key_of(encoding)] = made[key]
        for other in one.encodings:
            found.setdefault(other, made[key])
    return found


def _fill(
    layout: Layout, definition: Any, made: Mapping[bytes, Layout], above: Mapping[bytes, bytes]
) -> bool:
    """Give a layout its fields; False where it has one that is not understood."""
    kind = definition.StructureType
    if kind not in {
        ua.StructureType.Structure,
        ua.StructureType.StructureWithOptionalFields,
        ua.StructureType.Union,
    }:
        return False
    layout.union = kind == ua.StructureType.Union
    layout.optional = kind == ua.StructureType.StructureWithOptionalFields
    for one in definition.Fields or []:
        if one.ValueRank > 1:
            return False
        found = _field(one.DataType, made, above)
        if found is None:
            return False
        found.array = one.ValueRank >= 1
        found.optional = bool(one.IsOptional) and layout.optional
        layout.fields.append(found)
    return True


def _field(data_type: Any, made: Mapping[bytes, Layout], above: Mapping[bytes, bytes]) -> Field | None:
    key = key_of(data_type)
    for _ in range(_MAX_ANCESTORS):
        if key in made:
            return Field(layout=made[key])
        number = standard_number(key)
        if number is not None:
            return _standard_field(number)
        key = above.get(key, b"")
        if not key:
            return None
    return None


def _standard_field(number: int) -> Field | None:
    """A field of a data type of namespace 0."""
    if number in _NUMBER_TYPES:
        return Field(24)
    if number == _ENUMERATION:
        return Field(6)
    if 0 < number <= _LAST_BUILT_IN:
        return Field(number)
    built_in = _SUBTYPES.get(number)
    if built_in is not None:
        return Field(built_in)
    kind = getattr(ua, ua.ObjectIdNames.get(number, ""), None)
    if not isinstance(kind, type):
        return None
    if issubclass(kind, enum.Enum):
        return Field(6)
    return Field(standard=kind) if dataclasses.is_dataclass(kind) else None


_SUBTYPES: Final = {
    30: 15,  # Image
    288: 7,  # IntegerId
    289: 7,  # Counter
    290: 11,  # Duration
    291: 12,  # NumericRange
    294: 13,  # UtcTime
    295: 12,  # LocaleId
    388: 17,  # SessionAuthenticationToken
    521: 15,  # ContinuationPoint
    2000: 15,
    2001: 15,
    2002: 15,
    2003: 15,  # ImageBMP to ImagePNG
    11737: 9,  # BitFieldMaskDataType
    12877: 12,  # NormalizedString
    12878: 12,  # DecimalString
    12879: 12,  # DurationString
    12880: 12,  # TimeString
    12881: 12,  # DateString
    17588: 11,  # Index
    20998: 7,  # VersionTime
    23751: 12,  # UriString
}
"""Simple data types of namespace 0 (OPC 10000-3 §8), by the built-in type they are encoded as."""
