"""What a driver shows of its inside: its plan, the points it cannot read, its traffic, its pulse.

Each is optional and one a driver may offer by itself, beside `sources.statistics`;
`sources.supervisor` shows what there is. Nothing here is asked for unless somebody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sources.tag import ScanClass


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """One request of a source's plan, in words for people.

    ``label`` is what it reads, in the driver's own notation (``holding:0 to 124``), ``scan``
    the name of its scan class, ``size`` what it asks for (``125 registers``), ``points`` how
    many tags it brings. ``reason`` says why it ends there (``device's maximum of 125``).
    """

    label: str
    scan: str
    size: str
    points: int
    reason: str

    def __str__(self) -> str:
        points = "1 point" if self.points == 1 else f"{self.points} points"
        return f"{self.scan}: {self.label}, {self.size} for {points}; ends: {self.reason}"


@runtime_checkable
class HasPlan(Protocol):
    """A source that reads by a plan."""

    def plan(self) -> Sequence[PlannedBlock]:
        """The requests that are made at present, or were before the connection was lost.

        Class by class, in the order of their addresses; empty until there was a connection.
        """
        ...

    def bad_points(self) -> Sequence[str]:
        """The names of the tags left out of the plan: the device does not have them as configured."""
        ...


@dataclass(slots=True)
class Traffic:
    """What went over a source's connections since the start, scans, reads and writes alike.

    ``requests`` were sent, answered or not; the bytes are those of requests and of replies to
    them with the protocol's framing, without what TCP or TLS put around it. ``slowed`` is how often a
    device that speaks by itself had to wait, as it said too much.
    """

    requests: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    slowed: int = 0

    def asked(self, size: int) -> None:
        """A request of so many bytes went out."""
        self.requests += 1
        self.bytes_out += size


@runtime_checkable
class HasTraffic(Protocol):
    """A source that counts its traffic."""

    @property
    def traffic(self) -> Traffic:
        """What was counted, over all connections."""
        ...


@dataclass(frozen=True, slots=True)
class ImportFigures:
    """How one import fares. ``holder`` is the path of the equipment that holds it.

    ``nodes`` were found when it was last carried out, ``variables`` among them, of which the device
    would not watch ``refused``. That was at ``walked`` (ticks, 0 for never) and took ``seconds``; ``error``
    is why it came to nothing, empty where it did not.
    """

    holder: str
    nodes: int = 0
    variables: int = 0
    refused: int = 0
    walked: int = 0
    seconds: float = 0.0
    error: str = ""


@runtime_checkable
class HasImports(Protocol):
    """A source whose nodes are imported beside its tags."""

    @property
    def imports(self) -> Sequence[ImportFigures]:
        """What is imported of it."""
        ...

    @property
    def import_scans(self) -> Sequence[ScanClass]:
        """How often that is reported."""
        ...

    @property
    def imported_values(self) -> int:
        """Values of imported variables that came, over all connections."""
        ...


@runtime_checkable
class TellsChanges(Protocol):
    """A source whose device speaks of changes only.

    A value it says nothing of is as good as the device's last word, whatever that was about.
    So nothing of it grows stale while the connection stands (`sources.staleness`): its session
    emits a batch without values for a device that says that nothing has changed, and raises
    ConnectionLost when it no longer says even that.
    """

    @property
    def tells_changes(self) -> bool:
        """True."""
        ...
