"""Decodes whole structures into the stack's types, within bounds (OPC 10000-6 §5.2).

A stranger's message says how long, how many and how deep. Each length is held against the
bytes that are there, each level of nesting against `MAX_NESTING`, and what an array becomes
in memory against the room its message has (`Reader.spend`) before it is made. The decoders
are made once a type, from the annotations of the stack's dataclasses.
"""

from __future__ import annotations

import enum
import struct
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Final, NamedTuple, TypeAlias, cast
from uuid import UUID

from asyncua import ua
from asyncua.ua import ua_binary

from server.opcua.types import StatusCodes
from server.opcua.wire.reader import DecodingError, Reader

MAX_NESTING: Final = 100
"""Variants, DataValues, DiagnosticInfos, ExtensionObjects and lists within each other.

As many as a decoder has to support (OPC 10000-6 §5.2.2.12, §5.2.2.16).
"""

_MAX_DIMENSIONS: Final = 100
_LIMITS: Final = StatusCodes.BadEncodingLimitsExceeded
_SLOWER: Final = 4
"""How many times its memory an object is taken for: it takes that much longer to make than a number."""
_OBJECT: Final = 56
_POINTER: Final = 8
"""Bytes of a Python object, and of a field or an element that holds it."""
_UNKNOWN: Final = 256
"""Bytes of an ExtensionObject that is kept as it is."""

Decode: TypeAlias = Callable[[Reader], Any]

_ua: Final = cast("Any", ua)
_GOOD: Final = ua.StatusCode()
_unpack: Final = struct.unpack_from


class _Kind(NamedTuple):
    """How a type is decoded; ``cost`` is about what one takes in memory, in bytes."""

    decode: Decode
    cost: int
    form: str = ""
    """The format of a number, for arrays of it."""


class Unclear(Exception):
    """A type whose encoding the stack's annotations do not tell."""


def _deeper(reader: Reader) -> None:
    reader.depth += 1
    if reader.depth > MAX_NESTING:
        raise DecodingError(f"more than {MAX_NESTING} levels of nesting", _LIMITS)


# --- Built-in types


def null(_: Reader) -> None:
    """Nothing: a Variant without a value."""


def _number(form: str, cost: int) -> _Kind:
    codec = struct.Struct("<" + form)
    size, unpack = codec.size, codec.unpack_from
    return _Kind(lambda reader: unpack(reader.data, reader.skip(size))[0], cost, form)


def date_time(reader: Reader) -> Any:
    """A DateTime; times that Python does not have become the first or the last it has."""
    return ua.win_epoch_to_datetime(reader.int64())


def guid(reader: Reader) -> UUID:
    """A Guid."""
    return UUID(bytes_le=reader.take(16))


def xml_element(reader: Reader) -> Any:
    """An XmlElement."""
    return _ua.XmlElement(reader.string())


def node_id(reader: Reader) -> ua.NodeId:
    """A NodeId; one of the flags of an ExpandedNodeId makes it none (§5.2.2.9)."""
    kind = reader.byte()
    return cast("ua.NodeId", _ua.NodeId(*_identifier(reader, kind)))


def expanded_node_id(reader: Reader) -> Any:
    """An ExpandedNodeId; a NodeId where it is no more than that."""
    kind = reader.byte()
    found = _identifier(reader, kind & 0x3F)
    if not kind & 0xC0:
        return _ua.NodeId(*found)
    uri = reader.string() if kind & 0x80 else None
    index = reader.uint32() if kind & 0x40 else 0
    return _ua.ExpandedNodeId(*found, uri, index)


def _identifier(reader: Reader, kind: int) -> tuple[int | str | bytes | UUID, int, Any]:
    """Identifier, namespace index and type; a null identifier is an empty one."""
    match kind:
        case 0:
            return reader.byte(), 0, _NODE_ID_TYPES[0]
        case 1:
            namespace = reader.byte()
            return reader.uint16(), namespace, _NODE_ID_TYPES[1]
    if kind >= len(_NODE_ID_TYPES):
        raise DecodingError(f"a NodeId of encoding {kind}")
    namespace = reader.uint16()
    identifier: int | str | bytes | UUID
    match kind:
        case 2:
            identifier = reader.uint32()
        case 3:
            identifier = reader.string() or ""
        case 4:
            identifier = guid(reader)
        case _:
            identifier = reader.byte_string() or b""
    return identifier, namespace, _NODE_ID_TYPES[kind]


def status_code(reader: Reader) -> Any:
    """A StatusCode."""
    return _ua.StatusCode(reader.uint32())


def qualified_name(reader: Reader) -> Any:
    """A QualifiedName."""
    namespace, name = reader.qualified_name()
    return _ua.QualifiedName(name, namespace)


def localized_text(reader: Reader) -> Any:
    """A LocalizedText."""
    mask = reader.byte()
    locale = reader.string() if mask & 1 else None
    return _ua.LocalizedText(reader.string() if mask & 2 else None, locale)


