"""The device's memory: four tables of registers and bits, kept up with the machines.

A table reaches from its first point to the last; between them, where no point lies, it
reads 0. Outside there is nothing, as in a controller that maps one block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, get_args

from sources.simulators.modbus import registers
from sources.simulators.scaling import Scaling
from sources.simulators.simulation import Simulation
from sources.simulators.spec import PointSpec, Scalar, TableName

TABLES: Final[tuple[TableName, ...]] = get_args(TableName)


class NoSuchAddressError(Exception):
    """There is nothing at an address, or nothing that may be written (Modbus exception 2)."""


class _Cell:
    """A point in its table. ``shown`` is the engineering value that its registers hold, None if unsure."""

    __slots__ = ("address", "end", "key", "scaling", "shown", "start", "writable")

    def __init__(self, point: PointSpec) -> None:
        self.key = point.key
        self.address = point.address
        self.start = point.address.offset
        self.end = self.start + point.address.count
        self.scaling = Scaling(point)
        self.writable = point.writable
        self.shown: Scalar | None = None


class _Table:
    """One table: ``words`` are its registers or bits from address ``start`` on."""

    def __init__(self, points: Sequence[PointSpec]) -> None:
        cells = [_Cell(point) for point in points]
        # A Boolean in a register lies over a number that names the whole register.
        self.numbers = [cell for cell in cells if cell.address.bit is None]
        self.bits = [cell for cell in cells if cell.address.bit is not None]
        self.start = min((cell.start for cell in cells), default=0)
        self.end = max((cell.end for cell in cells), default=0)
        self.words = [0] * (self.end - self.start)
        self.writable = {at for cell in cells if cell.writable for at in range(cell.start, cell.end)}

    def touched(self, cells: Sequence[_Cell], address: int, count: int) -> list[_Cell]:
        """Those of the cells that lie at least partly in the addresses."""
        return [cell for cell in cells if cell.start < address + count and cell.end > address]


class Image:
    """The tables of one device.

    Values move from the machines into the registers at most once per tick, when something
    is read. What a master writes stands in the registers bit for bit until the machine
    changes the value.
    """

    def __init__(self, points: Sequence[PointSpec], simulation: Simulation) -> None:
        self._simulation = simulation
        self._tables = {
            table: _Table([point for point in points if point.address.table == table]) for table in TABLES
        }
        self._cells = {
            cell.key: (table, cell)
            for table in self._tables.values()
            for cell in (*table.numbers, *table.bits)
        }
        for table in self._tables.values():
            self._show(table)

    def extent(self, table: TableName) -> tuple[int, int]:
        """The first address of a table and the first behind it; equal where it has no points."""
        return self._tables[table].start, self._tables[table].end

    def covers(self, table: TableName, address: int, count: int) -> bool:
        """Whether a table reaches over all the addresses."""
        return self._tables[table].start <= address and address + count <= self._tables[table].end

    def read(self, name: TableName, address: int, count: int) -> list[int]:
        """Registers, or bits as 0 and 1. Raises NoSuchAddressError."""
        table = self._within(name, address, count)
        self._catch_up()
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
        self._catch_up()
        table.words[address - table.start : address - table.start + count] = values
        for cell in table.touched(table.numbers, address, count) + table.touched(table.bits, address, count):
            self._take(table, cell)
        self._show(table)

    def get(self, machine: str, name: str) -> Scalar | None:
        """The engineering value a point's registers hold; None where it has none. Raises KeyError."""
        table, cell = self._cells[machine, name]
        self._catch_up()
        return cell.scaling.to_engineering(_raw(table, cell))

    def freeze(self, machine: str, name: str, value: Scalar | None) -> None:
        """Let a point show an engineering value, None to let go.

        Raises KeyError, and ValueError where the point cannot hold the value.
        """
        table, cell = self._cells[machine, name]
        if value is not None:
            cell.scaling.checked_raw(value)
        self._simulation.freeze(cell.key, value)
        cell.shown = None
        self._show(table)

    def _within(self, name: TableName, address: int, count: int) -> _Table:
        table = self._tables[name]
        if not self.covers(name, address, count):
            raise NoSuchAddressError(f"{name} {address} to {address + count - 1} is not there")
        return table

    def _catch_up(self) -> None:
        if self._simulation.advance():
            for table in self._tables.values():
                self._show(table)

    def _show(self, table: _Table) -> None:
        """Bring the registers to what the machines show: changed numbers, then every bit over them."""
        value_of = self._simulation.value
        for cell in table.numbers:
            value = value_of(cell.key)
            if value != cell.shown:
                _put(table, cell, value)
        for cell in table.bits:
            _put(table, cell, value_of(cell.key))

    def _take(self, table: _Table, cell: _Cell) -> None:
        """Hand what now stands in a cell to its machine."""
        cell.shown = None
        if not cell.writable:
            return
        value = cell.scaling.to_engineering(_raw(table, cell))
        if value is None:
            # The machine has no word for it; it stands in the register until the machine says another.
            cell.shown = self._simulation.value(cell.key)
            return
        self._simulation.write(cell.key, value)
        shown = self._simulation.value(cell.key)
        if shown == value or (_is_nan(shown) and _is_nan(value)):
            cell.shown = shown


def _is_nan(value: Scalar) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _raw(table: _Table, cell: _Cell) -> Scalar:
    first = cell.start - table.start
    if cell.address.encoding != "bool":
        return registers.decode(cell.address, table.words[first : cell.end - table.start])
    return bool(table.words[first] & (registers.mask(cell.address) if not cell.address.is_bit_table else 1))


def _put(table: _Table, cell: _Cell, value: Scalar) -> None:
    raw = cell.scaling.to_raw(value)
    first = cell.start - table.start
    if cell.address.encoding != "bool":
        table.words[first : cell.end - table.start] = registers.encode(cell.address, raw)
    elif cell.address.is_bit_table:
        table.words[first] = int(bool(raw))
    else:
        mask = registers.mask(cell.address)
        table.words[first] = table.words[first] | mask if raw else table.words[first] & ~mask
    cell.shown = value
