"""The device's memory: four tables of registers and bits, kept up with the machines.

A table reaches from its first point to the last; between them, where no point lies, it
reads 0. Outside there is nothing, as in a controller that maps one block.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, get_args

from sources.simulators.modbus import registers
from sources.simulators.scaling import Scaling
from sources.simulators.simulation import Simulation
from sources.simulators.spec import PointSpec, Scalar, TableName

TABLES: Final[tuple[TableName, ...]] = get_args(TableName)


class NoSuchAddressError(Exception):
    """There is nothing at an address, or nothing that may be written (Modbus exception 2)."""


class _Cell:
    """A point in its table. ``shown`` is the engineering value that its registers hold, None if unsure.

    ``over`` are the Booleans that lie over a number which names their whole register.
    """

    def __init__(self, point: PointSpec, table: _Table) -> None:
        self.key = point.key
        self.table = table
        self.address = point.address
        self.start = point.address.offset
        self.end = self.start + point.address.count
        self.scaling = Scaling(point)
        self.writable = point.writable
        self.over: list[_Cell] = []
        self.shown: Scalar | None = None

    def raw(self) -> Scalar:
        """What the registers hold."""
        words, first = self.table.words, self.start - self.table.start
        if self.address.encoding != "bool":
            return registers.decode(self.address, words[first : self.end - self.table.start])
        return bool(words[first] & self._mask)

    def show(self, value: Scalar) -> None:
        """Bring the registers to an engineering value."""
        raw = self.scaling.to_raw(value)
        words, first = self.table.words, self.start - self.table.start
        if self.address.encoding != "bool":
            words[first : self.end - self.table.start] = registers.encode(self.address, raw)
        else:
            words[first] = words[first] | self._mask if raw else words[first] & ~self._mask
        self.shown = value

    @property
    def _mask(self) -> int:
        return 1 if self.address.is_bit_table else registers.mask(self.address)


class _Table:
    """One table: ``words`` are its registers or bits from address ``start`` on; cells lie in rising order."""

    def __init__(self, points: Sequence[PointSpec]) -> None:
        self.cells = sorted((_Cell(point, self) for point in points), key=lambda cell: cell.start)
        self.start = self.cells[0].start if self.cells else 0
        self.end = max((cell.end for cell in self.cells), default=0)
        self.words = [0] * (self.end - self.start)
        self.writable = {at for cell in self.cells if cell.writable for at in range(cell.start, cell.end)}
        self._starts = [cell.start for cell in self.cells]
        self._longest = max((cell.end - cell.start for cell in self.cells), default=0)
        bits = [cell for cell in self.cells if cell.address.bit is not None]
        for bit in bits:
            for cell in self.touched(bit.start, 1):
                if cell.address.bit is None:
                    cell.over.append(bit)

    def touched(self, address: int, count: int) -> list[_Cell]:
        """The cells that lie at least partly in the addresses."""
        first = bisect_left(self._starts, address - self._longest)
        behind = bisect_left(self._starts, address + count, first)
        return [cell for cell in self.cells[first:behind] if cell.end > address]


class Image:
    """The tables of one device.

    Values move from a machine into the registers at most once per tick, when something of
    it is read. What a master writes stands in the registers bit for bit until the machine
    changes the value.
    """

    def __init__(self, points: Sequence[PointSpec], simulation: Simulation) -> None:
        self._simulation = simulation
        self._tables = {
            table: _Table([point for point in points if point.address.table == table]) for table in TABLES
        }
        self._cells = {cell.key: cell for table in self._tables.values() for cell in table.cells}
        self._machines: defaultdict[str, list[_Cell]] = defaultdict(list)
        for cell in self._cells.values():
            self._machines[cell.key[0]].append(cell)
        self._refresh(self._cells.values())

    def extent(self, table: TableName) -> tuple[int, int]:
        """The first address of a table and the first behind it; equal where it has no points."""
        return self._tables[table].start, self._tables[table].end

    def covers(self, table: TableName, address: int, count: int) -> bool:
        """Whether a table reaches over all the addresses."""
        return self._tables[table].start <= address and address + count <= self._tables[table].end

    def read(self, name: TableName, address: int, count: int) -> list[int]:
        """Registers, or bits as 0 and 1. Raises NoSuchAddressError."""
        table = self._within(name, address, count)
        self._catch_up(table.touched(address, count))
        return table.words[address - table.start : address - table.start + count]

    def write(self, name: TableName, address: int, values: Sequence[int]) -> None:
        """Write registers or bits: all of them, or none with NoSuchAddressError.

        Every address must belong to a writable point. In a register of Booleans the bits
        that are not writable keep their values, as a controller's program would restore them.
        """
        count = len(values)
        table = self._within(name, address, count)
        if not table.writable.issuperset(range(address, address + count)):
            raise NoSuchAddressError(f"{name} {address} to {address + count - 1} is not writable throughout")
        touched = table.touched(address, count)
        self._catch_up(touched)
        table.words[address - table.start : address - table.start + count] = values
        for cell in touched:
            self._take(cell)
        self._refresh(touched)

    def get(self, machine: str, name: str) -> Scalar | None:
        """The engineering value a point's registers hold; None where it has none. Raises KeyError."""
        cell = self._cells[machine, name]
        self._catch_up([cell])
        return cell.scaling.to_engineering(cell.raw())

    def freeze(self, machine: str, name: str, value: Scalar | None) -> None:
        """Let a point show an engineering value, None to let go.

        Raises KeyError, and ValueError where the point cannot hold the value.
        """
        cell = self._cells[machine, name]
        if value is not None:
            cell.scaling.checked_raw(value)
        self._simulation.freeze(cell.key, value)
        cell.shown = None
        self._refresh([cell])

    def _within(self, name: TableName, address: int, count: int) -> _Table:
        if not self.covers(name, address, count):
            raise NoSuchAddressError(f"{name} {address} to {address + count - 1} is not there")
        return self._tables[name]

    def _catch_up(self, cells: Iterable[_Cell]) -> None:
        """Let the machines of these cells move, and bring all their registers along."""
        for machine in {cell.key[0] for cell in cells}:
            if self._simulation.advance(machine):
                self._refresh(self._machines[machine])

    def _refresh(self, cells: Iterable[_Cell]) -> None:
        """Bring the registers to what the machines show, where that changed."""
        value_of = self._simulation.value
        for cell in cells:
            value = value_of(cell.key)
            if _same(value, cell.shown):
                continue
            cell.show(value)
            for bit in cell.over:
                bit.show(value_of(bit.key))

    def _take(self, cell: _Cell) -> None:
        """Hand what now stands in a cell to its machine."""
        cell.shown = None
        if not cell.writable:
            return
        value = cell.scaling.to_engineering(cell.raw())
        if value is None:
            # The machine has no word for it; it stands in the register until the machine says another.
            cell.shown = self._simulation.value(cell.key)
            return
        self._simulation.write(cell.key, value)
        shown = self._simulation.value(cell.key)
        if _same(shown, value):
            cell.shown = shown


def _same(one: Scalar, other: Scalar | None) -> bool:
    """Not-a-number equals nothing, but it is the same as long as nobody touched it."""
    return one is other or one == other
