"""What asyncua encodes otherwise than OPC 10000-6 has it, put right for this process.

The order of a DataValue's picoseconds, the masks of a DiagnosticInfo, namespace indices of
QualifiedNames above 32767, structures without fields in an ExtensionObject. They replace
functions inside `asyncua.ua.ua_binary`, so asyncua is pinned to one version.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, cast

from asyncua import ua
from asyncua.ua import ua_binary

from server.opcua.wire.writer import byte_string, qualified_name

_codec: Final = cast("Any", ua_binary)
_serializer_of: Final[Callable[[type], Callable[[Any], bytes]]] = _codec.create_dataclass_serializer


def install() -> None:
    """Put the corrections in place for this process. May be called again and again."""
    if _codec.create_dataclass_serializer is _serializer:
        return
    _codec.create_dataclass_serializer = _serializer
    _codec.extensionobject_to_binary = _extension_object
    # Serialisers made before hold on to the functions that were replaced.
    for made in (
        "create_uatype_serializer",
        "create_uatype_array_serializer",
        "create_type_serializer",
        "create_list_serializer",
    ):
        getattr(_codec, made).cache_clear()
    cast("Any", _serializer_of).cache_clear()


def _serializer(kind: type) -> Callable[[Any], bytes]:
    return _CORRECTED.get(kind) or _serializer_of(kind)


def _extension_object(value: Any) -> bytes:
    """An ExtensionObject; its body has a length where that is 0 too (§5.2.2.15)."""
    if value is None:
        return b"\x00\x00\x00"
    if isinstance(value, ua.ExtensionObject):
        return cast("bytes", _codec.struct_to_binary(value))
    kind = ua.typeid_by_extension_objects.get(type(value)) or _codec._encoding_for_class_via_mro(type(value))  # noqa: SLF001  # as the stack does
    return b"".join((_codec.nodeid_to_binary(kind), b"\x01", byte_string(_codec.struct_to_binary(value))))


def _qualified_name(value: Any) -> bytes:
    return qualified_name(value.Name, value.NamespaceIndex & 0xFFFF)


def _fields(*fields: tuple[int, bytes | None]) -> bytes:
    """A mask and the fields there are; each comes with its bit."""
    mask = sum(bit for bit, data in fields if data is not None)
    return bytes((mask,)) + b"".join(data for _, data in fields if data is not None)


def _with(encode: Callable[[Any], bytes], value: Any) -> bytes | None:
    return None if value is None else encode(value)


def _data_value(value: Any) -> bytes:
    """A DataValue (§5.2.2.17)."""
    time, picoseconds = _codec.Primitives.DateTime.pack, struct.Struct("<H").pack
    return _fields(
        (0x01, _with(_codec.variant_to_binary, value.Value)),
        (0x02, _with(_codec.struct_to_binary, value.StatusCode)),
        (0x04, _with(time, value.SourceTimestamp)),
        (0x10, _with(picoseconds, value.SourcePicoseconds)),
        (0x08, _with(time, value.ServerTimestamp)),
        (0x20, _with(picoseconds, value.ServerPicoseconds)),
    )


def _diagnostic_info(value: Any) -> bytes:
    """A DiagnosticInfo (§5.2.2.12)."""
    number = struct.Struct("<i").pack
    return _fields(
        (0x01, _with(number, value.SymbolicId)),
        (0x02, _with(number, value.NamespaceURI)),
        (0x08, _with(number, value.Locale)),
        (0x04, _with(number, value.LocalizedText)),
        (0x10, _with(_codec.Primitives.String.pack, value.AdditionalInfo)),
        (0x20, _with(_codec.struct_to_binary, value.InnerStatusCode)),
        (0x40, _with(_diagnostic_info, value.InnerDiagnosticInfo)),
    )


_CORRECTED: Final[dict[type, Callable[[Any], bytes]]] = {
    ua.QualifiedName: _qualified_name,
    ua.DataValue: _data_value,
    ua.DiagnosticInfo: _diagnostic_info,
}
