"""How often others have their turn while something long is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class Turns:
    """How many there were so far."""

    count: int = 0


@asynccontextmanager
async def counting_turns() -> AsyncIterator[Turns]:
    """Count the loop's turns until the block ends."""
    turns = Turns()

    async def others() -> None:
        while True:
            turns.count += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    try:
        yield turns
    finally:
        beside.cancel()
        await asyncio.wait((beside,))