def extension_object(reader: Reader) -> Any:
    """An ExtensionObject: the structure where its type is known, else with its body as it is.

    A body that is longer or shorter than its structure makes no sense (§5.2.2.15).
    """
    _deeper(reader)
    kind = node_id(reader)
    encoding = reader.byte()
    if encoding > 2:
        raise DecodingError(f"an ExtensionObject of encoding {encoding}")
    reader.spend(_UNKNOWN * _SLOWER)
    found = _ua.ExtensionObject(kind)
    if encoding:
        size = reader.int32()
        known = _known(kind) if encoding == 1 and size >= 0 else None
        if known is None:
            if size < -1:
                raise DecodingError(f"a length of {size}")
            body = reader.take(size) if size >= 0 else None
            found = found if kind.is_null() else _ua.ExtensionObject(kind, body)
        else:
            found = _body(reader, known, size)
    reader.depth -= 1
    return found


def _body(reader: Reader, kind: _Kind, size: int) -> Any:
    reader.spend(kind.cost * _SLOWER)
    at, end = reader.skip(size), reader.end
    reader.at, reader.end = at, at + size
    found = kind.decode(reader)
    if reader.at != reader.end:
        raise DecodingError(f"an ExtensionObject's body of {size} bytes has {reader.left} too many")
    reader.end = end
    return found


def _known(kind: ua.NodeId) -> _Kind | None:
    """How the body of that type is decoded; None where nobody here knows."""
    made = ua.extension_objects_by_typeid.get(kind)
    if made is None:
        return None
    try:
        return structure(made)
    except Unclear:
        return None


def data_value(reader: Reader) -> Any:
    """A DataValue; SourcePicoseconds stand before ServerTimestamp (§5.2.2.17)."""
    _deeper(reader)
    mask = reader.byte()
    value = variant(reader) if mask & 0x01 else None
    status = status_code(reader) if mask & 0x02 else _GOOD
    source = date_time(reader) if mask & 0x04 else None
    source_picoseconds = reader.uint16() if mask & 0x10 else None
    server = date_time(reader) if mask & 0x08 else None
    server_picoseconds = reader.uint16() if mask & 0x20 else None
    reader.depth -= 1
    return _ua.DataValue(value, status, source, server, source_picoseconds, server_picoseconds)


def diagnostic_info(reader: Reader) -> Any:
    """A DiagnosticInfo; Locale stands before LocalizedText, whatever their bits (§5.2.2.12)."""
    _deeper(reader)
    mask = reader.byte()
    found = _ua.DiagnosticInfo()
    if mask & 0x01:
        found.SymbolicId = reader.int32()
    if mask & 0x02:
        found.NamespaceURI = reader.int32()
    if mask & 0x08:
        found.Locale = reader.int32()
    if mask & 0x04:
        found.LocalizedText = reader.int32()
    if mask & 0x10:
        found.AdditionalInfo = reader.string()
    if mask & 0x20:
        found.InnerStatusCode = status_code(reader)
    if mask & 0x40:
        reader.spend(_BUILT_IN[25].cost * _SLOWER)
        found.InnerDiagnosticInfo = diagnostic_info(reader)
    reader.depth -= 1
    return found


def variant(reader: Reader) -> ua.Variant:
    """A Variant (§5.2.2.16)."""
    encoding = reader.byte()
    number = encoding & 0x3F
    if number >= len(_BUILT_IN):
        raise DecodingError(f"no built-in type is {number}")
    kind, name = _BUILT_IN[number], _VARIANT_TYPES[number]
    if encoding < 0x40:
        if number == _VARIANT:
            raise DecodingError("a Variant is directly in a Variant")
        if kind.form:
            return cast("ua.Variant", _ua.Variant(kind.decode(reader), name, None, False))
        _deeper(reader)
        reader.spend(kind.cost * _SLOWER)
        value = kind.decode(reader)
        reader.depth -= 1
        return cast("ua.Variant", _ua.Variant(value, name, None, False))
    if not encoding & 0x80:
        raise DecodingError("dimensions of what is no array")
    values = array(reader, kind)
    dimensions = None
    if encoding & 0x40:
        dimensions = array(reader, _BUILT_IN[6])
        if dimensions is not None:
            values = _shaped(reader, values or [], dimensions)
    return cast("ua.Variant", _ua.Variant(values, name, dimensions or None, True))


def array(reader: Reader, kind: _Kind) -> list[Any] | None:
    """An array; None for a null one."""
    length = reader.int32()
    if length < 0:
        if length != -1:
            raise DecodingError(f"an array of {length} elements")
        return None
    if length and kind.decode is null:
        raise DecodingError("an array of elements without bytes")
    if kind.form:
        form = f"<{length}{kind.form}"
        at = reader.skip(length * struct.calcsize("<" + kind.form))
        reader.spend(length * (kind.cost + 2 * _POINTER))
        return list(_unpack(form, reader.data, at))
    if length > reader.left:
        raise DecodingError(f"an array of {length} elements in {reader.left} bytes")
    reader.spend(length * (kind.cost + _POINTER) * _SLOWER)
    _deeper(reader)
    decode = kind.decode
    found = [decode(reader) for _ in range(length)]
    reader.depth -= 1
    return found


