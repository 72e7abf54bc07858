"""The variables of a downstream OPC UA server as an inventory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from server.tools.alike import grouped
from server.tools.inventory import Inventory, Leaf, LeftOut, Single
from sources.opcua.browse import FoundVariable, Identity
from sources.opcua.browse import Inventory as Found
from sources.tag import ANY_LENGTH, ValueType

_ENCODINGS: Final[Mapping[str, tuple[str, ValueType]]] = {
    "Boolean": ("bool", ValueType.Boolean),
    "SByte": ("int8", ValueType.SByte),
    "Byte": ("uint8", ValueType.Byte),
    "Int16": ("int16", ValueType.Int16),
    "UInt16": ("uint16", ValueType.UInt16),
    "Int32": ("int32", ValueType.Int32),
    "UInt32": ("uint32", ValueType.UInt32),
    "Int64": ("int64", ValueType.Int64),
    "UInt64": ("uint64", ValueType.UInt64),
    "Float": ("float32", ValueType.Float),
    "Double": ("float64", ValueType.Double),
    "String": ("string", ValueType.String),
    "LocalizedText": ("string", ValueType.String),
}


def as_inventory(found: Found) -> Inventory:
    """Objects with the same variables become instances of one class; what no binding can mean is left out."""
    owners: dict[tuple[str, ...], list[Single]] = {}
    left: list[LeftOut] = []
    for variable in found.variables:
        label = "/".join(variable.path)
        leaf = _leaf(variable)
        if isinstance(leaf, str):
            left.append(LeftOut(label, leaf))
        else:
            owners.setdefault(variable.path[:-1], []).append(Single(variable.path[:-1], leaf, label))
    if not found.complete:
        left.append(LeftOut("the rest", "there are more variables than are looked at"))
    singles, instances = grouped(owners)
    return Inventory(_words(found.identity), singles, instances, left)


def _leaf(variable: FoundVariable) -> Leaf | str:
    """The variable as a value, or why it is none."""
    if variable.rank not in {-1, 1}:
        return "an array of several dimensions, or now one value and now several"
    known = _ENCODINGS.get(variable.built_in)
    if known is None:
        return f"a value of type {variable.type or variable.built_in or 'unknown'} has no counterpart"
    encoding, kind = known
    length = ANY_LENGTH if variable.rank == 1 else None  # ArrayDimensions tell how long it may be at most
    return Leaf(variable.path[-1:], variable.address, encoding, kind, variable.description, length=length)


def _words(identity: Identity) -> dict[str, str]:
    words = {
        "product": identity.product,
        "manufacturer": identity.manufacturer,
        "version": identity.version,
        "namespaces": ", ".join(identity.namespaces),
    }
    return {key: value for key, value in words.items() if value}
