"""A running filler for tests that need nothing special of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.simulator import RunningSimulator, running_simulator


@pytest.fixture
async def simulator() -> AsyncIterator[RunningSimulator]:
    async with running_simulator() as it:
        yield it
