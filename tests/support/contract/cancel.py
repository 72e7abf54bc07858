"""Cancels an operation at each of its awaits in turn."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final

from support.net import until

MOST: Final = 400


class Moment(enum.Enum):
    """When the cancellation comes."""

    WAITING = "while it waits"
    ANSWERED = "together with what it waits for"


class _Interrupted(Awaitable[Any]):
    """Runs a coroutine in the task that awaits this, and cancels that at the n-th time it waits."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, moment: Moment) -> None:
        self._work = work
        self._at = at
        self._moment = moment
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        count = 0
        try:
            waiting = steps.send(None)
            while True:
                if count == self._at:
                    self._interrupt(waiting)
                count += 1
                try:
                    sent = yield waiting
                except BaseException as error:  # noqa: BLE001 - passed on as it is
                    waiting = steps.throw(error)
                else:
                    waiting = steps.send(sent)
        except StopIteration as stop:
            return stop.value

    def _interrupt(self, waiting: asyncio.Future[Any] | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.reached = True
        if self._moment is Moment.ANSWERED and waiting is not None:
            waiting.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


async def stop_after(make: Callable[[], Coroutine[Any, Any, Any]], turns: int) -> None:
    """Run an operation that does not end by itself, and cancel it after so many turns of the loop.

    It is cancelled wherever it and its own tasks are then. Raises AssertionError where it
    ends otherwise than cancelled.
    """
    task = asyncio.create_task(make())
    for _ in range(turns):
        await asyncio.sleep(0)
    await _stop(task, f"after {turns} turns")


async def stop_when(make: Callable[[], Coroutine[Any, Any, Any]], reached: Callable[[], bool]) -> None:
    """As `stop_after`, at a moment that comes however many turns it takes."""
    task = asyncio.create_task(make())
    try:
        await until(reached, every=0.005)
    finally:
        await _stop(task, "at last")


async def _stop(task: asyncio.Task[Any], when: str) -> None:
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=30)
    assert done, f"cancelled {when}, it still runs after 30 s"
    assert task.cancelled(), f"cancelled {when}, it ended otherwise: {task}"


async def interrupt(make: Callable[[], Coroutine[Any, Any, Any]], at: int, moment: Moment) -> bool:
    """Run an operation and cancel it at its n-th await, from 0; False where it does not wait that often.

    Raises AssertionError where the cancellation is lost: where the operation ends otherwise
    than cancelled.
    """
    interrupted = _Interrupted(make(), at, moment)

    async def run() -> Any:
        return await interrupted

    task = asyncio.create_task(run())
    done, _ = await asyncio.wait((task,), timeout=30)
    assert done, f"cancelled at await {at} {moment.value}, it still runs after 30 s"
    if interrupted.reached:
        assert task.cancelled(), f"cancelled at await {at} {moment.value}, it went on: {task}"
    else:
        task.result()
    return interrupted.reached
