"""What a server is and has: its identity, and the variables below a node with their types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sources.errors import AddressError
from sources.opcua.address import OpcUaAddress, parse_address
from sources.opcua.config import DownstreamSettings
from sources.opcua.connection import Connection, chunks, connect
from sources.opcua.security import Surroundings
from sources.opcua.stack import local, status_name, text, ua

_BUILD_INFO: Final = {
    "product": 2261,
    "product_uri": 2262,
    "manufacturer": 2263,
    "version": 2264,
    "build": 2265,
}
"""By their numbers in namespace 0 (OPC 10000-5 §6.3.5)."""
_OBJECTS, _SERVER = 85, 2253
_OBJECT, _VARIABLE, _METHOD = 1, 2, 4
_AT_ONCE: Final = 200
"""Nodes whose references and attributes are asked for together: the progress moves that often."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who made the server, what it calls itself, and which namespaces it has."""

    product: str = ""
    product_uri: str = ""
    manufacturer: str = ""
    version: str = ""
    build: str = ""
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundVariable:
    """A variable. ``address`` is what a configuration says of it; ``path`` the names that lead to it.

    ``type`` is the name of its DataType; ``built_in`` that of what its values are encoded as, empty where
    several are. ``rank`` is the ValueRank: -1 for a scalar.
    """

    address: str
    path: tuple[str, ...]
    type: str
    built_in: str
    rank: int
    writable: bool
    description: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was found; ``complete`` is False where there was more than was asked for."""

    identity: Identity
    variables: tuple[FoundVariable, ...]
    complete: bool


Found = Callable[[int, int], None]
"""Told how many variables were found, and how many nodes are still to be looked at."""


async def browse(
    settings: DownstreamSettings,
    surroundings: Surroundings | None = None,
    *,
    below: str = "i=85",
    most: int = 100_000,
    found: Found = lambda _found, _left: None,
) -> Inventory:
    """Connect and list. ``below`` is an address as a binding has it; the Objects folder, without the Server.

    Raises AddressError where there is no such node, Unreachable, Refused and ConnectionLost.
    """
    start = parse_address(below)
    connection = await connect(settings, surroundings or Surroundings())
    try:
        identity = await identify(connection)
        walk = _Walk(connection, most, found)
        await walk.run(await _start(connection, start))
        return Inventory(identity, tuple(walk.variables), walk.complete)
    finally:
        await connection.end()


async def identify(connection: Connection) -> Identity:
    """What a server says of itself. Raises ConnectionLost."""
    values = await connection.read(
        [(ua.NodeId(number), ua.AttributeIds.Value) for number in _BUILD_INFO.values()]
    )
    texts = {
        name: text(data.Value.Value) if data.Value is not None and isinstance(data.Value.Value, str) else ""
        for name, data in zip(_BUILD_INFO, values, strict=True)
    }
    return Identity(**texts, namespaces=connection.namespaces)


async def _start(connection: Connection, start: OpcUaAddress) -> Any:
    (node,) = await connection.resolve([start])
    if isinstance(node, str):
        raise AddressError(f"{start}: {node}; see what there is without --below")
    (known,) = await connection.read([(node, ua.AttributeIds.NodeClass)])
    status = int(known.StatusCode.value) if known.StatusCode is not None else 0
    if status & 0x80000000:
        raise AddressError(f"{start}: the server has no such node ({status_name(status)})")
    return node


class _Walk:
    """A walk over everything below a node, each node once."""

    def __init__(self, connection: Connection, most: int, found: Found) -> None:
        self._connection = connection
        self._most = most
        self._found = found
        self._types: dict[Any, tuple[str, str]] = {}
        self.variables: list[FoundVariable] = []
        self.complete = True

    async def run(self, start: Any) -> None:
        seen = {start}
        if start == ua.NodeId(_OBJECTS):
            seen.add(ua.NodeId(_SERVER))
        waiting: list[tuple[Any, tuple[str, ...]]] = [(start, ())]
        while waiting and self.complete:
            part, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            lists = await self._connection.browse(
                [node for node, _ in part], NodeClassMask=_OBJECT | _VARIABLE
            )
            variables: list[tuple[Any, tuple[str, ...]]] = []
            for (_, path), references in zip(part, lists, strict=True):
                for reference in references:
                    node = local(reference.NodeId)
                    if node is None or node in seen:
                        continue
                    seen.add(node)
                    here = (*path, text(reference.BrowseName.Name))
                    waiting.append((node, here))
                    if reference.NodeClass == ua.NodeClass.Variable:
                        variables.append((node, here))
            await self._describe(variables)
            self._found(len(self.variables), len(waiting))

    async def _describe(self, variables: Sequence[tuple[Any, tuple[str, ...]]]) -> None:
        attributes = (
            ua.AttributeIds.DataType,
            ua.AttributeIds.ValueRank,
            ua.AttributeIds.UserAccessLevel,
            ua.AttributeIds.Description,
        )
        for part in chunks(variables, _AT_ONCE):
            data = await self._connection.read([(node, one) for node, _ in part for one in attributes])
            for index, (node, path) in enumerate(part):
                if len(self.variables) == self._most:
                    self.complete = False
                    return
                kind, rank, level, description = map(_value, data[4 * index : 4 * index + 4])
                name, built_in = await self._type(kind)
                self.variables.append(
                    FoundVariable(
                        self._connection.address(node),
                        path,
                        name,
                        built_in,
                        rank if isinstance(rank, int) else -1,
                        bool(isinstance(level, int) and level & 2),
                        text(getattr(description, "Text", "")),
                    )
                )

    async def _type(self, kind: Any) -> tuple[str, str]:
        """Name and built-in type of a DataType, looked up once."""
        if not isinstance(kind, ua.NodeId):
            return "", ""
        known = self._types.get(kind)
        if known is None:
            (name,) = await self._connection.read([(kind, ua.AttributeIds.BrowseName)])
            number = await self._connection.built_in(kind)
            known = self._types[kind] = (
                text(getattr(_value(name), "Name", "")),
                ua.VariantType(number).name if number else "",
            )
        return known


def _value(data: Any) -> Any:
    return data.Value.Value if data.Value is not None else None
