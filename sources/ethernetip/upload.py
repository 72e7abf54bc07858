"""pycomm3's descriptions of tags and templates, as symbols and types of our own. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sources.ethernetip.symbols import ATOMICS, BOOL, Atomic, Member, Structure, Symbol, SymbolTable, Type

_BY_NAME: Final[Mapping[str, Atomic]] = {kind.name: kind for kind in ATOMICS.values()}


def symbol_table(tags: Iterable[Mapping[str, Any]], programs: Iterable[str]) -> SymbolTable:
    """The controller's tags, of what pycomm3 uploaded."""
    made: dict[int, Structure | None] = {}
    return SymbolTable([_symbol(tag, made) for tag in tags], programs)


def _symbol(tag: Mapping[str, Any], made: dict[int, Structure | None]) -> Symbol:
    kind = _type(tag["data_type"], made)
    called = kind.name if kind is not None else str(tag["data_type_name"] or "a type not known here")
    dimensions = tuple(tag["dimensions"][: tag["dim"]])
    opaque = kind is None and tag["tag_type"] == "struct"
    return Symbol(tag["tag_name"], kind, called, dimensions, str(tag["external_access"]), opaque)


def _type(described: Any, made: dict[int, Structure | None]) -> Type | None:
    """A name is an elementary type, a mapping a structure; ``made`` has those seen before."""
    if not isinstance(described, Mapping):
        return _BY_NAME.get(str(described))
    key = id(described)
    if key not in made:
        made[key] = _structure(described, made)
    return made[key]


def _structure(described: Mapping[str, Any], made: dict[int, Structure | None]) -> Structure | None:
    template = described["template"]
    size = int(template["structure_size"])
    visible = set(described["attributes"])
    members = [
        _member(name, info, made, hidden=name not in visible)
        for name, info in described["internal_tags"].items()
    ]
    unread = any(
        info["tag_type"] == "struct" and member.type is None
        for info, member in zip(described["internal_tags"].values(), members, strict=True)
    )
    if size < 1 or unread or any(_end(member) > size for member in members):
        # A layout that contradicts itself, or has a gap, decodes nothing.
        return None
    capacity = described.get("string")
    name = str(described["name"])
    return Structure(name, int(template["structure_handle"]), size, members, capacity or None)


def _member(name: str, info: Mapping[str, Any], made: dict[int, Structure | None], *, hidden: bool) -> Member:
    kind = _type(info["data_type"], made)
    bit = info.get("bit") if kind is BOOL else None
    return Member(name, kind, int(info["offset"]), int(info.get("array") or 0), bit, hidden)


def _end(member: Member) -> int:
    """The first byte behind a member, as far as its type is known."""
    if member.bit is not None:
        return member.offset + member.bit // 8 + 1
    size = member.type.size if member.type is not None else 0
    return member.offset + size * max(member.count, 1)
