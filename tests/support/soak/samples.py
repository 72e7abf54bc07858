"""What a process holds, looked at now and then, and whether it grows."""

from __future__ import annotations

import os
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Sample:
    """At one moment: resident memory in MB (10⁶ bytes), and numbers."""

    memory: float
    tasks: int
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int, tasks: int) -> Sample:
        """Look at a process. Raises OSError when it is gone."""
        proc = Path(f"/proc/{pid}")
        pages = int((proc / "statm").read_text(encoding="ascii").split()[1])
        found = re.search(r"^Threads:\s*(\d+)", (proc / "status").read_text(encoding="utf-8"), re.MULTILINE)
        threads = int(found[1]) if found else 0
        return cls(pages * _PAGE / 1e6, tasks, len(list((proc / "fd").iterdir())), threads)


@dataclass(frozen=True, slots=True)
class Growth:
    """One figure over the run: its medians in the second and in the last third; the first is warming up.

    Medians, since a fault that is on at the moment of a look holds a task, a socket, some bytes.
    """

    name: str
    middle: float
    end: float
    allowed: float
    """So much more may be there at the end."""

    @property
    def grows(self) -> bool:
        """Whether there is more at the end than can be chance."""
        return self.end - self.middle > self.allowed


def growths(samples: list[Sample]) -> list[Growth]:
    """How each figure went. Of fewer than six samples none can be told: there are none."""
    third = len(samples) // 3
    if third < 2:
        return []
    middle, end = samples[third : 2 * third], samples[-third:]

    def growth(name: str, share: float, least: float) -> Growth:
        before, after = (
            statistics.median(float(getattr(sample, name)) for sample in part) for part in (middle, end)
        )
        return Growth(name, before, after, max(least, share * before))

    return [
        growth("memory", 0.03, 3.0),
        growth("tasks", 0.0, 5.0),
        growth("files", 0.0, 5.0),
        growth("threads", 0.0, 2.0),
    ]
