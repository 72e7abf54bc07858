"""Finds out what an import brings: the nodes below one, with the types they need, in our names.

Hierarchical references are followed below the start; of chosen nodes their properties alone; of types
what defines them: supertypes, the declarations of their instances, data types with their encodings and
definitions. Namespace 0 is the same everywhere and is referred to, never imported.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from sources.opcua.address import OpcUaAddress, PathAddress
from sources.opcua.beside import Turns
from sources.opcua.connection import Connection
from sources.opcua.definitions import Defined, layouts, structure
from sources.opcua.imports import MAX_NODES, ImportedNode, Model, Wanted
from sources.opcua.mapping import Layout, Mapper, Unmappable, key_of, standard_number
from sources.opcua.moving import moved_beside, variant_beside
from sources.opcua.reading import TOO_LARGE, read_parts, read_raw
from sources.opcua.room import ATTRIBUTE, DESCRIPTION, NODE, REFERENCE, NoRoom, Room
from sources.opcua.stack import decode_variant, local, status_name, ua
from sources.opcua.wire import Raw
from sources.quality import is_bad

log = logging.getLogger(__name__)

_AT_ONCE: Final = 50
_A_SLICE: Final = 200
"""Nodes made before others get a turn."""
_A_TURN: Final = 32 << 10
"""Bytes of their attributes, likewise."""
_OBJECT, _VARIABLE, _METHOD = 1, 2, 4
_OBJECT_TYPE, _VARIABLE_TYPE, _REFERENCE_TYPE, _DATA_TYPE = 8, 16, 32, 64
_TYPES: Final = frozenset({_OBJECT_TYPE, _VARIABLE_TYPE, _REFERENCE_TYPE, _DATA_TYPE})
_HAS_TYPE, _HAS_SUBTYPE, _HAS_ENCODING, _HAS_DESCRIPTION = 40, 45, 38, 39
_HAS_COMPONENT, _HAS_PROPERTY = 47, 46
_NON_HIERARCHICAL: Final = 32
_NEEDED: Final = 7
"""Of a reference: its type, its direction, the class of its target (OPC 10000-4 §5.9.2.2)."""
_A: Final = ua.AttributeIds
_OF_ALL: Final = (_A.BrowseName, _A.DisplayName, _A.Description)
_OF_CLASS: Final[dict[int, tuple[int, ...]]] = {
    _OBJECT: (_A.EventNotifier,),
    _VARIABLE: (
        _A.Value,
        _A.DataType,
        _A.ValueRank,
        _A.ArrayDimensions,
        _A.UserAccessLevel,
        _A.MinimumSamplingInterval,
    ),
    _METHOD: (_A.UserExecutable,),
    _OBJECT_TYPE: (_A.IsAbstract,),
    _VARIABLE_TYPE: (_A.Value, _A.DataType, _A.ValueRank, _A.ArrayDimensions, _A.IsAbstract),
    _REFERENCE_TYPE: (_A.IsAbstract, _A.Symmetric, _A.InverseName),
    _DATA_TYPE: (_A.IsAbstract, _A.DataTypeDefinition),
}
_KEPT: Final = {
    _A.Description: b"\x15",
    _A.DataType: b"\x11",
    _A.ValueRank: b"\x06",
    _A.ArrayDimensions: b"\x87",
    _A.MinimumSamplingInterval: b"\x0b",
    _A.IsAbstract: b"\x01",
    _A.Symmetric: b"\x01",
    _A.InverseName: b"\x15",
    _A.DataTypeDefinition: b"\x16",
}
"""What is taken over as it is, and the type it has to be of: others rely on it."""
_CURRENT_READ_AND_WRITE: Final = 0x03
_SUBSCRIBE_TO_EVENTS: Final = 0x01
_HISTORY: Final = 0x0C


@dataclass(slots=True)
class _Met:
    """A node on the way: its class, whether it belongs to a type, what it refers to."""

    node: Any
    node_class: int
    is_type: bool
    references: list[tuple[bytes, bytes]] = field(default_factory=list)
    super: bytes = b""
    raw: dict[int, Raw] = field(default_factory=dict)
    definition: Any = None
    """The StructureDefinition of a data type that is a structure."""
    alone: bool = False
    """Whether it is wanted without what lies below it, its properties aside."""
    whole: bool = False
    """Whether all of it was read."""
    cut: bool = False
    """Whether there was no room for all of it."""


@dataclass(slots=True)
class Walked:
    """What a walk brought: the model, the values of its variables, and the nodes there of those to watch."""

    model: Model
    values: dict[bytes, Raw] = field(default_factory=dict)
    watched: list[tuple[bytes, Any]] = field(default_factory=list)
    """Key here and NodeId there of each variable of an instance."""
    objects: dict[bytes, bytes] = field(default_factory=dict)
    """The object that a chosen method is called on there, by the method's key, both in our names."""
    missing: tuple[OpcUaAddress, ...] = ()
    """What the device does not have."""


