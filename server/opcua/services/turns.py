"""Long work in short turns, so that no request holds the event loop for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Generator
from typing import Any, Final, TypeAlias

from server.opcua.requests import Answer

TURN: Final = 0.005
"""Seconds of work before others have their turn on the loop."""

Work: TypeAlias = Generator[None, None, Answer]
"""Work that yields wherever it may be interrupted, about every millisecond."""

Eventually: TypeAlias = Answer | Coroutine[Any, Any, Answer]
"""An answer at once or later."""


def in_turns(work: Work, turn: float = TURN) -> Eventually:
    """The answer, where one turn is enough for it; else a coroutine that takes as many as it needs.

    Raises what the work raises.
    """
    done, answer = _one_turn(work, turn)
    return answer if done else _further_turns(work, turn)


async def _further_turns(work: Work, turn: float) -> Answer:
    while True:
        await asyncio.sleep(0)
        done, answer = _one_turn(work, turn)
        if done:
            return answer


def _one_turn(work: Work, turn: float) -> tuple[bool, Answer]:
    end = time.perf_counter() + turn
    try:
        while True:
            next(work)
            if time.perf_counter() > end:
                return False, None
    except StopIteration as stop:
        return True, stop.value
