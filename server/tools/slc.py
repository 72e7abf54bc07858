"""The data files of an SLC 500 or MicroLogix as an inventory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from server.tools.inventory import Instance, Inventory, Leaf, LeftOut, Shape, Single
from sources.ethernetip.slc.directory import DataFile
from sources.tag import ValueType

_VALUES: Final[Mapping[str, tuple[str, ValueType]]] = {
    "N": ("int", ValueType.Int16),
    "B": ("uint", ValueType.UInt16),
    "F": ("real", ValueType.Float),
    "L": ("dint", ValueType.Int32),
    "ST": ("string", ValueType.String),
}
_MOST: Final = 256
"""Elements of a file that have an address."""
_LEFT_OUT: Final[Mapping[str, str]] = {
    "O": "which slots have outputs only the I/O configuration says; bind them as O:SLOT.WORD/BIT",
    "I": "which slots have inputs only the I/O configuration says; bind them as I:SLOT.WORD/BIT",
    "S": "the status file; bind what you need of it, as S:1/15",
}


def _shape(name: str, bits: Sequence[str]) -> Shape:
    words = [Leaf((member,), member, "int", ValueType.Int16, implied=True) for member in ("PRE", "ACC")]
    flags = [Leaf((member,), member, "bool", ValueType.Boolean, implied=True) for member in bits]
    return Shape(name, (*words, *flags))


_SHAPES: Final[Mapping[str, Shape]] = {
    "T": _shape("TIMER", ("EN", "TT", "DN")),
    "C": _shape("COUNTER", ("CU", "CD", "DN", "OV", "UN")),
}
KNOWN: Final[Collection[str]] = {*_VALUES, *_SHAPES}
"""The letters of files that become values."""


def last_address(file: DataFile) -> str:
    """Something in the last element of a file that becomes values."""
    place = f"{file.name}:{min(file.elements, _MOST) - 1}"
    return f"{place}.ACC" if file.letters in _SHAPES else place


def inventory(
    files: Sequence[DataFile], identity: Mapping[str, str], refused: Mapping[str, str]
) -> Inventory:
    """Each element of words, floats, longs and texts as a value; a file of timers as an array of them.

    ``refused`` are files, by name, whose last element the controller does not give, and why.
    """
    singles: list[Single] = []
    instances: list[Instance] = []
    left: list[LeftOut] = []
    for file in files:
        count = min(file.elements, _MOST)
        if file.letters in _LEFT_OUT:
            left.append(LeftOut(file.name, _LEFT_OUT[file.letters]))
        elif file.letters not in KNOWN:
            left.append(LeftOut(file.name, "a type of file that this driver does not read"))
        elif file.name in refused:
            left.append(
                LeftOut(
                    file.name,
                    f"the controller lists {count} elements, and refuses the last: {refused[file.name]}",
                )
            )
        elif not count:
            left.append(LeftOut(file.name, "it has no elements"))
        elif file.letters in _SHAPES:
            prefix = f"{file.name}:{{0}}."
            instances.append(Instance((), file.name, _SHAPES[file.letters], prefix, file.name, (count,)))
        else:
            encoding, kind = _VALUES[file.letters]
            for element in range(count):
                address = f"{file.name}:{element}"
                leaf = Leaf((f"{file.name}_{element}",), address, encoding, kind, implied=True)
                singles.append(Single((), leaf, address))
    return Inventory(identity, singles, instances, left)
