"""The arguments of a method against its InputArguments (OPC 10000-3 §5.7, §8.6; OPC 10000-4 §5.12.2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from asyncua import ua

from server.opcua.services.datatypes import DataTypes, rank_fits
from server.opcua.space.node import Node
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire import structs
from server.opcua.wire.nodeid import Key, key_of, numeric
from server.opcua.wire.writer import qualified_name

_HAS_PROPERTY: Final = numeric(46)
_MOST_SIGNATURES: Final = 1_000
_INPUT_ARGUMENTS: Final = qualified_name("InputArguments")


class InvalidArguments(Exception):
    """Arguments that a method cannot take; ``codes`` has a StatusCode for each of them, 0 for a good one."""

    def __init__(self, codes: Sequence[int]) -> None:
        super().__init__("an argument is invalid")
        self.codes = tuple(codes)


class Parameter(NamedTuple):
    """One input argument as it is defined."""

    data_type: Key
    value_rank: int
    dimensions: tuple[int, ...]


class Signatures:
    """What the methods of a space take; each kind of InputArguments is decoded once."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._types = DataTypes(space)
        self._known: dict[bytes, tuple[Parameter, ...]] = {}
        """By the encoded InputArguments, which like methods share."""

    def parameters(self, method: Node) -> tuple[Parameter, ...]:
        """The input arguments of a method, none where it has no InputArguments."""
        node = self._space.child(method, _INPUT_ARGUMENTS, self._space.nodes[_HAS_PROPERTY])
        if node is None or not isinstance(node.value, StoredValue):
            return ()
        variant = node.value.variant
        found = self._known.get(variant)
        if found is None:
            if len(self._known) >= _MOST_SIGNATURES:
                self._known.clear()
            found = self._known[variant] = _parameters(variant)
        return found

    def check(self, method: Node, inputs: Sequence[ua.Variant]) -> None:
        """Count, data types, ranks and dimensions.

        Raises ServiceFault (BadArgumentsMissing, BadTooManyArguments) or InvalidArguments.
        """
        wanted = self.parameters(method)
        if len(inputs) < len(wanted):
            raise ServiceFault(StatusCodes.BadArgumentsMissing)
        if len(inputs) > len(wanted):
            raise ServiceFault(StatusCodes.BadTooManyArguments)
        codes = [self._code(parameter, value) for parameter, value in zip(wanted, inputs, strict=True)]
        if any(codes):
            raise InvalidArguments(codes)

    def _code(self, parameter: Parameter, value: ua.Variant) -> int:
        if not self._types.accepts(parameter.data_type, value):
            return StatusCodes.BadTypeMismatch
        is_array = bool(value.is_array)
        if not rank_fits(parameter.value_rank, (), value.Value, is_array=is_array):
            return StatusCodes.BadTypeMismatch
        if not rank_fits(parameter.value_rank, parameter.dimensions, value.Value, is_array=is_array):
            return StatusCodes.BadOutOfRange
        return 0


def _parameters(variant: bytes) -> tuple[Parameter, ...]:
    """The Arguments of an encoded Variant."""
    arguments: Any = structs.decode_variant(variant).Value or []
    return tuple(
        Parameter(key_of(one.DataType), int(one.ValueRank), tuple(one.ArrayDimensions or ()))
        for one in arguments
    )
