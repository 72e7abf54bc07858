"""The rhythm of publishing: how many Publish requests wait at the server, and their answers' order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from sources.errors import ConnectionLost
from sources.opcua.live import Live
from sources.opcua.stack import status_name, ua
from sources.quality import BAD_CONNECTION_CLOSED

_MAX_PUBLISHES: Final = 20
_NO_SUBSCRIPTION, _TOO_MANY_PUBLISHES, _TIMEOUT = 0x80790000, 0x80780000, 0x800A0000


class Publishing:
    """The Publish requests of one connection."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.waiting: dict[asyncio.Future[bytes], None] = {}
        """Requests that are not answered, in the order they were asked in."""
        self._most = _MAX_PUBLISHES

    def ask(self) -> None:
        """Have as many Publish requests wait at the server as it takes."""
        wanted = min(len(self._live.subscriptions) + 1, self._most) if self._live.subscriptions else 0
        longest = max(
            (self._live.silent_at(s) - s.heard for s in self._live.subscriptions.values()), default=10.0
        )
        while len(self.waiting) < wanted:
            request = ua.PublishRequest()
            request.Parameters.SubscriptionAcknowledgements = [
                ua.SubscriptionAcknowledgement(SubscriptionId=its, SequenceNumber=number)
                for its, number in self._live.acknowledge
            ]
            self._live.acknowledge = []
            self.waiting[self._live.connection.channel.send(request, 2 * longest, most=None)] = None

    def answered(self) -> Iterator[bytes]:
        """The answers that are there, in the order they were asked for. Raises ConnectionLost."""
        for future in [its for its in self.waiting if its.done()]:
            del self.waiting[future]
            yield future.result()

    def refused(self, code: int) -> None:
        """A request was answered with a code. Raises ConnectionLost where that ends the connection."""
        name = status_name(code)
        if code == _TOO_MANY_PUBLISHES:
            self._most = max(1, len(self.waiting))
        elif code == _NO_SUBSCRIPTION:
            self._live.device.plan = None
            raise ConnectionLost("the device has none of the subscriptions any more", BAD_CONNECTION_CLOSED)
        elif code != _TIMEOUT:
            raise ConnectionLost(f"the device refused to publish: {name}", BAD_CONNECTION_CLOSED)

    def end(self) -> None:
        """Wait for none of them any more."""
        for future in self.waiting:
            future.cancel()
