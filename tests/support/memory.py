"""Nodes that no plant has, added to a running server: arrays, matrices, structures, methods, secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from unittest import mock

from asyncua import ua
from support.nodes import ANYBODY, OPERATOR, READ, SECRET, SHOWN
from support.opcua import Running, serving

import server.opcua.server as composition
from server.opcua.services.method import Methods
from server.opcua.sessions.session import Session
from server.opcua.space import encode
from server.opcua.space.node import Node
from server.opcua.space.permissions import Permission, Restriction, RolePermissions
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue
from server.opcua.types import AttributeIds, ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire import structs
from server.opcua.wire.nodeid import key, numeric
from server.opcua.wire.writer import localized_text, qualified_name

_READABLE, _WRITABLE, _STATUS, _TIME = 0x01, 0x02, 0x20, 0x40
_MAY_WRITE = RolePermissions(
    {
        ANYBODY: Permission.Browse | Permission.Read,
        OPERATOR: Permission.Browse | Permission.Read | Permission.Write | Permission.Call,
    }
)
_MAY_CALL = RolePermissions({ANYBODY: Permission.Browse | Permission.Read | Permission.Call})
_A = AttributeIds


def node_id(name: str) -> str:
    """The NodeId of one of these nodes."""
    return f"ns=1;s=memory/{name}"


def _variant(value: Any, kind: ua.VariantType, dimensions: tuple[int, ...] = ()) -> bytes:
    make = cast("Any", ua.Variant)
    return structs.encode_variant(
        make(value, kind, list(dimensions) or None, is_array=isinstance(value, list))
    )


@dataclass
class Memory:
    """The nodes, and what happened to their methods."""

    space: Space
    methods: Methods
    slow: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, it lets `Slow` end."""
    called: list[tuple[Any, ...]] = field(default_factory=list)

    def fill(self) -> None:
        space = self.space
        with space.changing():
            root = self._node("", 1, "Memory", {int(_A.EventNotifier): encode.byte(0)}, _MAY_CALL)
            space.link(space.number(ObjectIds.ObjectsFolder), space.number(ObjectIds.Organizes), root)
            space.link(root, space.number(ObjectIds.HasTypeDefinition), space.number(ObjectIds.FolderType))
            self._variables(root)
            self._methods(root)

    def _variables(self, root: Node) -> None:
        ids = ObjectIds
        kinds = ua.VariantType
        self._variable(root, "Numbers", ids.Int32, _variant(list(range(10)), kinds.Int32), 1, (0,))
        self._variable(root, "Three", ids.Int32, _variant([1, 2, 3], kinds.Int32), 1, (3,))
        matrix = _variant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], kinds.Double, (2, 3))
        self._variable(root, "Matrix", ids.Double, matrix, 2, (2, 3))
        self._variable(root, "Text", ids.String, _variant("Orange", kinds.String))
        self._variable(root, "Bytes", ids.ByteString, _variant(b"\x01\x02\x03\x04", kinds.ByteString))
        self._variable(root, "Number", ids.Number, _variant(1, kinds.Int16))
        self._variable(root, "Anything", ids.BaseDataType, _variant(1, kinds.Int16), -2)
        self._variable(root, "Flag", ids.Boolean, _variant(True, kinds.Boolean), level=_READABLE | _WRITABLE)
        self._variable(
            root, "Timed", ids.Int32, _variant(1, kinds.Int32), level=_READABLE | _WRITABLE | _STATUS | _TIME
        )
        self._variable(root, "WriteOnly", ids.Int32, _variant(1, kinds.Int32), level=_WRITABLE)
        unit = cast("Any", ua.EUInformation)("urn:units", 1, ua.LocalizedText("mm"))
        self._variable(root, "Unit", ids.EUInformation, _variant(unit, kinds.ExtensionObject))
        self._variable(root, "Secret", ids.Int32, _variant(1, kinds.Int32), permissions=SECRET)
        self._variable(root, "Shown", ids.Int32, _variant(1, kinds.Int32), permissions=SHOWN)
        self._variable(
            root,
            "Encrypted",
            ids.Int32,
            _variant(1, kinds.Int32),
            restrictions=int(Restriction.EncryptionRequired),
        )

    def _methods(self, root: Node) -> None:
        add = self._method(root, "Add", (("A", 6, -1), ("B", 6, -1)), (("Sum", 6, -1),))
        self.methods.add(add.key, self._add)
        total = self._method(root, "Total", (("Numbers", 11, 1),), (("Sum", 11, -1),))
        self.methods.add(total.key, self._total)
        slow = self._method(root, "Slow", (), ())
        self.methods.add(slow.key, self._wait)
        refuse = self._method(root, "Refuse", (), ())
        self.methods.add(refuse.key, self._refuse)
        operators = self._method(root, "ForOperators", (), (), permissions=_MAY_WRITE)
        self.methods.add(operators.key, self._nothing)
        off = self._method(root, "Off", (), (), executable=False)
        self.methods.add(off.key, self._nothing)

    def _node(
        self,
        name: str,
        node_class: int,
        shown: str,
        attributes: dict[int, bytes],
        permissions: RolePermissions,
        restrictions: int = 0,
        value: StoredValue | None = None,
    ) -> Node:
        made = Node(
            key(f"memory/{name}", 1),
            node_class,
            qualified_name(shown, 1),
            localized_text(shown),
            {int(_A.WriteMask): encode.uint32(0)} | attributes,
            permissions,
            restrictions,
            value,
        )
        self.space.add(made)
        return made

    def _variable(  # noqa: PLR0913  # each is one attribute
        self,
        parent: Node,
        name: str,
        data_type: int,
        variant: bytes,
        rank: int = -1,
        dimensions: tuple[int, ...] = (),
        *,
        level: int = _READABLE | _WRITABLE | _TIME,
        permissions: RolePermissions = _MAY_WRITE,
        restrictions: int = 0,
    ) -> Node:
        attributes: dict[int, bytes] = {
            int(_A.DataType): encode.node_id(numeric(data_type)),
            int(_A.ValueRank): encode.int32(rank),
            int(_A.AccessLevel): encode.byte(level),
            int(_A.Historizing): encode.FALSE,
        }
        if dimensions:
            attributes[int(_A.ArrayDimensions)] = encode.uint32s(dimensions)
        made = self._node(name, 2, name, attributes, permissions, restrictions, StoredValue(variant))
        space = self.space
        space.link(parent, space.number(ObjectIds.HasComponent), made)
        space.link(
            made, space.number(ObjectIds.HasTypeDefinition), space.number(ObjectIds.BaseDataVariableType)
        )
        return made

    def _method(
        self,
        parent: Node,
        name: str,
        inputs: tuple[tuple[str, int, int], ...],
        outputs: tuple[tuple[str, int, int], ...],
        *,
        permissions: RolePermissions = _MAY_CALL,
        executable: bool = True,
    ) -> Node:
        attributes = {int(_A.Executable): encode.boolean(executable)}
        made = self._node(name, 4, name, attributes, permissions)
        self.space.link(parent, self.space.number(ObjectIds.HasComponent), made)
        for which, arguments in (("InputArguments", inputs), ("OutputArguments", outputs)):
            if arguments:
                self._arguments(made, name, which, arguments)
        return made

    def _arguments(
        self, method: Node, name: str, which: str, arguments: tuple[tuple[str, int, int], ...]
    ) -> None:
        make = cast("Any", ua.Argument)
        value = [
            make(Name=its, DataType=ua.NodeId(cast("Any", kind)), ValueRank=rank, ArrayDimensions=[])
            for its, kind, rank in arguments
        ]
        attributes = {
            int(_A.DataType): encode.node_id(numeric(ObjectIds.Argument)),
            int(_A.ValueRank): encode.int32(1),
            int(_A.ArrayDimensions): encode.uint32s((len(value),)),
            int(_A.AccessLevel): encode.byte(_READABLE),
            int(_A.Historizing): encode.FALSE,
            int(_A.WriteMask): encode.uint32(0),
        }
        made = Node(
            key(f"memory/{name}/{which}", 1),
            2,
            qualified_name(which),
            localized_text(which),
            attributes,
            READ,
            0,
            StoredValue(_variant(value, ua.VariantType.ExtensionObject)),
        )
        self.space.add(made)
        self.space.link(method, self.space.number(ObjectIds.HasProperty), made)
        self.space.link(
            made, self.space.number(ObjectIds.HasTypeDefinition), self.space.number(ObjectIds.PropertyType)
        )

    # --- What the methods do

    async def _add(self, _session: Session, _object: Node, inputs: list[ua.Variant]) -> list[ua.Variant]:
        self.called.append(tuple(value.Value for value in inputs))
        return [cast("Any", ua.Variant)(sum(cast("Any", v.Value) for v in inputs), ua.VariantType.Int32)]

    async def _total(self, _session: Session, _object: Node, inputs: list[ua.Variant]) -> list[ua.Variant]:
        return [cast("Any", ua.Variant)(sum(cast("Any", inputs[0].Value)), ua.VariantType.Double)]

    async def _wait(self, _session: Session, _object: Node, _inputs: list[ua.Variant]) -> list[ua.Variant]:
        await self.slow.wait()
        return []

    async def _refuse(self, _session: Session, _object: Node, _inputs: list[ua.Variant]) -> list[ua.Variant]:
        raise ServiceFault(StatusCodes.BadInvalidState)

    async def _nothing(self, _session: Session, _object: Node, _inputs: list[ua.Variant]) -> list[ua.Variant]:
        return []


@contextmanager
def serving_memory(data: Path, **settings: Any) -> Iterator[tuple[Running, Memory]]:
    """As `serving`, with these nodes below the Objects folder."""
    made: list[Memory] = []

    class Known(Methods):
        def __init__(self, space: Space) -> None:
            super().__init__(space)
            made.append(Memory(space, self))

    with mock.patch.object(composition, "Methods", Known), serving(data, **settings) as running:
        (memory,) = made
        running.do(memory.fill)
        try:
            yield running, memory
        finally:
            running.do(memory.slow.set)
