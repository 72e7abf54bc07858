"""Names within encoded values moved from one server's namespaces to another's (OPC 10000-6 §5.2).

NodeIds, ExpandedNodeIds and QualifiedNames carry an index into the NamespaceArray of the server they
come from, wherever they stand: in a Variant, in an array, in a structure. A `Mapper` rewrites them in
the bytes. What it cannot look into it refuses: a name of one server never passes for one of another.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from sources.opcua import wire
from sources.opcua.stack import Buffer, binary, ua

_MAX_DEPTH: Final = 50
_FIELDS: Final = 10_000
_FIELDS_A_BYTE: Final = 16
_PLAIN: Final = frozenset({*range(1, 17), 19, 21})
"""Built-in types that hold no name."""
_NODE_ID, _EXPANDED, _QUALIFIED, _EXTENSION, _DATA_VALUE, _VARIANT = 17, 18, 20, 22, 23, 24
_FOUR: Final = struct.Struct("<BBH")
_NUMERIC: Final = struct.Struct("<BHI")
_i32: Final = struct.Struct("<i")
_u32: Final = struct.Struct("<I")


class Unmappable(Exception):
    """A value whose names cannot be moved; the text says why."""


class UnknownIndex(Unmappable):
    """A `Mapper.apart` met an index it does not know, and asks nobody for it."""

    def __init__(self, index: int) -> None:
        super().__init__(f"a name of the namespace {index}, which is not known yet")
        self.index = index


@dataclasses.dataclass(slots=True)
class Field:
    """One field of a structure: of a built-in type, of a structure by its `Layout`, or of a standard one."""

    kind: int = 0
    layout: Layout | None = None
    standard: Any = None
    """The stack's class."""
    array: bool = False
    optional: bool = False


@dataclasses.dataclass(slots=True)
class Layout:
    """How a structure is encoded (OPC 10000-6 §5.2.6 to §5.2.8)."""

    fields: list[Field] = dataclasses.field(default_factory=list)
    union: bool = False
    optional: bool = False
    """Whether a mask of its optional fields stands before them."""


