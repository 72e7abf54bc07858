"""NamespaceMetadata: what the server says of each of its namespaces (OPC 10000-5 §6.3.13, §6.3.14)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from server.opcua.ids import Namespaces
from server.opcua.space import defaults, encode
from server.opcua.space.attribute import encoded_permissions
from server.opcua.space.node import Node
from server.opcua.space.setting import OWN_NAMESPACE, Maker, declarations, own_key
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue
from server.opcua.types import ObjectIds
from server.opcua.wire import writer

_UNKNOWN: Final[Mapping[str, bytes]] = {
    "NamespaceVersion": encode.string(None),
    "NamespacePublicationDate": encode.time(0),
    "IsNamespaceSubset": encode.FALSE,
    # No node of these namespaces is the same in other servers.
    "StaticNodeIdTypes": encode.int32s(()),
    "StaticNumericNodeIdRange": encode.strings(()),
    "StaticStringNodeIdPattern": encode.string(""),
}


def show_namespaces(space: Space, namespaces: Namespaces) -> None:
    """Have an object below Namespaces for every namespace there is, with the defaults of its permissions.

    A nodeset may bring the object of its namespace.
    """
    folder = space.number(ObjectIds.Server_Namespaces)
    with space.changing():
        given = {_uri(space, node): node for node in space.children(folder)}
        for index, uri in enumerate(namespaces.uris):
            _show(space, folder, index, uri, given.get(encode.string(uri)))


def show_namespace(space: Space, namespaces: Namespaces, index: int) -> None:
    """The same for a namespace that was added."""
    with space.changing():
        _show(space, space.number(ObjectIds.Server_Namespaces), index, namespaces.uris[index], None)


def _show(space: Space, folder: Node, index: int, uri: str, metadata: Node | None) -> None:
    maker = Maker(space)
    declared = declarations(space, space.number(ObjectIds.NamespaceMetadataType))
    values = _defaults(index)
    if metadata is None:
        its_key = own_key(f"@namespaces/{uri}")
        metadata = maker.object(
            folder, its_key, writer.qualified_name(uri, index), ObjectIds.NamespaceMetadataType
        )
        values |= {"NamespaceUri": encode.string(uri), **_UNKNOWN}
    held = declarations(space, metadata)
    for name, variant in values.items():
        if name in held:
            held[name].value = StoredValue(variant)
        else:
            its_key = own_key(f"@namespaces/{uri}.{name}")
            maker.variable(metadata, its_key, declared[name], StoredValue(variant))


def _defaults(index: int) -> dict[str, bytes]:
    """What is said of a namespace, whoever brought its object. Of namespace 0 not all is served."""
    permissions = defaults.PLANT if index > OWN_NAMESPACE else defaults.STANDARD
    subset = {"IsNamespaceSubset": encode.TRUE} if index == 0 else {}
    return subset | {
        "DefaultRolePermissions": encoded_permissions(permissions),
        "DefaultAccessRestrictions": encode.uint16(0),
    }


def _uri(space: Space, metadata: Node) -> bytes:
    """The value of its NamespaceUri, empty where it has none."""
    node = declarations(space, metadata).get("NamespaceUri")
    return node.value.variant if node is not None and isinstance(node.value, StoredValue) else b""
