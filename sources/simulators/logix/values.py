"""Values in a tag's memory as plain Python: for first values, moving points and the control port.

An array is a list, a structure a dict of its members by name, a string type a text.
"""

from __future__ import annotations

import math
import struct

from pydantic import JsonValue

from sources.simulators.logix.cip import CipError
from sources.simulators.logix.database import Database
from sources.simulators.logix.tagpath import TagPath, parse_tag_path
from sources.simulators.logix.tags import Place
from sources.simulators.logix.types import BOOL, DWORD, Atomic, Structure


class BadValueError(ValueError):
    """A place cannot hold a value; the text says why."""


def find_place(database: Database, path: str) -> Place:
    """Where a written path leads. Raises KeyError where there is no such thing, ValueError for a bad path.

    Unlike in CIP an index into an array of BOOL counts BOOLs, and a bit of an integer is a place.
    """
    parsed = parse_tag_path(path)
    try:
        place = _element_of_bools(database, parsed) or database.find(parsed.steps)
    except CipError:
        raise KeyError(path) from None
    if parsed.bit is None:
        return place
    is_integer = isinstance(place.type, Atomic) and place.type.is_integer and place.type is not DWORD
    if place.dimensions or not is_integer or parsed.bit >= place.type.size * 8:
        raise KeyError(path)
    return place.bool_at(parsed.bit)


def _element_of_bools(database: Database, path: TagPath) -> Place | None:
    name, indices = path.parts[-1]
    if len(indices) != 1:
        return None
    array = database.find(TagPath(path.scope, (*path.parts[:-1], (name, ()))).steps)
    if array.type is not DWORD or not array.dimensions:
        return None
    if path.bit is not None or indices[0] >= array.available * 32:
        raise KeyError(name)
    return array.bool_at(indices[0])


def load(place: Place) -> JsonValue:
    """The value there."""
    data = place.tag.data
    if place.dimensions:
        return [load(element) for element in _elements(place)]
    if place.bit is not None:
        return bool(data[place.offset] >> place.bit & 1)
    if place.type is BOOL:
        return data[place.offset] != 0
    if isinstance(place.type, Atomic):
        value: int | float = place.type.form.unpack_from(data, place.offset)[0]
        return value
    if place.type.text_capacity is not None:
        (length,) = struct.unpack_from("<i", data, place.offset)
        start = place.offset + 4
        text = data[start : start + min(max(length, 0), place.type.text_capacity)]
        return text.decode("utf-8", errors="replace")
    return {member.name: load(place.member(member.name)) for member in place.type.by_name.values()}


def store(place: Place, value: JsonValue) -> None:
    """Set the value there; a list sets an array's first elements, a dict some members.

    Raises BadValueError for what the place cannot hold, and has then set some of a list or dict.
    """
    if place.dimensions:
        elements = _elements(place)
        if not isinstance(value, list) or len(value) > len(elements):
            raise BadValueError(f"an array of {len(elements)} takes a list of at most as many values")
        for element, of_element in zip(elements, value, strict=False):
            store(element, of_element)
    elif isinstance(place.type, Structure):
        _store_structure(place, place.type, value)
    elif isinstance(value, bool | int | float):
        _store_scalar(place, place.type, value)
    else:
        raise BadValueError(f"{value!r} is no value of a {place.type.name}")


def _elements(place: Place) -> list[Place]:
    """Every element of an array; of several dimensions, as they lie in memory."""
    if place.type is DWORD:
        return [place.bool_at(index) for index in range(place.available * 32)]
    size = place.type.size
    return [Place(place.tag, place.type, place.offset + index * size, 1) for index in range(place.available)]


def _store_scalar(place: Place, kind: Atomic, value: float) -> None:
    data = place.tag.data
    if place.bit is not None:
        mask = 1 << place.bit
        data[place.offset] = data[place.offset] | mask if value else data[place.offset] & ~mask
        return
    if kind is BOOL:
        data[place.offset] = 1 if value else 0
        return
    if kind.is_integer and not (math.isfinite(value) and value == int(value)):
        raise BadValueError(f"{value!r} is no whole number, which a {kind.name} holds")
    try:
        kind.form.pack_into(data, place.offset, int(value) if kind.is_integer else float(value))
    except (struct.error, OverflowError) as error:
        raise BadValueError(f"{value!r} does not fit into a {kind.name}") from error


def _store_structure(place: Place, kind: Structure, value: JsonValue) -> None:
    if isinstance(value, str) and kind.text_capacity is not None:
        text = value.encode()
        if len(text) > kind.text_capacity:
            raise BadValueError(f"{value!r} is longer than the {kind.text_capacity} bytes of {kind.name}")
        struct.pack_into(f"<i{kind.text_capacity}s", place.tag.data, place.offset, len(text), text)
    elif isinstance(value, dict):
        for name, of_member in value.items():
            if name.casefold() not in kind.by_name:
                raise BadValueError(f"{kind.name} has no member {name}")
            store(place.member(name), of_member)
    else:
        raise BadValueError(f"{value!r} is no value of the structure {kind.name}")
