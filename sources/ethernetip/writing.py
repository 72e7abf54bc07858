"""Values written over a connection, each once and in order.

Nothing here is ever sent twice: a write whose outcome is not known ends the connection
instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from sources.ethernetip import codec, status
from sources.ethernetip.config import shifted
from sources.ethernetip.decode import LogixTag, Unencodable, encode, split_type, to_bool, type_code
from sources.ethernetip.plan import Limits
from sources.ethernetip.reading import Exchange, matches, type_named
from sources.ethernetip.symbols import Atomic, Place, Structure, Type
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_TYPE_MISMATCH, Quality
from sources.tag import Value

Command: TypeAlias = tuple[LogixTag, Place, Value]

STRING_HANDLE: Final = 0x0FCE
STRING_CAPACITY: Final = 82
_PADDING: Final = 3
"""The most bytes that a string's size is rounded up by."""
_SEQUENCE: Final = 2
_WORD: Final = 4


class Refusal(Exception):
    """A write that was not carried out; ``quality`` and the text say why.

    ``stale`` says that the controller's tags seem not to be those that were uploaded.
    """

    def __init__(self, message: str, quality: Quality, *, stale: bool = False) -> None:
        super().__init__(message)
        self.quality = quality
        self.stale = stale


async def write_all(link: Exchange, commands: Sequence[Command], limits: Limits) -> list[Refusal | None]:
    """Write values in order; what was refused, or None where a value was taken.

    Neighbours share a packet. Raises Broken where the outcome of one is not known.
    """
    answers: list[Refusal | None] = []
    waiting: list[bytes] = []
    for command in commands:
        try:
            parts = await _requests(link, command, limits)
        except (Unencodable, Refusal) as error:
            answers += await _send(link, waiting)
            waiting = []
            answers.append(error if isinstance(error, Refusal) else Refusal(str(error), error.quality))
            continue
        if waiting and (len(parts) > 1 or not _fits([*waiting, *parts], limits)):
            answers += await _send(link, waiting)
            waiting = []
        if len(parts) > 1:
            answers.append(await _send_parts(link, parts, limits))
        else:
            waiting += parts
    return answers + await _send(link, waiting)


def _fits(requests: Sequence[bytes], limits: Limits) -> bool:
    """Whether several writes may share a packet."""
    asked = sum(map(len, requests)) + len(requests) * codec.MULTI_EACH + codec.MULTI_HEAD
    answered = len(requests) * (codec.REPLY_HEAD + 2 + codec.MULTI_EACH) + codec.MULTI_REPLY_HEAD
    return limits.multiple and max(asked, answered) + _SEQUENCE <= limits.size


async def _send(link: Exchange, requests: Sequence[bytes]) -> list[Refusal | None]:
    """Send writes in one packet; what became of each."""
    if not requests:
        return []
    if len(requests) == 1:
        return [_outcome(await link.exchange(requests[0]))]
    reply = await link.exchange(codec.multiple(requests))
    if reply.status in {status.SUCCESS, status.EMBEDDED}:
        try:
            replies = codec.parse_multiple(reply.data, [request[0] for request in requests])
        except codec.FramingError as error:
            raise link.broken(str(error)) from None
        return [_outcome(each) for each in replies]
    if reply.status == status.NOT_SUPPORTED:
        # The wrapping is what it does not know: nothing in it was looked at.
        return [_outcome(await link.exchange(request)) for request in requests]
    return [_outcome(reply)] * len(requests)


async def _send_parts(link: Exchange, parts: Sequence[bytes], limits: Limits) -> Refusal | None:
    """Send one value that takes several services, in one packet where it fits; the first refusal ends it."""
    if _fits(parts, limits):
        return next((refusal for refusal in await _send(link, parts) if refusal is not None), None)
    for part in parts:
        refusal = _outcome(await link.exchange(part))
        if refusal is not None:
            return refusal
    return None


