"""Packets read over a connection: what comes back, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sources import clock
from sources.ethernetip import changes, codec, status
from sources.ethernetip.codec import Reply
from sources.ethernetip.decode import TEXT_HEAD, Layout, Leaf, LogixTag, split_type
from sources.ethernetip.failures import Broken
from sources.ethernetip.plan import Limits, Packet, Read, singly
from sources.ethernetip.symbols import ATOMICS, Atomic, Structure, Type
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_DECODING_ERROR,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
)
from sources.tag import Value

_MOST: Final = 65536
"""Bytes of a value whose type is not known; what brings more has no end."""


class Exchange(Protocol):
    """A connection, as far as it carries services."""

    async def ask(self, request: bytes) -> bytes:
        """One service; returns its reply, whole. Raises Broken."""
        ...

    async def exchange(self, request: bytes) -> Reply:
        """One service and its reply, taken apart. Raises Broken."""
        ...

    def broken(self, reason: str) -> Broken:
        """What to raise for a reply that makes no sense; the connection is lost with it."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """A read that the controller refused, or answered with what makes no sense; ``what`` names it."""

    what: str
    tags: tuple[LogixTag, ...]
    quality: Quality
    reason: str


@dataclass(slots=True)
class Answer:
    """What came of reading a packet, in the order of its tags.

    ``qualities`` is one for all, or one each. ``received`` is when its first reply came, in
    ticks. ``stale`` says that the controller's tags seem not to be those uploaded, ``changed``
    that its program certainly is not the one it was, ``alone`` names tags whose whole was
    refused and that were read by their own names, ``lacks_multiple`` that the controller
    takes no multiple service requests. ``typed`` is the packet to read from now on, where
    its replies have shown of which types its values are. Where none of all this is the
    case, it is ``plain``.
    """

    values: Sequence[Value] = ()
    qualities: Quality | Sequence[Quality] = GOOD
    received: int = 0
    failures: Sequence[Failure] = ()
    stale: bool = False
    changed: bool = False
    alone: frozenset[str] = frozenset()
    lacks_multiple: bool = False
    typed: Packet | None = None
    plain: bool = True


async def read_packet(link: Exchange, packet: Packet, limits: Limits) -> Answer:
    """Read a packet; what it could not carry or the controller not give whole is read again in smaller parts.

    Raises Broken.
    """
    raw = b""
    received = 0
    if packet.fragments == 1:
        raw = await link.ask(packet.request)
        received = clock.now()
        for image in packet.images:
            decoded = image.decode(raw)
            if decoded is not None:
                return Answer(*decoded, received)
    return await _Inspection(link, packet, limits, received).run(raw)


class _Inspection:
    """A packet looked at read by read: its reply is not simply good, or its form was not known before."""

    def __init__(self, link: Exchange, packet: Packet, limits: Limits, received: int) -> None:
        self._link = link
        self._packet = packet
        self._limits = limits
        self._received = received
        self._found: dict[int, tuple[Value, Quality]] = {}
        self._failures: list[Failure] = []
        self._alone: set[str] = set()
        self._stale = self._changed = self._lacks_multiple = False

    async def run(self, raw: bytes) -> Answer:
        """See `read_packet`; ``raw`` is the reply to the packet's request, where it is one request."""
        packet = self._packet
        replies = await self._replies(raw)
        if packet.guard and not packet.asks_guard and any(read.guarded for read in packet.reads):
            self._check_guard(await self._link.exchange(changes.REQUEST))
        for read, reply in zip(packet.reads, replies, strict=True):
            await self._take(read, reply)
        found = [self._found[id(tag)] for tag in packet.tags]
        return Answer(
            [value for value, _ in found],
            [quality for _, quality in found],
            self._received,
            self._failures,
            self._stale,
            self._changed,
            frozenset(self._alone),
            self._lacks_multiple,
            self._typed(replies),
            plain=False,
        )

    def _typed(self, replies: Sequence[Reply]) -> Packet | None:
        """The packet with the types that all its good replies name, where these are news."""
        packet = self._packet
        if self._failures or packet.guard or any(reply.status != status.SUCCESS for reply in replies):
            return None
        typed: list[Read] = []
        for read, reply in zip(packet.reads, replies, strict=True):
            if read.layout is None:
                code, data = split_type(reply.data)
                kind = type_named(code, len(data) // read.elements)
                if kind is None:
                    return None
                typed.append(read.typed(kind))
            else:
                typed.append(read)
        if [read.code for read in typed] == [read.code for read in packet.typed or packet.reads]:
            return None
        return replace(packet, typed=tuple(typed))

    def _check_guard(self, reply: Reply) -> None:
        """Whether the program is still the one that the packet was planned for."""
        if changes.state_of(reply) != self._packet.guard:
            self._changed = self._stale = True

    async def _replies(self, raw: bytes) -> list[Reply]:
        packet, link = self._packet, self._link
        if packet.fragments > 1:
            replies = [await self._fragments(read) for read in packet.reads]
            self._received = clock.now()
            return replies
        try:
            reply = codec.parse_reply(raw, packet.request[0])
            if packet.request[0] != codec.MULTIPLE_SERVICE:
                return [reply]
            if reply.status in {status.SUCCESS, status.EMBEDDED}:
                services = [codec.READ_TAG] * len(packet.reads)
                if not packet.asks_guard:
                    return codec.parse_multiple(reply.data, services)
                guard, *replies = codec.parse_multiple(reply.data, [changes.SERVICE, *services])
                self._check_guard(guard)
                return replies
        except codec.FramingError as error:
            raise link.broken(str(error)) from None
        if reply.status == status.NOT_SUPPORTED:
            self._lacks_multiple = True
        # The packet as such was refused, not what is in it. What needs the guard goes without it now.
        self._changed |= packet.asks_guard
        return [reply if read.guarded else await link.exchange(read.request) for read in packet.reads]

    async def _fragments(self, read: Read) -> Reply:
        """Read what is larger than a packet, part by part. Raises Broken."""
        link = self._link
        parts: list[bytes] = []
        code, offset = b"", 0
        while True:
            reply = await link.exchange(codec.read_fragment(read.path, read.elements, offset))
            if reply.status not in {status.SUCCESS, status.PARTIAL}:
                return reply
            try:
                its, data = split_type(reply.data)
            except ValueError as error:
                raise link.broken(str(error)) from None
            code = code or its
            offset += len(data)
            parts.append(data)
            if reply.status == status.SUCCESS:
                return reply._replace(data=code + b"".join(parts))
            if (
                not data
                or its != code
                or offset > (max(_MOST, read.size) if read.layout is None else read.size + 1)
            ):
                raise link.broken(f"a fragmented read of {read} does not come to an end")

    async def _take(self, read: Read, reply: Reply) -> None:
        """Decode one read's reply."""
        if read.guarded and self._changed:
            # Where its values stand now, nobody knows; their names still mean what they say.
            await self._take_singly(read)
            return
        if reply.status in {status.PARTIAL, status.TOO_LARGE} and self._packet.fragments == 1:
            # More than the packet takes, by the controller's own count.
            reply = await self._fragments(read)
            if read.guarded:
                self._check_guard(await self._link.exchange(changes.REQUEST))
                if self._changed:
                    await self._take_singly(read)
                    return
        if reply.status != status.SUCCESS:
            if read.whole:
                self._alone |= {tag.name for tag in read.tags}
                await self._take_singly(read)
                return
            self._stale |= status.is_stale(reply.status, reply.extended)
            quality = status.quality_of(reply.status, reply.extended)
            self._fail(read, quality, status.describe(reply.status, reply.extended))
            return
        await self._decode(read, reply.data)

    async def _take_singly(self, read: Read) -> None:
        """A whole that was refused, or cannot be trusted: ask for what is in it by the names."""
        limits = self._limits._replace(multiple=self._limits.multiple and not self._lacks_multiple)
        for part in singly(read, self._packet.scan, limits):
            its = await read_packet(self._link, part, limits)
            qualities = its.qualities
            each = [qualities] * len(part.tags) if isinstance(qualities, int) else qualities
            self._found.update(zip(map(id, part.tags), zip(its.values, each, strict=True), strict=True))
            self._failures += its.failures
            self._stale |= its.stale
            self._lacks_multiple |= its.lacks_multiple

    def _fail(self, read: Read, quality: Quality, reason: str) -> None:
        self._found.update((id(tag), (None, quality)) for tag in read.tags)
        self._failures.append(Failure(str(read), read.tags, quality, reason))

    async def _decode(self, read: Read, raw: bytes) -> None:
        try:
            code, data = split_type(raw)
        except ValueError as error:
            self._fail(read, BAD_COMMUNICATION_ERROR, str(error))
            return
        if read.layout is None:
            self._decode_unknown(read, code, data)
            return
        if code != read.code:
            self._stale = True
            if read.whole:
                # Another layout than was uploaded; each value by its name still says what it is.
                self._alone |= {tag.name for tag in read.tags}
                await self._take_singly(read)
                return
            reason = f"the controller sends type {code.hex()}, no longer {(read.code or b'').hex()}"
            self._fail(read, BAD_TYPE_MISMATCH, reason)
            return
        if not _fits(data, read.size):
            self._stale = True
            self._fail(read, BAD_DECODING_ERROR, f"{len(data)} bytes came where {read.size} were asked for")
            return
        self._add(read.layout, data[: read.size])

    def _add(self, layout: Layout, data: bytes) -> None:
        values, qualities = layout.decode(data)
        each = [qualities] * len(values) if isinstance(qualities, int) else qualities
        self._found.update(zip(map(id, layout.tags), zip(values, each, strict=True), strict=True))

    def _decode_unknown(self, read: Read, code: bytes, data: bytes) -> None:
        """Decode by the type the reply names, tag by tag: each has its own idea of what it should be."""
        kind = type_named(code, len(data) // read.elements)
        for tag, place in read.places:
            size = 0 if kind is None else read.elements * kind.size
            fits = kind is not None and _fits(data, size) and matches(tag, kind, place.bit)
            if not fits or kind is None:
                self._found[id(tag)] = None, BAD_TYPE_MISMATCH
                reason = f"it is of type {_called(kind, code)}, which is no {tag.address.encoding.value}"
                self._failures.append(Failure(str(tag.address), (tag,), BAD_TYPE_MISMATCH, reason))
                continue
            leaf = Leaf(0, kind, place.bit, place.count)
            self._add(Layout(size, ((tag, leaf),)), data[:size])


def _fits(data: bytes, size: int) -> bool:
    """Whether so many bytes came; some controllers pad an odd number with one more."""
    return len(data) == size or (size % 2 == 1 and len(data) == size + 1)


def type_named(code: bytes, size: int) -> Type | None:
    """The type that a reply names, as far as it tells: a structure is taken for a text."""
    if code[:2] == codec.STRUCTURE:
        handle = int.from_bytes(code[2:], "little")
        return Structure("STRING", handle, size, (), size - TEXT_HEAD) if size > TEXT_HEAD else None
    return ATOMICS.get(int.from_bytes(code, "little"))


def _called(kind: Atomic | Structure | None, code: bytes) -> str:
    return kind.name if isinstance(kind, Atomic) else code.hex()


def matches(tag: LogixTag, kind: Type, bit: int | None) -> bool:
    """Whether a tag may be of that type."""
    encoding = tag.address.encoding
    if isinstance(kind, Structure):
        return encoding.value == "string" and bit is None
    if bit is not None:
        return kind.is_integer and bit < 8 * kind.size
    return encoding in kind.encodings
