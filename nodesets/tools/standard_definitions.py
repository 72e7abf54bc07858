"""DataTypeDefinitions of the standard data types, from asyncua's generated classes (OPC 10000-3 §8.47)."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from nodesets.tools.standard_facts import Facts

_BASE_DATA_TYPE, _STRUCTURE, _STRING = 24, 22, 12
_WIRE_NAMES: Final = {"Variant": _BASE_DATA_TYPE, "ExtensionObject": _STRUCTURE, "CharArray": _STRING}
"""What asyncua calls by the name of its encoding."""
_HINT: Final = re.compile(r"(list\[)?(type\[)?(?:[\w.]+\.)?(\w+)\]?\]?( \| None)?")
_UNDERLINED: Final = re.compile(r"^(\w+?)_$")
_PACKED: Final = "Parameters"
"""asyncua packs the parameters of a service request into a structure of their own."""


class Type(NamedTuple):
    """A DataType as the address space has it."""

    number: int
    name: str
    base: int
    encoding: int
    is_structure: bool
    is_option_set: bool


class Definitions:
    """Finds or makes the definition of a DataType."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        kinds = [kind for kind in vars(ua).values() if isinstance(kind, type)]
        self._by_name: Mapping[str, Any] = {kind.__name__: kind for kind in kinds}
        structures = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
        self._by_number: Mapping[int, Any] = {
            int(number.Identifier): kind
            for kind in structures
            if isinstance(number := getattr(kind, "data_type", None), ua.NodeId)
        }

    def of(self, kind: Type) -> Any:
        """The definition, None for a type that has none: a simple type, an abstract base of others."""
        if kind.is_structure:
            return self._structure(kind)
        members = self._by_name.get(kind.name)
        if not (isinstance(members, type) and issubclass(members, enum.Enum)):
            return None
        return ua.EnumDefinition(
            Fields=[
                _member(one.name, one.value, kind) for one in members if one.value or not kind.is_option_set
            ]
        )

    def _structure(self, kind: Type) -> Any:
        fields = list(self._fields(kind))
        structure = ua.StructureType.Structure
        if any(field.IsOptional for field in fields):
            structure = ua.StructureType.StructureWithOptionalFields
        subtyped = self._subtyped(kind)
        if subtyped:
            structure = ua.StructureType.StructureWithSubtypedValues
            fields = [
                dataclasses.replace(field, IsOptional=True) if field.Name in subtyped else field
                for field in fields
            ]
        return ua.StructureDefinition(
            DefaultEncodingId=_node(kind.encoding),
            BaseDataType=_node(kind.base),
            StructureType=structure,
            Fields=fields,
        )

    def _fields(self, kind: Type) -> Iterator[ua.StructureField]:
        given = self._facts.define.get(kind.name)
        if given is not None:
            for name, data_type, is_array in given:
                yield _field(name, getattr(ObjectIds, data_type), is_array=is_array)
            return
        made = self._by_number.get(kind.number)
        if made is None:
            return
        for name, hint in self._hints(made):
            is_list, _, named, optional = hint
            data_type = str(named)
            number = _WIRE_NAMES.get(data_type) or getattr(ObjectIds, data_type)
            yield _field(name, number, is_array=bool(is_list), is_optional=bool(optional))

    def _subtyped(self, kind: Type) -> set[str]:
        """The fields that may hold a subtype of their DataType."""
        made = self._by_number.get(kind.number)
        return {name for name, hint in self._hints(made) if hint[1]} if made is not None else set()

    def _hints(self, kind: Any) -> Iterator[tuple[str, tuple[str | None, ...]]]:
        """Name and type of each field, a service's parameters in their structure's place."""
        for field in dataclasses.fields(kind):
            hint = field.type.__name__ if isinstance(field.type, type) else str(field.type).strip("'")
            found = _HINT.fullmatch(hint)
            if found is None:
                raise ValueError(f"{kind.__name__}.{field.name} is {field.type}")
            groups = found.groups()
            packed = self._by_name.get(cast("str", groups[2]))
            if field.name == _PACKED and getattr(packed, "data_type", None) is None:
                yield from self._hints(packed)
            elif field.name != "TypeId":
                yield field.name, groups


def _field(name: str, data_type: int, *, is_array: bool, is_optional: bool = False) -> ua.StructureField:
    made = cast("Any", ua.StructureField)(
        Name=name,
        DataType=_node(data_type),
        ValueRank=1 if is_array else -1,
        ArrayDimensions=[0] if is_array else [],
        IsOptional=is_optional,
    )
    return cast("ua.StructureField", made)


def _member(name: str, value: int, kind: Type) -> ua.EnumField:
    """A member; that of an option set is the number of its bit."""
    shown = _UNDERLINED.sub(r"\1", name)
    number = value.bit_length() - 1 if kind.is_option_set else value
    made = cast("Any", ua.EnumField)(Value=number, DisplayName=ua.LocalizedText(shown), Name=shown)
    return cast("ua.EnumField", made)


def _node(number: int) -> ua.NodeId:
    return cast("ua.NodeId", cast("Any", ua.NodeId)(int(number)))
