"""ContentFilter: whether an event is what a client asked for (OPC 10000-4 §7.7)."""

from __future__ import annotations

import enum
import logging
import struct
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Final, NamedTuple

from server.opcua.limits import MAX_WHERE_ELEMENTS, MAX_WHERE_OPERANDS
from server.opcua.space.space import Space
from server.opcua.subscriptions import conversion, operators
from server.opcua.subscriptions.conversion import NODE_ID, Typed
from server.opcua.subscriptions.events import Event
from server.opcua.subscriptions.select import BASE_EVENT, SimpleAttribute, simple_attribute, types_below
from server.opcua.types import ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire import structs
from server.opcua.wire.nodeid import Key, numeric
from server.opcua.wire.reader import DecodingError, Reader

log = logging.getLogger(__name__)

_LITERAL: Final = numeric(ObjectIds.LiteralOperand_Encoding_DefaultBinary)
_ELEMENT: Final = numeric(ObjectIds.ElementOperand_Encoding_DefaultBinary)
_SIMPLE: Final = numeric(ObjectIds.SimpleAttributeOperand_Encoding_DefaultBinary)
_SMALLEST_ELEMENT: Final = 8
_SMALLEST_OPERAND: Final = 3
MAX_LITERAL: Final = 512
"""Bytes of a literal: every event is held against it, and Like takes pattern times text."""


class Operator(enum.IntEnum):
    """FilterOperator (OPC 10000-4 §7.7.3)."""

    Equals = 0
    IsNull = 1
    GreaterThan = 2
    LessThan = 3
    GreaterThanOrEqual = 4
    LessThanOrEqual = 5
    Like = 6
    Not = 7
    Between = 8
    InList = 9
    And = 10
    Or = 11
    Cast = 12
    InView = 13
    OfType = 14
    RelatedTo = 15
    BitwiseAnd = 16
    BitwiseOr = 17


_UNSUPPORTED: Final = frozenset({Operator.InView, Operator.RelatedTo})
"""They ask about nodes in the address space, which an event is not (§7.22.3)."""
_COUNTS: Final = {Operator.IsNull: 1, Operator.Not: 1, Operator.OfType: 1, Operator.Between: 3}
_APPLIED: Final[dict[Operator, Callable[[Sequence[Typed | None]], Typed | None]]] = {
    Operator.Equals: operators.equals,
    Operator.IsNull: operators.is_null,
    Operator.GreaterThan: operators.greater,
    Operator.LessThan: operators.less,
    Operator.GreaterThanOrEqual: operators.greater_or_equal,
    Operator.LessThanOrEqual: operators.less_or_equal,
    Operator.Like: operators.like,
    Operator.Not: operators.negated,
    Operator.Between: operators.between,
    Operator.InList: operators.in_list,
    Operator.And: operators.both,
    Operator.Or: operators.either,
    Operator.Cast: operators.cast_to,
    Operator.BitwiseAnd: operators.bitwise_and,
    Operator.BitwiseOr: operators.bitwise_or,
}


class Literal(NamedTuple):
    """A value."""

    value: Typed | None


class Element(NamedTuple):
    """What another element comes to."""

    number: int


class Field(NamedTuple):
    """A field of the event; null where its type is none of ``types`` (`SimpleAttribute.encoded`)."""

    attribute: SimpleAttribute
    types: frozenset[Key] | None


Operand = Literal | Element | Field


class ElementResult(NamedTuple):
    """ContentFilterElementResult (§7.7.2)."""

    code: int
    operands: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """As it travels."""
        count = len(self.operands)
        return struct.pack(f"<Ii{count}I", self.code, count, *self.operands) + b"\xff\xff\xff\xff"


class _Condition(NamedTuple):
    operator: Operator
    operands: tuple[Operand, ...]


class Where:
    """A where clause that was found right."""

    def __init__(self, conditions: Sequence[_Condition], types: Sequence[frozenset[Key] | None]) -> None:
        self._conditions = conditions
        self._types = types
        """Of each OfType, the type and everything below it."""
        self._failed = False

    def passes(self, event: Event) -> bool:
        """Whether the event is wanted: not what is null (§7.7.3), nor what cannot be worked out."""
        try:
            return self._passes(event)
        except Exception:
            if not self._failed:  # it is held against every event, and may fail on each
                log.exception("a where clause cannot be worked out and lets no event pass: a fault of ours")
            self._failed = True
            return False

    def _passes(self, event: Event) -> bool:
        results: list[Typed | None] = [None] * len(self._conditions)
        # An operand refers to elements behind its own only, so each is worked out once, the last first.
        for index in range(len(self._conditions) - 1, -1, -1):
            operator, operands = self._conditions[index]
            types = self._types[index]
            if types is not None:
                results[index] = Typed(conversion.BOOLEAN, event.type.key in types)
            else:
                results[index] = _APPLIED[operator]([_resolve(o, event, results) for o in operands])
        return not results or operators.truth(results[0]) is True


