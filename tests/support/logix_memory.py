"""A controller's memory that answers services without any I/O, for properties of plans and reads."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from sources.ethernetip import changes, codec
from sources.ethernetip.codec import Reply
from sources.ethernetip.decode import LogixTag, type_code
from sources.ethernetip.failures import Broken
from sources.ethernetip.plan import Limits, Packet
from sources.ethernetip.reading import Answer, Exchange, read_packet
from sources.ethernetip.symbols import BOOL, Structure, Symbol, Type
from sources.quality import Quality
from sources.tag import Value

GUARD = bytes(range(38))
"""What the counters of a program say."""


def read_at_once(link: Exchange, packet: Packet, limits: Limits) -> Answer:
    """`read_packet` over a connection that never keeps anybody waiting; a quality for each value."""
    reading = read_packet(link, packet, limits)
    try:
        reading.send(None)
    except StopIteration as end:
        answer: Answer = end.value
        if isinstance(answer.qualities, int):
            answer.qualities = [answer.qualities] * len(packet.tags)
        return answer
    raise AssertionError("it waits for something")


def each_quality(answer: Answer) -> Sequence[Quality]:
    """The qualities of what `read_at_once` returned."""
    assert not isinstance(answer.qualities, int)
    return answer.qualities


class Memory:
    """Tags and their bytes. ``size`` is the connection's; what exceeds it is an error of the test's subject.

    ``refused`` are names of tags whose reading as a whole answers status 0F, ``failing``
    paths and their status, ``multiple`` false knows no multiple service requests.
    """

    def __init__(self, symbols: Mapping[str, Symbol], images: Mapping[str, bytes], size: int = 4000) -> None:
        self.symbols = {name.casefold(): symbol for name, symbol in symbols.items()}
        self.images = {name.casefold(): image for name, image in images.items()}
        self.size = size
        self.multiple = True
        self.wholes_refused = False
        self.failing: dict[str, tuple[int, int]] = {}
        self.requests: list[bytes] = []
        self.guard = GUARD

    async def exchange(self, request: bytes) -> Reply:
        """Answer one packet, taken apart."""
        return codec.parse_reply(await self.ask(request), request[0])

    async def ask(self, request: bytes) -> bytes:
        """Answer one packet."""
        assert len(request) + 2 <= self.size, "the request is larger than the connection"
        self.requests.append(request)
        raw = self._answer(request, self.size - 2)
        assert len(raw) + 2 <= self.size
        return raw

    def broken(self, reason: str) -> Broken:
        """See Exchange."""
        return Broken(reason)

    def _answer(self, request: bytes, room: int) -> bytes:
        if request[0] == codec.MULTIPLE_SERVICE:
            if not self.multiple:
                return b"\x8a\0\x08\0"
            (count,) = struct.unpack_from("<H", request, 6)
            offsets = [*struct.unpack_from(f"<{count}H", request, 8), len(request) - 6]
            services = [request[6 + a : 6 + b] for a, b in itertools.pairwise(offsets)]
            replies: list[bytes] = []
            left = room - 4 - 2 - 6 * len(services)
            for service in services:
                reply = self._answer(service, left + 4)
                replies.append(reply)
                left -= len(reply) - 4
            return self._several(replies)
        if request == changes.REQUEST:
            return b"\x83\0\0\0" + self.guard
        length = 2 * request[1]
        path, rest = request[2 : 2 + length], request[2 + length :]
        (elements,) = struct.unpack_from("<H", rest)
        offset = struct.unpack_from("<I", rest, 2)[0] if request[0] == codec.READ_TAG_FRAGMENTED else 0
        return bytes((request[0] | 0x80, 0)) + self._read(path, elements, offset, room)

    def _several(self, replies: list[bytes]) -> bytes:
        status = 0x1E if any(reply[2] for reply in replies) else 0
        at, offsets = 2 + 2 * len(replies), []
        for reply in replies:
            offsets.append(at)
            at += len(reply)
        head = struct.pack(f"<{1 + len(replies)}H", len(replies), *offsets)
        return bytes((0x8A, 0, status, 0)) + head + b"".join(replies)

    def _read(self, path: bytes, elements: int, offset: int, room: int) -> bytes:
        steps = parse_path(path)
        text = ".".join(str(step) for step in steps).casefold()
        if text in self.failing:
            general, extended = self.failing[text]
            return struct.pack("<BBH", general, 1, extended) if extended else bytes((general, 0))
        kind, image, available = self._walk(steps)
        assert 1 <= elements <= available, f"{elements} elements of {available} at {text}"
        whole = elements > 1 or (isinstance(kind, Structure) and kind.capacity is None)
        if whole and self.wholes_refused:
            return b"\x0f\0"
        data = image[offset : elements * kind.size]
        head = type_code(kind)
        space = (room - 4 - len(head)) // 8 * 8
        if len(data) > room - 4 - len(head):
            return b"\x06\0" + head + data[:space] if space > 0 else b"\x11\0"
        return b"\0\0" + head + data

    def _walk(self, steps: list[str | int]) -> tuple[Type, bytes, int]:
        """The type at a path, the bytes from there on, and how many elements there are."""
        name = str(steps[0])
        position = 1
        if name.casefold().startswith("program:"):
            name, position = f"{name}.{steps[1]}", 2
        symbol, image = self.symbols[name.casefold()], self.images[name.casefold()]
        kind, dimensions = symbol.type, symbol.dimensions
        assert kind is not None
        while True:
            indexes: list[int] = []
            while position < len(steps) and isinstance(steps[position], int):
                indexes.append(int(steps[position]))
                position += 1
            available = 1
            if dimensions:
                assert len(indexes) == len(dimensions), f"{indexes} into {dimensions}"
                flat = 0
                for index, length in zip(indexes, dimensions, strict=True):
                    assert index < length
                    flat = flat * length + index
                image = image[flat * kind.size :]
                available = math.prod(dimensions) - flat
            if position == len(steps):
                return kind, image, available
            assert isinstance(kind, Structure)
            member = kind.by_name[str(steps[position]).casefold()]
            position += 1
            image = image[member.offset :]
            kind, dimensions = member.type, (member.count,) if member.count else ()
            assert kind is not None
            if member.bit is not None:
                value = image[member.bit // 8] >> member.bit % 8 & 1
                return BOOL, bytes((value,)), 1

    def truth(self, tag: LogixTag) -> Value:
        """What a tag's value is, found without plans or layouts."""
        if tag.address.elements is not None:
            elements = [
                self.truth(replace(tag, address=tag.address.element(index)))
                for index in range(tag.address.elements)
            ]
            return None if None in elements else cast("Value", tuple(elements))
        steps: list[str | int] = []
        for segment in tag.address.segments:
            steps.append(segment.name)
            steps += segment.indexes
        bit = tag.address.bit
        if tag.address.encoding.value == "bool" and bit is None and isinstance(steps[-1], int):
            word, bit = divmod(int(steps[-1]), 32)
            steps[-1] = word
        kind, image, _ = self._walk(steps)
        if bit is not None:
            return bool(int.from_bytes(image[: kind.size], "little") >> bit & 1)
        if isinstance(kind, Structure):
            (length,) = struct.unpack_from("<i", image)
            assert kind.capacity is not None
            return image[4 : 4 + length].decode("latin-1") if 0 <= length <= kind.capacity else None
        if kind is BOOL:
            return image[0] != 0
        value: Any = struct.unpack_from("<" + kind.format, image)[0]
        assert isinstance(value, int | float)
        return value


def parse_path(path: bytes) -> list[str | int]:
    """Names and indexes of a symbolic path."""
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        match path[at]:
            case 0x91:
                length = path[at + 1]
                steps.append(path[at + 2 : at + 2 + length].decode())
                at += 2 + length + length % 2
            case 0x28:
                steps.append(path[at + 1])
                at += 2
            case 0x29:
                steps.append(int.from_bytes(path[at + 2 : at + 4], "little"))
                at += 4
            case 0x2A:
                steps.append(int.from_bytes(path[at + 2 : at + 6], "little"))
                at += 6
            case other:
                raise AssertionError(f"segment {other:#04x}")
    return steps
