"""What a source will cost before it is dialled: its requests, how long each takes, and what makes it more.

How long a request takes is an estimate from the kind of line: a time for the way there and
back with what the device needs to answer, and a time for each byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sources.insight import PlannedBlock
from sources.tag import ScanClass

NETWORK_ROUND_TRIP: Final = 0.007
"""Seconds of a request over Ethernet: 2 ms on the way, 5 ms until a PLC answers between two cycles."""
NETWORK_BYTE: Final = 8 / 100e6
"""Seconds of a byte on the 100 Mbit/s that a PLC's port has."""
FRAME: Final = 66
"""Bytes of Ethernet, IP and TCP around what is sent, each way."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a request takes on a line: seconds for each, and for each of its bytes, both ways."""

    round_trip: float = NETWORK_ROUND_TRIP
    byte: float = NETWORK_BYTE


@dataclass(frozen=True, slots=True)
class ForecastBlock:
    """One block of a plan: ``requests`` it takes, with ``size`` bytes there and back, headers included."""

    block: PlannedBlock
    scan: ScanClass
    requests: int
    size: int

    def takes(self, pace: Pace) -> float:
        """Seconds."""
        return self.requests * pace.round_trip + self.size * pace.byte


@dataclass(frozen=True, slots=True)
class Forecast:
    """The plan of one source. ``spoils`` says, a sentence each, what makes it slower than it could be.

    ``lanes`` is how many requests are on their way at a time.
    """

    blocks: Sequence[ForecastBlock]
    pace: Pace
    lanes: int = 1
    spoils: Sequence[str] = ()
    notes: Sequence[str] = ()
    """What the forecast does not know."""
