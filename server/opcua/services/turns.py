"""Long work in short turns, so that no request holds the event loop for long, and no crowd of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Generator
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from server.opcua.requests import LATER, Answer, Peer, Request
from server.opcua.sessions.gate import Gate

FIRST: Final = 0.001
"""Seconds of work that a request may take at once: most need less."""
TURN: Final = 0.001
"""Seconds of each further turn, of which there is one in each round of the event loop."""
_READ: Final = 0.02
"""Seconds after which it is looked again whether a client has read what it was sent."""

Work: TypeAlias = Generator[None, None, Answer]
"""Work that yields wherever it may be interrupted, several times a millisecond."""

Eventually: TypeAlias = Answer | Coroutine[Any, Any, Answer]
"""An answer at once or later."""

_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, Gate] = WeakKeyDictionary()
_lines: WeakKeyDictionary[Peer, asyncio.Lock] = WeakKeyDictionary()
"""Of each connection: its long work is done one after the other."""


def in_turns(work: Work, request: Request, turn: float = FIRST) -> Eventually:
    """The answer, where one turn is enough for it; else a coroutine that takes as many as it needs.

    Connections take turns, and what one asks for is done in order: one work at a time, none
    while its client does not read its answers, none that nobody waits for any more. Raises
    what the work raises.
    """
    line = _lines.get(request.peer)
    if line is None or not line.locked():
        done, answer = _one_turn(work, turn)
        if done:
            return answer
    if line is None:
        line = _lines[request.peer] = asyncio.Lock()
    return _further_turns(work, request, line, turn)


async def _further_turns(work: Work, request: Request, line: asyncio.Lock, turn: float) -> Answer:
    loop = asyncio.get_running_loop()
    gate = _gates.get(loop)
    if gate is None:
        gate = _gates[loop] = Gate()
    async with line:
        while request.peer.backlogged and not request.answered:  # noqa: ASYNC110  # a peer tells nobody
            await asyncio.sleep(_READ)
        while not request.answered:
            await gate.passed()
            done, answer = _one_turn(work, min(turn, TURN))
            if done:
                return answer
    return LATER


def _one_turn(work: Work, turn: float) -> tuple[bool, Answer]:
    end = time.perf_counter() + turn
    try:
        while True:
            next(work)
            if time.perf_counter() > end:
                return False, None
    except StopIteration as stop:
        return True, stop.value


def at_once(work: Generator[None, None, Any]) -> Any:
    """What comes of work that is short enough not to be interrupted."""
    try:
        while True:
            next(work)
    except StopIteration as stop:
        return stop.value
