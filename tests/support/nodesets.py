"""Official files that a checkout beside this one may hold, and NodeSet2 files made for tests."""

from __future__ import annotations

import io
import math
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from xml.sax.saxutils import escape, quoteattr

from nodesets.reader import read_nodeset
from nodesets.records import (
    UA,
    DataTypeDefinition,
    DataValue,
    LocalizedText,
    Model,
    NodeId,
    NodeRecord,
    NodeSet,
    QualifiedName,
    RolePermission,
    Structure,
    Variant,
)

_ROOT: Final = Path(__file__).resolve().parents[2]
SHARED: Final = Path(os.environ.get("ISTHMUS_SHARED") or _ROOT.parent / "shared")
"""Where the official files lie; they are not part of this repository."""

NODESETS: Final = "http://opcfoundation.org/UA/2011/03/UANodeSet.xsd"
TYPES: Final = "http://opcfoundation.org/UA/2008/02/Types.xsd"
PLANT: Final = "urn:test:plant"
"""Namespace 1 of the texts made here."""


def found(pattern: str) -> list[Path]:
    """The official files of that pattern, none where there is no such folder."""
    return sorted(SHARED.glob(pattern))


def nodeset(body: str, *, uris: tuple[str, ...] = (PLANT,), head: str = "") -> bytes:
    """A NodeSet2 file: the namespaces, whatever ``head`` holds, then ``body``."""
    listed = "".join(f"<Uri>{uri}</Uri>" for uri in uris)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n'
        f'<UANodeSet xmlns="{NODESETS}" xmlns:uax="{TYPES}" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
        f"<NamespaceUris>{listed}</NamespaceUris>\n{head}\n{body}\n</UANodeSet>\n"
    ).encode()


def read(content: bytes) -> NodeSet:
    """Read a file's content, under the name ``test.xml``."""
    return read_nodeset(io.BytesIO(content), name="test.xml")


def read_one(element: str, *, head: str = "") -> NodeRecord:
    """Read a file that holds one node."""
    (node,) = read(nodeset(element, head=head)).nodes
    return node


def variable(value: str) -> bytes:
    """A file that holds one variable with that value."""
    return nodeset(f'<UAVariable NodeId="ns=1;i=1" BrowseName="1:V"><Value>{value}</Value></UAVariable>')


def write(
    records: Sequence[NodeRecord], models: Sequence[Model] = (), uris: Sequence[str] = (PLANT,)
) -> bytes:
    """Records as a NodeSet2 file, plainly and in full: what the reader is to read back as they are."""
    writer = _Writer(uris)
    head = "".join(writer.model(model) for model in models)
    body = "".join(writer.node(record) for record in records)
    return nodeset(body, uris=tuple(uris), head=f"<Models>{head}</Models>")


