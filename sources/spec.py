"""TagSpec: what a configuration says of one tag, before its driver has parsed the address."""

from __future__ import annotations

from dataclasses import dataclass

from sources.tag import ScanClass, ValueType


@dataclass(frozen=True, slots=True)
class TagSpec:
    """One binding in the words of the configuration.

    ``encoding`` is the device's own type (``as: int16``), or None: the driver then takes
    the one that belongs to ``natural``, the type of the property. ``words`` is the word
    order of this tag, or None for the source's. ``length`` is that of an array, whose first
    element the address names, or None for a scalar. A driver refuses with AddressError what
    it has no use for.
    """

    name: str
    address: str
    natural: ValueType
    scan: ScanClass
    encoding: str | None = None
    words: str | None = None
    writable: bool = False
    length: int | None = None
