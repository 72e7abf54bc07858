"""Points that move: between the machines and the tags' memory."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from sources.simulators.logix.database import Database
from sources.simulators.logix.tags import Tag
from sources.simulators.logix.values import find_place, load, store
from sources.simulators.scaling import Scaling
from sources.simulators.simulation import Simulation
from sources.simulators.spec import Scalar

if TYPE_CHECKING:
    from sources.simulators.logix.spec import TagPoint


class _Cell:
    """A point in its place. ``raw`` is what was last put there, or left there by a client."""

    __slots__ = ("key", "place", "raw", "scaling", "writable")

    def __init__(self, point: TagPoint, database: Database) -> None:
        self.key = point.key
        self.place = find_place(database, point.address.tag)
        self.scaling = Scaling(point)
        self.writable = point.writable
        self.raw: JsonValue = None


class Points:
    """The moving values of one controller.

    They move from the machines into memory at most once per tick, when somebody asks. What
    a client writes to a writable point goes to its machine; to any other it stands until
    the next tick, when the controller's program says its own again.
    """

    def __init__(
        self, points: Sequence[TagPoint], database: Database, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._simulation = Simulation(points, clock)
        self._cells = {point.key: _Cell(point, database) for point in points}
        self._by_tag: defaultdict[Tag, list[_Cell]] = defaultdict(list)
        self._machines: defaultdict[str, list[_Cell]] = defaultdict(list)
        for cell in self._cells.values():
            self._by_tag[cell.place.tag].append(cell)
            self._machines[cell.key[0]].append(cell)
            self._put(cell)

    def __len__(self) -> int:
        return len(self._cells)

    def catch_up(self) -> None:
        """Let the machines catch up with the clock and show their values."""
        for machine, cells in self._machines.items():
            if self._simulation.advance(machine):
                for cell in cells:
                    self._put(cell)

    def written(self, tag: Tag) -> None:
        """Hand to the machines what a client has changed in a tag."""
        for cell in self._by_tag.get(tag, ()):
            raw = load(cell.place)
            if raw == cell.raw or not isinstance(raw, bool | int | float | str):
                continue
            cell.raw = raw
            value = cell.scaling.to_engineering(raw)
            if cell.writable and value is not None and not (isinstance(value, float) and math.isnan(value)):
                self._simulation.write(cell.key, value)

    def get(self, machine: str, name: str) -> Scalar | None:
        """The engineering value of what a point's tag holds. Raises KeyError."""
        cell = self._cells[machine, name]
        self.catch_up()
        raw = load(cell.place)
        return cell.scaling.to_engineering(raw) if isinstance(raw, bool | int | float | str) else None

    def freeze(self, machine: str, name: str, value: Scalar | None) -> None:
        """Let a point show an engineering value whatever its machine does; None lets go.

        Raises KeyError, and ValueError where the point cannot hold the value.
        """
        cell = self._cells[machine, name]
        if value is not None:
            cell.scaling.checked_raw(value)
        self._simulation.freeze(cell.key, value)
        self._put(cell)

    def _put(self, cell: _Cell) -> None:
        store(cell.place, cell.scaling.to_raw(self._simulation.value(cell.key)))
        # As memory holds it: a REAL keeps fewer digits than the machine has.
        cell.raw = load(cell.place)
