"""A tag list as CSV, as a spreadsheet saves it: a heading, then a value a row.

The columns, in any order, by these names or some others that are usual:

name         required: ``Speed``, or with the equipment before it, ``Pump1.Speed``, ``Line/Pump1.Speed``
address      required: in the words of the driver
type         the device's own type, as ``as:`` in a binding; empty where the address says it
array        how many elements the value has, where it is an array
description, unit, low, high, access, scan    keys of the property
words, gain, offset                           keys of the binding
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from server.config.errors import did_you_mean
from server.config.scalars import plain
from server.tools.alike import grouped
from server.tools.errors import ImportProblem
from server.tools.inventory import Inventory, Leaf, Single
from server.tools.table import rows
from sources.errors import AddressError
from sources.registry import Driver
from sources.spec import TagSpec
from sources.tag import ANY_LENGTH, MAX_LENGTH, ScanClass, ValueType

_SYNONYMS: Final[Mapping[str, str]] = {
    "tag": "name",
    "tagname": "name",
    "tag name": "name",
    "variable": "name",
    "addr": "address",
    "register": "address",
    "as": "type",
    "datatype": "type",
    "data type": "type",
    "comment": "description",
    "units": "unit",
    "min": "low",
    "max": "high",
    "scale": "gain",
    "factor": "gain",
}
_COLUMNS: Final = frozenset(
    {
        *("name", "address", "type", "description", "unit", "low", "high", "access", "scan"),
        *("words", "gain", "offset", "array"),
    }
)
_NUMBERS: Final = frozenset({"low", "high", "gain", "offset"})
_ONCE: Final = ScanClass("normal", 1.0)


def read_taglist(path: Path, driver: Driver, settings: Any) -> Inventory:
    """The values of a list, equipment with the same values as instances of one type.

    Raises ImportProblem with the line of the first mistake, and OSError.
    """
    owners: dict[tuple[str, ...], list[Single]] = {}
    for row in _rows(path, driver, settings):
        owners.setdefault(row.scope, []).append(row)
    singles, instances = grouped(owners)
    return Inventory({}, singles, instances)


def _rows(path: Path, driver: Driver, settings: Any) -> Iterator[Single]:
    columns: list[str] | None = None
    seen: dict[str, int] = {}
    for line, cells in rows(path, _delimiter(path)):
        if columns is None:
            columns = _heading(str(path), line, cells)
            continue
        values = {key: cell.strip() for key, cell in zip(columns, cells, strict=False) if cell.strip()}
        for key in ("name", "address"):
            if key not in values:
                raise ImportProblem(str(path), line, f"there is no {key}")
        first = seen.setdefault(values["name"].casefold(), line)
        if first != line:
            raise ImportProblem(str(path), line, f"{values['name']} stands in line {first} already")
        *owner, name = re.split(r"[./\\]+", values["name"].strip("./\\"))
        if not name:
            raise ImportProblem(str(path), line, f"{values['name']!r} is no name")
        leaf = _leaf(str(path), line, values, name, driver, settings)
        yield Single(tuple(owner), leaf, values["name"])
    if columns is None:
        raise ImportProblem(str(path), 0, "the file is empty; begin with a heading: name,address,type")


def _delimiter(path: Path) -> str:
    """The sign that stands most often in the first line."""
    with path.open("rb") as file:
        first = file.readline(64 * 1024).decode("utf-8-sig", errors="replace")
    return max(",;\t|", key=first.count)


def _heading(file: str, line: int, cells: list[str]) -> list[str]:
    names = [cell.strip().casefold() for cell in cells]
    columns = [_SYNONYMS.get(name, name) for name in names]
    for key in ("name", "address"):
        if key not in columns:
            raise ImportProblem(
                file, line, f"the heading has no column {key}; it begins a list like name,address,type"
            )
    for column in columns:
        if column and column not in _COLUMNS:
            hint = did_you_mean(column, _COLUMNS) or f"there are {', '.join(sorted(_COLUMNS))}"
            raise ImportProblem(file, line, f"there is no column {column!r}; {hint}")
        if column and columns.count(column) > 1:
            raise ImportProblem(file, line, f"two columns are the {column}")
    return columns


def _leaf(file: str, line: int, values: Mapping[str, str], name: str, driver: Driver, settings: Any) -> Leaf:
    encoding = values.get("type")
    if encoding is None and driver.kind != "modbus":
        raise ImportProblem(file, line, f"{name} has no type; say what the device has there, as dint or real")
    length = _elements(file, line, values["array"]) if "array" in values else None
    spec = TagSpec(
        name, values["address"], ValueType.UInt16, _ONCE, encoding, values.get("words"), length=length
    )
    try:
        tag = driver.tag(spec, settings)
    except AddressError as error:
        raise ImportProblem(file, line, str(error)) from None
    if encoding is None and tag.type is ValueType.UInt16:
        encoding = "uint16"
    numbers = {key: _number(file, line, key, values[key]) for key in _NUMBERS & values.keys()}
    keys: list[tuple[str, Any]] = [(key, values[key]) for key in ("unit", "access", "scan") if key in values]
    if "low" in numbers and "high" in numbers:
        keys.append(("range", (numbers["low"], numbers["high"])))
    binding: list[tuple[str, Any]] = [(key, numbers[key]) for key in ("gain", "offset") if key in numbers]
    if "words" in values:
        binding.append(("words", values["words"]))
    scaled = "gain" in numbers or "offset" in numbers
    kind = ValueType.Double if scaled else tag.type
    description = values.get("description", "")
    return Leaf(
        *((name,), values["address"], encoding, kind, description, tuple(keys), tuple(binding)), length=length
    )


def _elements(file: str, line: int, text: str) -> int:
    if text == "any":
        return ANY_LENGTH
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LENGTH:
        raise ImportProblem(
            file, line, f"array: {text!r} is no number of elements, 1 to {MAX_LENGTH}, nor any"
        )
    return int(text)


def _number(file: str, line: int, key: str, text: str) -> int | float:
    try:
        value = plain(text.replace(",", ".") if text.count(",") == 1 else text)
    except ValueError:
        value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ImportProblem(file, line, f"{key}: {text!r} is not a number")
    return value
