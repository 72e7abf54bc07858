"""The quick way into the value store and the plain one leave the same behind."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.line import MACHINE, line

from server.plant.values import Point, ValueStore
from sources.batch import Batch
from sources.quality import BAD_NO_COMMUNICATION, GOOD, UNCERTAIN
from sources.tag import Value

NAMES = ("Speed", "SpeedSP", "Level", "State")
NAN = float("nan")

values = st.one_of(st.sampled_from([0, 1, True, 1.0, NAN, 2]), st.floats())
blocks = st.sampled_from([NAMES, NAMES[:2], NAMES[2:], ("Level",)])
batches = blocks.flatmap(
    lambda names: st.tuples(
        st.just(names),
        st.one_of(st.none(), st.tuples(*[values] * len(names))),
        st.one_of(
            st.just(GOOD),
            st.sampled_from([GOOD, UNCERTAIN, BAD_NO_COMMUNICATION]),
            st.tuples(*[st.sampled_from([GOOD, BAD_NO_COMMUNICATION])] * len(names)).map(list),
        ),
        st.one_of(st.none(), st.tuples(*[st.integers(1, 9)] * len(names))),
    )
)


class Side:
    """A store and what its listener heard."""

    def __init__(self) -> None:
        self.store = ValueStore(line(), time=0)
        self.heard: list[str] = []
        self.store.listen(lambda changed: self.heard.extend(point.property.name for point in changed))
        bindings = {name: self.store.points[f"{MACHINE}.{name}"].property.binding for name in NAMES}
        self.tags = {name: binding.tag for name, binding in bindings.items() if binding is not None}
        self._kept: dict[tuple[str, ...], tuple[Any, ...]] = {}

    def block(self, names: tuple[str, ...]) -> tuple[Any, ...]:
        return self._kept.setdefault(names, tuple(self.tags[name] for name in names))

    def state(self) -> list[object]:
        return [_seen(self.store.points[f"{MACHINE}.{name}"]) for name in NAMES]


def _seen(point: Point) -> object:
    return repr(point.value), type(point.value), point.status, point.source_time, point.block.time


@given(st.lists(batches, max_size=12))
def test_both_ways_leave_the_same(
    sent: list[tuple[tuple[str, ...], tuple[Value, ...] | None, Any, tuple[int, ...] | None]],
) -> None:
    quick, plain = Side(), Side()
    for at, (names, content, quality, times) in enumerate(sent, 10):
        quick.store.ingest(Batch(quick.block(names), content, quality, times, at))
        for _, _, block in plain.store._blocks.values():
            block.raws = None  # nothing is known of the last round, so every point is looked at
        plain.store.ingest(Batch(plain.block(names), content, quality, times, at))
        assert quick.state() == plain.state()
        assert quick.heard == plain.heard
