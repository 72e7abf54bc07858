"""Imported nodes over one connection: found, named, their values taken, writes and calls forwarded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from sources.errors import ConnectionLost, Unreachable
from sources.opcua import wire
from sources.opcua.address import OpcUaAddress
from sources.opcua.beside import Turns, beside_if_long
from sources.opcua.channel import FORWARDED, ServiceError
from sources.opcua.config import DownstreamSettings
from sources.opcua.connection import Connection, chunks
from sources.opcua.imports import CallResult, Device, Mirror, Model, Wanted, own_uri, their_uri
from sources.opcua.mapping import Layout, Mapper, Unmappable
from sources.opcua.moving import moved_beside
from sources.opcua.reading import read_raw
from sources.opcua.room import Room
from sources.opcua.stack import Buffer, binary, decode_variant, ua
from sources.opcua.walk import Walk
from sources.opcua.wire import Raw
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_NOT_CONNECTED,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TYPE_MISMATCH,
    Quality,
    is_bad,
)

log = logging.getLogger(__name__)

MAX_NAMESPACES: Final = 100
"""That one device may add to the server's: each stays for ever, by its index."""
MAX_URI: Final = 512
"""Characters of one's URI."""
_BESIDE: Final = 64
"""Bytes of a value's handle, status and times, at most."""
_A_SLICE: Final = 500
"""Values taken in at once."""
_A_TURN: Final = 16 << 10
"""Bytes of values whose names are moved before others get a turn."""


