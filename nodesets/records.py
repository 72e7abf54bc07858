"""Neutral node records: what a NodeSet2 file says, or the plant model builds, before any server.

Namespaces are named by URI everywhere, never by index, so records of several files can be
put together without renumbering (OPC 10000-3 §5; OPC 10000-6 Annex F).
"""

from __future__ import annotations

import base64
import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from nodesets.uri import escape_uri

UA: Final = "http://opcfoundation.org/UA/"
"""Namespace 0."""


class NodeId(NamedTuple):
    """A NodeId whose namespace is a URI (OPC 10000-3 §8.2)."""

    namespace: str
    identifier: int | str | UUID | bytes

    def __str__(self) -> str:
        """The string form of OPC 10000-6 §5.1.12: ``i=85``, ``nsu=urn:acme:plant;s=Acme``."""
        prefix = "" if self.namespace == UA else f"nsu={escape_uri(self.namespace)};"
        match self.identifier:
            case int(number):
                return f"{prefix}i={number}"
            case str(text):
                return f"{prefix}s={text}"
            case UUID() as guid:
                return f"{prefix}g={guid}"
            case opaque:
                return f"{prefix}b={base64.b64encode(opaque).decode('ascii')}"


BASE_DATA_TYPE: Final = NodeId(UA, 24)
"""What a variable's data type is where nothing is said."""

NULL: Final = NodeId(UA, 0)
"""The NodeId of no node."""


class QualifiedName(NamedTuple):
    """A name and the URI of the namespace that defines it (OPC 10000-3 §8.3)."""

    namespace: str
    name: str


class LocalizedText(NamedTuple):
    """A text and its locale, empty where none is given (OPC 10000-3 §8.5)."""

    text: str
    locale: str = ""


class NodeClass(enum.IntEnum):
    """OPC 10000-3 §8.29."""

    Object = 1
    Variable = 2
    Method = 4
    ObjectType = 8
    VariableType = 16
    ReferenceType = 32
    DataType = 64
    View = 128


class BuiltinType(enum.IntEnum):
    """OPC 10000-6 §5.1.2; the number is also the data type's NodeId in namespace 0."""

    Boolean = 1
    SByte = 2
    Byte = 3
    Int16 = 4
    UInt16 = 5
    Int32 = 6
    UInt32 = 7
    Int64 = 8
    UInt64 = 9
    Float = 10
    Double = 11
    String = 12
    DateTime = 13
    Guid = 14
    ByteString = 15
    XmlElement = 16
    NodeId = 17
    ExpandedNodeId = 18
    StatusCode = 19
    QualifiedName = 20
    LocalizedText = 21
    ExtensionObject = 22
    DataValue = 23
    Variant = 24
    DiagnosticInfo = 25


@dataclass(frozen=True, slots=True)
class Structure:
    """An ExtensionObject's content by field name.

    ``type_id`` names the structure's DataType or one of its encodings, whichever the origin
    named, `NULL` where it named none. A leaf read from XML is its text (None where the
    element is empty), a nested element a dict, a repeated one a list; but what speaks of
    namespaces is translated: NodeIds, QualifiedNames and nested Structures are of this module.
    What the plant model builds uses plain Python values and the types of this module.
    ``body`` holds the binary encoding where the origin gives only that; ``fields`` is then empty.
    """

    type_id: NodeId
    fields: dict[str, Any]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """A typed value: a scalar, or a list for an array (``dimensions`` set when it has more than one).

    Python types: bool, int, float, str, bytes, datetime (aware), UUID, and those of this module
    (StatusCode is an int; Structure for ExtensionObject; NodeId for ExpandedNodeId; an
    XmlElement is its text). A null value, or a null in an array, is None.
    """

    type: BuiltinType
    value: Any
    is_array: bool = False
    dimensions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DataValue:
    """A value with its status and times (OPC 10000-4 §7.11), where it is itself the content of a value."""

    value: Variant | None = None
    status: int = 0
    source_timestamp: datetime | None = None
    server_timestamp: datetime | None = None


class Reference(NamedTuple):
    """One reference of the record that holds it (OPC 10000-3 §5.3)."""

    type: NodeId
    target: NodeId
    forward: bool = True


class RolePermission(NamedTuple):
    """Permissions of one role (OPC 10000-3 §8.55)."""

    role: NodeId
    permissions: int


@dataclass(frozen=True, slots=True)
class DataTypeField:
    """A field of a structure, or a member of an enumeration or option set (OPC 10000-6 §F.12)."""

    name: str
    data_type: NodeId = BASE_DATA_TYPE
    value_rank: int = -1
    array_dimensions: tuple[int, ...] = ()
    max_string_length: int = 0
    is_optional: bool = False
    allow_subtypes: bool = False
    value: int = -1
    display_name: tuple[LocalizedText, ...] = ()
    description: tuple[LocalizedText, ...] = ()
    symbolic_name: str = ""


@dataclass(frozen=True, slots=True)
class DataTypeDefinition:
    """OPC 10000-3 §8.47; whether it is a structure or an enumeration follows from the supertype."""

    name: QualifiedName
    fields: tuple[DataTypeField, ...] = ()
    is_union: bool = False
    is_option_set: bool = False


@dataclass(slots=True)
class NodeRecord:
    """One node. Attributes that its NodeClass does not have keep their defaults.

    References are held where the origin states them; the inverse is not repeated.
    """

    node_id: NodeId
    node_class: NodeClass
    browse_name: QualifiedName
    display_name: tuple[LocalizedText, ...] = ()
    description: tuple[LocalizedText, ...] = ()
    references: list[Reference] = field(default_factory=list)
    # Variable and VariableType
    data_type: NodeId = BASE_DATA_TYPE
    value_rank: int = -1
    array_dimensions: tuple[int, ...] = ()
    value: Variant | None = None
    # Variable
    access_level: int = 1
    minimum_sampling_interval: float | None = None
    historizing: bool = False
    # types
    is_abstract: bool = False
    symmetric: bool = False
    inverse_name: tuple[LocalizedText, ...] = ()
    definition: DataTypeDefinition | None = None
    # Object and View
    event_notifier: int = 0
    # View
    contains_no_loops: bool = False
    # Method
    executable: bool = True
    method_declaration: NodeId | None = None
    # all
    role_permissions: tuple[RolePermission, ...] | None = None
    access_restrictions: int | None = None
    write_mask: int = 0
    symbolic_name: str = ""
    release_status: str = "Released"
    design_tool_only: bool = False


class RequiredModel(NamedTuple):
    """A model another one needs; version and date are empty where the file gives none."""

    uri: str
    version: str = ""
    publication_date: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of a NodeSet2 file (OPC 10000-6 §F.5)."""

    uri: str
    version: str = ""
    publication_date: str = ""
    required: tuple[RequiredModel, ...] = ()
    role_permissions: tuple[RolePermission, ...] | None = None
    access_restrictions: int | None = None


@dataclass(frozen=True, slots=True)
class NodeSet:
    """A whole file: its models and its nodes, in the file's order."""

    models: tuple[Model, ...]
    nodes: list[NodeRecord]
