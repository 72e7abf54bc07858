"""Node records become nodes, their attributes encoded (OPC 10000-3 §5)."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

from nodesets.records import (
    UA,
    LocalizedText,
    NodeClass,
    NodeId,
    NodeRecord,
    QualifiedName,
    Reference,
    Structure,
    Variant,
)
from server.opcua.ids import Namespaces, UnknownNamespace
from server.opcua.space import defaults, encode
from server.opcua.space.definition import data_type_definition
from server.opcua.space.node import Node
from server.opcua.space.permissions import RolePermissions
from server.opcua.space.shapes import Holder
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue, Value
from server.opcua.space.variants import to_variant
from server.opcua.structures import Unsupported
from server.opcua.types import AttributeIds
from server.opcua.wire import structs, writer
from server.opcua.wire.nodeid import Key, key, split
from server.plant.model import Property, Role
from sources.clock import now
from sources.quality import BAD_NOT_SUPPORTED

log = logging.getLogger(__name__)

CURRENT_READ: Final = 0x01
WRITE: Final = 0x42
"""CurrentWrite and TimestampWrite (OPC 10000-3 §8.57): with a value its SourceTimestamp may be given."""

_A: Final = AttributeIds
_TYPES: Final = frozenset(
    {NodeClass.ObjectType, NodeClass.VariableType, NodeClass.ReferenceType, NodeClass.DataType}
)
_TOLD: Final = 5
_MOST_KEYS: Final = 4096

NOTHING_WRITABLE: Final = encode.uint32(0)
"""WriteMask: no attribute is writable but values."""


class Builder:
    """Adds records to a space. What is equal in many nodes is one object in all of them.

    A constant's StoredValue is shared too: to give one node another value, replace `Node.value`.
    """

    def __init__(
        self,
        space: Space,
        namespaces: Namespaces,
        *,
        writable: bool = False,
    ) -> None:
        """``writable`` lets clients write what the plant says may be written."""
        self._space = space
        self._namespaces = namespaces
        self._writable = writable
        self.callers: Mapping[NodeId, frozenset[Role]] = {}
        """Objects that hold methods of a device's, and who may call these, so far as anybody may write."""
        self._time = now()
        self._keys: dict[NodeId, Key] = {}
        self._names: dict[QualifiedName, bytes] = {}
        self._texts: dict[tuple[LocalizedText, ...], bytes] = {}
        self._attributes: dict[tuple[Any, ...], Mapping[int, bytes]] = {}
        self._encoded: dict[tuple[Any, ...], bytes] = {}
        self._constants: dict[bytes, StoredValue] = {}
        self._permissions: dict[Any, RolePermissions] = {}

    def add(self, records: Iterable[NodeRecord], holders: Container[NodeId] = ()) -> None:
        """Add nodes, and the references between them and those that are there already.

        ``holders`` are to hold variables of the plant. Every reference is held both ways and once. One
        to a node that is not there is left out and told in the log. Raises UnknownNamespace, DuplicateNode.
        """
        self.put((self.made(record, holders), record) for record in records)

    def made(self, record: NodeRecord, holders: Container[NodeId] = ()) -> Node:
        """A record as a node that `put` can add. Touches nothing that is shared. Raises UnknownNamespace."""
        node = self.node(record)
        return Holder(node) if record.node_id in holders else node

    def put(self, made: Iterable[tuple[Node, NodeRecord]]) -> None:
        """As `add`, for nodes that are made."""
        later: list[tuple[Node, Reference]] = []
        types: list[tuple[Node, NodeRecord]] = []
        missing: dict[str, str] = {}
        with self._space.changing():
            for node, record in made:
                self._space.add(node)
                if record.definition is not None and record.node_class is NodeClass.DataType:
                    types.append((node, record))
                later += [(node, r) for r in record.references if not self._link(node, r, None)]
            for node, reference in later:
                self._link(node, reference, missing)
            types.sort(key=lambda one: len(list(self._space.supertypes(one[0]))))
            for node, record in types:
                self.define(node, record)
        if missing:
            told = "; ".join(f"{node}: {why}" for node, why in list(missing.items())[:_TOLD])
            log.warning("references to %d nodes that are not there are left out: %s", len(missing), told)

    def join(self, records: Iterable[NodeRecord]) -> None:
        """Make those references of nodes in the space that are not there yet."""
        with self._space.changing():
            for record in records:
                node = self._space.nodes[self._key(record.node_id)]
                for reference in record.references:
                    self._link(node, reference, None)

    def _link(self, node: Node, reference: Reference, missing: dict[str, str] | None) -> bool:
        """Make a reference; False where one of its nodes is not there, which is noted in ``missing``."""
        try:
            kind = self._space.find(self._key(reference.type))
            target = self._space.find(self._key(reference.target))
        except UnknownNamespace as error:
            if missing is not None:
                missing.setdefault(str(reference.target), str(error))
            return False
        if kind is None or target is None:
            if missing is not None:
                lost = reference.target if target is None else reference.type
                missing.setdefault(str(lost), f"{text(self._namespaces, node.key)} refers to it")
            return False
        if reference.forward:
            self._space.link(node, kind, target)
        else:
            self._space.link(target, kind, node)
        return True

    def _key(self, name: NodeId) -> Key:
        found = self._keys.get(name)
        if found is None:
            if len(self._keys) >= _MOST_KEYS:  # the parents and types of now are back at once
                self._keys.clear()
            index = self._namespaces.index(name.namespace)
            found = self._keys[name] = key(name.identifier, index)
        return found

    def node(self, record: NodeRecord, prop: Property | None = None) -> Node:
        """A record as a node, which is not added yet; ``prop`` is the property it shows, if any.

        Raises UnknownNamespace.
        """
        return Node(
            key(record.node_id.identifier, self._namespaces.index(record.node_id.namespace)),
            int(record.node_class),
            self._name(record.browse_name),
            self._text(record.display_name or (LocalizedText(record.browse_name.name),)),
            self._attributes_of(record, writable=self._may_write(prop)),
            self._permissions_of(record, prop),
            record.access_restrictions or 0,
            None if prop is not None else self._value(record),
        )

    def _may_write(self, prop: Property | None) -> bool:
        return self._writable and prop is not None and prop.type.write is not None

    def _name(self, name: QualifiedName) -> bytes:
        found = self._names.get(name)
        if found is None:
            index = self._namespaces.index(name.namespace)
            found = self._names[name] = writer.qualified_name(name.name, index)
        return found

    def _text(self, texts: tuple[LocalizedText, ...]) -> bytes:
        """The first of the texts, encoded: this server knows one locale."""
        found = self._texts.get(texts)
        if found is None:
            first = texts[0] if texts else LocalizedText("")
            made = writer.localized_text(first.text, first.locale or None) if texts else b"\x00"
            found = self._texts[texts] = made
        return found

    def _permissions_of(self, record: NodeRecord, prop: Property | None) -> RolePermissions:
        given = record.role_permissions
        if given is not None:
            found = self._permissions.get(given)
            if found is None:
                entries = {self._key(entry.role): entry.permissions for entry in given}
                found = self._permissions[given] = RolePermissions(entries)
            return found
        if prop is not None and prop.type.write is not None and self._writable:
            return defaults.plant_writers(prop.type.write.roles)
        if self._writable and (roles := self.callers.get(record.node_id)):
            return defaults.plant_callers(roles)
        if record.node_class in _TYPES or record.node_id.namespace == UA:
            return defaults.STANDARD
        return defaults.PLANT

    def _value(self, record: NodeRecord) -> Value | None:
        if record.node_class not in {NodeClass.Variable, NodeClass.VariableType}:
            return None
        if record.value is None:
            return self._constant(writer.NULL_VARIANT)
        try:
            return self._constant(self._encode(record.value))
        except (Unsupported, UnknownNamespace) as error:
            log.warning("%s has no value here: %s", record.node_id, error)
            return StoredValue(b"", BAD_NOT_SUPPORTED, self._time)

    def _constant(self, variant: bytes) -> StoredValue:
        found = self._constants.get(variant)
        if found is None:
            found = self._constants[variant] = StoredValue(variant, 0, self._time)
        return found

    def _encode(self, value: Variant) -> bytes:
        """A value encoded; once for the units and ranges that many properties have."""
        content = value.value
        if not isinstance(content, Structure):
            return structs.encode_variant(to_variant(value, self._namespaces))
        fields = content.fields
        same = (content.type_id, content.body, *fields, *fields.values(), *map(type, fields.values()))
        try:
            found = self._encoded.get(same)
        except TypeError:  # lists and structures within
            return structs.encode_variant(to_variant(value, self._namespaces))
        if found is None:
            made = structs.encode_variant(to_variant(value, self._namespaces))
            found = self._encoded[same] = made
        return found

    def _attributes_of(self, record: NodeRecord, *, writable: bool) -> Mapping[int, bytes]:
        given = (
            record.node_class,
            record.description,
            record.data_type,
            record.value_rank,
            record.array_dimensions,
            record.minimum_sampling_interval,
            record.historizing,
            record.is_abstract,
            record.symmetric,
            record.inverse_name,
            record.event_notifier,
            record.contains_no_loops,
            record.executable,
            writable,
        )
        found = self._attributes.get(given)
        if found is None:
            made: dict[int, bytes] = {_A.WriteMask: NOTHING_WRITABLE}
            if record.description:
                made[_A.Description] = encode.localized_text(self._text(record.description))
            found = self._attributes[given] = made | self._of_class(record, writable=writable)
        return found

    def _of_class(self, record: NodeRecord, *, writable: bool) -> dict[int, bytes]:
        match record.node_class:
            case NodeClass.Variable:
                level = CURRENT_READ | (WRITE if writable else 0)
                found = self._typed(record) | {
                    _A.AccessLevel: encode.byte(level),
                    _A.Historizing: encode.boolean(record.historizing),
                }
                if record.minimum_sampling_interval is not None:
                    found[_A.MinimumSamplingInterval] = encode.double(record.minimum_sampling_interval)
                return found
            case NodeClass.VariableType:
                return self._typed(record) | {_A.IsAbstract: encode.boolean(record.is_abstract)}
            case NodeClass.Object:
                return {_A.EventNotifier: encode.byte(record.event_notifier)}
            case NodeClass.View:
                return {
                    _A.EventNotifier: encode.byte(record.event_notifier),
                    _A.ContainsNoLoops: encode.boolean(record.contains_no_loops),
                }
            case NodeClass.Method:
                return {_A.Executable: encode.FALSE}
            case NodeClass.ReferenceType:
                found = {
                    _A.IsAbstract: encode.boolean(record.is_abstract),
                    _A.Symmetric: encode.boolean(record.symmetric),
                }
                if record.inverse_name:
                    found[_A.InverseName] = encode.localized_text(self._text(record.inverse_name))
                return found
            case NodeClass.ObjectType | NodeClass.DataType:
                return {_A.IsAbstract: encode.boolean(record.is_abstract)}

    def _typed(self, record: NodeRecord) -> dict[int, bytes]:
        """What variables and variable types share."""
        found: dict[int, bytes] = {
            _A.DataType: encode.node_id(self._key(record.data_type)),
            _A.ValueRank: encode.int32(record.value_rank),
        }
        if record.value_rank > 0:
            dimensions = record.array_dimensions or (0,) * record.value_rank
            found[_A.ArrayDimensions] = encode.uint32s(dimensions)
        return found

    def define(self, node: Node, record: NodeRecord) -> None:
        """Give a data type that is in the space and linked its DataTypeDefinition."""
        made = data_type_definition(self._space, node, record, self._namespaces)
        node.attributes = {**node.attributes, _A.DataTypeDefinition: made}


def text(namespaces: Namespaces, node: Key) -> str:
    """A key as records write NodeIds: its namespace by URI."""
    index, identifier = split(node)
    return str(NodeId(namespaces.uris[index], identifier))