class _Writer:
    def __init__(self, uris: Sequence[str]) -> None:
        self._uris = [UA, *uris]

    def id(self, node_id: NodeId) -> str:
        index = self._uris.index(node_id.namespace)
        match node_id.identifier:
            case int(number):
                text = f"i={number}"
            case str(name):
                text = f"s={name}"
            case UUID() as guid:
                text = f"g={guid}"
            case opaque:
                text = f"b={b64encode(opaque).decode()}"
        return f"ns={index};{text}" if index else text

    def name(self, name: QualifiedName) -> str:
        return f"{self._uris.index(name.namespace)}:{name.name}"

    def model(self, model: Model) -> str:
        required = "".join(_empty("RequiredModel", **_model(*needed)) for needed in model.required)
        return _element(
            "Model",
            self.permissions(model.role_permissions) + required,
            **_model(model.uri, model.version, model.publication_date),
            AccessRestrictions=model.access_restrictions,
        )

    def permissions(self, permissions: tuple[RolePermission, ...] | None) -> str:
        if permissions is None:
            return ""
        return _element(
            "RolePermissions",
            "".join(
                _element("RolePermission", escape(self.id(one.role)), Permissions=one.permissions)
                for one in permissions
            ),
        )

    def node(self, node: NodeRecord) -> str:
        references = "".join(
            _element(
                "Reference",
                escape(self.id(r.target)),
                ReferenceType=self.id(r.type),
                IsForward=_bool(r.forward),
            )
            for r in node.references
        )
        declared = node.method_declaration
        return _element(
            f"UA{node.node_class.name}",
            _texts("DisplayName", node.display_name)
            + _texts("Description", node.description)
            + _element("References", references)
            + self.permissions(node.role_permissions)
            + _texts("InverseName", node.inverse_name)
            + (self.definition(node.definition) if node.definition else "")
            + (_element("Value", self.variant(node.value)) if node.value else ""),
            NodeId=self.id(node.node_id),
            BrowseName=self.name(node.browse_name),
            DataType=self.id(node.data_type),
            ValueRank=node.value_rank,
            ArrayDimensions=",".join(map(str, node.array_dimensions)),
            AccessLevel=node.access_level,
            MinimumSamplingInterval=node.minimum_sampling_interval,
            Historizing=_bool(node.historizing),
            IsAbstract=_bool(node.is_abstract),
            Symmetric=_bool(node.symmetric),
            EventNotifier=node.event_notifier,
            ContainsNoLoops=_bool(node.contains_no_loops),
            Executable=_bool(node.executable),
            MethodDeclarationId=None if declared is None else self.id(declared),
            AccessRestrictions=node.access_restrictions,
            WriteMask=node.write_mask,
            SymbolicName=node.symbolic_name,
            ReleaseStatus=node.release_status,
            DesignToolOnly=_bool(node.design_tool_only),
        )

    def definition(self, definition: DataTypeDefinition) -> str:
        fields = "".join(
            _element(
                "Field",
                _texts("DisplayName", field.display_name) + _texts("Description", field.description),
                Name=field.name,
                DataType=self.id(field.data_type),
                ValueRank=field.value_rank,
                ArrayDimensions=",".join(map(str, field.array_dimensions)),
                MaxStringLength=field.max_string_length,
                IsOptional=_bool(field.is_optional),
                AllowSubTypes=_bool(field.allow_subtypes),
                Value=field.value,
                SymbolicName=field.symbolic_name,
            )
            for field in definition.fields
        )
        return _element(
            "Definition",
            fields,
            Name=self.name(definition.name),
            IsUnion=_bool(definition.is_union),
            IsOptionSet=_bool(definition.is_option_set),
        )

    def variant(self, variant: Variant) -> str:
        kind = variant.type.name
        if not variant.is_array:
            return self.scalar(kind, variant.value)
        items = "".join(self.scalar(kind, item) for item in variant.value)
        if variant.dimensions:
            sizes = "".join(f"<uax:UInt32>{size}</uax:UInt32>" for size in variant.dimensions)
            return (
                f"<uax:Matrix><uax:Dimensions>{sizes}</uax:Dimensions>"
                f"<uax:Elements>{items}</uax:Elements></uax:Matrix>"
            )
        return f"<uax:ListOf{kind}>{items}</uax:ListOf{kind}>"

    def scalar(self, kind: str, value: Any) -> str:
        if value is None:
            return f'<uax:{kind} xsi:nil="true"/>'
        inner = self.content(value)
        if kind == "StatusCode":
            inner = f"<uax:Code>{inner}</uax:Code>"
        return f"<uax:{kind}>{inner}</uax:{kind}>"

    def content(self, value: Any) -> str:
        """What stands within the element of a value."""
        match value:
            case NodeId():
                return f"<uax:Identifier>{escape(self.id(value))}</uax:Identifier>"
            case QualifiedName():
                index = self._uris.index(value.namespace)
                name = f"<uax:Name>{escape(value.name)}</uax:Name>"
                return f"<uax:NamespaceIndex>{index}</uax:NamespaceIndex>{name}"
            case LocalizedText():
                locale = f"<uax:Locale>{escape(value.locale)}</uax:Locale>"
                return f"{locale}<uax:Text>{escape(value.text)}</uax:Text>"
            case Variant():
                return f"<uax:Value>{self.variant(value)}</uax:Value>"
            case DataValue():
                return self.data_value(value)
            case Structure():
                return self.structure(value)
            case UUID():
                return f"<uax:String>{value}</uax:String>"
            case _:
                return escape(_plain(value))

    def data_value(self, value: DataValue) -> str:
        inner = "" if value.value is None else f"<uax:Value>{self.variant(value.value)}</uax:Value>"
        times = {"SourceTimestamp": value.source_timestamp, "ServerTimestamp": value.server_timestamp}
        told = "".join(
            f"<uax:{name}>{self.content(time)}</uax:{name}>"
            for name, time in times.items()
            if time is not None
        )
        return f"{inner}<uax:StatusCode><uax:Code>{value.status}</uax:Code></uax:StatusCode>{told}"

    def structure(self, value: Structure) -> str:
        kind = f"<uax:TypeId>{self.content(value.type_id)}</uax:TypeId>"
        if value.body is not None:
            inner = f"<uax:ByteString>{self.content(value.body)}</uax:ByteString>"
        else:
            inner = f'<T xmlns="urn:test:types">{self.fields(value.fields)}</T>'
        return f"{kind}<uax:Body>{inner}</uax:Body>"

    def fields(self, fields: Mapping[str, Any]) -> str:
        return "".join(
            f"<{name}>{self.field(item)}</{name}>"
            for name, value in fields.items()
            for item in (value if isinstance(value, list) else [value])
        )

    def field(self, value: Any) -> str:
        if isinstance(value, dict):
            return self.fields(value)
        return "" if value is None else self.content(value)


def _element(name: str, inner: str, **attributes: object) -> str:
    stated = "".join(
        f" {key}={quoteattr(_plain(value))}" for key, value in attributes.items() if value is not None
    )
    return f"<{name}{stated}>{inner}</{name}>"


def _empty(name: str, **attributes: object) -> str:
    return _element(name, "", **attributes)


def _model(uri: str, version: str, date: str) -> dict[str, str]:
    return {"ModelUri": uri, "Version": version, "PublicationDate": date}


def _texts(name: str, texts: tuple[LocalizedText, ...]) -> str:
    return "".join(_element(name, escape(text.text), Locale=text.locale) for text in texts)


def _plain(value: Any) -> str:
    match value:
        case bool():
            return _bool(value)
        case bytes():
            return b64encode(value).decode()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case float():
            return {math.inf: "INF", -math.inf: "-INF"}.get(value, repr(value))
        case _:
            return str(value)


def _bool(value: bool) -> str:
    return "true" if value else "false"
