"""Finds out what an import brings: the nodes below one, with the types they need, in our names.

Hierarchical references are followed below the start; of types what defines them: supertypes, the
declarations of their instances, data types with their encodings and definitions. Namespace 0 is the
same everywhere and is referred to, never imported.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sources.errors import ConnectionLost
from sources.opcua import wire
from sources.opcua.channel import MAX_PENDING, ServiceError
from sources.opcua.connection import Connection, chunks, read_request
from sources.opcua.imports import MAX_NODES, ImportedNode, Model, Wanted
from sources.opcua.mapping import Field, Layout, Mapper, Unmappable, key_of, standard_number
from sources.opcua.stack import decode_variant, local, ua
from sources.opcua.wire import Raw
from sources.quality import BAD_COMMUNICATION_ERROR, is_bad

log = logging.getLogger(__name__)

_AT_ONCE: Final = 50
_A_SLICE: Final = 200
"""Nodes made before others get a turn."""
_OBJECT, _VARIABLE, _METHOD = 1, 2, 4
_OBJECT_TYPE, _VARIABLE_TYPE, _REFERENCE_TYPE, _DATA_TYPE = 8, 16, 32, 64
_TYPES: Final = frozenset({_OBJECT_TYPE, _VARIABLE_TYPE, _REFERENCE_TYPE, _DATA_TYPE})
_HAS_TYPE, _HAS_SUBTYPE, _HAS_ENCODING, _HAS_DESCRIPTION = 40, 45, 38, 39
_NON_HIERARCHICAL: Final = 32
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
_NUMBER_TYPES: Final = frozenset({26, 27, 28})
_ENUMERATION: Final = 29
_LAST_BUILT_IN: Final = 25


@dataclass(slots=True)
class _Met:
    """A node on the way: its class, whether it belongs to a type, what it refers to."""

    node: Any
    node_class: int
    is_type: bool
    references: list[tuple[bytes, bytes]] = field(default_factory=list)
    super: bytes = b""
    raw: dict[int, Raw] = field(default_factory=dict)


@dataclass(slots=True)
class Walked:
    """What a walk brought: the model, the values of its variables, and the nodes there of those to watch."""

    model: Model
    values: dict[bytes, Raw]
    watched: list[tuple[bytes, Any]]
    """Key here and NodeId there of each variable of an instance."""


class Walk:
    """One walk. ``layouts`` gains the structures it meets, by their encodings there."""

    def __init__(
        self, connection: Connection, mapper: Mapper, layouts: dict[bytes, Layout], name: str
    ) -> None:
        self._connection = connection
        self._mapper = mapper
        self._layouts = layouts
        self._name = name
        self._met: dict[bytes, _Met] = {}
        self._waiting: list[bytes] = []
        self._full = False

    async def run(self, wanted: Wanted, start: Any) -> Walked:
        """Walk below a node. Raises ConnectionLost."""
        tops = await self._begin(start)
        while self._waiting:
            part, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            await self._read(part)
            await self._follow(part)
        if self._full:
            log.error(
                "%s: there are more than %d nodes below %s; those beyond are left out: import a smaller part",
                self._name,
                MAX_NODES,
                wanted.below,
            )
        self._define()
        return await self._result(wanted, tops)

    async def _begin(self, start: Any) -> list[bytes]:
        if key_of(start) and standard_number(key_of(start)) is None:
            (data,) = await self._connection.read([(start, _A.NodeClass)])
            node_class = data.Value.Value if data.Value is not None else None
            if not isinstance(node_class, int):
                return []
            self._meet(start, int(node_class), is_type=int(node_class) in _TYPES)
            return [key_of(start)]
        # A folder of namespace 0, such as Objects: what lies in it.
        (references,) = await self._connection.browse([start])
        tops = []
        for reference in references:
            node = local(reference.NodeId)
            if node is not None and self._meet(node, int(reference.NodeClass), is_type=False):
                tops.append(key_of(node))
        return tops

    def _meet(self, node: Any, node_class: int, *, is_type: bool) -> bool:
        """Take a node in; False for one that is not imported."""
        key = key_of(node)
        if key in self._met:
            return True
        if standard_number(key) is not None or node_class not in _OF_CLASS:
            return False
        if len(self._met) >= MAX_NODES:
            self._full = True
            return False
        self._met[key] = _Met(node, node_class, is_type or node_class in _TYPES)
        self._waiting.append(key)
        return True

    async def _read(self, keys: Sequence[bytes]) -> None:
        asked = [
            (met, attribute)
            for met in (self._met[key] for key in keys)
            for attribute in (*_OF_ALL, *_OF_CLASS[met.node_class])
        ]
        found = await read_raw(self._connection, [(met.node, attribute) for met, attribute in asked])
        for (met, attribute), raw in zip(asked, found, strict=True):
            met.raw[attribute] = raw

    async def _follow(self, keys: Sequence[bytes]) -> None:
        mets = [self._met[key] for key in keys]
        nodes = [met.node for met in mets]
        down = await self._connection.browse(nodes)
        aside = await self._connection.browse(nodes, ReferenceTypeId=ua.NodeId(_NON_HIERARCHICAL))
        for met, references in zip(mets, down, strict=True):
            for number, reference in enumerate(references, 1):
                if number % _A_SLICE == 0:
                    await asyncio.sleep(0)
                if standard_number(key_of(reference.ReferenceTypeId)) != _HAS_SUBTYPE:
                    self._refer(met, reference, is_type=met.is_type)
            await asyncio.sleep(0)
        for met, references in zip(mets, aside, strict=True):
            for reference in references:
                kind = standard_number(key_of(reference.ReferenceTypeId))
                if kind != _HAS_DESCRIPTION:
                    follows = kind in {_HAS_TYPE, _HAS_ENCODING}
                    self._refer(met, reference, is_type=True, follows=follows)
        await self._climb([met for met in mets if met.node_class in _TYPES])
        await self._meet_types(mets)

    async def _climb(self, types: Sequence[_Met]) -> None:
        """The type above each type."""
        above = await self._connection.browse(
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
        met.references.append((key_of(kind), key_of(node)))

    async def _meet_types(self, mets: Sequence[_Met]) -> None:
        """The data types of variables, and those of the fields of structures."""
        for met in mets:
            for node in self._data_types(met):
                self._meet(node, _DATA_TYPE, is_type=True)

    def _data_types(self, met: _Met) -> list[Any]:
        found = []
        kind = _decoded(met.raw.get(_A.DataType))
        if isinstance(kind, ua.NodeId):
            found.append(kind)
        definition = _decoded(met.raw.get(_A.DataTypeDefinition))
        if isinstance(definition, ua.StructureDefinition):
            found += [one.DataType for one in definition.Fields or []]
        return found

    # --- Definitions

    def _define(self) -> None:
        """Make layouts of the structures that were met."""
        made: dict[bytes, Layout] = {}
        for key, met in self._met.items():
            if met.node_class == _DATA_TYPE:
                definition = _decoded(met.raw.get(_A.DataTypeDefinition))
                if isinstance(definition, ua.StructureDefinition):
                    made[key] = Layout()
        sound = {key for key in made if self._fill(made[key], self._met[key], made)}
        # A layout with a field that is none of these is none itself.
        while True:
            known = {id(made[key]) for key in sound}
            odd = {
                key
                for key in sound
                if any(one.layout is not None and id(one.layout) not in known for one in made[key].fields)
            }
            if not odd:
                break
            sound -= odd
        for key in sound:
            definition = _decoded(self._met[key].raw.get(_A.DataTypeDefinition))
            encoding = definition.DefaultEncodingId
            if encoding is not None and not encoding.is_null():
                self._layouts[key_of(encoding)] = made[key]
            for kind, target in self._met[key].references:
                if standard_number(kind) == _HAS_ENCODING:
                    self._layouts.setdefault(target, made[key])

    def _fill(self, layout: Layout, met: _Met, made: dict[bytes, Layout]) -> bool:
        """Give a layout its fields; False where it has one that is not understood."""
        definition = _decoded(met.raw.get(_A.DataTypeDefinition))
        kind = definition.StructureType
        if kind not in {
            ua.StructureType.Structure,
            ua.StructureType.StructureWithOptionalFields,
            ua.StructureType.Union,
        }:
            return False
        layout.union = kind == ua.StructureType.Union
        layout.optional = kind == ua.StructureType.StructureWithOptionalFields
        for one in definition.Fields or []:
            if one.ValueRank > 1:
                return False
            found = self._field(one.DataType, made)
            if found is None:
                return False
            found.array = one.ValueRank >= 1
            found.optional = bool(one.IsOptional) and layout.optional
            layout.fields.append(found)
        return True

    def _field(self, data_type: Any, made: dict[bytes, Layout]) -> Field | None:
        key = key_of(data_type)
        for _ in range(50):
            if key in made:
                return Field(layout=made[key])
            number = standard_number(key)
            if number is not None:
                return _standard_field(number)
            met = self._met.get(key)
            if met is None or not met.super:
                return None
            key = met.super
        return None

    # --- The result

    async def _result(self, wanted: Wanted, tops: Sequence[bytes]) -> Walked:
        nodes: dict[bytes, ImportedNode] = {}
        values: dict[bytes, Raw] = {}
        watched: list[tuple[bytes, Any]] = []
        odd: dict[str, int] = {}
        for number, (there, met) in enumerate(self._met.items()):
            if number % _A_SLICE == 0:
                await asyncio.sleep(0)
            try:
                node = self._node(there, met)
            except Unmappable as error:
                odd[str(error)] = odd.get(str(error), 0) + 1
                continue
            nodes[node.key] = node
            if met.node_class in {_VARIABLE, _VARIABLE_TYPE}:
                values[node.key] = moved(self._mapper, met.raw[_A.Value])
                if met.node_class == _VARIABLE and not met.is_type:
                    watched.append((node.key, met.node))
        self._tell_refused()
        for why, count in odd.items():
            log.warning("%s: %d nodes are left out of the import: %s", self._name, count, why)
        found = tuple(self._mapper.node_id(top) for top in tops if top in self._met)
        return Walked(Model(wanted.holder, nodes, found, wanted.scan.period), values, watched)

    def _tell_refused(self) -> None:
        """What of the device is not passed on is said, not dropped."""
        notifiers = sum(
            met.node_class == _OBJECT and _bits(met.raw.get(_A.EventNotifier)) & _SUBSCRIBE_TO_EVENTS != 0
            for met in self._met.values()
        )
        historians = sum(
            met.node_class == _VARIABLE and _bits(met.raw.get(_A.UserAccessLevel)) & _HISTORY != 0
            for met in self._met.values()
        )
        if notifiers:
            log.info(
                "%s: %d imported objects have events there; they are refused here", self._name, notifiers
            )
        if historians:
            log.info(
                "%s: %d imported variables have a history there; it is refused here", self._name, historians
            )

    def _node(self, there: bytes, met: _Met) -> ImportedNode:
        """Raises Unmappable."""
        mapper = self._mapper
        attributes = {
            number: moved_attribute
            for number, raw in met.raw.items()
            if _KEPT.get(number) == raw.variant[:1] and not is_bad(raw.status)
            for moved_attribute in (mapper.variant(raw.variant),)
        }
        if met.node_class == _VARIABLE:
            level = met.raw[_A.UserAccessLevel]
            held = level.variant[1] if len(level.variant) > 1 and not is_bad(level.status) else 1
            attributes[_A.AccessLevel] = bytes((3, held & _CURRENT_READ_AND_WRITE))
        if met.node_class == _METHOD:
            attributes[_A.Executable] = (
                b"\x01\x01" if met.raw[_A.UserExecutable].variant == b"\x01\x01" else b"\x01\x00"
            )
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
            tuple((mapper.node_id(kind), mapper.node_id(target)) for kind, target in met.references),
            there,
            mapper.node_id(met.super) if met.super else b"",
            met.is_type,
        )


def _bits(raw: Raw | None) -> int:
    """The value of an attribute that is a Byte; 0 where there is none."""
    return raw.variant[1] if raw is not None and len(raw.variant) > 1 and not is_bad(raw.status) else 0


def moved(mapper: Mapper, raw: Raw, odd: Callable[[str], None] = lambda _: None) -> Raw:
    """A value in our names; where that cannot be, none, with BadDataEncodingUnsupported."""
    if not raw.variant:
        return raw
    try:
        return Raw(mapper.variant(raw.variant), raw.status, raw.time)
    except Unmappable as error:
        odd(str(error))
        return Raw(b"", _ENCODING_UNSUPPORTED, raw.time)


_ENCODING_UNSUPPORTED: Final = 0x80390000


async def read_raw(
    connection: Connection, wanted: Sequence[tuple[Any, int]], *, most: int = MAX_PENDING
) -> list[Raw]:
    """Values of (NodeId, AttributeId) as they are; ``most`` as of `Channel.send`. Raises ConnectionLost."""
    found: list[Raw] = []
    for part in chunks(wanted, connection.limits.read):
        try:
            body = await connection.channel.answer_to(read_request(part), most=most)
            result, values = wire.read_results(body)
        except (ServiceError, wire.Malformed) as error:
            raise ConnectionLost(f"the device refused {error}", BAD_COMMUNICATION_ERROR) from None
        if is_bad(result) or len(values) != len(part):
            raise ConnectionLost("a Read was answered in part", BAD_COMMUNICATION_ERROR)
        found += values
    return found


def _decoded(raw: Raw | None) -> Any:
    """The stack's value of an attribute; None where there is none that it understands."""
    if raw is None or is_bad(raw.status) or not raw.variant:
        return None
    try:
        return decode_variant(raw.variant).Value
    except Exception:  # whatever the stack makes of a stranger's bytes
        log.debug("an attribute cannot be read", exc_info=True)
        return None


