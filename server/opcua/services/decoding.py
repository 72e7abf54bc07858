"""Decoding what is large beside the event loop, which others need meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from server.opcua.requests import Request
from server.opcua.sessions.pool import Pool
from server.opcua.wire.reader import Reader

T = TypeVar("T")

MUCH: Final = 32 * 1024
"""Bytes that may take longer than others would like to wait: fractions of a second in the worst case."""


class Decoding:
    """Reads requests, large ones in a thread: one at a time, and the clients take turns."""

    def __init__(self) -> None:
        self._pool = Pool(1)

    async def read(self, request: Request, read: Callable[[Reader], T]) -> T:
        """What ``read`` makes of the parameters of a request. Raises DecodingError.

        Raises Busy where too many large ones wait.
        """
        reader = request.reader
        if reader.left <= MUCH:
            return read(reader)
        return await self._pool.run(request.peer.address, lambda: read(reader))
