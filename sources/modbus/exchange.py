"""An exchange: one request on its way to a device, and who waits for what comes of it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TypeAlias

from sources.errors import ConnectionLost
from sources.insight import Traffic
from sources.modbus.codec import MalformedReply, Request


class NoReply(Exception):
    """The request was sent and not answered in time; the connection still stands."""


class NotSent(ConnectionLost):
    """The connection was lost before the request went out: the device cannot have seen it."""


Failure: TypeAlias = NoReply | MalformedReply | ConnectionLost


class Exchange(ABC):
    """What a link carries. One of the two methods is called once, from within the loop.

    ``frame`` is the request in the link's framing, made once (`Framing.render`); ``deadline``
    (of the loop's clock) is set by the link, which adds what it sends and receives to ``traffic``.
    """

    __slots__ = ("deadline", "frame", "request", "traffic")

    def __init__(self, request: Request, frame: bytes, traffic: Traffic) -> None:
        self.request = request
        self.frame = frame
        self.traffic = traffic
        self.deadline = 0.0

    @abstractmethod
    def answered(self, reply: bytes) -> None:
        """A reply came, of this unit and transaction: its PDU, not empty and not checked further."""

    @abstractmethod
    def failed(self, error: Failure) -> None:
        """None came in time, a garbled one did, or none will come."""


class Awaited(Exchange):
    """An exchange that a coroutine waits for."""

    __slots__ = ("reply",)

    def __init__(self, request: Request, frame: bytes, traffic: Traffic) -> None:
        super().__init__(request, frame, traffic)
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answered(self, reply: bytes) -> None:
        """See Exchange; whoever was cancelled waits no longer."""
        if not self.reply.done():
            self.reply.set_result(reply)

    def failed(self, error: Failure) -> None:
        """See Exchange."""
        if not self.reply.done():
            self.reply.set_exception(error)
