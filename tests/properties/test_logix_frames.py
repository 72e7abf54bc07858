"""Whatever bytes come, they are taken for the right answer, or refused by a documented error."""

from __future__ import annotations

import contextlib
import math
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.logix_memory import GUARD, each_quality, read_at_once
from support.logix_tags import STRING, table, tag
from support.scanning import SLOW

from sources.ethernetip import codec
from sources.ethernetip.bindings import bind
from sources.ethernetip.codec import FramingError, Reply
from sources.ethernetip.decode import Layout, Leaf, LogixTag, Unencodable, encode
from sources.ethernetip.failures import Broken
from sources.ethernetip.framing import SEND_UNIT_DATA, Conversation
from sources.ethernetip.plan import Limits, plan
from sources.ethernetip.symbols import ATOMICS, Structure, Type
from sources.quality import GOOD
from sources.tag import Value


def frame(message: bytes, sequence: int = 1) -> bytes:
    items = struct.pack("<IHHHHIHHH", 0, 0, 2, 0xA1, 4, 5, 0xB1, len(message) + 2, sequence)
    return struct.pack("<HHII8sI", SEND_UNIT_DATA, len(items + message), 1, 0, bytes(8), 0) + items + message


REQUEST = frame(b"\x4c\x02\x91\x01A\0\x01\0")


@given(st.binary(min_size=24, max_size=120))
def test_a_frame_of_any_bytes_is_the_answer_or_refused(raw: bytes) -> None:
    its = Conversation()
    its.ask(REQUEST)
    with contextlib.suppress(FramingError):
        its.check(raw)
        assert raw[:2] == b"\x70\0"
        assert raw[44:46] == b"\1\0"
        assert raw[46] == 0xCC


@given(st.integers(0, len(frame(b"\xcc\0\0\0\xc4\0abcd")) - 1), st.integers(1, 255))
@example(42, 4)  # an item that says it is shorter than it is
def test_a_right_frame_with_one_byte_changed_is_refused_or_carries_only_other_data(
    at: int, flip: int
) -> None:
    right = frame(b"\xcc\0\0\0\xc4\0abcd")
    raw = bytearray(right)
    raw[at] ^= flip
    its = Conversation()
    its.ask(REQUEST)
    with contextlib.suppress(FramingError):
        its.check(bytes(raw))
        # Context, options, interface, time-out and the connection (not opened here) say nothing;
        # nor does more than two items. The service's own bytes are for its reader.
        assert at in {*range(12, 32), *range(36, 40), *range(47, len(right))}


@given(st.binary(max_size=60), st.integers(0, 127))
def test_a_reply_of_any_bytes_is_taken_apart_or_refused(raw: bytes, service: int) -> None:
    with contextlib.suppress(FramingError):
        reply = codec.parse_reply(raw, service)
        assert reply.service == service | 0x80
        assert raw.endswith(reply.data)


@given(st.binary(max_size=60), st.integers(1, 5))
def test_several_replies_of_any_bytes_are_all_there_or_refused(raw: bytes, count: int) -> None:
    with contextlib.suppress(FramingError):
        assert len(codec.parse_multiple(raw, (codec.READ_TAG,) * count)) == count


class Babbler:
    """A controller that answers with what it is given, whatever is asked."""

    def __init__(self, replies: list[tuple[int, int, bytes]]) -> None:
        self._replies = iter(replies)

    async def ask(self, request: bytes) -> bytes:
        answer = next(self._replies, None)
        if answer is None:
            raise Broken("no reply")
        general, _, data = answer
        return bytes((request[0] | 0x80, 0, general, 0)) + data

    async def exchange(self, request: bytes) -> Reply:
        return codec.parse_reply(await self.ask(request), request[0])

    def broken(self, reason: str) -> Broken:
        return Broken(reason)


STATUS = st.sampled_from([0, 0, 0, 0, 4, 5, 6, 6, 8, 0x11, 0x1E, 0xFF, 0x77])
TYPED = st.sampled_from(
    [b"\xc4\0", b"\xca\0", b"\xa0\x02\x34\x12", b"\xa0\x02\xce\x0f", b"\xc1\0", b"\xa0\x02\xce", b""]
)
DATA = st.builds(bytes.__add__, TYPED, st.binary(max_size=8).map(lambda raw: raw * 40))
MULTI = st.lists(st.tuples(STATUS, DATA), min_size=1, max_size=5).map(
    lambda answers: _multi([b"\xcc\0" + bytes((status, 0)) + data for status, data in answers])
)


def _multi(replies: list[bytes]) -> bytes:
    at, offsets = 2 + 2 * len(replies), []
    for reply in replies:
        offsets.append(at)
        at += len(reply)
    return struct.pack(f"<{1 + len(replies)}H", len(replies), *offsets) + b"".join(replies)


TAGS: list[LogixTag] = [
    tag("Motors[0].Speed", "real", SLOW),
    tag("Motors[1].Running", "bool", SLOW),
    tag("Motors[1].Name", "string", SLOW),
    tag("Recipe", "string", SLOW),
    tag("Counts[5]", scan=SLOW),
    tag("Word.3", scan=SLOW),
]
PYTHON = {"real": float, "bool": bool, "string": str, "dint": int}


@given(
    st.lists(st.tuples(STATUS, st.just(0), st.one_of(DATA, MULTI)), max_size=12), st.booleans(), st.booleans()
)
def test_whatever_a_controller_answers_a_good_value_has_its_type(
    replies: list[tuple[int, int, bytes]], known: bool, multiple: bool
) -> None:
    link = Babbler(replies)
    limits = Limits(4000, multiple, GUARD)
    places = bind(TAGS, table() if known else None).places
    for packet in plan([(its, places[its.name]) for its in TAGS], limits):
        with contextlib.suppress(Broken):
            answer = read_at_once(link, packet, limits)
            assert len(answer.values) == len(each_quality(answer)) == len(packet.tags)
            for its, value, quality in zip(packet.tags, answer.values, each_quality(answer), strict=True):
                assert (value is None) == (quality != GOOD)
                if quality == GOOD:
                    assert type(value) is PYTHON[its.address.encoding.value]


VALUES: st.SearchStrategy[Value] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-300, 300), st.floats(), st.text(max_size=90)
)
KINDS: list[Type] = [*ATOMICS.values(), STRING]


@given(st.sampled_from(KINDS), VALUES)
def test_what_can_be_written_reads_back_the_same(kind: Type, value: Value) -> None:
    encoding = "string" if isinstance(kind, Structure) else kind.encodings[0].value
    its = tag("X", encoding)
    with contextlib.suppress(Unencodable):
        data = encode(its, kind, value)
        assert len(data) == kind.size
        (back,), quality = Layout(kind.size, [(its, Leaf(0, kind))]).decode(data)
        assert quality in (GOOD, [GOOD])
        if isinstance(value, float) and math.isnan(value):
            assert isinstance(back, float)
            assert math.isnan(back)
        else:
            assert back == (pytest.approx(value, rel=1e-6) if encoding == "real" else value)
