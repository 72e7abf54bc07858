"""A source that is nothing but what a test says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sources.insight import PlannedBlock
from sources.statistics import ScanFigures
from sources.status import SourceState, SourceStatus


@dataclass
class FakeSource:
    """See `server.opcua.space.sources.Watched`."""

    name: str = "PLC"
    scans: Sequence[str] = ("fast", "normal")
    status: SourceStatus = field(init=False)
    blocks: list[PlannedBlock] = field(default_factory=list)
    looked: int = 0

    def __post_init__(self) -> None:
        self.status = SourceStatus(
            self.name,
            "10.20.1.11:502",
            SourceState.Stopped,
            0,
            0,
            scans={scan: ScanFigures(0.2) for scan in self.scans},
        )

    def plan(self) -> Sequence[PlannedBlock]:
        """See `Watched`."""
        self.looked += 1
        return self.blocks
