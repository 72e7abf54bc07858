"""Subscribing to every tag of a server, and taking in what it publishes, as long as the connection holds.

A scan class is a subscription, its period the publishing interval. One more watches the server
itself: its namespaces and its model. After a lost connection the subscriptions are transferred to
the new session where the server still has them (OPC 10000-4 §5.14.7), and messages that were missed
are asked for again; else they are made anew.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Never

from sources.batch import Emit
from sources.errors import ConnectionLost
from sources.opcua import wire
from sources.opcua.channel import ServiceError
from sources.opcua.connection import Connection
from sources.opcua.kept import Device, nobody
from sources.opcua.live import Live
from sources.opcua.messages import Messages
from sources.opcua.pace import Pace
from sources.opcua.planning import Planning
from sources.opcua.publishing import Publishing
from sources.opcua.resume import resume
from sources.opcua.settle import settle
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_TIMEOUT

_TRUST: Final = 2.0
"""Seconds between two looks at whether the device's certificate is still trusted."""


class Scan:
    """One scan over one connection."""

    def __init__(self, device: Device, connection: Connection, emit: Emit) -> None:
        self._live = Live(device, connection, emit)
        self._publishing = Publishing(self._live)
        self._messages = Messages(self._live, self._publishing)
        self._plans = Planning(self._live)
        self._trust_at = self._live.clock() + _TRUST
        self._pace = Pace(device.name, device.traffic)
        device.wake = self._live.wake
        self._planning: asyncio.Task[None] | None = None
        """What is planned, while messages go on being taken: an import takes its time."""

    async def run(self) -> Never:
        """Until cancelled. Raises ConnectionLost, and Refused for a server that is trusted no longer."""
        device = self._live.device
        device.on_retag = self._live.retagged
        try:
            if await resume(self._live, self._messages):
                self._live.next_check()
            else:
                self._planning = asyncio.create_task(self._plans.begin())
            listened = self._live.clock()
            while True:
                self._pardon(listened)
                self._publishing.ask()
                await self._listen()
                listened = self._live.clock()
                for answer in self._publishing.answered():
                    async with self._pace:
                        await self._messages.take(answer)
                if self._planning is not None and self._planning.done():
                    planned, self._planning = self._planning, None
                    planned.result()
                await self._look_after(listened)
        except ServiceError as error:
            device.plan = None
            raise ConnectionLost(f"the device refused {error}", BAD_COMMUNICATION_ERROR) from None
        except wire.Malformed as error:
            raise ConnectionLost(str(error), BAD_COMMUNICATION_ERROR) from None
        finally:
            device.on_retag, device.wake = None, nobody
            self._publishing.end()
            if self._planning is not None:
                self._planning.cancel()
                await asyncio.gather(self._planning, return_exceptions=True)

    async def _listen(self) -> None:
        """Wait until there is something to do."""
        if self._live.grown.done():
            self._live.grown = asyncio.get_running_loop().create_future()
        waited: list[asyncio.Future[Any]] = [*self._publishing.waiting, self._live.grown]
        if self._planning is not None:
            waited.append(self._planning)
        await asyncio.wait(waited, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)

    def _pardon(self, listened: float) -> None:
        """Silence does not count for the time in which nobody listened."""
        now = self._live.clock()
        for subscription in self._live.subscriptions.values():
            subscription.heard = min(subscription.heard + now - listened, now)

    def _patience(self) -> float:
        """Seconds until something is to be done even if nothing comes."""
        moments = [
            self._live.connection.channel.renew_at,
            self._trust_at,
            *map(self._live.silent_at, self._live.subscriptions.values()),
        ]
        if self._planning is None:
            if self._live.is_behind or self._live.imports_others:
                return 0.0
            moments += [one.settle_at for one in self._live.subscriptions.values() if one.beside]
            if self._live.again is not None:
                moments.append(self._live.again)
        return max(0.0, min(moments) - self._live.clock())

    def _look_for_silence(self, now: float) -> None:
        for subscription in self._live.subscriptions.values():
            if now > self._live.silent_at(subscription):
                silent = now - subscription.heard
                if subscription.mute:
                    # Not every server that says it has transferred one publishes it afterwards.
                    self._live.device.plan, self._live.device.transfers = None, False
                raise ConnectionLost(f"not a word from the device for {silent:.1f} s", BAD_TIMEOUT)

    async def _look_after(self, now: float) -> None:
        self._look_for_silence(now)
        if now >= self._live.connection.channel.renew_at:
            await self._live.connection.channel.renew()
        if now >= self._trust_at:
            self._trust_at = now + _TRUST
            await asyncio.to_thread(self._live.connection.recheck)
        if self._planning is not None:
            return
        await self._settle(now)
        if self._live.is_behind:
            self._planning = asyncio.create_task(self._plans.retag())
        elif self._live.again is not None and now >= self._live.again:
            self._planning = asyncio.create_task(self._plans.again())
        elif self._live.imports_others:
            self._planning = asyncio.create_task(self._plans.follow_imports())

    async def _settle(self, now: float) -> None:
        for subscription in list(self._live.subscriptions.values()):
            if subscription.beside and now >= subscription.settle_at:
                await settle(self._live, subscription)