def _standard_field(number: int) -> Field | None:
    """A field of a data type of namespace 0."""
    if number in _NUMBER_TYPES:
        return Field(24)
    if number == _ENUMERATION:
        return Field(6)
    if 0 < number <= _LAST_BUILT_IN:
        return Field(number)
    built_in = _SUBTYPES.get(number)
    if built_in is not None:
        return Field(built_in)
    kind = getattr(ua, ua.ObjectIdNames.get(number, ""), None)
    if not isinstance(kind, type):
        return None
    if issubclass(kind, enum.Enum):
        return Field(6)
    return Field(standard=kind) if dataclasses.is_dataclass(kind) else None


_SUBTYPES: Final = {
    30: 15,  # Image
    288: 7,  # IntegerId
    289: 7,  # Counter
    290: 11,  # Duration
    291: 12,  # NumericRange
    294: 13,  # UtcTime
    295: 12,  # LocaleId
    388: 17,  # SessionAuthenticationToken
    521: 15,  # ContinuationPoint
    2000: 15,
    2001: 15,
    2002: 15,
    2003: 15,  # ImageBMP to ImagePNG
    11737: 9,  # BitFieldMaskDataType
    12877: 12,  # NormalizedString
    12878: 12,  # DecimalString
    12879: 12,  # DurationString
    12880: 12,  # TimeString
    12881: 12,  # DateString
    17588: 11,  # Index
    20998: 7,  # VersionTime
    23751: 12,  # UriString
}
"""Simple data types of namespace 0 (OPC 10000-3 §8), by the built-in type they are encoded as."""
