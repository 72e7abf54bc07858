"""The line to one controller: a client and its connections, each of which serves one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from sources.errors import ConnectionLost, Unreachable
from sources.ethernetip import changes, reading, writing
from sources.ethernetip.bindings import Bindings, Wanted, bind, wanted
from sources.ethernetip.client import LARGE, SMALL, Client, dial
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.device import Device
from sources.ethernetip.failures import Broken, NotSent, Rejected
from sources.ethernetip.lane import Lane
from sources.ethernetip.plan import Limits, Located, Packet, plan
from sources.ethernetip.reading import Answer
from sources.ethernetip.symbols import SymbolTable
from sources.ethernetip.uploader import upload
from sources.turns import Turns

T = TypeVar("T")

_SIZES: Final = {"auto": (LARGE, SMALL), "large": (LARGE,), "small": (SMALL,)}
_FEW: Final = 16
"""So many tags are planned for at once; more beside the loop, for it takes a while."""
_UPLOADS: Final = 3
"""So many times an upload is begun again because the program changed meanwhile."""


class NothingSent(ConnectionLost):
    """The connection was lost before the request went out: the controller cannot have seen it."""


class Survey(NamedTuple):
    """An upload: the tags, None where the controller gives no list, and the counters that belong to them.

    ``of`` is what of the controller it was to bring.
    """

    table: SymbolTable | None
    guard: bytes
    of: Wanted


class Track:
    """One connection, and whose turn it is on it (``turns``); commands go before scans."""

    def __init__(self, lane: Lane) -> None:
        self.turns = Turns()
        self.lane = lane

    async def read(self, packet: Packet, limits: Limits) -> Answer:
        """Read a packet; the caller holds the turn. Raises ConnectionLost."""
        try:
            return await reading.read_packet(self.lane, packet, limits)
        except Broken as error:
            raise ConnectionLost(str(error), error.quality) from None

    async def write(
        self, commands: Sequence[writing.Command], limits: Limits
    ) -> list[writing.Refusal | None]:
        """Write values in order; the caller holds the turn. Raises ConnectionLost and NothingSent."""
        before = self.lane.sent
        try:
            return await writing.write_all(self.lane, commands, limits)
        except Broken as error:
            kind = NothingSent if self.lane.sent == before else ConnectionLost
            raise kind(str(error), error.quality) from None

    async def counters(self) -> bytes:
        """What the program's counters say now, empty where there are none. Raises ConnectionLost."""
        async with self.turns.turn(urgent=False):
            try:
                return changes.state_of(await self.lane.exchange(changes.REQUEST))
            except Broken as error:
                raise ConnectionLost(str(error), error.quality) from None


class Line:
    """What a session has of a controller. Commands take the first track, a scan takes all."""

    def __init__(self, device: Device, client: Client) -> None:
        self.tracks = [Track(lane) for lane in client.lanes]
        self._device = device
        self._client = client
        self._limits = Limits(self.first.lane.size, not device.is_micro800)

    @property
    def first(self) -> Track:
        """The track of commands."""
        return self.tracks[0]

    @property
    def limits(self) -> Limits:
        """What one packet may hold. Its guard is empty where there are no counters, or they have changed."""
        return self._limits

    def lacks_multiple(self) -> None:
        """The controller does not take several services in one request."""
        self._limits = self._limits._replace(multiple=False)

    def set_guard(self, guard: bytes) -> None:
        """From now on the program's counters must say this; empty where there is nothing to hold them to."""
        self._limits = self._limits._replace(guard=guard)

    async def survey(self) -> Survey:
        """Upload the controller's tags. Raises Unreachable, and ConnectionLost where this line is lost.

        The counters are the same before and after: the tags are those of one program.
        """
        for _ in range(_UPLOADS):
            before = await self.first.counters()
            names = wanted(self._device.tags)
            table = await self._upload(names)
            if before == await self.first.counters():
                return Survey(table, before, names)
        raise Unreachable("the controller's program changed during each of several uploads of its tags")

    async def _upload(self, names: Wanted) -> SymbolTable | None:
        device = self._device
        try:
            return await upload(
                device.name,
                device.settings,
                self._client.host,
                device.workers,
                names,
                device.traffic,
            )
        except Rejected as error:
            device.no_list(str(error))
            return None

    async def bind(self, tags: Sequence[LogixTag], table: SymbolTable | None, of: Wanted) -> Bindings:
        """Find the places of tags."""
        return await _aside(lambda: bind(tags, table, of), len(tags))

    async def plan(self, located: Sequence[Located], alone: frozenset[str], limits: Limits) -> list[Packet]:
        """Packets that read these."""
        return await _aside(lambda: plan(located, limits, alone), len(located))

    def on_loss(self, tell: Callable[[], None]) -> None:
        """Have somebody told when the line is lost."""
        self._client.listeners.append(tell)

    def check(self) -> None:
        """Raise ConnectionLost where the line is lost."""
        try:
            self._client.ready()
        except NotSent as error:
            raise ConnectionLost(str(error), error.quality) from None


async def connect(device: Device) -> tuple[Client, Line]:
    """Dial a controller, see who it is, and open its connections; the client is the caller's to close.

    Raises Unreachable.
    """
    settings = device.settings
    try:
        client = await dial(device.resolver, settings.timeout, device.traffic)
    except Broken as error:
        raise Unreachable(str(error)) from None
    try:
        near = await client.list_identity()
        route = "" if near.is_micro800 else settings.path
        device.meet(await client.identify(route))
        await client.open(route, _SIZES[settings.connection], settings.connections)
    except (Broken, Rejected) as error:
        await client.close()
        raise Unreachable(str(error)) from None
    except BaseException:
        client.drop()
        await client.close()
        raise
    return client, Line(device, client)


async def _aside(work: Callable[[], T], size: int) -> T:
    """Compute something, beside the loop where it is much."""
    if size <= _FEW:
        return work()
    return await asyncio.get_running_loop().run_in_executor(None, work)
