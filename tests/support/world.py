"""A small address space with its types, made by hand, for the services that find their way in one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

from server.opcua.space.node import Node
from server.opcua.space.permissions import ROLE_IDS, Permission, RolePermissions
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue, Value
from server.opcua.types import AttributeIds, node_id
from server.opcua.wire import structs
from server.opcua.wire.nodeid import Key, key, numeric
from server.opcua.wire.writer import localized_text, qualified_name, variant
from server.plant.model import Role

T = TypeVar("T")

OBJECT, VARIABLE, METHOD, OBJECT_TYPE, VARIABLE_TYPE, REFERENCE_TYPE, DATA_TYPE = 1, 2, 4, 8, 16, 32, 64
REFERENCES, NON_HIERARCHICAL, HIERARCHICAL, HAS_CHILD, ORGANIZES = 31, 32, 33, 34, 35
HAS_ENCODING, HAS_TYPE_DEFINITION, AGGREGATES, HAS_SUBTYPE, HAS_PROPERTY, HAS_COMPONENT = (
    38,
    40,
    44,
    45,
    46,
    47,
)
OBJECTS, FOLDER_TYPE = 85, 61

_EVERYBODY = ROLE_IDS[Role.Anonymous]
_OPERATOR = ROLE_IDS[Role.Operator]
ALL = RolePermissions({_EVERYBODY: Permission.Browse | Permission.Read | Permission.Call})
LOOK = RolePermissions({_EVERYBODY: Permission.Browse | Permission.Read, _OPERATOR: Permission.Call})
HIDDEN = RolePermissions({_OPERATOR: Permission.Browse | Permission.Read})

_SUPERTYPES: Mapping[int, tuple[str, int]] = {
    NON_HIERARCHICAL: ("NonHierarchicalReferences", REFERENCES),
    HIERARCHICAL: ("HierarchicalReferences", REFERENCES),
    HAS_CHILD: ("HasChild", HIERARCHICAL),
    ORGANIZES: ("Organizes", HIERARCHICAL),
    AGGREGATES: ("Aggregates", HAS_CHILD),
    HAS_SUBTYPE: ("HasSubtype", HAS_CHILD),
    HAS_PROPERTY: ("HasProperty", AGGREGATES),
    HAS_COMPONENT: ("HasComponent", AGGREGATES),
    HAS_TYPE_DEFINITION: ("HasTypeDefinition", NON_HIERARCHICAL),
    HAS_ENCODING: ("HasEncoding", NON_HIERARCHICAL),
}
_DATA_TYPES: Mapping[int, tuple[str, int]] = {
    12: ("String", 24),
    22: ("Structure", 24),
    26: ("Number", 24),
    27: ("Integer", 26),
    6: ("Int32", 27),
    28: ("UInteger", 26),
    7: ("UInt32", 28),
    11: ("Double", 26),
    290: ("Duration", 11),
    29: ("Enumeration", 24),
    851: ("RedundancySupport", 29),
    296: ("Argument", 22),
    884: ("Range", 22),
}


class World:
    """A space with the reference types and data types that matter, Objects, and what a test adds."""

    def __init__(self) -> None:
        self.space = Space()
        for number, name, kind in (
            (REFERENCES, "References", REFERENCE_TYPE),
            (24, "BaseDataType", DATA_TYPE),
        ):
            self.standard(number, name, kind)
        for table, kind in ((_SUPERTYPES, REFERENCE_TYPE), (_DATA_TYPES, DATA_TYPE)):
            for number, (name, _) in table.items():
                self.standard(number, name, kind)
        for table in (_SUPERTYPES, _DATA_TYPES):
            for number, (_, above) in table.items():
                self.link(self.space.number(above), HAS_SUBTYPE, self.space.number(number))
        self.standard(58, "BaseObjectType", OBJECT_TYPE)
        self.folder_type = self.standard(FOLDER_TYPE, "FolderType", OBJECT_TYPE)
        self.link(self.space.number(58), HAS_SUBTYPE, self.folder_type)
        self.objects = self.standard(OBJECTS, "Objects", OBJECT)
        self.link(self.objects, HAS_TYPE_DEFINITION, self.folder_type)

    def standard(self, number: int, name: str, kind: int, **more: Any) -> Node:
        """A node of namespace 0."""
        return self.put(numeric(number), kind, qualified_name(name), name, **more)

    def put(  # each is one attribute
        self,
        node: Key,
        kind: int,
        browse_name: bytes,
        name: str,
        *,
        permissions: RolePermissions = ALL,
        restrictions: int = 0,
        value: Value | None = None,
        attributes: Mapping[int, bytes] | None = None,
    ) -> Node:
        """A node without references."""
        made = Node(
            node, kind, browse_name, localized_text(name), attributes or {}, permissions, restrictions, value
        )
        self.space.add(made)
        return made

    def node(
        self, name: str, parent: Node | None = None, kind: int = OBJECT, by: int = ORGANIZES, **more: Any
    ) -> Node:
        """A node of namespace 2 below another; the last part of its path is its name."""
        short = name.rpartition("/")[2]
        made = self.put(key(name, 2), kind, qualified_name(short, 2), short, **more)
        if parent is not None:
            self.link(parent, by, made)
        return made

    def link(self, source: Node, kind: int, target: Node) -> None:
        """A reference by a type of namespace 0."""
        self.space.link(source, self.space.number(kind), target)

    def method(
        self, name: str, parent: Node, *arguments: ua.Argument, executable: bool = True, **more: Any
    ) -> Node:
        """A method; with arguments it has InputArguments."""
        attributes = {int(AttributeIds.Executable): variant(1, b"\x01" if executable else b"\x00")}
        made = self.node(name, parent, METHOD, HAS_COMPONENT, attributes=attributes, **more)
        if arguments:
            encoded = structs.encode_variant(ua.Variant(list(arguments), ua.VariantType.ExtensionObject))
            self.put(
                key(f"{name}.InputArguments", 2),
                VARIABLE,
                qualified_name("InputArguments"),
                "InputArguments",
                value=StoredValue(encoded),
            )
            self.link(made, HAS_PROPERTY, self.space.nodes[key(f"{name}.InputArguments", 2)])
        return made


def argument(name: str, data_type: int, rank: int = -1, dimensions: list[int] | None = None) -> ua.Argument:
    """An input argument."""
    made: Any = ua.Argument
    found: ua.Argument = made(
        Name=name, DataType=node_id(data_type), ValueRank=rank, ArrayDimensions=dimensions or []
    )
    return found


async def answered(answer: Any) -> bytes:
    """What a service answers, at once or later, in one piece."""
    while isinstance(answer, Coroutine):
        answer = await asyncio.ensure_future(answer)
    return answer if isinstance(answer, bytes) else b"".join(answer)


def decoded(kind: type[T], body: bytes, *, diagnostics: bool = True) -> list[T]:
    """An array of structures, by a codec that is not ours, and nothing behind it but no diagnostics."""
    data: Any = Buffer(body)
    count = int.from_bytes(data.read(4), "little", signed=True)
    found = [struct_from_binary(kind, data) for _ in range(count)]
    assert bytes(data) == (b"\xff\xff\xff\xff" if diagnostics else b"")
    return found


def names(codes: list[Any]) -> list[str]:
    """StatusCodes by name."""
    return [code.name for code in codes]
