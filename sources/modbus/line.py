"""The line to a device, a gateway or several devices: its links, who may ask next, whether it stands.

Three things that one device alone would not need:

`Gateway` is what sources at one address have in common over all connections. The first to
connect dials, the last to leave hangs up.
`Line` is what stands meanwhile: the links, and the slots on them.
`Unit` is one source's view of it. A unit falls silent by itself; the line is lost when all
who are on it have.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final, TypeAlias
from weakref import WeakSet, WeakValueDictionary

from sources.errors import ConnectionLost, SourceError, Unreachable
from sources.insight import Traffic
from sources.modbus import codec
from sources.modbus.codec import Request
from sources.modbus.config import ModbusSettings
from sources.modbus.dial import dial
from sources.modbus.exchange import Awaited, Exchange, NoReply, NotSent
from sources.modbus.link import Link
from sources.modbus.slots import Slots
from sources.quality import BAD_CONNECTION_CLOSED, BAD_TIMEOUT, Quality
from sources.resolve import Resolver

log = logging.getLogger(__name__)

SILENT_LIMIT: Final = 2
"""So many requests in a row without a reply, and a unit counts as lost."""

_PROBES_SHARE: Final = 20
"""On a line that carries one request at a time, asking for the dead takes one part in so many of it."""

_SETTLE: Final = 0.05
"""Seconds after the calls in which a device that takes fewer connections closes those beyond."""

_LINE_KEYS: Final = (
    "transport",
    "host",
    "port",
    "device",
    "baud",
    "parity",
    "stop_bits",
    "data_bits",
    "ca",
    "certificate",
    "key",
    "key_password",
    "server_name",
    "connections",
    "pipeline",
)

Loss: TypeAlias = tuple[str, Quality]
"""Why something is lost: for people, and as a StatusCode."""


class Line:
    """One or more connections, and so many requests in flight on each. Whoever asks holds a slot."""

    def __init__(self, settings: ModbusSettings) -> None:
        self.slots: Slots
        """There once it is dialled: it depends on how many connections the device takes."""
        self.loss: Loss | None = None
        """Why the line is lost, or None while it stands."""
        self.missing = ""
        """Why it stands on fewer connections than it was to."""
        self.units: set[Unit] = set()
        self.is_numbered = not settings.is_unnumbered
        self._settings = settings
        self._silent: set[int] = set()
        """The units that have not answered since the last reply of any."""
        self._links: list[Link] = []
        self._dialling = False

    async def dial(self, resolver: Resolver) -> None:
        """Connect. Raises Unreachable or Refused with the cause.

        A device that takes fewer connections, and closes the others or does not take the call,
        is asked over those that stand: `missing` says why they are not all.
        """
        wanted = self._settings.connections
        self._dialling = True
        try:
            for _ in range(wanted):
                self._links.append(await dial(self._settings, self, resolver))
        except SourceError as error:
            if not any(link.stands for link in self._links):
                raise
            self.missing = str(error)
        if wanted > 1:
            await asyncio.sleep(_SETTLE)
        self._links = [link for link in self._links if link.stands]
        self._dialling = False
        if not self._links:
            raise Unreachable(self.missing)
        self.slots = Slots(len(self._links) * self._settings.pipeline)

    @property
    def connections(self) -> int:
        """How many it stands on."""
        return len(self._links)

    def close(self) -> None:
        """Hang up; whoever waits for a reply gets ConnectionLost."""
        self._dialling = False
        self.lost("the connection was closed by this side", BAD_CONNECTION_CLOSED)

    def render(self, request: Request) -> bytes:
        """The bytes of a request, made once for `Exchange.frame`."""
        return self._links[0].render(request)

    def send(self, exchange: Exchange, patience: float) -> None:
        """Send a request; the line stands."""
        links = self._links
        link = links[0] if len(links) == 1 else min(links, key=_in_flight)
        link.ask(exchange, patience)

    def heard(self) -> None:
        """A reply came, whoever it is from: the line is alive."""
        if self._silent:
            self._silent.clear()

    def silent(self, unit: int) -> bool:
        """A unit has not answered; True where nobody on the line has since the last reply."""
        self._silent.add(unit)
        return all(its.number in self._silent for its in self.units)

    def lost(self, reason: str, quality: Quality) -> None:
        """See Watcher: without one of its links the line is lost, once it has been dialled."""
        if self._dialling:
            self.missing = reason
            return
        if self.loss is not None:
            return
        self.loss = reason, quality
        # First the units: who loses a reply gives its slot to another, who must not ask here any more.
        for unit in tuple(self.units):
            unit.lost(self.loss)
        for link in self._links:
            link.close(reason, quality)


def _in_flight(link: Link) -> int:
    return link.in_flight


class Unit:
    """One unit of a line.

    ``patience`` is how long the next reply may take, in seconds: the source's timeout,
    unless lowered after a request that was not answered; a reply restores it.
    """

    def __init__(self, line: Line, settings: ModbusSettings, traffic: Traffic, *, shared: bool) -> None:
        """What goes over the line is added to ``traffic``; ``shared``: others are on the line."""
        self.number = settings.unit
        self.slots = line.slots
        self.traffic = traffic
        self.patience = settings.timeout
        self.silent = 0
        """How many requests in a row have had no reply."""
        self.loss: Loss | None = line.loss
        """Why it is lost, or None."""
        self.on_loss: Callable[[], None] | None = None
        """Called once, when it is lost."""
        self._line = line
        self._timeout = settings.timeout
        self._shared = shared

    def render(self, request: Request) -> bytes:
        """The bytes of a request, made once for `Exchange.frame`."""
        return self._line.render(request)

    def send(self, exchange: Exchange) -> None:
        """Send a request; the caller holds a slot, and nothing is lost."""
        self._line.send(exchange, self.patience)

    async def exchange(self, request: Request) -> bytes:
        """Send a request and return the reply's PDU. The caller holds a slot.

        Raises NoReply, MalformedReply, ConnectionLost once the unit is lost, by too many
        requests without a reply, a broken frame or the peer, and NotSent where it was lost before.
        """
        if self.loss is not None:
            raise NotSent(*self.loss)
        asked = Awaited(request, self.render(request), self.traffic)
        self.send(asked)
        try:
            reply = await asked.reply
        except NoReply as error:
            raise self.unanswered(error) from None
        self.heard()
        return reply

    def heard(self) -> None:
        """A reply came."""
        self._line.heard()
        if self.silent:
            self.silent = 0
            self.patience = self._timeout

    def unanswered(self, error: NoReply) -> NoReply | ConnectionLost:
        """A request was not answered; what that means."""
        self.silent += 1
        all_silent = self._line.silent(self.number)
        if self.silent >= SILENT_LIMIT:
            loss = f"no reply to {self.silent} requests in a row", BAD_TIMEOUT
            if all_silent:
                self._line.lost(*loss)
            else:
                self.lost((f"unit {self.number} is silent: {loss[0]}", BAD_TIMEOUT))
        if self.loss is not None:
            return ConnectionLost(*self.loss)
        return NoReply(f"{error} within {self.patience:g} s")

    def absent(self, error: codec.DeviceException) -> None:
        """A gateway says that it does not reach the unit.

        Where others share it that counts as silence, for each such request takes the
        gateway's time for everybody.
        """
        self._line.heard()
        if not self._shared:
            return
        self.silent += 1
        if self.silent >= SILENT_LIMIT:
            self.lost((f"unit {self.number}: {error}", error.read_quality))

    def lost(self, loss: Loss) -> None:
        """This unit, or the line with it, is lost."""
        if self.loss is None:
            self.loss = loss
            if self.on_loss is not None:
                self.on_loss()

    async def probe(self, request: Request) -> None:
        """Ask whether the unit is there. Raises Unreachable.

        Where replies are numbered the question goes beside those of others, so that a dead
        unit holds nobody up.
        """
        asked = Awaited(request, self.render(request), self.traffic)
        try:
            if self._line.is_numbered:
                self.send(asked)
                reply = await asked.reply
            else:
                async with self.slots.patient():
                    if self.loss is not None:
                        asked.failed(ConnectionLost(*self.loss))
                    else:
                        self.send(asked)
                    reply = await asked.reply
        except NoReply:
            self._line.silent(self.number)
            raise Unreachable(f"unit {self.number} does not answer") from None
        except codec.MalformedReply:
            return
        except ConnectionLost as error:
            raise Unreachable(str(error)) from None
        self._line.heard()
        try:
            codec.check(request, reply)
        except codec.DeviceException as error:
            if error.code in codec.UNREACHED:
                raise Unreachable(f"unit {self.number}: {error}") from None
        except codec.MalformedReply:
            pass  # it is there, and the scan will tell what is wrong with it


class Gateway:
    """What sources at one address share. It holds no connection between connections."""

    _all: ClassVar[WeakValueDictionary[tuple[Any, ...], Gateway]] = WeakValueDictionary()

    def __init__(self, settings: ModbusSettings) -> None:
        self._settings = settings
        self._resolver = Resolver(settings.host, settings.port)
        self._members: WeakSet[object] = WeakSet()
        self._line: Line | None = None
        self._dialling = asyncio.Lock()
        self._calls = 0
        self._failure: tuple[int, SourceError] | None = None
        """The last call that failed, by its number."""
        self._dead: set[int] = set()
        """Units that did not answer when they last were asked."""
        self._no_probe_before = 0.0
        self._taken = settings.connections
        """How many connections the device took when last dialled."""

    @classmethod
    def of(cls, settings: ModbusSettings, member: object) -> Gateway:
        """The gateway of these settings; ``member`` is the source that shares it, as long as it lives."""
        key = tuple(getattr(settings, name) for name in _LINE_KEYS)
        found = cls._all.get(key)
        if found is None:
            found = cls._all[key] = cls(settings)
        found._members.add(member)
        return found

    @asynccontextmanager
    async def unit(
        self, settings: ModbusSettings, traffic: Traffic, question: Request | None = None
    ) -> AsyncIterator[Unit]:
        """A unit on a line that stands. Raises Unreachable or Refused.

        What is sent and received is added to ``traffic``. ``question`` is what a unit that
        shares the line is asked first.
        """
        line = await self._connected()
        unit = Unit(line, settings, traffic, shared=len(self._members) > 1)
        line.units.add(unit)
        try:
            if question is not None and len(self._members) > 1:
                await self._probe(line, unit, question)
            yield unit
        finally:
            line.units.discard(unit)
            unit.lost(("the connection was closed by this side", BAD_CONNECTION_CLOSED))
            if not line.units:
                line.close()
                await asyncio.sleep(0)  # the loop closes its sockets a turn later

    async def _connected(self) -> Line:
        """The line, dialled unless it stands. Who waited while a call failed is told the same."""
        asked = self._calls - self._dialling.locked()
        async with self._dialling:
            if self._line is not None and self._line.loss is None:
                return self._line
            if self._failure is not None and self._failure[0] > asked:
                raise type(self._failure[1])(str(self._failure[1]))
            self._calls += 1
            line = Line(self._settings)
            try:
                await line.dial(self._resolver)
            except SourceError as error:
                self._failure = self._calls, error
                line.close()
                raise
            except BaseException:
                line.close()
                raise
            self._line = line
            self._tell(line)
            return line

    def _tell(self, line: Line) -> None:
        """Say once that the device takes fewer connections than configured."""
        settings, taken = self._settings, line.connections
        if taken < settings.connections and taken != self._taken:
            log.warning(
                "%s: the device takes %d of %d connections (%s) and is read over those; set connections: %d",
                settings.address,
                taken,
                settings.connections,
                line.missing,
                taken,
            )
        self._taken = taken

    async def _probe(self, line: Line, unit: Unit, question: Request) -> None:
        """Ask a unit before it is scanned; the dead seldom, where it takes the time of the others."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        if not line.is_numbered and unit.number in self._dead and begun < self._no_probe_before:
            raise Unreachable(f"unit {unit.number} did not answer; it is asked again when the line has time")
        try:
            await unit.probe(question)
        except Unreachable:
            self._dead.add(unit.number)
            self._no_probe_before = clock() + _PROBES_SHARE * (clock() - begun)
            raise
        self._dead.discard(unit.number)