class Importing:
    """The naming of one server, from one plan to the next; ``connection`` is there while there is one."""

    def __init__(self, device: Device, settings: DownstreamSettings, mirror: Mirror) -> None:
        self._device = device
        self._settings = settings
        self._mirror = mirror
        self.connection: Connection | None = None
        self._spaces: set[str] = set()
        """Namespaces of the device that are named here, over all connections."""
        self.forget()

    def forget(self) -> None:
        """Name everything anew: the namespaces of a server may have changed."""
        self._layouts: dict[bytes, Layout] = {}
        self._layouts_here: dict[bytes, Layout] = {}
        self._theirs: dict[int, int] = {0: 0}
        # By the index here, the index there.
        self._names = self.connection.namespaces if self.connection is not None else None
        """The device's namespaces as all of this names them; None before anything is named."""
        name, given = self._device.name, self._settings.namespaces
        self._mapper = Mapper(self._here, self._layouts, lambda uri: own_uri(uri, name, given))
        self._back = Mapper(self._theirs.get, self._layouts_here, lambda uri: their_uri(uri, name, given))
        self._told: set[str] = set()
        self._room = Room(self._settings.import_mib << 20)
        self._sizes: dict[bytes, int] = {}
        """Of values, by the keys of their variables here."""
        self._lacking: list[OpcUaAddress] = []
        self._objects: dict[bytes, bytes] = {}
        """What a chosen method is called on, by its key here: what holds it here the device does not know."""

    def gone(self, quality: Quality) -> None:
        """The connection is no more: what was imported is marked."""
        self.connection = None
        self._mirror.lose(self._device, quality)

    def missed(self) -> None:
        """There was no connection to be had."""
        self._mirror.miss(self._device)

    @property
    def _holds(self) -> bool:
        """Whether the device has the namespaces that this was named by: else it is soon named anew.

        Until then its indexes are other namespaces' than here is known, and nothing goes by them.
        """
        return self._live().namespaces == self._named_by()

    def _named_by(self) -> tuple[str, ...]:
        if self._names is None:
            self._names = self._live().namespaces
        return self._names

    def _here(self, there: int) -> int | None:
        names = self._named_by()
        if there >= len(names) or names.index(names[there]) != there:
            return None
        if names[there] not in self._spaces:
            if len(self._spaces) >= MAX_NAMESPACES or len(names[there]) > MAX_URI:
                self._tell(
                    f"more than {MAX_NAMESPACES} namespaces, or a URI of more than {MAX_URI} characters: "
                    "nodes of the others are left out"
                )
                return None
            self._spaces.add(names[there])
        uri = own_uri(names[there], self._device.name, self._settings.namespaces)
        here = self._mirror.index(uri)
        self._theirs[here] = there
        return here

    def _live(self) -> Connection:
        if self.connection is None:
            raise ConnectionLost("the connection is gone", BAD_NOT_CONNECTED)
        return self.connection

    async def run(self, wanted: Wanted) -> list[tuple[bytes, Any]]:
        """Carry one import out; its variables, by key here and NodeId there. Raises ConnectionLost."""
        connection = self._live()
        start = None
        if wanted.below is not None:
            (start,) = await connection.resolve([wanted.below])
            if isinstance(start, str):
                self._tell(f"nothing is imported below {wanted.holder}: {wanted.below}: {start}")
                self._lacking.append(wanted.below)
                start = None
        chosen = []
        for address, node in zip(wanted.nodes, await connection.resolve(wanted.nodes), strict=True):
            if isinstance(node, str):
                self._tell(f"{address} is not imported for {wanted.holder}: {node}")
                self._lacking.append(address)
            else:
                chosen.append((address, node))
        if start is None and not chosen:
            await self._mirror.show(self._device, Model(wanted.holder), {})
            return []
        room = self._room
        walk = Walk(connection, self._mapper, self._layouts, self._device.name, room, self._tell)
        walked = await walk.run(wanted, start, chosen)
        if not walked.model.nodes:
            where = wanted.below or "its nodes"
            self._tell(f"nothing is imported for {wanted.holder}: there is nothing at {where}")
        self._lacking += walked.missing
        self._sizes.update((key, len(raw.variant)) for key, raw in walked.values.items())
        self._objects |= walked.objects
        # With the layouts known, values that hold structures of the device's own can be read.
        self._layouts_here.clear()
        for number, (encoding, layout) in enumerate(self._layouts.items(), 1):
            if number % _A_SLICE == 0:
                await asyncio.sleep(0)
            with suppress(Unmappable):  # of a namespace that has no name here: no value of it comes this way
                self._layouts_here[self._mapper.node_id(encoding)] = layout
        if not self._holds:
            return []  # they were renamed meanwhile, and are walked again
        await self._mirror.show(self._device, walked.model, walked.values)
        return walked.watched

    def dismiss(self, wanted: Wanted) -> None:
        """Look no more for what an import lacks that is wanted no more."""
        there = {wanted.below, *wanted.nodes}
        self._lacking = [address for address in self._lacking if address not in there]

    @property
    def lacks(self) -> bool:
        """Whether the device did not have all that is imported."""
        return bool(self._lacking)

    async def came(self) -> bool:
        """Whether it has some of that by now. Raises ConnectionLost."""
        connection, wanted = self._live(), self._lacking
        nodes = [node for node in await connection.resolve(wanted) if not isinstance(node, str)]
        found = await read_raw(connection, [(node, int(ua.AttributeIds.NodeClass)) for node in nodes])
        return not all(is_bad(raw.status) for raw in found)

    def take(self, watched: Sequence[bytes], found: Iterable[tuple[int, Raw]]) -> None:
        """Take in what variables are without values, by their place among those that are watched."""
        count = len(watched)
        self._mirror.take(self._device, [(watched[place], raw) for place, raw in found if place < count])

    async def receive(self, watched: Sequence[bytes], found: Sequence[tuple[int, Raw]]) -> None:
        """Take values in, by their place among the variables that are watched; others get their turns."""
        count = len(watched)
        await self._receive([(watched[place], raw) for place, raw in found if place < count])

    async def _receive(self, found: Sequence[tuple[bytes, Raw]]) -> None:
        mapper, turns = self._mapper, Turns(_A_TURN)
        for part in chunks(found, _A_SLICE):
            values = []
            for key, raw in part:
                await turns.take(_BESIDE + len(raw.variant))
                values.append((key, await moved_beside(mapper, raw, self._tell)))
            if self.connection is None or mapper is not self._mapper or not self._holds:
                return  # what it holds is read again by the names of now
            self._mirror.take(self._device, [(key, self._held(key, raw)) for key, raw in values])

    def at_once(self, keys: Sequence[bytes]) -> int:
        """How many values of these variables, as they are, a message holds; 0 for all. Raises ConnectionLost.

        Not every server cuts its messages to what we take.
        """
        sizes = [self._sizes.get(key, 0) + _BESIDE for key in keys]
        most = self._live().channel.largest // 2
        return max(1, most // max(sizes)) if sum(sizes) > most else 0

    def _held(self, key: bytes, raw: Raw) -> Raw:
        """The value, or none where there is no room for it."""
        size, before = len(raw.variant), self._sizes.get(key, 0)
        if size == before:
            return raw
        self._sizes[key] = size
        if self._room.take(size - before):
            return raw
        self._sizes[key] = 0
        self._room.take(-before)
        self._tell(
            f"values are left out, for all together take more than import_mib: {self._settings.import_mib}; "
            "import a smaller part, or raise import_mib"
        )
        return Raw(b"", BAD_RESOURCE_UNAVAILABLE, raw.time)

    async def read(self, keys: Sequence[bytes]) -> None:
        """Read variables by their keys here, and take what they hold. Raises ConnectionLost."""
        if not self._holds:
            return  # it is read again by the names of now
        wanted = [(self._node(key), int(ua.AttributeIds.Value)) for key in keys]
        found = await read_raw(self._live(), wanted)
        await self._receive(list(zip(keys, found, strict=True)))

    def _tell(self, what: str) -> None:
        """Say a thing once a connection."""
        if what not in self._told and len(self._told) < 100:
            self._told.add(what)
            log.warning("%s: %s", self._device.name, what)

    async def write(self, over: Connection, node: bytes, variant: bytes) -> Quality:
        """See imports.Hand.write_node; over that session."""
        _, back = self._names_of(over)
        try:
            target, value = self._node(node, back), self._value(variant, back)
        except Unmappable as error:
            log.info("%s: not written: %s", self._device.name, error)
            return BAD_TYPE_MISMATCH
        request = ua.WriteRequest()
        request.Parameters.NodesToWrite = [
            ua.WriteValue(NodeId=target, AttributeId=ua.AttributeIds.Value, Value=ua.DataValue(Value=value))
        ]
        body = await self._once(over, request, "the write")
        if isinstance(body, int):
            return body
        try:
            response = await over.channel.decoded(request, ua.WriteResponse, body)
        except ServiceError as error:
            return error.code
        except ConnectionLost as lost:
            raise _perhaps(lost, "the write") from None
        codes = [int(code.value) for code in response.Results or []]
        if len(codes) != 1:
            raise ConnectionLost("the answer to a write is not one", BAD_COMMUNICATION_ERROR)
        return codes[0]

    async def call(
        self, over: Connection, holder: bytes, method: bytes, inputs: Sequence[bytes]
    ) -> CallResult:
        """See imports.Hand.call_method; over that session."""
        mapper, back = self._names_of(over)
        try:
            asked = ua.CallMethodRequest(
                ObjectId=self._object(holder, method, back),
                MethodId=self._node(method, back),
                InputArguments=[self._value(one, back) for one in inputs],
            )
        except Unmappable as error:
            log.info("%s: not called: %s", self._device.name, error)
            return CallResult(BAD_TYPE_MISMATCH)
        request = ua.CallRequest()
        request.Parameters.MethodsToCall = [asked]
        body = await self._once(over, request, "the call")
        if isinstance(body, int):
            return CallResult(body)
        try:
            result, called = await beside_if_long(wire.call_result, body)
        except wire.Malformed as error:
            raise _perhaps(ConnectionLost(f"the answer to Call is none: {error}"), "the call") from None
        if called is None:
            return CallResult(result)
        outputs = []
        for one in called.outputs:
            moved = await moved_beside(mapper, Raw(one, 0, 0), self._tell)
            outputs.append(moved.variant or b"\x00")
        return CallResult(called.status, outputs, called.arguments)

    def _names_of(self, over: Connection) -> tuple[Mapper, Mapper]:
        """To the names here and back, of a session that may have read other namespaces than the first.

        Raises Unreachable where nobody knows the way for the moment.
        """
        own, spaces = self._live(), over.namespaces
        if not self._holds:
            raise Unreachable(
                f"{self._device.name}: its namespaces have changed; its nodes are looked at again"
            )
        if spaces == own.namespaces:
            return self._mapper, self._back

        def here(there: int) -> int | None:
            index = own.index(spaces[there]) if there < len(spaces) else None
            return None if index is None else self._here(index)

        def there(here: int) -> int | None:
            index = self._theirs.get(here)
            return None if index is None else over.index(own.namespaces[index])

        name, given = self._device.name, self._settings.namespaces
        return (
            # The layouts are known by their names over the source's own session: structures are refused.
            Mapper(here, {}, lambda uri: own_uri(uri, name, given)),
            Mapper(there, self._layouts_here, lambda uri: their_uri(uri, name, given)),
        )

    async def _once(self, over: Connection, request: Any, what: str) -> bytes | Quality:
        """Send once; the answer, or the StatusCode it was refused with. Raises ConnectionLost."""
        channel = over.channel
        try:
            sent = channel.send(request, self._settings.timeout, most=FORWARDED)
        except ServiceError as error:
            return error.code
        except ConnectionLost:
            return BAD_NOT_CONNECTED
        try:
            return await channel.bytes_of(sent, request)
        except ServiceError as error:
            return error.code
        except ConnectionLost as lost:
            raise _perhaps(lost, what) from None

    def _object(self, holder: bytes, method: bytes, back: Mapper) -> Any:
        """What a method is called on there. Raises Unmappable."""
        try:
            return self._node(holder, back)
        except Unmappable:
            if method not in self._objects:
                raise
            return self._node(self._objects[method], back)

    def _node(self, key: bytes, back: Mapper | None = None) -> Any:
        return binary.nodeid_from_binary(Buffer((back or self._back).node_id(key)))

    def _value(self, variant: bytes, back: Mapper | None = None) -> Any:
        return decode_variant((back or self._back).variant(variant))


def _perhaps(lost: ConnectionLost, what: str) -> ConnectionLost:
    """Of what was sent, and nobody knows whether it was carried out."""
    return ConnectionLost(f"{lost}: {what} may have been carried out", lost.quality)
