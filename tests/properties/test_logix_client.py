"""Whatever a peer sends, a request gets its own reply or none; a compiled reply decodes as a careful one."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from support.logix_memory import GUARD, Memory, each_quality, read_at_once
from support.logix_tags import BY_NAME, MOTOR, symbol, table, tag

from sources.ethernetip import changes, codec
from sources.ethernetip.bindings import bind
from sources.ethernetip.client import Client
from sources.ethernetip.failures import Broken
from sources.ethernetip.frames import Frames
from sources.ethernetip.lane import Lane
from sources.ethernetip.plan import Limits, Packet, plan
from sources.ethernetip.symbols import SymbolTable
from sources.quality import GOOD

SESSION, CONNECTION = 0x1234, 0xABCDEF
ASKED = b"\x4c\x02\x91\x01A\0\x01\0"
ANSWER = b"\xcc\0\0\0\xc4\0abcd"


def frame(
    message: bytes, sequence: int, *, session: int = SESSION, connection: int = CONNECTION, count: int = 2
) -> bytes:
    items = struct.pack("<IHHHHIHHH", 0, 0, count, 0xA1, 4, connection, 0xB1, len(message) + 2, sequence)
    return struct.pack("<HHII8sI", 0x70, len(items + message), session, 0, bytes(8), 0) + items + message


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def abort(self) -> None:
        self.aborted = True


@contextmanager
def asking() -> Iterator[tuple[asyncio.AbstractEventLoop, Frames, Client, asyncio.Task[bytes]]]:
    """A client with one connection open, over which `ASKED` waits for its reply (sequence 3)."""
    loop = asyncio.new_event_loop()
    try:

        async def begin() -> tuple[Frames, Client, asyncio.Task[bytes]]:
            client = Client(3600.0)
            its = Frames(client._take, client._gone)
            its.connection_made(cast("asyncio.BaseTransport", Wire()))
            client._frames, client.session = its, SESSION
            lane = Lane(client, 4000, 0x77, CONNECTION, 1)
            lane._sequence = 2
            client.lanes.append(lane)
            client._by_connection[CONNECTION] = lane
            task = asyncio.create_task(lane.ask(ASKED))
            await asyncio.sleep(0)
            return its, client, task

        frames, client, task = loop.run_until_complete(begin())
        yield loop, frames, client, task

        async def end() -> None:
            client.drop()
            await asyncio.gather(task, return_exceptions=True)

        loop.run_until_complete(end())
    finally:
        loop.close()


def outcome(pieces: list[bytes]) -> bytes | Broken | None:
    """What the request comes to when these bytes arrive: its reply, a broken connection, or nothing yet."""
    with asking() as (loop, frames, client, task):
        for piece in pieces:
            frames.data_received(piece)
        loop.run_until_complete(asyncio.sleep(0))
        if task.done():
            error = task.exception()
            if error is None:
                return task.result()
            assert isinstance(error, Broken)
            return error
        assert client.failure is None
        return None


def test_the_right_reply_is_the_reply() -> None:
    assert outcome([frame(ANSWER, 3)]) == ANSWER


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_any_bytes_are_no_reply(pieces: list[bytes]) -> None:
    assert not isinstance(outcome(pieces), bytes)


@settings(max_examples=300)
@given(st.integers(0, len(frame(ANSWER, 3)) - 1), st.integers(1, 255), st.integers(1, 60))
def test_a_right_reply_with_one_byte_changed_is_refused_or_carries_only_other_data(
    at: int, flip: int, cut: int
) -> None:
    raw = bytearray(frame(ANSWER, 3))
    raw[at] ^= flip
    got = outcome([bytes(raw[:cut]), bytes(raw[cut:])])
    if isinstance(got, bytes):
        # Context, options, interface, time-out, and more than two items say nothing; the reply's own
        # bytes behind its service are for its reader.
        assert at in {*range(12, 32), *range(47, len(raw))}
        assert got[0] == 0xCC


@given(
    st.lists(
        st.builds(
            frame,
            st.sampled_from([ANSWER, b"\xcd\0\0\0", b"\xcc\0\x05\0", b"\xcc"]),
            st.integers(0, 5),
            session=st.sampled_from([SESSION, SESSION, 1]),
            connection=st.sampled_from([CONNECTION, CONNECTION, 5]),
            count=st.sampled_from([2, 2, 2, 1, 3]),
        ),
        max_size=5,
    )
)
def test_of_any_frames_only_the_first_that_fits_in_all_counts(stream: list[bytes]) -> None:
    got = outcome(stream)
    if isinstance(got, bytes):
        assert stream[0] in {frame(got, 3), frame(got, 3, count=3)}
        assert got[0] == 0xCC
    elif stream:
        assert isinstance(got, Broken)


LIMITS = Limits(4000, multiple=True, guard=GUARD)
ADDRESSES = [
    ("Count", "dint"),
    ("Count.7", "bool"),
    ("Speed", "real"),
    ("Word", "int"),
    ("Recipe", "string"),
    ("Flags[33]", "bool"),
    ("Counts[3]", "dint"),
    ("Counts[4]", "dint"),
    ("Pump.Speed", "real"),
    ("Pump.Running", "bool"),
    ("Pump.Faulted", "bool"),
    ("Pump.Run.ACC", "dint"),
    ("Pump.Name", "string"),
    ("Pump.Word", "int"),
    ("Program:Packer.State", "dint"),
]


def controller(fill: bytes) -> tuple[Memory, list[Packet]]:
    """A small controller with arbitrary bytes in its memory, and the packets that read it."""
    its = table()
    symbols = {one.name: one for one in its if one.type is not None}
    size = {name: (one.type.size if one.type else 0) * 200 for name, one in symbols.items()}
    memory = Memory(
        symbols, {name: (fill * (length // len(fill) + 1))[:length] for name, length in size.items()}
    )
    tags = [tag(address, encoding) for address, encoding in ADDRESSES]
    places = bind(tags, its).places
    return memory, plan([(one, places[one.name]) for one in tags], LIMITS)


@given(st.binary(min_size=1, max_size=40))
def test_a_compiled_reply_decodes_as_one_looked_at_piece_by_piece(fill: bytes) -> None:
    memory, packets = controller(fill)
    for packet in packets:
        fast = read_at_once(memory, packet, LIMITS)
        assert fast.plain
        images, slow_packet = packet.images, packet
        object.__setattr__(slow_packet, "images", ())
        slow = read_at_once(memory, slow_packet, LIMITS)
        object.__setattr__(slow_packet, "images", images)
        assert not slow.plain
        assert repr(list(fast.values)) == repr(list(slow.values))
        assert list(each_quality(fast)) == list(each_quality(slow))


@given(st.binary(min_size=1, max_size=20), st.data())
def test_what_is_not_a_value_in_a_reply_is_as_expected_or_the_reply_is_looked_at(
    fill: bytes, data: st.DataObject
) -> None:
    memory, packets = controller(fill)
    for packet in packets:
        (image,) = {
            image.size: image for image in packet.images if image.size == len(_reply(memory, packet))
        }.values()
        right = _reply(memory, packet)
        raw = bytearray(right)
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 255))
        before, after = image.decode(right), image.decode(bytes(raw))
        assert before is not None
        fixed = image._mask >> 8 * at & 0xFF
        assert (after is None) == bool((raw[at] ^ right[at]) & fixed)
        assert image.decode(right + b"\0") is None
        assert image.decode(right[:-1]) is None


def _reply(memory: Memory, packet: Packet) -> bytes:
    asking_ = memory.ask(packet.request)
    try:
        asking_.send(None)
    except StopIteration as end:
        reply: bytes = end.value
        return reply
    raise AssertionError("it waits for something")


def test_replies_of_an_odd_number_of_bytes_may_be_padded() -> None:
    its = SymbolTable([symbol("Small", BY_NAME["SINT"]), symbol("Pump", MOTOR)], [])
    tags = [tag("Small", "sint"), tag("Small.3", "bool")]
    places = bind(tags, its).places
    (packet,) = plan([(one, places[one.name]) for one in tags], LIMITS)
    plain, padded = packet.images
    assert plain.decode(b"\xcc\0\0\0\xc2\0\x08") == ([8, True], GOOD)
    assert padded.decode(b"\xcc\0\0\0\xc2\0\x08\xee") == ([8, True], GOOD)
    assert plain.tags == padded.tags == packet.tags


def test_another_program_makes_a_reply_with_wholes_worth_a_look() -> None:
    memory, packets = controller(b"\1")
    (guarded,) = (packet for packet in packets if packet.guard)
    assert changes.REQUEST in guarded.request
    memory.guard = GUARD[:-1] + b"\xff"
    answer = read_at_once(memory, guarded, LIMITS)
    assert answer.changed
    assert answer.stale
    # By their names, and rightly all the same.
    assert [memory.truth(one) for one in guarded.tags] == list(answer.values)
    assert sum(request[0] == codec.READ_TAG for request in memory.requests) <= len(guarded.tags)
