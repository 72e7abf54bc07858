"""The line to one device: a TCP connection that carries one request at a time, each with a deadline."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ModbusPDU

from sources.errors import ConnectionLost, Unreachable
from sources.modbus.codec import RawReplies, Request
from sources.modbus.config import ModbusSettings
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED, BAD_TIMEOUT, Quality
from sources.turns import Turns

SILENT_LIMIT: Final = 2
"""So many requests in a row without a reply, and the connection counts as lost."""

_MAX_FRAME: Final = 260

# pymodbus reports each dropped late reply at ERROR, with a dump. What a plant needs to know of
# a connection is told once, by the supervisor; who wants more sets this logger's level first.
if logging.getLogger("pymodbus.logging").level == logging.NOTSET:
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class NoReply(Exception):
    """The request was sent and not answered in time; the connection still stands."""


class NotSent(ConnectionLost):
    """The connection was lost before the request went out: the device cannot have seen it."""


class Line:
    """One connection.

    Whoever asks takes a turn (``turns``) and holds it over one or more calls of `exchange`.
    ``patience`` is how long the next reply may take, in seconds: the source's timeout,
    unless lowered after a request that was not answered; a reply restores it.
    """

    def __init__(self, settings: ModbusSettings) -> None:
        self.turns = Turns()
        self.patience = settings.timeout
        self.silent = 0
        """How many requests in a row have had no reply."""
        self._timeout = settings.timeout
        self._asking = False
        self._lost: asyncio.Future[tuple[str, Quality]] = asyncio.get_running_loop().create_future()
        # Our own deadline and the supervisor's reconnect take the place of pymodbus's, which
        # holds the next request back for several timeouts and dials without telling anyone.
        self._client = AsyncModbusTcpClient(
            settings.host,
            port=settings.port,
            timeout=10 * settings.timeout,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._traced,
        )
        self._context = self._client.ctx
        self._context.framer.decoder = RawReplies()
        # By default a late reply and the right one in one segment overflow it and both are dropped.
        self._context.max_buffer_size = 4 * _MAX_FRAME

    async def dial(self) -> None:
        """Connect. Raises Unreachable with the cause."""
        failures: list[OSError] = []
        create = self._context.call_create

        async def call() -> Any:
            # pymodbus keeps the cause of a failure to its log.
            try:
                return await create()
            except OSError as error:
                failures.append(error)
                raise

        self._context.call_create = call
        try:
            with _cancellation_kept():
                async with asyncio.timeout(self._timeout):
                    connected = await self._client.connect()
        except TimeoutError:
            raise Unreachable(f"no answer to the call within {self._timeout:g} s") from None
        if not connected:
            raise Unreachable(_cause(failures[-1]) if failures else "the connection could not be made")

    def close(self) -> None:
        """Hang up; whoever waits for a reply or a turn gets ConnectionLost."""
        self._drop("the connection was closed by this side", BAD_CONNECTION_CLOSED)
        self._client.close()

    async def wait(self, until: float | None) -> None:
        """Wait until that time of the loop's clock, or for ever; raises ConnectionLost when it is lost."""
        delay = None if until is None else until - asyncio.get_running_loop().time()
        if delay is None or delay > 0:
            await asyncio.wait((self._lost,), timeout=delay)
        if self._lost.done():
            raise ConnectionLost(*self._lost.result())

    async def exchange(self, request: Request) -> ModbusPDU:
        """Send a request and return the reply. The caller holds the turn.

        Raises NoReply, ConnectionLost once the line is lost, by too many of those, a broken
        frame or the peer, and NotSent where it was lost before.
        """
        if self._lost.done():
            raise NotSent(*self._lost.result())
        self._asking = True
        try:
            with _cancellation_kept():
                async with asyncio.timeout(self.patience):
                    reply: ModbusPDU = await self._client.execute(False, request)
        except TimeoutError:
            raise self._unanswered() from None
        except ModbusException as error:
            self._drop(str(error), BAD_COMMUNICATION_ERROR)
            raise ConnectionLost(*self._lost.result()) from None
        finally:
            self._asking = False
        self.silent = 0
        self.patience = self._timeout
        return reply

    def _unanswered(self) -> NoReply | ConnectionLost:
        self.silent += 1
        if self._context.recv_buffer:
            # The rest would be taken for the head of the next reply.
            self._drop("a reply came incomplete or garbled", BAD_COMMUNICATION_ERROR)
        elif self.silent >= SILENT_LIMIT:
            self._drop(f"no reply to {self.silent} requests in a row", BAD_TIMEOUT)
        if self._lost.done():
            return ConnectionLost(*self._lost.result())
        return NoReply(f"no reply within {self.patience:g} s")

    def _traced(self, connected: bool) -> None:
        if not connected:
            self._drop("the device closed the connection", BAD_CONNECTION_CLOSED)

    def _drop(self, reason: str, quality: Quality) -> None:
        """The line is lost: tell whoever waits, at once; pymodbus would let a pending request time out."""
        if self._lost.done():
            return
        self._lost.set_result((reason, quality))
        if self._asking and not self._context.response_future.done():
            self._context.response_future.set_exception(ConnectionException(reason))


@contextmanager
def _cancellation_kept() -> Iterator[None]:
    """Raise CancelledError where a cancellation came and was lost.

    Python 3.11's wait_for, which pymodbus stands on, swallows one that arrives together with
    the reply; the scan would then go on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    yield
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def _cause(error: OSError) -> str:
    """The operating system's words, without asyncio's ``Connect call failed ('10.0.0.1', 502)``."""
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved: {error.strerror}"
    numbers = [error.errno] if error.errno else [int(n) for n in re.findall(r"\[Errno (\d+)\]", str(error))]
    return ", ".join(dict.fromkeys(os.strerror(n).lower() for n in numbers)) or str(error)
