"""What a good reply to a packet is, byte for byte, and where in it the values stand. Pure.

Compiled once for a packet. All that is not a value is known before the reply comes: the
services, their statuses, offsets and types, the counters of the program. One comparison
checks it, one `struct.unpack` takes the numbers out.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from sources.ethernetip import codec
from sources.ethernetip.decode import Layout, Leaf, LogixTag
from sources.quality import Quality
from sources.tag import Value


class Part(NamedTuple):
    """One service's good reply: its code, what its data begins with, and where its values stand then."""

    service: int
    head: bytes
    layout: Layout | None = None

    @property
    def size(self) -> int:
        """Bytes of the reply."""
        return codec.REPLY_HEAD + len(self.head) + (0 if self.layout is None else self.layout.size)


class Image:
    """A good reply to one service, or to several in a multiple service request.

    ``padded`` is for controllers that fill up replies of an odd number of bytes.
    """

    __slots__ = ("_expected", "_layout", "_mask", "size", "tags")

    def __init__(self, parts: Sequence[Part], *, padded: bool = False) -> None:
        sizes = [part.size + (part.size % 2 if padded else 0) for part in parts]
        expected = bytearray()
        mask = bytearray()
        several = len(parts) > 1
        if several:
            first = 2 + 2 * len(parts)
            starts = [first + sum(sizes[:number]) for number in range(len(parts))]
            expected += bytes((codec.MULTIPLE_SERVICE | codec.REPLY, 0, 0, 0))
            mask += b"\xff\0\xff\xff"
            expected += struct.pack(f"<{1 + len(parts)}H", len(parts), *starts)
            mask += b"\xff" * first
        fields: list[tuple[LogixTag, Leaf]] = []
        for part, size in zip(parts, sizes, strict=True):
            end = len(expected) + size
            expected += bytes((part.service | codec.REPLY, 0, 0, 0)) + part.head
            # The second byte is reserved, and nobody's business.
            mask += b"\xff\0\xff\xff" + b"\xff" * len(part.head)
            if part.layout is not None:
                at = len(expected)
                fields += [(tag, leaf._replace(offset=at + leaf.offset)) for tag, leaf in part.layout.fields]
            expected += bytes(end - len(expected))
            mask += bytes(end - len(mask))
        self.size = len(expected)
        self._mask = int.from_bytes(mask, "little")
        self._expected = int.from_bytes(expected, "little")
        self._layout = Layout(self.size, fields)
        self.tags = self._layout.tags
        """In the order of the values."""

    def decode(self, reply: bytes) -> tuple[list[Value], Quality | list[Quality]] | None:
        """Values and their quality, one for all or one each; None for a reply that is not this."""
        if len(reply) != self.size or int.from_bytes(reply, "little") & self._mask != self._expected:
            return None
        return self._layout.decode(reply)