def _resolve(operand: Operand, event: Event, results: Sequence[Typed | None]) -> Typed | None:
    if isinstance(operand, Literal):
        return operand.value
    if isinstance(operand, Element):
        return results[operand.number]
    return conversion.of_variant(operand.attribute.value(event, operand.types))


def where_clause(reader: Reader, space: Space) -> tuple[Where | None, list[ElementResult]]:
    """Decode a ContentFilter; a result for each element, and None for the clause if one is wrong.

    Raises DecodingError, and ServiceFault (BadEventFilterInvalid) for more than we take.
    """
    count = reader.count(_SMALLEST_ELEMENT)
    if count > MAX_WHERE_ELEMENTS:
        raise ServiceFault(StatusCodes.BadEventFilterInvalid, f"a where clause of {count} elements")
    conditions: list[_Condition] = []
    types: list[frozenset[Key] | None] = []
    results = []
    below = cache(partial(types_below, space=space))  # many operands are of the same type
    taken = 0
    for index in range(count):
        number = reader.int32()
        objects = [reader.extension_object() for _ in range(reader.count(_SMALLEST_OPERAND))]
        taken += len(objects)
        if taken > MAX_WHERE_OPERANDS:
            raise ServiceFault(StatusCodes.BadEventFilterInvalid, f"more than {MAX_WHERE_OPERANDS} operands")
        operands = [_operand(kind, body, index, count, space, below) for kind, body in objects]
        code = _check(number, len(objects))
        wrong = tuple(o if isinstance(o, int) else 0 for o in operands)
        if not code and any(wrong):
            code = StatusCodes.BadFilterOperandInvalid
        of_type: frozenset[Key] | None = None
        if not code and number == Operator.OfType:
            found = _types(operands[0], space)
            if isinstance(found, int):
                code, wrong = StatusCodes.BadFilterOperandInvalid, (found,)
            else:
                of_type = found
        if not code:
            right = tuple(o for o in operands if not isinstance(o, int))
            conditions.append(_Condition(Operator(number), right))
            types.append(of_type)
        results.append(ElementResult(code, wrong if code else ()))
    return (Where(conditions, types) if len(conditions) == count else None), results


def _check(number: int, operands: int) -> int:
    try:
        operator = Operator(number)
    except ValueError:
        return StatusCodes.BadFilterOperatorInvalid
    if operator in _UNSUPPORTED:
        return StatusCodes.BadFilterOperatorUnsupported
    wanted = _COUNTS.get(operator, 2)
    if operands < wanted or (operands > wanted and operator is not Operator.InList):
        return StatusCodes.BadFilterOperandCountMismatch
    return 0


def _operand(
    kind: Key,
    body: bytes | None,
    index: int,
    count: int,
    space: Space,
    below: Callable[[Key], frozenset[Key] | None],
) -> Operand | int:
    """The operand, or the code that says what is wrong with it."""
    if body is None:
        return StatusCodes.BadFilterOperandInvalid
    try:
        if kind == _LITERAL:
            if len(body) > MAX_LITERAL:
                return StatusCodes.BadFilterLiteralInvalid
            return Literal(conversion.of_variant(structs.decode_variant(body)))
        if kind == _ELEMENT:
            target = Reader(body).uint32()
            return Element(target) if index < target < count else StatusCodes.BadFilterOperandInvalid
        if kind == _SIMPLE:
            operand = simple_attribute(Reader(body))
            return operand.check(space) or Field(operand, below(operand.type))
    except DecodingError:
        return (
            StatusCodes.BadFilterLiteralInvalid if kind == _LITERAL else StatusCodes.BadFilterOperandInvalid
        )
    # An AttributeOperand among others: not for events (§7.22.3).
    return StatusCodes.BadFilterOperandInvalid


def _types(operand: Operand | int, space: Space) -> frozenset[Key] | int:
    """The type of events and those below it, or the code that says why there is none."""
    value = operand.value if isinstance(operand, Literal) else None
    if value is None or value.kind != NODE_ID or value.is_array:
        return StatusCodes.BadFilterOperandInvalid
    base, found = space.find(BASE_EVENT), space.find(value.value)
    if found is None:
        return StatusCodes.BadNodeIdUnknown
    if base is None or not space.is_subtype(found, base):
        return StatusCodes.BadTypeDefinitionInvalid
    return frozenset(node.key for node in space.subtypes(found))
