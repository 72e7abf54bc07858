"""Packets read over a link: what comes back, value by value. Runs in the link's thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sources import clock
from sources.ethernetip import codec, status
from sources.ethernetip.channel import Broken
from sources.ethernetip.codec import Reply
from sources.ethernetip.decode import TEXT_HEAD, Layout, Leaf, LogixTag, split_type
from sources.ethernetip.plan import Limits, Packet, Read, singly
from sources.ethernetip.symbols import ATOMICS, Atomic, Structure, Type
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_DECODING_ERROR,
    BAD_TYPE_MISMATCH,
    Quality,
)
from sources.tag import Value

_MOST: Final = 65536
"""Bytes of a value whose type is not known; what brings more has no end."""


class Exchange(Protocol):
    """The part of a link that carries services."""

    def exchange(self, request: bytes) -> Reply:
        """One service. Raises Broken."""
        ...

    def broken(self, reason: str) -> Broken:
        """What to raise for a reply that makes no sense; the link is lost with it."""
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

    ``received`` is when its first reply came, in ticks. ``stale`` says that the
    controller's tags seem not to be those uploaded, ``alone`` names tags whose whole was
    refused and that were read by their own names, ``lacks_multiple`` that the controller
    takes no multiple service requests.
    """

    values: list[Value] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)
    received: int = 0
    failures: list[Failure] = field(default_factory=list)
    stale: bool = False
    alone: set[str] = field(default_factory=set)
    lacks_multiple: bool = False


def read_packet(link: Exchange, packet: Packet, limits: Limits) -> Answer:
    """Read a packet; what it could not carry or the controller not give whole is read again in smaller parts.

    Raises Broken.
    """
    answer = Answer()
    replies = _replies(link, packet, answer)
    answer.received = clock.now()
    for read, reply in zip(packet.reads, replies, strict=True):
        _take(link, packet, read, reply, limits, answer)
    return answer


def _replies(link: Exchange, packet: Packet, answer: Answer) -> list[Reply]:
    if packet.fragments > 1:
        return [_fragments(link, read) for read in packet.reads]
    reply = link.exchange(packet.request)
    if len(packet.reads) == 1:
        return [reply]
    if reply.status in {status.SUCCESS, status.EMBEDDED}:
        try:
            return codec.parse_multiple(reply.data, (codec.READ_TAG,) * len(packet.reads))
        except codec.FramingError as error:
            raise link.broken(str(error)) from None
    if reply.status == status.NOT_SUPPORTED:
        answer.lacks_multiple = True
    # The packet as such was refused, not what is in it.
    return [link.exchange(read.request) for read in packet.reads]


def _fragments(link: Exchange, read: Read) -> Reply:
    """Read what is larger than a packet, part by part. Raises Broken."""
    parts: list[bytes] = []
    code, offset = b"", 0
    while True:
        reply = link.exchange(codec.read_fragment(read.path, read.elements, offset))
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
        if not data or its != code or offset > (_MOST if read.layout is None else read.size + 1):
            raise link.broken(f"a fragmented read of {read} does not come to an end")


def _take(link: Exchange, packet: Packet, read: Read, reply: Reply, limits: Limits, answer: Answer) -> None:
    """Decode one read's reply into the answer."""
    if reply.status in {status.PARTIAL, status.TOO_LARGE} and packet.fragments == 1:
        # More than the packet takes, by the controller's own count.
        reply = _fragments(link, read)
    if reply.status != status.SUCCESS:
        if read.whole:
            _take_singly(link, packet, read, limits, answer)
            return
        quality = status.quality_of(reply.status, reply.extended)
        answer.stale |= status.is_stale(reply.status, reply.extended)
        _fail(answer, read, quality, status.describe(reply.status, reply.extended))
        return
    _decode(link, packet, read, reply.data, limits, answer)


def _take_singly(link: Exchange, packet: Packet, read: Read, limits: Limits, answer: Answer) -> None:
    """A whole that was refused: perhaps not all that is in it is, so ask by the names."""
    answer.alone |= {tag.name for tag in read.tags}
    found: dict[int, tuple[Value, Quality]] = {}
    for part in singly(
        read, packet.scan, limits._replace(multiple=limits.multiple and not answer.lacks_multiple)
    ):
        its = read_packet(link, part, limits)
        pairs = zip(its.values, its.qualities, strict=True)
        found.update(zip(map(id, part.tags), pairs, strict=True))
        answer.failures += its.failures
        answer.stale |= its.stale
        answer.lacks_multiple |= its.lacks_multiple
    for tag in read.tags:
        value, quality = found[id(tag)]
        answer.values.append(value)
        answer.qualities.append(quality)


def _fail(answer: Answer, read: Read, quality: Quality, reason: str) -> None:
    answer.values += [None] * len(read.tags)
    answer.qualities += [quality] * len(read.tags)
    answer.failures.append(Failure(str(read), read.tags, quality, reason))


def _decode(link: Exchange, packet: Packet, read: Read, raw: bytes, limits: Limits, answer: Answer) -> None:
    try:
        code, data = split_type(raw)
    except ValueError as error:
        _fail(answer, read, BAD_COMMUNICATION_ERROR, str(error))
        return
    if read.layout is None:
        _decode_unknown(read, code, data, answer)
        return
    if code != read.code:
        answer.stale = True
        if read.whole:
            # Another layout than was uploaded; each value by its name still says what it is.
            _take_singly(link, packet, read, limits, answer)
            return
        _fail(
            answer, read, BAD_TYPE_MISMATCH, f"the controller sends type {code.hex()}, no longer {_hex(read)}"
        )
        return
    if not _fits(data, read.size):
        answer.stale = True
        _fail(answer, read, BAD_DECODING_ERROR, f"{len(data)} bytes came where {read.size} were asked for")
        return
    _add(answer, *read.layout.decode(data[: read.size]))


def _hex(read: Read) -> str:
    return (read.code or b"").hex()


def _fits(data: bytes, size: int) -> bool:
    """Whether so many bytes came; some controllers pad an odd number with one more."""
    return len(data) == size or (size % 2 == 1 and len(data) == size + 1)


def _add(answer: Answer, values: Sequence[Value], qualities: Quality | list[Quality]) -> None:
    answer.values += values
    answer.qualities += [qualities] * len(values) if isinstance(qualities, int) else qualities


def _decode_unknown(read: Read, code: bytes, data: bytes, answer: Answer) -> None:
    """Decode by the type the reply names, tag by tag: each has its own idea of what it should be."""
    kind = type_named(code, len(data))
    for tag, place in read.places:
        fits = kind is not None and _fits(data, kind.size) and matches(tag, kind, place.bit)
        if not fits or kind is None:
            answer.values.append(None)
            answer.qualities.append(BAD_TYPE_MISMATCH)
            reason = f"it is of type {_called(kind, code)}, which is no {tag.address.encoding.value}"
            answer.failures.append(Failure(str(tag.address), (tag,), BAD_TYPE_MISMATCH, reason))
            continue
        layout = Layout(kind.size, ((tag, Leaf(0, kind, place.bit)),))
        _add(answer, *layout.decode(data[: kind.size]))


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
