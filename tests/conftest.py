"""Rules that hold for every test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture(autouse=True)
async def _no_leaked_task(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail a test that leaves a task behind: every task has an owner that awaits it."""
    before = asyncio.all_tasks()
    yield
    # One turn of the loop lets tasks that were cancelled and awaited drop out of the set.
    await asyncio.sleep(0)
    # This half of the fixture runs in a task of its own.
    here = {asyncio.current_task()}
    leaked = [task for task in asyncio.all_tasks() - before - here if not task.done()]
    for task in leaked:
        task.cancel()
    await asyncio.gather(*leaked, return_exceptions=True)
    if leaked:
        names = ", ".join(f"{task.get_name()} ({task.get_coro()})" for task in leaked)
        pytest.fail(f"{request.node.nodeid} left tasks behind: {names}", pytrace=False)
