"""Work that anybody may ask for: begun one piece in each round of the event loop, in the order it came."""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """Lets one through in each round of the event loop.

    However many wait, whoever has nothing to do with it is served in between.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def passed(self) -> None:
        """Wait for a turn; at once where nobody had one in this round."""
        loop = asyncio.get_running_loop()
        if not self._closed:
            self._closed = True
            loop.call_soon(self._next)
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # whoever was cancelled waits no more
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._closed = False
