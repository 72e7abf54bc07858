"""Writes and calls in one name: of tags, of imported nodes and methods."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from sources.asking import Asker
from sources.errors import ConnectionLost, Denied, Unreachable
from sources.opcua.channel import FORWARDED, ServiceError
from sources.opcua.config import OpcUaTag
from sources.opcua.connection import Connection
from sources.opcua.fit import to_device
from sources.opcua.identities import Identities
from sources.opcua.identity import Credentials
from sources.opcua.importing import Importing
from sources.opcua.imports import CallResult
from sources.opcua.kept import Device
from sources.opcua.stack import status_name, ua
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TYPE_MISMATCH,
    BAD_USER_ACCESS_DENIED,
    Quality,
)
from sources.tag import Part, Tag, Written

log = logging.getLogger(__name__)

_TOO_MANY: Final = 0x80100000
_SESSION_OVER: Final = frozenset(
    {
        "BadSessionIdInvalid",
        "BadSessionClosed",
        "BadSessionNotActivated",
        "BadSecureChannelIdInvalid",
        "BadSecureChannelClosed",
    }
)
"""What a server says of a request of a session it knows no longer: it was not carried out."""


class Acting:
    """See `sources.asking.Way` and `sources.opcua.imports.Hand`."""

    def __init__(self, device: Callable[[], Device], identities: Identities, asker: Asker) -> None:
        """``device`` gives what is known of the server now: its tags may be replaced meanwhile.

        Raises Denied for whom nothing is sent.
        """
        self._device = device
        self._identities = identities
        self._asker = asker
        self._who: Credentials | None = identities.of(asker)
        """None for the source's own user."""

    @property
    def acts_as(self) -> str:
        """``service:`` and the source's own user; ``user:`` or ``certificate:`` and another."""
        own = self._device().settings.user or "anonymous"
        return f"service:{own}" if self._who is None else str(self._who)

    async def ready(self) -> None:
        """See Way."""
        self._check()
        if self._who is None:
            self._identities.own()
        else:
            await self._identities.ready(self._who)

    def _check(self) -> None:
        """What was recorded is what happens. Raises Denied where the configuration has changed meanwhile."""
        if self._identities.of(self._asker) != self._who:
            raise Denied(
                f"{self._asker.user} has another identity at {self._device().name} since it was asked",
                BAD_USER_ACCESS_DENIED,
            )

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """See Way."""
        with self._session() as connection:
            own = self._identities.own()
            names = own.namespaces

            def still() -> None:
                self._check()
                if own.namespaces != names:
                    raise Unreachable(f"{self._device().name}: its namespaces have changed meanwhile")

            codes: list[Quality] = []
            for tag, value in pairs:
                try:
                    code = await write_tag(self._device(), connection, tag, value, still)
                except (Unreachable, Denied) as error:
                    if isinstance(error, Unreachable):
                        await self._forsake(connection, error)
                    if not codes:
                        raise
                    code = error.quality if isinstance(error, Denied) else BAD_NOT_CONNECTED
                codes.append(await self._judged(connection, code))
            return codes

    async def write_node(self, node: bytes, variant: bytes) -> Quality:
        """See Hand."""
        importing = self._importing()
        with self._session() as connection:
            return await self._judged(connection, await importing.write(connection, node, variant))

    async def call_method(self, holder: bytes, method: bytes, inputs: Sequence[bytes]) -> CallResult:
        """See Hand."""
        importing = self._importing()
        with self._session() as connection:
            result = await importing.call(connection, holder, method, inputs)
            return replace(result, status=await self._judged(connection, result.status))

    def _importing(self) -> Importing:
        importing = self._device().importing
        if importing is None or importing.connection is None:
            raise Unreachable(f"{self._device().name} is not connected")
        return importing

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        self._check()
        own = self._identities.own()
        if self._who is None:
            yield own
        else:
            with self._identities.session(self._who) as connection:
                yield connection

    async def _judged(self, connection: Connection, code: Quality) -> Quality:
        """A code of the session between the servers would tell the client something untrue of its own."""
        if status_name(code) not in _SESSION_OVER:
            return code
        await self._forsake(connection, status_name(code))
        return BAD_NOT_CONNECTED

    async def _forsake(self, connection: Connection, why: object) -> None:
        if self._who is not None:
            await self._identities.forsake(self._who, connection, why)


