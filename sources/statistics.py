"""What a driver counts of its scanning, for status and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable


@dataclass(slots=True)
class ScanStatistics:
    """One scan class of one source; kept over reconnects.

    ``blocks`` is how many requests a whole scan takes, ``reads`` how many were made.
    ``overruns`` counts reads that were skipped because their time had passed before they
    could begin. ``planned`` is the class's period and ``measured`` how long its last
    requests took together, both in seconds: above ``planned`` the class cannot be kept.
    It is not taken by the loop's clock, which may have a grain longer than a request.
    """

    planned: float
    measured: float = 0.0
    blocks: int = 0
    reads: int = 0
    overruns: int = 0

    def snapshot(self) -> ScanStatistics:
        """A copy that counts no further."""
        return replace(self)


@runtime_checkable
class HasStatistics(Protocol):
    """What a source offers that counts; `sources.supervisor` shows it."""

    @property
    def statistics(self) -> Mapping[str, ScanStatistics]:
        """By the name of the scan class."""
        ...
