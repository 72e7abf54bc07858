"""How a source is doing, for whoever shows it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from sources.insight import ImportFigures, Traffic
from sources.quality import GOOD, Quality
from sources.statistics import Rates, ScanFigures


class SourceState(enum.Enum):
    """Where a source is in its life."""

    Stopped = "stopped"
    """Not run, or no longer."""
    Connecting = "connecting"
    """Dialled for the first time, or connected and not answered yet."""
    Connected = "connected"
    """The device answers."""
    Disconnected = "disconnected"
    """Unreachable or lost; dialled again and again."""
    Refused = "refused"
    """The device says no: a person must act. Dialled again now and then."""
    Faulted = "faulted"
    """An error of this program; tried again all the same."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A moment's picture of one source. Times are ticks, 0 for never.

    ``since`` is when ``state`` was entered. ``last_error`` stays when it is over: that it is,
    the state says; its cause is the StatusCode it made of values. ``connected_since`` is 0
    while the device does not answer; ``last_success`` is when it last gave a value, or said
    that none has changed. ``reads`` counts block reads that brought values, ``values`` the
    values they brought, ``errors`` block reads that failed and connections that were lost,
    by the name of the StatusCode. ``scans`` is by scan class.

    ``imports`` says how what is imported of it fares; values of imported variables count among
    ``values``.

    ``bad_points`` names tags the device does not have as configured, the first hundred of
    ``bad_point_count``; ``stale`` is how many values the scan brought once and no longer.
    """

    name: str
    address: str
    state: SourceState
    since: int
    tags: int
    last_error: str = ""
    last_error_cause: Quality = GOOD
    last_error_time: int = 0
    connected_since: int = 0
    last_success: int = 0
    connects: int = 0
    reads: int = 0
    values: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    scans: Mapping[str, ScanFigures] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    rates: Rates = field(default_factory=Rates)
    bad_point_count: int = 0
    bad_points: tuple[str, ...] = ()
    stale: int = 0
    imports: tuple[ImportFigures, ...] = ()

    @property
    def overruns(self) -> int:
        """Block reads that were skipped because their time had passed."""
        return sum(scan.overruns for scan in self.scans.values())