async def find_nodes(device: Device, connection: Connection, tags: Sequence[OpcUaTag]) -> list[Any | None]:
    """Each tag's NodeId in that session's names, None where the server has none. Raises ConnectionLost."""
    plan = device.plan
    if (
        plan is not None
        and plan.namespaces == connection.namespaces
        and all(id(tag) in plan.nodes for tag in tags)
    ):
        return [plan.nodes[id(tag)] for tag in tags]
    found = await connection.resolve([tag.address for tag in tags])
    return [None if isinstance(node, str) else node for node in found]


def _nothing() -> None:
    pass


async def write_tag(
    device: Device,
    connection: Connection,
    tag: OpcUaTag,
    value: Written,
    still: Callable[[], None] = _nothing,
) -> Quality:
    """Write over a session, once. The device's codes pass untouched.

    ``still`` is called when all is looked up, right before it is sent, and raises where it is not to be.
    Raises Unreachable where nothing was sent, ConnectionLost where nobody knows what was done.
    """
    if not tag.writable:
        return BAD_NOT_WRITABLE
    names = connection.namespaces
    try:
        (node,) = await find_nodes(device, connection, (tag,))
        if node is None:
            return BAD_CONFIGURATION_ERROR
        kind = await _kind(device, connection, tag, node)
    except ConnectionLost as lost:
        raise Unreachable(str(lost)) from None  # of the looking: nothing was written
    part = value if isinstance(value, Part) else None
    variant = to_device(value.values if isinstance(value, Part) else value, kind)
    if variant is None:
        log.info("%s: %r is no value for %s", device.name, value, tag.address)
        return BAD_TYPE_MISMATCH
    if connection.namespaces != names:
        raise Unreachable(f"{device.name}: its namespaces changed while {tag.address} was looked for")
    still()
    return await _forward(device, connection, node, variant, tag.name, part)


async def _forward(  # what to whom, and of it what part
    device: Device, connection: Connection, node: Any, variant: Any, what: str, part: Part | None
) -> Quality:
    """Write a Variant to a node or to a part of it, once.

    Raises Unreachable where nothing was sent, ConnectionLost where nobody knows what was done.
    """
    request = ua.WriteRequest()
    request.Parameters.NodesToWrite = [
        ua.WriteValue(
            NodeId=node,
            AttributeId=ua.AttributeIds.Value,
            IndexRange=None if part is None else part.index_range,
            Value=ua.DataValue(Value=variant),
        )
    ]
    channel = connection.channel
    try:
        future = channel.send(request, device.settings.timeout, most=FORWARDED)
    except ServiceError as error:
        return BAD_RESOURCE_UNAVAILABLE if error.code == _TOO_MANY else error.code
    except ConnectionLost as lost:
        raise Unreachable(str(lost)) from None
    try:
        response = await channel.outcome(future, request, ua.WriteResponse)
    except ServiceError as error:
        return error.code
    except ConnectionLost as lost:
        raise ConnectionLost(
            f"{lost}, after writing {what}: it may have been carried out", lost.quality
        ) from None
    codes = [int(code.value) for code in response.Results or []]
    if len(codes) != 1:
        raise ConnectionLost(
            f"the answer to a Write is not one, after writing {what}: it may have been carried out",
            BAD_COMMUNICATION_ERROR,
        )
    return codes[0]


async def _kind(device: Device, connection: Connection, tag: OpcUaTag, node: Any) -> int:
    """The built-in type the device has for a tag: as it was last seen, or else looked up."""
    plan = device.plan
    for subscription in plan.subscriptions if plan is not None else ():
        for place, other in enumerate(subscription.tags):
            if other is tag and subscription.kinds[place]:
                return subscription.kinds[place]
    value, kind = await connection.read([(node, ua.AttributeIds.Value), (node, ua.AttributeIds.DataType)])
    if value.Value is not None and value.Value.VariantType.value:
        return int(value.Value.VariantType.value)
    if kind.Value is not None and isinstance(kind.Value.Value, ua.NodeId):
        return await connection.built_in(kind.Value.Value) or tag.type.value
    return tag.type.value
