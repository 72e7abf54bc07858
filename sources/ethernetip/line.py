"""The line to one controller, for the event loop: a link in a thread of its own, one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from sources.errors import ConnectionLost, Unreachable
from sources.ethernetip import reading, writing
from sources.ethernetip.bindings import Bindings, bind, wanted
from sources.ethernetip.channel import Broken, NotSent
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.device import Device
from sources.ethernetip.link import Link, Rejected
from sources.ethernetip.plan import Limits, Packet, plan
from sources.ethernetip.reading import Answer
from sources.ethernetip.symbols import SymbolTable
from sources.ethernetip.worker import Worker
from sources.insight import Traffic
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED, Quality
from sources.turns import Busy, Turns

T = TypeVar("T")

FAREWELL: Final = 1.0
"""Seconds that taking leave of a controller may take; one that says nothing is left without."""
MOST_HANGING: Final = 4
"""So many threads of earlier connections may hang before no further one is begun."""

_OPENING: Final = 10
"""Requests that opening takes at most, each with its own time."""
_FEW: Final = 16
"""So many tags are planned for at once; more in the thread, for it takes a while."""


class NothingSent(ConnectionLost):
    """The connection was lost before the request went out: the controller cannot have seen it."""


class Line:
    """One connection. Whoever asks takes a turn (``turns``); commands go before scans."""

    def __init__(self, device: Device) -> None:
        self.turns = Turns()
        self._device = device
        self._settings = device.settings
        self._lost: asyncio.Future[tuple[str, Quality]] = asyncio.get_running_loop().create_future()
        if device.workers.hanging >= MOST_HANGING:
            raise Unreachable(
                f"{device.workers.hanging} threads of earlier connections hang and do not end; "
                "no further one is begun until they do"
            )
        self._link = Link(device.settings)
        self._worker = Worker(device.name, self._link, device.workers)
        self._multiple = True
        self._counted = Traffic()

    @property
    def limits(self) -> Limits:
        """What one packet may hold."""
        return Limits(self._link.size, self._link.multiple and self._multiple)

    def lacks_multiple(self) -> None:
        """The controller does not take several services in one request."""
        self._multiple = False

    async def dial(self) -> None:
        """Connect. Raises Unreachable."""
        try:
            identity = await self._work(self._link.open, _OPENING * self._settings.timeout)
        except (Broken, Rejected) as error:
            raise Unreachable(str(error)) from None
        self._device.meet(identity)

    async def upload(self) -> SymbolTable | None:
        """The controller's tags, or None where it gives none. Raises Unreachable."""
        names, programs = wanted(self._device.tags)
        try:
            table = await self._work(
                lambda: self._link.upload(names, programs), self._settings.upload_timeout
            )
        except Rejected as error:
            self._device.no_list(str(error))
            return None
        except Broken as error:
            raise Unreachable(f"the upload of the tag list failed: {error}") from None
        return table

    async def bind(self, table: SymbolTable | None) -> Bindings:
        """Find the places of all tags; in the thread, for there may be many. Raises ConnectionLost."""
        return await self._do(lambda: bind(self._device.tags, table), self._settings.upload_timeout)

    async def plan(self, tags: Sequence[LogixTag], bindings: Bindings, alone: frozenset[str]) -> list[Packet]:
        """Packets that read what of these can be read. Raises ConnectionLost."""
        limits, places = self.limits, bindings.places
        located = [(tag, places[tag.name]) for tag in tags if tag.name in places]
        if len(located) <= _FEW:
            return plan(located, limits, alone)
        return await self._do(lambda: plan(located, limits, alone), self._settings.upload_timeout)

    async def read(self, packet: Packet) -> Answer:
        """Read a packet; the caller holds the turn. Raises ConnectionLost."""
        limits = self.limits
        return await self._do(lambda: reading.read_packet(self._link, packet, limits), self._settings.timeout)

    async def write(self, commands: Sequence[writing.Command]) -> list[writing.Refusal | None]:
        """Write values in order; the caller holds the turn. Raises ConnectionLost and NothingSent."""
        limits, link = self.limits, self._link

        def work() -> list[writing.Refusal | None]:
            before = link.sent
            try:
                return writing.write_all(link, commands, limits)
            except Broken as error:
                if link.sent == before:
                    raise NotSent(str(error), error.quality) from None
                raise

        return await self._do(work, self._settings.timeout)

    async def ping(self) -> None:
        """Show that we are there; the caller holds the turn. Raises ConnectionLost."""
        await self._do(self._link.ping, self._settings.timeout)

    async def _do(self, work: Callable[[], T], limit: float) -> T:
        try:
            return await self._work(work, limit)
        except NotSent as error:
            raise NothingSent(*self._lose(error)) from None
        except (Broken, Rejected) as error:
            raise ConnectionLost(*self._lose(error)) from None

    async def _work(self, work: Callable[[], T], limit: float) -> T:
        try:
            return await self._worker.do(work, limit)
        finally:
            self._count()

    def _count(self) -> None:
        """Add what went over the link since to that of the device."""
        now, before, total = self._link.traffic, self._counted, self._device.traffic
        total.requests += now.requests - before.requests
        total.bytes_out += now.bytes_out - before.bytes_out
        total.bytes_in += now.bytes_in - before.bytes_in
        self._counted = now

    def _lose(self, error: Broken | Rejected) -> tuple[str, Quality]:
        """Tell whoever waits that the line is lost."""
        if not self._lost.done():
            quality = error.quality if isinstance(error, Broken) else BAD_COMMUNICATION_ERROR
            self._lost.set_result((str(error), quality))
        return self._lost.result()

    async def wait(self, until: float | None) -> None:
        """Wait until that time of the loop's clock. Raises ConnectionLost once the line is lost."""
        delay = None if until is None else until - asyncio.get_running_loop().time()
        if delay is None or delay > 0:
            await asyncio.wait((self._lost,), timeout=delay)
        if self._lost.done():
            raise ConnectionLost(*self._lost.result())

    def drop(self) -> None:
        """Give the line up: `hang_up` will not take leave then."""
        self._lose(Broken("the connection was closed by this side", BAD_CONNECTION_CLOSED))

    async def hang_up(self) -> None:
        """Take leave where somebody is there, and end the thread."""
        try:
            if not self._lost.done():
                with suppress(Broken, Rejected, Busy, TimeoutError):
                    async with asyncio.timeout(FAREWELL):
                        await self._work(lambda: self._link.farewell(FAREWELL), FAREWELL)
        finally:
            await self._worker.stop()