def _outcome(reply: codec.Reply) -> Refusal | None:
    if reply.status == status.SUCCESS:
        return None
    quality = status.quality_of(reply.status, reply.extended)
    stale = status.is_stale(reply.status, reply.extended)
    return Refusal(status.describe(reply.status, reply.extended), quality, stale=stale)


async def _requests(link: Exchange, command: Command, limits: Limits) -> list[bytes]:
    """What to send for one value: one service, or several that carry it part by part.

    Raises Unencodable, and Refusal where the controller's own type does not fit.
    """
    tag, place, value = command
    path = codec.symbolic_path(place.segments)
    kind = place.type or await _learn(link, tag, place, path)
    if (place.count is not None) is not isinstance(value, tuple) or (
        isinstance(value, tuple) and len(value) != place.count
    ):
        wanted = "one value" if place.count is None else f"an array of {place.count} elements"
        raise Unencodable(f"{tag.name}: {value!r} is not {wanted}", BAD_TYPE_MISMATCH)
    if place.bit is not None:
        changes = [to_bool(tag, element) for element in (value if isinstance(value, tuple) else (value,))]
        if place.type is not None:
            # Alone of all writes this one does not name the type: look whether it still is that.
            await _check_type(link, tag, kind, path)
        return list(_bit_writes(place, kind, changes))
    code, data, count = type_code(kind), encode(tag, kind, value), place.elements
    whole = codec.write(path, code, data, count)
    if len(whole) + _SEQUENCE <= limits.size:
        return [whole]
    # Parts end on a word, as the controller asks of structures, and behind an element.
    grain = max(_WORD, kind.size) if isinstance(kind, Atomic) else _WORD
    room = (limits.size - _SEQUENCE - len(codec.write_fragment(path, code, 0, b""))) // grain * grain
    return [
        codec.write_fragment(path, code, offset, data[offset : offset + room], count)
        for offset in range(0, len(data), room)
    ]


def _bit_writes(place: Place, kind: Type, changes: Sequence[bool]) -> Iterator[bytes]:
    """A service for each integer that some of the bits stand in, from the place's own bit on."""
    first, width = place.bit or 0, 8 * kind.size
    values = sum(1 << first + index for index, bit in enumerate(changes) if bit)
    masks = (1 << len(changes)) - 1 << first
    for word in range((first + len(changes) + width - 1) // width):
        segments = place.segments if word == 0 else shifted(place.segments, word)
        every = (1 << width) - 1
        mask, value = masks >> word * width & every, values >> word * width & every
        yield codec.write_bits(codec.symbolic_path(segments), kind.size, mask, value)


async def _check_type(link: Exchange, tag: LogixTag, kind: Type, path: bytes) -> None:
    """See that what a path leads to is of a type. Raises Refusal."""
    reply = await link.exchange(codec.read(path, 1))
    if (refusal := _outcome(reply)) is not None:
        raise refusal
    if not reply.data.startswith(type_code(kind)):
        raise Refusal(f"{tag.address} is no longer a {kind.name}", BAD_TYPE_MISMATCH, stale=True)


async def _learn(link: Exchange, tag: LogixTag, place: Place, path: bytes) -> Type:
    """The type of a value, where nobody has said it yet: read it. Raises Refusal."""
    reply = await link.exchange(codec.read(path, 1))
    if (refusal := _outcome(reply)) is not None:
        raise refusal
    try:
        code, data = split_type(reply.data)
    except ValueError as error:
        raise Refusal(str(error), BAD_COMMUNICATION_ERROR) from None
    kind = type_named(code, len(data))
    if kind is None or not matches(tag, kind, place.bit):
        name = kind.name if kind is not None else code.hex()
        raise Refusal(f"{tag.address} is of type {name}, no {tag.address.encoding.value}", BAD_TYPE_MISMATCH)
    if isinstance(kind, Structure):
        # How many of its bytes are characters only the tag list would tell; never one too many.
        capacity = STRING_CAPACITY if kind.handle == STRING_HANDLE else (kind.capacity or 0) - _PADDING
        return Structure(kind.name, kind.handle, kind.size, (), max(capacity, 0))
    return kind