class Mapper:
    """Moves encoded values. ``resolve`` gives the index here of an index there, None for one unknown.

    ``layouts`` are by the NodeId of the binary encoding, as `canonical` writes it, in the names of
    the side the values come from.
    """

    def __init__(
        self,
        resolve: Callable[[int], int | None],
        layouts: Mapping[bytes, Layout],
        rename: Callable[[str], str] = str,
    ) -> None:
        """``rename`` moves namespaces that an ExpandedNodeId has by their URI."""
        self._resolve = resolve
        self._rename = rename
        self._layouts = layouts
        self._known: dict[int, int] = {0: 0}
        self._left = 0
        """Fields that may still be looked at in this value: a definition of the device's, however it
        multiplies, costs no more than the bytes it explains."""

    def index(self, there: int) -> int:
        """Raises Unmappable."""
        known = self._known.get(there)
        if known is None:
            known = self._resolve(there)
            if known is None:
                raise Unmappable(f"a name of the namespace {there}, which is not known")
            self._known[there] = known
        return known

    def apart(self) -> Mapper:
        """One for another thread: it knows what this one knows, and raises UnknownIndex for the rest."""
        made = Mapper(_unknown, self._layouts, self._rename)
        made._known = dict(self._known)
        return made

    def variant(self, data: bytes) -> bytes:
        """A whole Variant. Raises Unmappable."""
        kind = data[0] & 0x3F if data else 0
        if kind in _PLAIN or not data or kind == wire.NOTHING:
            return data
        out: list[bytes] = []
        self._left = _FIELDS + _FIELDS_A_BYTE * len(data)
        try:
            self._variant(data, 0, out, 0)
        except (struct.error, IndexError, wire.Malformed) as error:
            raise Unmappable(f"the value cannot be read: {error}") from None
        return b"".join(out)

    def node_id(self, data: bytes) -> bytes:
        """A whole NodeId, in its shortest encoding. Raises Unmappable."""
        out: list[bytes] = []
        try:
            self._node_id(data, 0, out)
        except (struct.error, IndexError, wire.Malformed) as error:
            raise Unmappable(f"the NodeId cannot be read: {error}") from None
        return b"".join(out)

    def qualified_name(self, data: bytes) -> bytes:
        """A whole QualifiedName. Raises Unmappable."""
        return self.index(int.from_bytes(data[:2], "little")).to_bytes(2, "little") + data[2:]

    # --- Each takes the bytes and where to begin, appends what they become, and returns where it ended

    def _variant(self, data: bytes, at: int, out: list[bytes], depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise Unmappable("a value nested too deeply")
        mask = data[at]
        kind = mask & 0x3F
        if kind == wire.NOTHING or kind in _PLAIN:
            end = wire.skip_variant(data, at)
            out.append(data[at:end])
            return end
        out.append(data[at : at + 1])
        at += 1
        if not mask & 0x80:
            return self._one(kind, data, at, out, depth)
        (count,) = _i32.unpack_from(data, at)
        out.append(data[at : at + 4])
        at += 4
        for _ in range(max(count, 0)):
            at = self._one(kind, data, at, out, depth)
        if mask & 0x40:
            (count,) = _i32.unpack_from(data, at)
            end = at + 4 + 4 * max(count, 0)
            out.append(data[at:end])
            at = end
        return at

    def _one(self, kind: int, data: bytes, at: int, out: list[bytes], depth: int) -> int:
        if kind == _NODE_ID:
            return self._node_id(data, at, out)
        if kind == _EXPANDED:
            return self._expanded(data, at, out)
        if kind == _QUALIFIED:
            end = wire.skip(data, at, kind)
            out.append(self.qualified_name(data[at:end]))
            return end
        if kind == _EXTENSION:
            return self._extension(data, at, out, depth)
        if kind == _DATA_VALUE:
            return self._data_value(data, at, out, depth)
        if kind == _VARIANT:
            return self._variant(data, at, out, depth + 1)
        end = wire.skip(data, at, kind)
        out.append(data[at:end])
        return end

    def _node_id(self, data: bytes, at: int, out: list[bytes], flags: int = 0) -> int:
        end = wire.skip_node_id(data, at)
        form = data[at] & 0x3F
        if form == 0:
            namespace, number = 0, data[at + 1]
        elif form == 1:
            namespace, number = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "little")
        elif form == 2:
            namespace = int.from_bytes(data[at + 1 : at + 3], "little")
            number = int.from_bytes(data[at + 3 : at + 7], "little")
        else:
            index = self.index(int.from_bytes(data[at + 1 : at + 3], "little"))
            out.append(bytes((form | flags,)) + index.to_bytes(2, "little") + data[at + 3 : end])
            return end
        out.append(_number(number, self.index(namespace), flags))
        return end

    def _expanded(self, data: bytes, at: int, out: list[bytes]) -> int:
        flags = data[at] & 0xC0
        if flags & 0x40:
            raise Unmappable("a node of another server, by an index only the device knows")
        if not flags:
            return self._node_id(data, at, out)
        end, middle = wire.skip(data, at, _EXPANDED), wire.skip_node_id(data, at)
        uri = self._rename(data[middle + 4 : end].decode("utf-8", "replace")).encode()
        out += (data[at:middle], _i32.pack(len(uri)), uri)
        return end

    def _data_value(self, data: bytes, at: int, out: list[bytes], depth: int) -> int:
        end = wire.skip(data, at, _DATA_VALUE)
        out.append(data[at : at + 1])
        rest = at + 1
        if data[at] & 1:
            rest = self._variant(data, rest, out, depth + 1)
        out.append(data[rest:end])
        return end

    def _extension(self, data: bytes, at: int, out: list[bytes], depth: int) -> int:
        start = at
        at = self._node_id(data, at, out)
        encoding = data[start:at]
        form = data[at]
        out.append(data[at : at + 1])
        at += 1
        if form == 0:
            return at
        size: int = _i32.unpack_from(data, at)[0]
        end = at + 4 + max(size, 0)
        if end > len(data):
            raise Unmappable("a structure ends behind its message")
        if form != 1:
            raise Unmappable("a structure in XML")
        body = data[at + 4 : end]
        made = self._body(canonical(encoding), body, depth)
        out.append(_i32.pack(len(made)) if size >= 0 else data[at : at + 4])
        out.append(made)
        return end

    def _body(self, encoding: bytes, body: bytes, depth: int) -> bytes:
        if not body:
            return body
        out: list[bytes] = []
        layout = self._layouts.get(encoding)
        if layout is not None:
            if self._layout(layout, body, 0, out, depth + 1) != len(body):
                raise Unmappable("a structure is longer than its definition")
            return b"".join(out)
        kind = standard_class(encoding)
        if kind is None:
            raise Unmappable("a structure of a type whose definition the device does not give")
        if not _holds_names(kind):
            return body
        self._standard(kind, body, 0, out)
        return b"".join(out)

    def _layout(self, layout: Layout, data: bytes, at: int, out: list[bytes], depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise Unmappable("a structure nested too deeply")
        self._spend(1 + (1 if layout.union else len(layout.fields)))
        fields = layout.fields
        if layout.union:
            (selector,) = _u32.unpack_from(data, at)
            out.append(data[at : at + 4])
            at += 4
            if selector == 0:
                return at
            if selector > len(fields):
                raise Unmappable("a union with a field it does not have")
            return self._field(fields[selector - 1], data, at, out, depth)
        mask = 0
        if layout.optional:
            (mask,) = _u32.unpack_from(data, at)
            out.append(data[at : at + 4])
            at += 4
        bit = 1
        for one in fields:
            if one.optional:
                there = mask & bit
                bit <<= 1
                if not there:
                    continue
            at = self._field(one, data, at, out, depth)
        return at

    def _field(self, one: Field, data: bytes, at: int, out: list[bytes], depth: int) -> int:
        if not one.array:
            return self._element(one, data, at, out, depth)
        (count,) = _i32.unpack_from(data, at)
        out.append(data[at : at + 4])
        at += 4
        if count > len(data):
            raise Unmappable("an array longer than its message")
        self._spend(max(count, 0))
        for _ in range(max(count, 0)):
            at = self._element(one, data, at, out, depth)
        return at

    def _spend(self, fields: int) -> None:
        self._left -= fields
        if self._left < 0:
            raise Unmappable("a structure with more fields than its bytes can hold")

    def _element(self, one: Field, data: bytes, at: int, out: list[bytes], depth: int) -> int:
        if one.layout is not None:
            return self._layout(one.layout, data, at, out, depth + 1)
        if one.standard is not None:
            return self._standard(one.standard, data, at, out)
        return self._one(one.kind, data, at, out, depth)

    def _standard(self, kind: Any, data: bytes, at: int, out: list[bytes]) -> int:
        """A structure of namespace 0, by the stack's class of it."""
        buffer = Buffer(data, at)
        try:
            value = binary.struct_from_binary(kind, buffer)
            end = int(buffer.cur_pos)
            if _holds_names(kind):
                out.append(binary.struct_to_binary(self._moved(value)))
            else:
                out.append(data[at:end])
        except Unmappable:
            raise
        except Exception as error:  # noqa: BLE001  # whatever the stack makes of a stranger's bytes
            raise Unmappable(f"a {kind.__name__} cannot be read: {error!r:.200}") from None
        return end

    def _moved(self, value: Any) -> Any:
        """One of the stack's objects with its names moved."""
        if isinstance(value, list):
            return [self._moved(item) for item in value]
        name = type(value).__name__
        if name == "QualifiedName":
            return ua.QualifiedName(value.Name, self.index(value.NamespaceIndex))
        if name == "DataValue" or (name == "ExtensionObject" and value.Body is not None):
            raise Unmappable(f"{name} within a standard structure")
        encoder = _ENCODERS.get(name)
        if encoder is not None:
            kind, encode, decode = encoder
            out: list[bytes] = []
            self._one(kind, encode(value), 0, out, 0)
            return decode(Buffer(b"".join(out)))
        if dataclasses.is_dataclass(value) and not isinstance(value, type) and _holds_names(type(value)):
            for field in dataclasses.fields(value):
                if field.name != "Encoding":
                    setattr(value, field.name, self._moved(getattr(value, field.name)))
        return value


def _unknown(index: int) -> int | None:
    raise UnknownIndex(index)


_ENCODERS: Final[Mapping[str, tuple[int, Callable[[Any], bytes], Callable[[Any], Any]]]] = {
    "NodeId": (_NODE_ID, binary.nodeid_to_binary, binary.nodeid_from_binary),
    "TwoByteNodeId": (_NODE_ID, binary.nodeid_to_binary, binary.nodeid_from_binary),
    "FourByteNodeId": (_NODE_ID, binary.nodeid_to_binary, binary.nodeid_from_binary),
    "NumericNodeId": (_NODE_ID, binary.nodeid_to_binary, binary.nodeid_from_binary),
    "StringNodeId": (_NODE_ID, binary.nodeid_to_binary, binary.nodeid_from_binary),
    "GuidNodeId": (_NODE_ID, binary.nodeid_to_binary, binary.nodeid_from_binary),
    "ByteStringNodeId": (_NODE_ID, binary.nodeid_to_binary, binary.nodeid_from_binary),
    "ExpandedNodeId": (_EXPANDED, binary.nodeid_to_binary, binary.nodeid_from_binary),
    "Variant": (_VARIANT, binary.variant_to_binary, binary.variant_from_binary),
}
_NAMES: Final = (
    "NodeId",
    "QualifiedName",
    "ExtensionObject",
    "Variant",
    "DataValue",
)
_HOLDS: dict[type, bool] = {}


def _holds_names(kind: type, within: frozenset[type] = frozenset()) -> bool:
    """Whether a structure of the stack's can hold names of namespaces; looked up once for each.

    ``within`` are those it is a field of: what is only known but for them is not kept.
    """
    known = _HOLDS.get(kind)
    if known is not None or kind in within:
        return bool(known)
    within |= {kind}
    known = False
    for field in dataclasses.fields(kind):
        text = str(field.type)
        inner = (
            text.replace("list[", "").replace("]", "").replace("ua.", "").strip("'\" ").split("|")[0].strip()
        )
        found = getattr(ua, inner, None)
        if any(name in text for name in _NAMES):
            known = True
        elif dataclasses.is_dataclass(found) and isinstance(found, type):
            known = known or _holds_names(found, within)
    if len(within) == 1:
        _HOLDS[kind] = known
    return known


def _number(number: int, namespace: int, flags: int = 0) -> bytes:
    if namespace == 0 and number <= 0xFF:
        return bytes((flags, number))
    if namespace <= 0xFF and number <= 0xFFFF:
        return _FOUR.pack(1 | flags, namespace, number)
    return _NUMERIC.pack(2 | flags, namespace, number)


def canonical(data: bytes) -> bytes:
    """The NodeId at the beginning of some bytes in its shortest encoding, its flags aside."""
    form = data[0] & 0x3F
    end = wire.skip_node_id(data, 0)
    if form == 0:
        return bytes((0, data[1]))
    if form == 1:
        return _number(int.from_bytes(data[2:4], "little"), data[1])
    if form == 2:
        return _number(int.from_bytes(data[3:7], "little"), int.from_bytes(data[1:3], "little"))
    return bytes((form,)) + data[1:end]


def key_of(node: Any) -> bytes:
    """The stack's NodeId in its shortest encoding."""
    return canonical(bytes(binary.nodeid_to_binary(node)))


def standard_class(encoding: bytes) -> Any:
    """The stack's class of a structure of namespace 0, by its binary encoding; None where it has none."""
    number = standard_number(encoding)
    return None if number is None else ua.extension_objects_by_typeid.get(ua.NodeId(number))


def standard_number(node: bytes) -> int | None:
    """The number of a canonical NodeId of namespace 0; None for another."""
    if node[0] == 0:
        return node[1]
    if node[0] == 1 and node[1] == 0:
        return int.from_bytes(node[2:4], "little")
    if node[0] == 2 and node[1:3] == b"\0\0":
        return int.from_bytes(node[3:7], "little")
    return None
