"""Encoded Variants as OPC UA JSON, Verbose (OPC 10000-6 §5.2, §5.4). No I/O.

The bytes come from a device: no length is believed, and what cannot be said is refused, never guessed.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from nodesets.uri import escape_uri
from server.mqtt.encode import Json, encoder, status_code
from server.plant.mirrored import DataType, DataTypes, Form, StructureField
from sources.clock import to_iso
from sources.tag import ValueType

MAX_BYTES: Final = 256 * 1024
"""Of an encoded value; more makes messages that many brokers do not take."""

_MAX_DEPTH: Final = 50
_LAST_TIME: Final = 2_650_467_743_990_000_000
_FIRST_TEXT, _LAST_TEXT = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
_BOOLEAN, _INT32, _DATE_TIME, _VARIANT = 1, 6, 13, 24
_NUMBERS: Final = {
    number: (struct.Struct(f"<{code}"), encoder(ValueType(number)))
    for number, code in enumerate("bBhHiIqQfd", start=2)
}


class Unencodable(Exception):
    """A value that JSON does not hold here; the text says why, in words that many values share."""


class TooLarge(Unencodable):
    """A value of more than `MAX_BYTES`."""


class VariantEncoder:
    """Encodes the values of one set. ``name_of`` gives the URI of a namespace by its index."""

    def __init__(self, types: DataTypes, name_of: Callable[[int], str]) -> None:
        self._types = types
        self._name_of = name_of

    def value(self, variant: bytes, built_in: int, data_type: str) -> Json:
        """``Value`` of a field of that type, with ``Dimensions`` of a matrix, ``UaType`` where it is another.

        Raises Unencodable.
        """
        if variant[0] == built_in and built_in in _NUMBERS and data_type not in self._types.by_id:
            form, encode = _NUMBERS[built_in]
            if len(variant) == form.size + 1:
                return {"Value": encode(*form.unpack_from(variant, 1))}
        if len(variant) > MAX_BYTES:
            raise TooLarge(f"a value of more than {MAX_BYTES // 1024} kB")
        try:
            kind = variant[0] & 0x3F
            found = self._variant(_Bytes(variant), data_type if kind == built_in else "", 0)
        except (struct.error, IndexError, ValueError) as error:
            raise Unencodable("a value that cannot be read") from error
        if found is None:
            return {"Value": None}
        if kind == built_in:
            del found["UaType"]
        return found

    def _variant(self, data: _Bytes, data_type: str, depth: int) -> Json | None:
        if depth > _MAX_DEPTH:
            raise Unencodable("a value nested too deeply")
        mask = data.byte()
        kind = mask & 0x3F
        if kind == 0:
            return None
        if kind > 25:
            raise Unencodable("a value of an unknown type")
        enumeration = self._types.by_id.get(data_type)
        if not mask & 0x80:
            return {"UaType": kind, "Value": self._one(kind, enumeration, data, depth)}
        found: Json = {
            "UaType": kind,
            "Value": [self._one(kind, enumeration, data, depth) for _ in range(data.count())],
        }
        if mask & 0x40:
            dimensions = [data.number(_INT32) for _ in range(data.count())]
            if len(dimensions) > 1:
                found["Dimensions"] = dimensions
        return found

    def _one(self, kind: int, its: DataType | None, data: _Bytes, depth: int) -> Any:
        if kind == _INT32 and its is not None and its.form is Form.Enumeration:
            number = data.number(_INT32)
            return f"{its.members[number]}_{number}" if its.members.get(number) else str(number)
        if kind in _NUMBERS:
            return _NUMBERS[kind][1](data.number(kind))
        if kind == _BOOLEAN:
            return data.byte() != 0
        plain = _PLAIN.get(kind)
        if plain is not None:
            return plain(data)
        if kind in {17, 18}:
            return self._node_id(data)
        if kind == 20:
            index = data.number(5)
            text = data.string() or ""
            return text if index == 0 else f"nsu={self._uri(index)};{text}"
        if kind == 22:
            return self._extension(data, depth + 1)
        if kind == 23:
            return self._data_value(data, depth + 1)
        if kind == _VARIANT:
            return self._variant(data, "", depth + 1)
        raise Unencodable("diagnostic information")

    def _uri(self, index: int) -> str:
        return escape_uri(self._name_of(index))

    def _node_id(self, data: _Bytes) -> str:
        """A NodeId or an ExpandedNodeId."""
        form = data.byte()
        flags, form = form & 0xC0, form & 0x3F
        if form == 0:
            index, text = 0, f"i={data.byte()}"
        elif form == 1:
            index, text = data.byte(), f"i={data.number(5)}"
        elif form == 2:
            index, text = data.number(5), f"i={data.number(7)}"
        elif form == 3:
            index, text = data.number(5), f"s={data.string() or ''}"
        elif form == 4:
            index, text = data.number(5), f"g={_guid(data)}"
        elif form == 5:
            index, text = data.number(5), f"b={_base64(data) or ''}"
        else:
            raise Unencodable("a NodeId of an unknown form")
        name = escape_uri(data.string() or "") if flags & 0x80 else self._uri(index) if index else ""
        server = data.number(7) if flags & 0x40 else 0
        return (f"svr={server};" if server else "") + (f"nsu={name};{text}" if name else text)

    def _data_value(self, data: _Bytes, depth: int) -> Json:
        mask = data.byte()
        found: Json = {}
        if mask & 0x01:
            found |= self._variant(data, "", depth) or {"Value": None}
        if mask & 0x02:
            status = data.number(7)
            if status:
                found["Status"] = status_code(status)
        for bit, picoseconds, name in ((0x04, 0x10, "SourceTimestamp"), (0x08, 0x20, "ServerTimestamp")):
            if mask & bit:
                found[name] = _time(data)
            if mask & picoseconds:
                found[name.replace("Timestamp", "Picoseconds")] = data.number(5)
        return found

    def _extension(self, data: _Bytes, depth: int) -> Json | None:
        encoding = self._node_id(data)
        form = data.byte()
        if form == 0:
            return None if encoding == "i=0" else {"UaTypeId": encoding}
        body = data.sized()
        kind = self._types.by_encoding.get(encoding)
        if form != 1 or kind is None:
            raise Unencodable("a structure whose definition is not known")
        inner = _Bytes(body)
        found = self._structure(kind, inner, depth)
        if inner.at != len(body):
            raise Unencodable("a structure that is longer than its definition")
        return {"UaTypeId": kind.id, **found}

    def _structure(self, kind: DataType, data: _Bytes, depth: int) -> Json:
        if depth > _MAX_DEPTH:
            raise Unencodable("a value nested too deeply")
        if kind.form is Form.Union:
            selector = data.number(7)
            if selector == 0:
                return {}
            if selector > len(kind.fields):
                raise Unencodable("a union with a field it does not have")
            field = kind.fields[selector - 1]
            return {field.name: self._field(field, data, depth)}
        mask = data.number(7) if kind.form is Form.Optional else 0
        found: Json = {}
        bit = 1
        for field in kind.fields:
            if field.optional:
                there, bit = mask & bit, bit << 1
                if not there:
                    continue
            found[field.name] = self._field(field, data, depth)
        return found

    def _field(self, field: StructureField, data: _Bytes, depth: int) -> Any:
        if field.rank > 1:
            raise Unencodable("a structure with a matrix in it")
        its = self._types.by_id.get(field.data_type)
        if field.rank >= 0:
            return [self._element(field, its, data, depth) for _ in range(data.count())]
        return self._element(field, its, data, depth)

    def _element(self, field: StructureField, its: DataType | None, data: _Bytes, depth: int) -> Any:
        if its is not None and its.form in {Form.Structure, Form.Optional, Form.Union}:
            return self._structure(its, data, depth + 1)
        if field.built_in == 0 or (field.built_in == 22 and field.data_type != "i=22"):
            raise Unencodable("a structure whose definition is not known")
        return self._one(field.built_in, its, data, depth)


class _Bytes:
    """A position in encoded bytes. Each method moves it; raises IndexError, struct.error, ValueError."""

    __slots__ = ("at", "data", "left")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.left = 16 * len(data)
        """Elements of arrays that may still come: those of no bytes each are not endless."""

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self, kind: int) -> Any:
        """A number of a built-in type."""
        form, _ = _NUMBERS[kind]
        at, self.at = self.at, self.at + form.size
        return form.unpack_from(self.data, at)[0]

    def take(self, size: int) -> bytes:
        at, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise IndexError("it ends too early")
        return self.data[at : self.at]

    def count(self) -> int:
        """The length of an array, 0 for none."""
        count = max(0, int(self.number(_INT32)))
        self.left -= count
        if count > len(self.data) or self.left < 0:
            raise IndexError("an array of more elements than there are bytes")
        return count

    def sized(self) -> bytes:
        size = self.number(_INT32)
        return b"" if size < 0 else self.take(size)

    def string(self) -> str | None:
        size = self.number(_INT32)
        return None if size < 0 else self.take(size).decode("utf-8", "replace")


def _base64(data: _Bytes) -> str | None:
    size = data.number(_INT32)
    return None if size < 0 else base64.b64encode(data.take(size)).decode("ascii")


def _guid(data: _Bytes) -> str:
    return str(UUID(bytes_le=data.take(16)))


def _time(data: _Bytes) -> str:
    ticks = data.number(8)
    return _FIRST_TEXT if ticks <= 0 else to_iso(ticks) if ticks <= _LAST_TIME else _LAST_TEXT


def _status(data: _Bytes) -> Json:
    code = data.number(7)
    return status_code(code) if code else {}


def _localized(data: _Bytes) -> Json:
    mask = data.byte()
    found: Json = {}
    if mask & 1:
        found["Locale"] = data.string()
    if mask & 2:
        found["Text"] = data.string()
    return found


_PLAIN: Final[dict[int, Callable[[_Bytes], Any]]] = {
    12: _Bytes.string,
    _DATE_TIME: _time,
    14: _guid,
    15: _base64,
    16: _Bytes.string,
    19: _status,
    21: _localized,
}
