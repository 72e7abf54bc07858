"""What a controller can be told to do wrong, and the switch on its front."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sources.simulators.faults import Faults
from sources.simulators.logix.cip import CipError, Status


class Mode(enum.Enum):
    """The keyswitch. In RUN this controller refuses writes from outside, so that clients meet status 10."""

    REMOTE_RUN = "remote run"
    RUN = "run"
    REMOTE_PROGRAM = "remote program"
    PROGRAM = "program"

    @property
    def status(self) -> int:
        """The identity's status word."""
        return {
            Mode.REMOTE_RUN: 0x3160,
            Mode.RUN: 0x1060,
            Mode.REMOTE_PROGRAM: 0x3070,
            Mode.PROGRAM: 0x2070,
        }[self]

    @property
    def refuses_writes(self) -> bool:
        """Whether a write answers 10/2101."""
        return self is Mode.RUN


@dataclass(slots=True)
class LogixFaults(Faults):
    """All faults of one controller, as they are set now.

    ``cut``: how many bytes of the next reply leave before its connection closes.
    ``refuse_large``: there is no Large Forward Open. ``strict``: data after a request's end
    is refused (15), and so is a request longer than its connection. ``no_counters``: there
    is no class 0xAC, as in old controllers. ``single``: one service a request, and no
    templates, as in a Micro800.
    """

    cut: int | None = None
    refuse_large: bool = False
    strict: bool = False
    no_counters: bool = False
    single: bool = False
    mode: Mode = Mode.REMOTE_RUN

    def check_end(self, data: bytes, end: int) -> None:
        """Raise CipError 15 where a request goes on after its end, and this controller minds."""
        if self.strict and len(data) > end:
            raise CipError(Status.TOO_MUCH_DATA)

    def take_cut(self) -> int | None:
        """Where to cut the reply at hand; uses up ``cut``."""
        cut, self.cut = self.cut, None
        return cut
