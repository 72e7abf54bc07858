"""The quick way of a Read and the plain one give the same bytes."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.line import MACHINE
from support.nodes import point_key, read_request, request, session, small_space

from server.opcua.requests import Answer, Request
from server.opcua.services import read as reading_module
from server.opcua.services.read import Reading
from server.opcua.services.readvalue import VALUE
from server.opcua.services.turns import Work, at_once
from server.opcua.types import ServiceFault
from server.opcua.wire.nodeid import Key, key, numeric
from server.opcua.wire.reader import DecodingError
from server.plant.model import Role
from server.plant.values import ValueStore
from sources.batch import Batch
from sources.quality import BAD_NO_COMMUNICATION, GOOD, UNCERTAIN

TIME = 133_000_000_000_000_000
NAMES = ("Speed", "SpeedSP", "State", "Mode", "Level", "Count", "Recipe", "Make", "Spare", "Target")

nodes = st.one_of(
    st.sampled_from(NAMES).map(point_key),
    st.sampled_from([9001, 9002, 9003, 9004, 7]).map(lambda number: numeric(number, 4)),
    st.text(max_size=3).map(lambda text: key(text, 4)),
    # What stands between two NodeIds, in a NodeId.
    st.just(key("\r\x00\x00\x00\x7f\x7f\x7f\x7f\x00\x00\x7f\x7f\x7f\x7f", 4)),
    st.just(key(b"\r\x00\x00\x00\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff", 4)),
)
items = st.tuples(
    nodes,
    st.sampled_from([VALUE] * 8 + [1, 3, 4, 14, 99]),
    st.sampled_from([None] * 8 + ["", "0", "1:2", "x"]),
    st.sampled_from([None] * 8 + ["", "Default Binary", "Default XML"]),
)
names = st.sampled_from(NAMES)
lists = st.one_of(
    st.lists(items, min_size=1, max_size=20),
    st.lists(
        st.sampled_from(NAMES).map(lambda name: (point_key(name), VALUE, None, None)), min_size=1, max_size=30
    ),
    st.lists(
        st.sampled_from(NAMES).map(lambda name: (point_key(name), VALUE, "", "")), min_size=1, max_size=30
    ),
)
changes = st.dictionaries(
    st.sampled_from(["Speed", "SpeedSP", "Level"]),
    st.tuples(st.floats(-1e6, 1e6), st.sampled_from([GOOD, UNCERTAIN, BAD_NO_COMMUNICATION])),
)


def _feed(store: ValueStore, changed: dict[str, tuple[float, int]], time: int) -> None:
    """Each point in a block of its own, heard at a time of its own."""
    for index, (name, (value, quality)) in enumerate(changed.items()):
        binding = store.points[f"{MACHINE}.{name}"].property.binding
        assert binding is not None
        store.ingest(Batch((binding.tag,), [value], [quality], None, time + index))


def _bytes(answer: Any) -> bytes:
    assert not isinstance(answer, Coroutine)
    return answer if isinstance(answer, bytes) else b"".join(answer)


def whole(work: Work, _: Request) -> Answer:
    """What on a busy machine would come in several turns, at once."""
    return cast("Answer", at_once(work))


@given(
    lists, st.integers(0, 3), st.lists(changes, max_size=3), st.sampled_from([Role.Anonymous, Role.Operator])
)
def test_both_ways_give_the_same_bytes(
    wanted: list[tuple[Key, int, str | None, str | None]],
    timestamps: int,
    rounds: list[dict[str, tuple[float, int]]],
    role: Role,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_module, "now", lambda: TIME + 1)
        patch.setattr(reading_module, "in_turns", whole)
        space, store = small_space()
        quick, plain = Reading(space, store), Reading(space, store)
        patch.setattr(plain, "_plain", lambda *_: None)
        patch.setattr(plain, "_point", lambda *_: None)
        whose, other = session(Role.Anonymous, role), session(Role.Anonymous, role)
        body = read_request(wanted, timestamps)
        for index, changed in enumerate([{}, *rounds]):
            _feed(store, changed, TIME + 10 * index)
            assert _bytes(quick.read(whose, request(body))) == _bytes(plain.read(other, request(body)))


@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_bytes_are_read_or_refused_alike(body: bytes, timestamps: int) -> None:
    space, store = small_space()
    quick, plain = Reading(space, store), Reading(space, store)
    plain._plain = lambda *_: None  # type: ignore[method-assign]
    message = read_request([], timestamps)[:12] + body

    def outcome(reading: Reading) -> object:
        try:
            return len(_bytes(reading.read(session(), request(message))))
        except (ServiceFault, DecodingError) as error:
            return type(error), error.code

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_module, "in_turns", whole)
        assert outcome(quick) == outcome(plain)