def _shaped(reader: Reader, flat: list[Any], dimensions: list[int]) -> list[Any]:
    """Lists in lists; dimensions that do not belong to the array make no sense (§5.2.2.16)."""
    if len(dimensions) > _MAX_DIMENSIONS:
        raise DecodingError(f"{len(dimensions)} dimensions", _LIMITS)
    size = 1
    lists = 0
    for dimension in dimensions:
        if dimension < 0:
            raise DecodingError(f"a dimension of {dimension}")
        size *= dimension
        lists += size
    if dimensions and size != len(flat):
        raise DecodingError(f"{len(flat)} elements for the dimensions {dimensions}")
    if len(dimensions) <= 1 or not flat:
        return flat
    reader.spend((lists - size) * (_OBJECT + _POINTER) * _SLOWER)
    for dimension in reversed(dimensions[1:]):
        flat = [flat[at : at + dimension] for at in range(0, len(flat), dimension)]
    return flat


# --- Structures


@cache
def structure(made: type) -> _Kind:
    """How a dataclass of the stack is decoded. Raises Unclear."""
    if not is_dataclass(made) or issubclass(made, ua.UaUnion):
        raise Unclear(made)
    try:
        hints = ua_binary.get_safe_type_hints(made, {"ua": ua})
    except (NameError, AttributeError) as error:
        raise Unclear(made) from error
    found = []
    cost = _OBJECT
    for field in fields(made):
        if field.name == "Encoding":
            raise Unclear(made)
        kind = _field(hints[field.name])
        found.append((field.name, kind.decode))
        cost += _POINTER + kind.cost

    def decode(reader: Reader) -> Any:
        return made(**{name: read(reader) for name, read in found})

    return _Kind(decode, cost)


def _field(hint: Any) -> _Kind:
    origin = typing.get_origin(hint)
    if origin is None:
        return _named(hint)
    if origin is list:
        return _list(typing.get_args(hint)[0])
    if origin is UnionType or origin is typing.Union:
        raise Unclear(hint)
    return _BUILT_IN[_EXTENSION_OBJECT]  # type[X]: any subtype of X


def _list(element: Any) -> _Kind:
    """As the stack has it, a null array is None where its elements are built in, else empty."""
    kind = _field(element)
    if _number_of(element) is not None:
        return _Kind(lambda reader: array(reader, kind), _OBJECT)
    return _Kind(lambda reader: array(reader, kind) or [], _OBJECT)


def _named(made: Any) -> _Kind:
    number = _number_of(made)
    if number is not None:
        return _BUILT_IN[number]
    if issubclass(made, enum.Enum):
        return _enumeration(made)
    return structure(made)


def _number_of(made: Any) -> int | None:
    """The number of a built-in type, None for others."""
    if typing.get_origin(made) is not None or issubclass(made, enum.Enum):
        return None
    name = made.__name__
    found = _ALSO.get(name) or getattr(ua.VariantType, name, None)
    return None if found is None else int(found)


def _enumeration(made: type[enum.Enum]) -> _Kind:
    """An enumeration or a set of flags. A number that it does not have is refused."""
    name = cast("Any", made).datatype() if hasattr(made, "datatype") else "UInt32"
    is_flags = issubclass(made, enum.IntFlag)
    number = _BUILT_IN[int(ua.VariantType[name]) if is_flags else 6].decode

    def decode(reader: Reader) -> Any:
        found = number(reader)
        try:
            return made(found)
        except ValueError as error:
            raise DecodingError(f"no {made.__name__} is {found}") from error

    return _Kind(decode, 0)


_ALSO: Final = {
    "Char": ua.VariantType.Byte,
    "CharArray": ua.VariantType.String,
    "Bytes": ua.VariantType.ByteString,
}
_EXTENSION_OBJECT: Final = 22
_VARIANT: Final = 24
_NODE_ID_TYPES: Final = tuple(ua.NodeIdType(number) for number in range(6))
_BUILT_IN: Final = (
    _Kind(null, 0),
    _number("?", 0),
    _number("b", 28),
    _number("B", 0),
    *(_number(form, 32) for form in "hHiIqQfd"),
    _Kind(Reader.string, 64),
    _Kind(date_time, 56),
    _Kind(guid, 112),
    _Kind(Reader.byte_string, 48),
    _Kind(xml_element, 120),
    _Kind(node_id, 176),
    _Kind(expanded_node_id, 240),
    _Kind(status_code, 96),
    _Kind(qualified_name, 128),
    _Kind(localized_text, 192),
    _Kind(extension_object, 0),  # as it is decoded
    _Kind(data_value, 224),
    _Kind(variant, 96),
    _Kind(diagnostic_info, 192),
    # Types to come are taken as ByteStrings (§5.2.2.16).
    *(_Kind(lambda reader: reader.byte_string() or b"", 48) for _ in range(26, 32)),
)
"""By number (OPC 10000-6 §5.1.2)."""
_VARIANT_TYPES: Final = tuple(ua.datatype_to_varianttype(number) for number in range(len(_BUILT_IN)))