class Walk:
    """One walk. ``layouts`` gains the structures it meets, by their encodings there."""

    def __init__(  # what it needs of its import
        self,
        connection: Connection,
        mapper: Mapper,
        layouts: dict[bytes, Layout],
        name: str,
        room: Room,
        tell: Callable[[str], None],
    ) -> None:
        """``tell`` is told what of the import is missing."""
        self._connection = connection
        self._mapper = mapper
        self._layouts = layouts
        self._name = name
        self._room = room
        self._tell = tell
        self._met: dict[bytes, _Met] = {}
        self._waiting: list[bytes] = []
        self._objects: dict[bytes, bytes] = {}
        """What chosen methods are called on, by their NodeIds there."""
        self._missing: list[OpcUaAddress] = []
        self._held = 0
        """Bytes of references that are looked at now."""
        self._many = self._much = False
        """Whether there are more nodes than may be, or they take more memory."""

    async def run(
        self, wanted: Wanted, start: Any | None, chosen: Sequence[tuple[OpcUaAddress, Any]] = ()
    ) -> Walked:
        """Walk below a node, where there is one, and to chosen ones. Raises ConnectionLost."""
        tops: list[bytes] = []
        try:
            if start is not None:
                tops += await self._begin(wanted, start)
            tops += await self._choose(wanted.holder, chosen)
            while self._waiting and not self._much:
                part, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                await self._follow(await self._read(part))
                self._let_go()
        except NoRoom:
            self._much = True
        finally:
            self._let_go()
        self._met = {key: met for key, met in self._met.items() if met.whole}
        self._tell_cut(wanted)
        await self._define()
        return await self._result(wanted, list(dict.fromkeys(tops)))

    def _tell_cut(self, wanted: Wanted) -> None:
        if self._many:
            log.error(
                "%s: there are more than %d nodes to import for %s; those beyond are left out: import a "
                "smaller part",
                self._name,
                MAX_NODES,
                wanted.holder,
            )
        if self._much:
            log.error(
                "%s: the import for %s stops at %d nodes: what the source imports takes more than "
                "import_mib: %d; what is beyond is left out: import a smaller part, or raise import_mib",
                self._name,
                wanted.holder,
                len(self._met),
                self._room.most >> 20,
            )

    async def _browse(self, nodes: Sequence[Any], **how: Any) -> list[list[Any]]:
        """The references of each node, held against the room until `_let_go`. Raises NoRoom."""
        return await self._connection.browse(nodes, come=self._come, ResultMask=_NEEDED, **how)

    def _come(self, references: int) -> None:
        self._room.need(DESCRIPTION * references)
        self._held += DESCRIPTION * references

    def _let_go(self) -> None:
        self._room.take(-self._held)
        self._held = 0

    async def _begin(self, wanted: Wanted, start: Any) -> list[bytes]:
        if key_of(start) and standard_number(key_of(start)) is None:
            (data,) = await self._connection.read([(start, _A.NodeClass)])
            node_class = data.Value.Value if data.Value is not None else None
            if not isinstance(node_class, int):
                self._missing += [wanted.below] if wanted.below is not None else []
                return []
            self._meet(start, int(node_class), is_type=int(node_class) in _TYPES)
            return [key_of(start)]
        # A folder of namespace 0, such as Objects: what lies in it.
        (references,) = await self._browse([start])
        tops = []
        for reference in references:
            node = local(reference.NodeId)
            if node is not None and self._meet(node, int(reference.NodeClass), is_type=False):
                tops.append(key_of(node))
        return tops

    async def _choose(self, holder: str, chosen: Sequence[tuple[OpcUaAddress, Any]]) -> list[bytes]:
        """Meet nodes that are wanted themselves."""
        tops: list[bytes] = []
        methods: list[tuple[OpcUaAddress, Any]] = []
        found = await read_raw(self._connection, [(node, _A.NodeClass) for _, node in chosen])
        for (address, node), raw in zip(chosen, found, strict=True):
            if is_bad(raw.status) or raw.variant[:1] != b"\x06":
                why = status_name(raw.status) if is_bad(raw.status) else "it has no NodeClass"
                self._tell(f"{address} is not imported for {holder}: {why}")
                self._missing.append(address)
                continue
            if standard_number(key_of(node)) is not None:
                self._tell(
                    f"{address} is not imported for {holder}: it is in namespace 0, which is the same here"
                )
                continue
            node_class = int.from_bytes(raw.variant[1:5], "little")
            if self._meet(node, node_class, is_type=False, alone=node_class not in _TYPES):
                tops.append(key_of(node))
                if node_class == _METHOD:
                    methods.append((address, node))
        await self._find_objects(methods)
        return tops

    async def _find_objects(self, methods: Sequence[tuple[OpcUaAddress, Any]]) -> None:
        """What chosen methods are called on: what their browse path leads through, or their one object."""
        above = [PathAddress(a.steps[:-1]) for a, _ in methods if isinstance(a, PathAddress) and a.steps[1:]]
        through = dict(zip(above, await self._connection.resolve(above), strict=True))
        owners = await self._browse(
            [node for _, node in methods],
            BrowseDirection=ua.BrowseDirection.Inverse,
            ReferenceTypeId=ua.NodeId(_HAS_COMPONENT),
            NodeClassMask=_OBJECT,
        )
        for (address, node), references in zip(methods, owners, strict=True):
            found = {key_of(one) for r in references if (one := local(r.NodeId)) is not None}
            if isinstance(address, PathAddress):
                its = through.get(PathAddress(address.steps[:-1]))
                found = set() if its is None or isinstance(its, str) else {key_of(its)}
            if len(found) == 1:
                (self._objects[key_of(node)],) = found
            else:
                why = (
                    f"a method of {len(found)} objects: name it by a browse path" if found else "of no object"
                )
                self._tell(f"{address} cannot be called: it is {why}")

    def _meet(self, node: Any, node_class: int, *, is_type: bool, alone: bool = False) -> bool:
        """Take a node in; False for one that is not imported."""
        key = key_of(node)
        known = self._met.get(key)
        if known is not None:
            if known.alone and not alone:
                # Met by itself before: what lies below it is wanted now.
                known.alone = False
                if known.whole:
                    self._again(known)
            return True
        if standard_number(key) is not None or node_class not in _OF_CLASS:
            return False
        if len(self._met) >= MAX_NODES:
            self._many = True
            return False
        if self._much or not self._take(NODE + len(key)):
            return False
        self._met[key] = _Met(node, node_class, is_type or node_class in _TYPES, alone=alone)
        self._waiting.append(key)
        return True

    def _again(self, met: _Met) -> None:
        met.references.clear()
        met.whole = False
        self._waiting.append(key_of(met.node))

    def _take(self, size: int) -> bool:
        """Whether there is room for so many bytes."""
        there = self._room.take(size)
        self._much = self._much or not there
        return there

    async def _read(self, keys: Sequence[bytes]) -> list[_Met]:
        """Read the attributes of nodes; those for which there was room."""
        asked = [
            (met, attribute)
            for met in (self._met[key] for key in keys)
            for attribute in (*_OF_ALL, *_OF_CLASS[met.node_class])
        ]
        places = iter(asked)
        done: list[_Met] = []
        reads = read_parts(self._connection, [(met.node, attribute) for met, attribute in asked])
        async with aclosing(reads):
            async for part in reads:
                for raw in part:
                    met, attribute = next(places)
                    if not self._take(ATTRIBUTE + len(raw.variant)):
                        return done
                    met.raw[attribute] = raw
                    if attribute == _OF_CLASS[met.node_class][-1]:
                        done.append(met)
        return done

    async def _follow(self, mets: Sequence[_Met]) -> None:
        deep, alone = [met for met in mets if not met.alone], [met for met in mets if met.alone]
        down = await self._browse([met.node for met in deep])
        down += await self._browse([met.node for met in alone], ReferenceTypeId=ua.NodeId(_HAS_PROPERTY))
        aside = await self._browse([met.node for met in mets], ReferenceTypeId=ua.NodeId(_NON_HIERARCHICAL))
        async for met, reference in _in_turns([*deep, *alone], down):
            if standard_number(key_of(reference.ReferenceTypeId)) != _HAS_SUBTYPE:
                self._refer(met, reference, is_type=met.is_type)
        async for met, reference in _in_turns(mets, aside):
            kind = standard_number(key_of(reference.ReferenceTypeId))
            if kind != _HAS_DESCRIPTION:
                self._refer(met, reference, is_type=True, follows=kind in {_HAS_TYPE, _HAS_ENCODING})
        await self._climb([met for met in mets if met.node_class in _TYPES])
        await self._meet_types(mets)
        for met in mets:
            met.whole = not met.cut
        for met in alone:
            if not met.alone:
                self._again(met)

    async def _climb(self, types: Sequence[_Met]) -> None:
        """The type above each type."""
        above = await self._browse(
            [met.node for met in types],
            ReferenceTypeId=ua.NodeId(_HAS_SUBTYPE),
            BrowseDirection=ua.BrowseDirection.Inverse,
        )
        for met, references in zip(types, above, strict=True):
            node = local(references[0].NodeId) if references else None
            if node is not None:
                self._meet(node, int(references[0].NodeClass), is_type=True)
                met.super = key_of(node)

    def _refer(self, met: _Met, reference: Any, *, is_type: bool, follows: bool = True) -> None:
        node = local(reference.NodeId)
        if node is None:
            return
        kind = reference.ReferenceTypeId
        if follows:
            self._meet(node, int(reference.NodeClass), is_type=is_type)
        self._meet(kind, _REFERENCE_TYPE, is_type=True)
        made = key_of(kind), key_of(node)
        if self._take(REFERENCE + sum(map(len, made))):
            met.references.append(made)
        else:
            met.cut = True

    async def _meet_types(self, mets: Sequence[_Met]) -> None:
        """The data types of variables, and those of the fields of structures."""
        for met in mets:
            kind = _node_id(met.raw.get(_A.DataType))
            if kind is not None:
                self._meet(kind, _DATA_TYPE, is_type=True)
            if met.node_class == _DATA_TYPE:
                met.definition = await structure(met.raw[_A.DataTypeDefinition])
                for one in met.definition.Fields or [] if met.definition is not None else []:
                    self._meet(one.DataType, _DATA_TYPE, is_type=True)
                await asyncio.sleep(0)

    async def _define(self) -> None:
        """Make layouts of the structures that were met."""
        structures = {
            key: Defined(met.definition, [t for kind, t in met.references if _is_encoding(kind)])
            for key, met in self._met.items()
            if met.definition is not None
        }
        above = {key: met.super for key, met in self._met.items() if met.super}
        self._layouts |= await layouts(structures, above)

    # --- The result

    async def _result(self, wanted: Wanted, tops: Sequence[bytes]) -> Walked:
        found = Walked(Model(wanted.holder), missing=tuple(self._missing))
        nodes: dict[bytes, ImportedNode] = {}
        keys: dict[bytes, bytes] = {}
        odd: Counter[str] = Counter()
        notifiers = historians = 0
        turns = Turns(_A_TURN)
        for there, met in self._met.items():
            await turns.take(_A_TURN // _A_SLICE + sum(len(raw.variant) for raw in met.raw.values()))
            notifiers += bool(_bits(met.raw.get(_A.EventNotifier)) & _SUBSCRIBE_TO_EVENTS)
            historians += bool(_bits(met.raw.get(_A.UserAccessLevel)) & _HISTORY)
            try:
                node = await self._node(there, met)
                if there in self._objects:
                    found.objects[node.key] = self._mapper.node_id(self._objects[there])
            except Unmappable as error:
                odd[str(error)] += 1
                continue
            keys[there], nodes[node.key] = node.key, node
            if met.node_class in {_VARIABLE, _VARIABLE_TYPE}:
                raw = met.raw[_A.Value]
                found.values[node.key] = await moved_beside(self._mapper, raw)
                # What is too large to be read is too large to be reported.
                if met.node_class == _VARIABLE and not met.is_type and raw.status not in TOO_LARGE:
                    found.watched.append((node.key, met.node))
        self._tell_refused(notifiers, historians)
        for why, count in odd.items():
            log.warning("%s: %d nodes are left out of the import: %s", self._name, count, why)
        shown = tuple(keys[top] for top in tops if top in keys)
        usable = wanted.scan.stale.bad_after * wanted.scan.period
        found.model = Model(wanted.holder, nodes, shown, usable)
        return found

    def _tell_refused(self, notifiers: int, historians: int) -> None:
        """What of the device is not passed on is said, not dropped."""
        if notifiers:
            log.info(
                "%s: %d imported objects have events there; they are refused here", self._name, notifiers
            )
        if historians:
            log.info(
                "%s: %d imported variables have a history there; it is refused here", self._name, historians
            )

    async def _references(self, met: _Met) -> tuple[tuple[bytes, bytes], ...]:
        """Raises Unmappable."""
        node_id, found = self._mapper.node_id, []
        for number, (kind, target) in enumerate(met.references, 1):
            if number % _A_SLICE == 0:
                await asyncio.sleep(0)
            found.append((node_id(kind), node_id(target)))
        return tuple(found)

    async def _node(self, there: bytes, met: _Met) -> ImportedNode:
        """Raises Unmappable."""
        mapper = self._mapper
        attributes = {
            number: await variant_beside(mapper, raw.variant)
            for number, raw in met.raw.items()
            if _KEPT.get(number) == raw.variant[:1] and not is_bad(raw.status)
        }
        if met.node_class == _VARIABLE:
            level = met.raw[_A.UserAccessLevel]
            held = level.variant[1] if len(level.variant) > 1 and not is_bad(level.status) else 1
            attributes[_A.AccessLevel] = bytes((3, held & _CURRENT_READ_AND_WRITE))
        if met.node_class == _METHOD:
            may = met.raw[_A.UserExecutable].variant == b"\x01\x01"
            if met.alone and there not in self._objects:
                may = False  # nobody knows what to call it on
            attributes[_A.Executable] = b"\x01\x01" if may else b"\x01\x00"
        name = met.raw[_A.BrowseName].variant
        if not name or name[0] != 20:
            raise Unmappable("a node without a BrowseName")
        display = met.raw[_A.DisplayName].variant
        return ImportedNode(
            mapper.node_id(there),
            met.node_class,
            mapper.qualified_name(name[1:]),
            display[1:] if display[:1] == b"\x15" else b"\x00",
            attributes,
            await self._references(met),
            there,
            mapper.node_id(met.super) if met.super else b"",
            met.is_type,
        )


async def _in_turns(mets: Sequence[_Met], lists: Sequence[list[Any]]) -> AsyncIterator[tuple[_Met, Any]]:
    """Every reference with its node; others get their turns."""
    for met, references in zip(mets, lists, strict=True):
        for number, reference in enumerate(references, 1):
            if number % _A_SLICE == 0:
                await asyncio.sleep(0)
            yield met, reference
        await asyncio.sleep(0)


def _bits(raw: Raw | None) -> int:
    """The value of an attribute that is a Byte; 0 where there is none."""
    return raw.variant[1] if raw is not None and len(raw.variant) > 1 and not is_bad(raw.status) else 0


def _node_id(raw: Raw | None) -> Any | None:
    """The stack's NodeId that an attribute holds; None where it holds none."""
    if raw is None or is_bad(raw.status) or raw.variant[:1] != b"\x11":
        return None
    try:
        return decode_variant(raw.variant).Value
    except Exception:  # whatever the stack makes of a stranger's bytes: of a null one, too
        log.debug("a NodeId cannot be read", exc_info=True)
        return None


def _is_encoding(kind: bytes) -> bool:
    return standard_number(kind) == _HAS_ENCODING
