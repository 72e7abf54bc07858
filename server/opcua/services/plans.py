"""Read plans: what a list of nodes came to, kept for the next time it is sent.

A client reads the same list again and again. The bytes of the list are the key of its plan,
kept in the session; a plan holds for one `Access` and one generation of the model only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

from server.opcua.services.readvalue import ReadValueId
from server.opcua.sessions.session import OfAccess
from server.opcua.space.permissions import Access
from server.plant.values import Point, ScanBlock

MAX_BYTES: Final = 4 << 20
"""Of the plans of one session."""
MAX_BYTES_IN_ALL: Final = 64 << 20
"""Of the plans of all sessions: what is beyond is not kept."""

_PER_ITEM: Final = 112
"""An item, the run it may be alone in, and its place among the scattered."""
_PER_PLAN: Final = 600
_RUN: Final = 4
"""Points that neighbours in a block are, on the average, at least for a join by blocks to be worth it."""
_block: Final = attrgetter("block")


class Run(NamedTuple):
    """Points that stand side by side and share a block, hence a ServerTimestamp."""

    block: ScanBlock
    points: list[Point]


class Scattered(NamedTuple):
    """Points of which few neighbours share a block."""

    points: list[Point]
    blocks: list[ScanBlock]
    """That of each."""
    distinct: list[ScanBlock]


class Plan:
    """What one list of nodes came to."""

    __slots__ = ("_layout", "_parts", "_scattered", "access", "generation", "items", "slow")

    def __init__(self, items: list[Point | ReadValueId], slow: int, access: Access, generation: int) -> None:
        """``items`` are points whose value may be read as it is, and ``slow`` that take more."""
        self.items = items
        self.slow = slow
        self.access = access
        self.generation = generation
        self._layout = -1
        self._parts: list[Run | ReadValueId] = []
        self._scattered: Scattered | None = None

    def parts(self, layout: int) -> list[Run | ReadValueId]:
        """Its items by the blocks that points have in that layout of the store."""
        self._arrange(layout)
        return self._parts

    def scattered(self, layout: int) -> Scattered | None:
        """Its items one by one, where all are points and a join by blocks is not worth it."""
        self._arrange(layout)
        return self._scattered

    def _arrange(self, layout: int) -> None:
        if self._layout == layout:
            return
        self._layout = layout
        self._parts = list(grouped(self.items))
        self._scattered = None
        if not self.slow and len(self.items) < _RUN * len(self._parts):
            points: list[Point] = self.items  # type: ignore[assignment]  # none of them is slow
            blocks = [point.block for point in points]
            self._scattered = Scattered(points, blocks, list(set(blocks)))


def grouped(items: list[Point | ReadValueId]) -> Iterator[Run | ReadValueId]:
    """Runs of points that share a block, and whatever else there is, in order."""
    for plain, several in groupby(items, key=lambda item: isinstance(item, Point)):
        if not plain:
            yield from several  # type: ignore[misc]  # by `plain`
            continue
        for block, points in groupby(several, key=_block):
            yield Run(block, list(points))  # type: ignore[arg-type]  # by `plain`


class Budget:
    """Bytes that the plans of all sessions take."""

    def __init__(self, limit: int = MAX_BYTES_IN_ALL) -> None:
        self.limit = limit
        self.used = 0


class ReadPlans(OfAccess):
    """The plans of one session, those used last kept longest."""

    def __init__(self) -> None:
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()
        self.bytes = 0
        self._budget: Budget | None = None

    def __len__(self) -> int:
        return len(self._plans)

    def find(self, key: bytes, access: Access, generation: int) -> Plan | None:
        """The plan of that list, if it still holds."""
        plan = self._plans.get(key)
        if plan is None:
            return None
        if plan.generation != generation or plan.access is not access:
            self.clear()  # the others were made for the same
            return None
        self._plans.move_to_end(key)
        return plan

    def keep(self, key: bytes, plan: Plan, budget: Budget) -> None:
        """Keep a plan, as far as there is room."""
        cost = _cost(key, plan)
        self._budget = budget
        if cost > MAX_BYTES:
            return
        while self._plans and (self.bytes + cost > MAX_BYTES or budget.used + cost > budget.limit):
            old, forgotten = self._plans.popitem(last=False)
            self._account(-_cost(old, forgotten))
        if budget.used + cost <= budget.limit:
            self._plans[key] = plan
            self._account(cost)

    def clear(self) -> None:
        """Forget all."""
        self._plans.clear()
        self._account(-self.bytes)

    def _account(self, change: int) -> None:
        self.bytes += change
        if self._budget is not None:
            self._budget.used += change


def _cost(key: bytes, plan: Plan) -> int:
    return len(key) + _PER_PLAN + _PER_ITEM * len(plan.items)
