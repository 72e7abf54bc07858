"""Reads what a stranger sent, a field at a time, and believes none of its lengths (OPC 10000-6 §5.2)."""

from __future__ import annotations

import struct
from typing import Final

from server.opcua.types import StatusCodes
from server.opcua.wire.nodeid import Key, numeric

_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_I32: Final = struct.Struct("<i")
_U64: Final = struct.Struct("<Q")
_I64: Final = struct.Struct("<q")
_F64: Final = struct.Struct("<d")

_STRING, _GUID, _OPAQUE = 3, 4, 5
_ELEMENT: Final = 256
"""Bytes of memory that an element of an array is taken for where nobody says more."""

MAX_DECODED: Final = 64 << 20
"""Bytes of memory that what is decoded of one message may take, about."""


class DecodingError(Exception):
    """Bytes that no encoder makes, or more of them than we take; ``code`` is what the client is told."""

    def __init__(self, reason: str, code: int = StatusCodes.BadDecodingError) -> None:
        super().__init__(reason)
        self.code = code


class Reader:
    """A position in a message. Every method reads at it and moves it; each raises DecodingError.

    What its arrays become in memory is taken from ``room``, for an element of a byte may become an
    object of hundreds.
    """

    __slots__ = ("at", "data", "depth", "end", "room")

    def __init__(self, data: bytes, at: int = 0, *, room: int = MAX_DECODED) -> None:
        self.data = data
        self.at = at
        self.end = len(data)
        self.room = room
        self.depth = 0
        """Levels of nesting the position is in (`decode`)."""

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return self.end - self.at

    def spend(self, size: int) -> None:
        """Take about so many bytes of memory for what comes next; BadEncodingLimitsExceeded without room."""
        self.room -= size
        if self.room < 0:
            raise DecodingError("it takes too much memory", StatusCodes.BadEncodingLimitsExceeded)

    def skip(self, size: int) -> int:
        """Pass over so many bytes; returns where they begin."""
        at = self.at
        if not 0 <= size <= self.end - at:
            raise DecodingError(f"{size} bytes announced, {self.end - at} left")
        self.at = at + size
        return at

    def take(self, size: int) -> bytes:
        """So many bytes."""
        at = self.skip(size)
        return self.data[at : self.at]

    def byte(self) -> int:
        """A Byte."""
        return self.data[self.skip(1)]

    def boolean(self) -> bool:
        """A Boolean: any byte but zero is true."""
        return self.data[self.skip(1)] != 0

    def uint16(self) -> int:
        """A UInt16."""
        return int(_U16.unpack_from(self.data, self.skip(2))[0])

    def uint32(self) -> int:
        """A UInt32."""
        return int(_U32.unpack_from(self.data, self.skip(4))[0])

    def int32(self) -> int:
        """An Int32."""
        return int(_I32.unpack_from(self.data, self.skip(4))[0])

    def uint64(self) -> int:
        """A UInt64."""
        return int(_U64.unpack_from(self.data, self.skip(8))[0])

    def int64(self) -> int:
        """An Int64; also a DateTime as ticks (`sources.clock`)."""
        return int(_I64.unpack_from(self.data, self.skip(8))[0])

    def double(self) -> float:
        """A Double."""
        return float(_F64.unpack_from(self.data, self.skip(8))[0])

    def byte_string(self) -> bytes | None:
        """A ByteString, None where it is null."""
        size = self.int32()
        if size < 0:
            if size != -1:
                raise DecodingError(f"a length of {size}")
            return None
        return self.take(size)

    def string(self) -> str | None:
        """A String, None where it is null."""
        data = self.byte_string()
        if data is None:
            return None
        return _check_text(data)

    def count(self, smallest: int, most: int | None = None) -> int:
        """The length of an array whose elements have ``smallest`` bytes or more; 0 for a null array.

        More than ``most`` elements are refused as BadEncodingLimitsExceeded.
        """
        length = self.int32()
        if length < -1:
            raise DecodingError(f"an array of {length} elements")
        if length * smallest > self.end - self.at:
            raise DecodingError(f"an array of {length} elements in {self.left} bytes")
        if most is not None and length > most:
            raise DecodingError(f"an array of {length} elements", StatusCodes.BadEncodingLimitsExceeded)
        if length > 0:
            self.spend(length * _ELEMENT)
            return length
        return 0

    def qualified_name(self) -> tuple[int, str | None]:
        """Namespace index and name of a QualifiedName."""
        return self.uint16(), self.string()

    def key(self) -> Key:
        """A NodeId in any of its encodings, as a key. Raises DecodingError for an ExpandedNodeId too."""
        data, at = self.data, self.at
        if at >= self.end:
            raise DecodingError("a NodeId announced, nothing left")
        kind = data[at]
        if kind == 0:
            return self.take(2)
        if kind == 1:
            found = self.take(4)
            return found if found[1] else numeric(found[2] | found[3] << 8)
        if kind == 2:
            self.skip(7)
            return numeric(int(_U32.unpack_from(data, at + 3)[0]), int(_U16.unpack_from(data, at + 1)[0]))
        if kind == _GUID:
            return self.take(19)
        if kind not in {_STRING, _OPAQUE}:
            raise DecodingError(f"a NodeId of encoding {kind}")
        self.skip(3)
        if self.byte_string() is None:  # a null identifier is an empty one
            return data[at : at + 3] + b"\x00\x00\x00\x00"
        if kind == _STRING:
            _check_text(data[at + 7 : self.at])
        return data[at : self.at]

    def extension_object(self) -> tuple[Key, bytes | None]:
        """An ExtensionObject: the NodeId of its encoding, and its body where that is binary."""
        kind = self.key()
        encoding = self.byte()
        if encoding == 0:
            return kind, None
        if encoding not in {1, 2}:
            raise DecodingError(f"an ExtensionObject of encoding {encoding}")
        body = self.byte_string()
        return kind, body if encoding == 1 else None


def _check_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodingError(f"a String that is not UTF-8: {error}") from error
