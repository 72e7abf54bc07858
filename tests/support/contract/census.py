"""What this process has open: tasks, threads, descriptors, and what Python holds."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_WITHIN = 20.0
_FD = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class Census:
    """Counted at a moment; descriptors are 0 where the system does not tell."""

    tasks: int
    threads: int
    descriptors: int

    @classmethod
    def now(cls) -> Census:
        """Count."""
        descriptors = len(os.listdir(_FD)) if _FD.is_dir() else 0  # noqa: PTH208 - a thousand times
        # The loop's own threads, which look up host names, stay until it is closed.
        threads = sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())
        return cls(len(asyncio.all_tasks()), threads, descriptors)

    def covers(self, other: Census) -> bool:
        """Whether there is nothing more of anything in the other."""
        return (
            other.tasks <= self.tasks
            and other.threads <= self.threads
            and other.descriptors <= self.descriptors
        )


async def settled(before: Census) -> None:
    """Wait until there is no more of anything than before. Raises AssertionError."""
    end = time.monotonic() + _WITHIN
    while not before.covers(now := Census.now()):
        assert time.monotonic() < end, f"there is {now}, before there was {before}"
        await asyncio.sleep(0.002)


def blocks() -> int:
    """How many blocks of memory Python has given out, rubbish not counted."""
    gc.collect()
    return sys.getallocatedblocks()
