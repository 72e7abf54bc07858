"""Rules that hold for every test."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from platform import machine
from typing import Any, Final

import pytest
from asyncua.client.ua_client import UaClient

_HAS_ATHERIS: Final = sys.version_info[:2] == (3, 11) and (sys.platform, machine()) == ("linux", "x86_64")
_WITHOUT_ATHERIS: Final = () if _HAS_ATHERIS else ("atheris has no wheel for this Python or machine",)

ALLOWED_SKIPS: Final = ("needs POSIX signals", "needs /proc", *_WITHOUT_ATHERIS)
"""The only reasons a test may be skipped for under CI=true; all else CI has to install."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a skipped test is a failed one, unless its reason is on the list."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not _is_allowed(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
    return report


def _is_allowed(reason: Any) -> bool:
    return isinstance(reason, tuple) and str(reason[-1]).removeprefix("Skipped: ") in ALLOWED_SKIPS


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


@pytest.fixture(autouse=True, scope="session")
def _a_client_that_gives_up_hangs_up() -> Iterator[None]:
    """Close what asyncua's client (2.1.0) leaves open when its watchdog finds the session gone.

    It then calls itself disconnected, so that to disconnect it does nothing, and its socket is found
    by the garbage collector: in whichever test happens to be running.
    """
    mark = UaClient.mark_disconnected

    def mark_and_close(client: UaClient) -> None:
        if client.protocol is not None and client.protocol.transport is not None:
            client.protocol.disconnect_socket()
        mark(client)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UaClient, "mark_disconnected", mark_and_close)
        yield
