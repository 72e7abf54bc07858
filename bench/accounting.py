"""What the operating system says a process used."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_CPUCLOCK_SCHED: Final = 2


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, to the nanosecond (Linux).

    Its CPU-time clock, as clock_getcpuclockid() names it: the scheduler's own sum, of which
    /proc/PID/stat gives hundredths of a second. Raises OSError when the process is gone.
    """
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def rss_mb(pid: int) -> float:
    """Resident memory of a process in MB (10⁶ bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * _PAGE / 1e6


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run took place."""

    python: str
    system: str
    cpu: str
    cores: int

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        names = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        return cls(
            f"{platform.python_implementation()} {platform.python_version()}{_loop()}",
            f"{platform.system()} {platform.release()} {platform.machine()}",
            names[0] if names else platform.processor(),
            os.cpu_count() or 1,
        )


def _loop() -> str:
    """The event loop of a server that is not asyncio's."""
    try:
        return f" with uvloop {importlib.metadata.version('uvloop')}"
    except importlib.metadata.PackageNotFoundError:
        return ""
