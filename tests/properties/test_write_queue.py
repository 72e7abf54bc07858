"""The line before a device under any order of joining, finishing and being cancelled."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from server.plant.commands.queue import DeviceQueue, Full

LIMIT = 4
STEPS = st.lists(
    st.tuples(st.just("join"), st.sampled_from("abc"), st.booleans())
    | st.tuples(st.just("finish"), st.just(""), st.just(False))
    | st.tuples(st.just("cancel"), st.integers(0, 7).map(str), st.just(False)),
    max_size=40,
)


class Line:
    """Takers of turns, each numbered in the order it joined."""

    def __init__(self) -> None:
        self.queue = DeviceQueue(limit=LIMIT)
        self.inside: list[int] = []
        self.served: list[int] = []
        self.superseded: list[int] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.gates: dict[int, asyncio.Event] = {}
        self.full = 0

    def join(self, key: str, *, latest: bool) -> None:
        number = len(self.gates)
        self.gates[number] = asyncio.Event()
        try:
            place = self.queue.join(key, latest_wins=latest)
        except Full:
            self.full += 1
            assert len(self.queue) == LIMIT
            return

        async def take() -> None:
            async with place:
                if place.superseded:
                    self.superseded.append(number)
                    return
                self.inside.append(number)
                assert len(self.inside) == 1, "two have the device at once"
                self.served.append(number)
                try:
                    await self.gates[number].wait()
                finally:
                    self.inside.remove(number)

        self.tasks[number] = asyncio.create_task(take())


async def _play(steps: list[tuple[str, str, bool]]) -> None:
    line = Line()
    cancelled = 0
    for kind, what, latest in steps:
        if kind == "join":
            line.join(what, latest=latest)
            if line.tasks and len(line.tasks) % 2:
                await asyncio.sleep(0)  # whoever joined may or may not have begun to wait
        elif kind == "finish" and line.inside:
            line.gates[line.inside[0]].set()
            await asyncio.sleep(0)
        elif kind == "cancel":
            open_ = [task for task in line.tasks.values() if not task.done()]
            # Not before it ran at all: a coroutine that never began has taken no turn to give back.
            await asyncio.sleep(0)
            if len(open_) > int(what) and not open_[int(what)].done():
                open_[int(what)].cancel()
                cancelled += 1
        assert len(line.queue) <= LIMIT
    for gate in line.gates.values():
        gate.set()
    await asyncio.wait_for(asyncio.gather(*line.tasks.values(), return_exceptions=True), 30)
    assert line.served == sorted(line.served), "somebody was overtaken"
    assert len(line.queue) == 0
    ended = len(line.served) + len(line.superseded)
    assert ended <= len(line.tasks) <= ended + cancelled
    for task in line.tasks.values():
        assert task.cancelled() or task.exception() is None
    place = line.queue.join("z")
    async with asyncio.timeout(5), place:
        assert not place.superseded


@settings(max_examples=150)
@given(STEPS)
def test_one_at_a_time_in_order_and_nobody_is_forgotten(steps: list[tuple[str, str, bool]]) -> None:
    asyncio.run(_play(steps))
