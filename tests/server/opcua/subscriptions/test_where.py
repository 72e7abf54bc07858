from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from support.subscribing import Stage, make

from server.opcua.subscriptions.events import Event, path
from server.opcua.subscriptions.where import Operator, where_clause
from server.opcua.types import ServiceFault, node_id, status_name
from server.opcua.wire import structs
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import int32, string, uint16, variant
from sources.tag import ValueType

V = ua.VariantType


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage({"a": (ValueType.Int32, 0.1)})


def literal(value: Any, kind: ua.VariantType | None = None) -> Any:
    return make(ua.LiteralOperand, make(ua.Variant, value, kind))


def element(index: int) -> Any:
    return make(ua.ElementOperand, index)


def field(*names: str, attribute: int = 13, kind: int = 2041, index_range: str | None = None) -> Any:
    names_ = [make(ua.QualifiedName, name, 0) for name in names]
    return make(ua.SimpleAttributeOperand, node_id(kind), names_, attribute, index_range)


def clause(*elements: tuple[int, list[Any]]) -> bytes:
    made = [
        make(ua.ContentFilterElement, ua.FilterOperator(number), operands) for number, operands in elements
    ]
    return structs.encode(make(ua.ContentFilter, made))


def event(stage: Stage, **fields: bytes) -> Event:
    kind = stage.world.space.number(2133)
    return Event(
        kind, stage.server, "overheated pump", 700, {path(name): data for name, data in fields.items()}
    )


def passes(stage: Stage, *elements: tuple[int, list[Any]], **fields: bytes) -> bool:
    where, results = where_clause(Reader(clause(*elements)), stage.world.space)
    assert where is not None, results
    return where.passes(event(stage, **fields))


def wrong(stage: Stage, *elements: tuple[int, list[Any]]) -> list[str]:
    where, results = where_clause(Reader(clause(*elements)), stage.world.space)
    assert where is None
    return [status_name(result.code) for result in results]


SEVERITY = field("Severity")
O = Operator  # noqa: E741


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        (O.Equals, 700, True),
        (O.Equals, 701, False),
        (O.GreaterThan, 699, True),
        (O.GreaterThan, 700, False),
        (O.GreaterThanOrEqual, 700, True),
        (O.LessThan, 701, True),
        (O.LessThan, 700, False),
        (O.LessThanOrEqual, 700, True),
        (O.LessThanOrEqual, 699, False),
    ],
)
@pytest.mark.parametrize("kind", [V.UInt16, V.Int64, V.Double, V.String])
def test_comparisons_across_types(
    stage: Stage, operator: Operator, value: int, expected: bool, kind: ua.VariantType
) -> None:
    content: Any = str(value) if kind is V.String else float(value) if kind is V.Double else value
    assert passes(stage, (operator, [SEVERITY, literal(content, kind)])) is expected


def test_between_includes_both_ends(stage: Stage) -> None:
    for low, high, expected in ((700, 700, True), (600, 700, True), (701, 800, False), (0, 699, False)):
        bounds = [literal(low, V.Int32), literal(high, V.Int32)]
        assert passes(stage, (O.Between, [SEVERITY, *bounds])) is expected


def test_in_list(stage: Stage) -> None:
    others = [literal("1", V.String), literal(2.0, V.Double), literal(None), literal(700, V.Int32)]
    assert passes(stage, (O.InList, [SEVERITY, *others]))
    assert not passes(stage, (O.InList, [SEVERITY, *others[:-1]]))


def test_like(stage: Stage) -> None:
    assert passes(stage, (O.Like, [field("Message"), literal("%heat%", V.String)]))
    assert not passes(stage, (O.Like, [field("Message"), literal("%cool%", V.String)]))
    assert not passes(stage, (O.Like, [field("Message"), literal("[", V.String)]))
    assert not passes(stage, (O.Like, [field("Nothing"), literal("%", V.String)]))


def test_null_is_neither_true_nor_false(stage: Stage) -> None:
    nothing = field("Nothing")
    assert passes(stage, (O.IsNull, [nothing]))
    assert not passes(stage, (O.IsNull, [SEVERITY]))
    assert not passes(stage, (O.Equals, [nothing, literal(1, V.Int32)]))
    assert not passes(stage, (O.Not, [element(1)]), (O.Equals, [nothing, literal(1, V.Int32)]))


TRUE, FALSE, NULL = literal(True, V.Boolean), literal(False, V.Boolean), literal(None)


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [
        (TRUE, TRUE, True, True),
        (TRUE, FALSE, False, True),
        (TRUE, NULL, None, True),
        (FALSE, FALSE, False, False),
        (FALSE, NULL, False, None),
        (NULL, NULL, None, None),
    ],
)
def test_and_or_with_null(
    stage: Stage, left: Any, right: Any, both: bool | None, either: bool | None
) -> None:
    for operator, expected in ((O.And, both), (O.Or, either)):
        for operands in ([left, right], [right, left]):
            assert passes(stage, (operator, operands)) is (expected is True)
            assert passes(stage, (O.Not, [element(1)]), (operator, operands)) is (expected is False)
            assert passes(stage, (O.IsNull, [element(1)]), (operator, operands)) is (expected is None)


def test_elements_refer_to_later_ones(stage: Stage) -> None:
    assert passes(
        stage,
        (O.And, [element(1), element(2)]),
        (O.GreaterThan, [SEVERITY, literal(100, V.Int32)]),
        (O.Or, [element(3), element(4)]),
        (O.Equals, [SEVERITY, literal(1, V.Int32)]),
        (O.Like, [field("Message"), literal("%pump", V.String)]),
    )


def test_of_type_knows_subtypes(stage: Stage) -> None:
    for number, expected in ((2041, True), (2132, True), (2133, True), (3035, False)):
        assert passes(stage, (O.OfType, [literal(node_id(number), V.NodeId)])) is expected
    assert wrong(stage, (O.OfType, [literal(node_id(99999), V.NodeId)])) == ["BadFilterOperandInvalid"]
    assert wrong(stage, (O.OfType, [literal(5, V.Int32)])) == ["BadFilterOperandInvalid"]


@pytest.mark.parametrize(
    ("operand", "code"),
    [
        (literal(node_id(99999), V.NodeId), "BadNodeIdUnknown"),
        (literal(node_id(2253), V.NodeId), "BadTypeDefinitionInvalid"),  # an Object: Server
        (literal(node_id(58), V.NodeId), "BadTypeDefinitionInvalid"),  # above BaseEventType
        (literal(node_id(36), V.NodeId), "BadTypeDefinitionInvalid"),  # a ReferenceType
        (literal(5, V.Int32), "BadFilterOperandInvalid"),
        (literal([node_id(2041)], V.NodeId), "BadFilterOperandInvalid"),
        (field("EventType"), "BadFilterOperandInvalid"),
    ],
)
def test_of_type_takes_a_type_of_events(stage: Stage, operand: Any, code: str) -> None:
    where, (result,) = where_clause(Reader(clause((O.OfType, [operand]))), stage.world.space)
    assert where is None
    assert status_name(result.code) == "BadFilterOperandInvalid"
    assert [status_name(code) for code in result.operands] == [code]


def test_cast(stage: Stage) -> None:
    cast_to_text = (O.Cast, [SEVERITY, literal(node_id(12), V.NodeId)])
    assert passes(stage, (O.Equals, [element(1), literal("700", V.String)]), cast_to_text)
    for target in (3, 85):  # too small a type, and none
        casting = (O.Cast, [SEVERITY, literal(node_id(target), V.NodeId)])
        assert passes(stage, (O.IsNull, [element(1)]), casting)


def cast(content: str, kind: int) -> tuple[int, list[Any]]:
    return O.Cast, [literal(content, V.String), literal(node_id(kind), V.NodeId)]


@pytest.mark.parametrize("zone", ["", "Z", "+00:00", "-12:00"])
@pytest.mark.parametrize(("year", "expected"), [(2000, True), (2200, False)])
def test_times_in_words(stage: Stage, zone: str, year: int, expected: bool) -> None:
    moment = f"{year}-01-01T00:00:00{zone}"
    operands = [field("Time"), element(1)]
    assert passes(stage, (O.GreaterThan, operands), cast(moment, 13)) is expected
    assert passes(stage, (O.LessThan, operands), cast(moment, 13)) is not expected
    later = literal(datetime(2100, 1, 1, tzinfo=UTC), V.DateTime)
    assert passes(stage, (O.LessThan, [element(1), later]), cast(moment, 13)) is expected


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("0001-01-01T00:00:00+23:00", 13),
        ("9999-12-31T23:00:00-23:00", 13),
        ("2020-13-01", 13),
        ("ns=99999;i=1", 17),
        ("i=", 17),
        ("", 17),
        ("ns=99999;i=1", 18),
        ("zz", 14),
        ("9" * 400, 8),
    ],
)
def test_what_cannot_be_cast_is_null(stage: Stage, content: str, kind: int) -> None:
    assert passes(stage, (O.IsNull, [element(1)]), cast(content, kind))
    assert not passes(
        stage,
        (O.Like, [element(1), literal("%", V.String)]),
        (O.Cast, [element(2), literal(node_id(12), V.NodeId)]),
        cast(content, kind),
    )


def test_an_array_is_neither_a_text_nor_a_truth(stage: Stage) -> None:
    texts, truths = literal(["a"], V.String), literal([True], V.Boolean)
    assert passes(stage, (O.IsNull, [element(1)]), (O.Like, [texts, literal("%", V.String)]))
    assert passes(stage, (O.IsNull, [element(1)]), (O.Like, [literal("a", V.String), texts]))
    assert passes(stage, (O.IsNull, [element(1)]), (O.And, [truths, TRUE]))
    assert passes(stage, (O.IsNull, [element(1)]), (O.Not, [truths]))


def test_a_clause_that_fails_lets_nothing_pass_and_says_so_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    where, _ = where_clause(Reader(clause((O.Equals, [SEVERITY, SEVERITY]))), stage.world.space)
    assert where is not None
    assert where.passes(event(stage))
    with monkeypatch.context() as broken:
        broken.setattr(Event, "value", lambda *_: 1 / 0)
        assert not where.passes(event(stage))
        assert not where.passes(event(stage))
    assert len(caplog.records) == 1
    assert where.passes(event(stage))


@pytest.mark.parametrize(("kind", "has"), [(2041, True), (2132, True), (2133, True), (3035, False)])
@pytest.mark.parametrize("part", [None, "0:2"])
def test_a_field_is_one_of_its_type_and_those_below(
    stage: Stage, kind: int, has: bool, part: str | None
) -> None:
    operand = field("SourceName", kind=kind, index_range=part)
    assert passes(stage, (O.Like, [operand, literal("Ser%", V.String)])) is has
    assert passes(stage, (O.IsNull, [operand])) is not has


@pytest.mark.parametrize(
    ("number", "rounded"),
    [
        (0.5, 1),
        (2.5, 3),
        (3.5, 4),
        (2.4, 2),
        (-2.5, -2),
        (-2.7, -3),
        (-0.5, 0),
        (0.49999999999999994, 0),
        (4503599627370497.0, 4503599627370497),
    ],
)
def test_a_half_is_rounded_up(stage: Stage, number: float, rounded: int) -> None:
    to_int64 = (O.Cast, [literal(number, V.Double), literal(node_id(8), V.NodeId)])
    assert passes(stage, (O.Equals, [element(1), literal(rounded, V.Int64)]), to_int64)


def test_numbers_and_status_codes(stage: Stage) -> None:
    """A UInt16 is the upper half of a StatusCode (Table 122)."""
    to_code = (O.Cast, [literal(0x8034, V.UInt16), literal(node_id(19), V.NodeId)])
    code = literal(make(ua.StatusCode, 0x80340000), V.StatusCode)
    assert passes(stage, (O.Equals, [element(1), code]), to_code)


def test_what_no_float_can_hold_is_null(stage: Stage) -> None:
    for number, null in ((3e38, False), (3.5e38, True), (-3.5e38, True), (float("inf"), False)):
        to_float = (O.Cast, [literal(number, V.Double), literal(node_id(10), V.NodeId)])
        assert passes(stage, (O.IsNull, [element(1)]), to_float) is null


def test_bits(stage: Stage) -> None:
    mask = literal(0x4, V.UInt16)
    for flags, expected in ((0x6, True), (0x3, False)):
        bits = variant(5, uint16(flags))
        masked = (O.BitwiseAnd, [field("Flags"), mask])
        assert passes(stage, (O.Equals, [element(1), mask]), masked, Flags=bits) is expected
    joined = (O.BitwiseOr, [field("Flags"), mask])
    assert passes(stage, (O.Equals, [element(1), literal(7, V.Int32)]), joined, Flags=variant(5, uint16(3)))
    nonsense = (O.BitwiseAnd, [field("Message"), mask])
    assert passes(stage, (O.IsNull, [element(1)]), nonsense)


def test_what_cannot_be_compared_is_not_equal(stage: Stage) -> None:
    assert not passes(stage, (O.Equals, [field("Message"), literal(5, V.Int32)]))
    assert not passes(stage, (O.GreaterThan, [field("EventId"), literal(b"", V.ByteString)]))
    assert passes(stage, (O.Equals, [field("SourceNode"), literal(node_id(2253), V.NodeId)]))
    assert passes(stage, (O.Equals, [field("SourceNode"), literal("i=2253", V.String)]))


def test_a_part_of_a_field(stage: Stage) -> None:
    numbers = b"\x86" + int32(3) + int32(4) + int32(5) + int32(6)
    operand = field("Numbers", index_range="1")
    assert passes(stage, (O.IsNull, [field("Numbers", index_range="7")]), Numbers=numbers)
    assert not passes(stage, (O.IsNull, [operand]), Numbers=numbers)
    name = field("Name", index_range="0:2")
    text = variant(12, string("pump 7"))
    assert passes(stage, (O.Equals, [name, literal("pum", V.String)]), Name=text)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ([(O.InView, [literal(node_id(87), V.NodeId)] * 2)], "BadFilterOperatorUnsupported"),
        ([(O.RelatedTo, [SEVERITY] * 6)], "BadFilterOperatorUnsupported"),
        ([(O.Equals, [SEVERITY])], "BadFilterOperandCountMismatch"),
        ([(O.Not, [SEVERITY, SEVERITY])], "BadFilterOperandCountMismatch"),
        ([(O.Between, [SEVERITY, SEVERITY])], "BadFilterOperandCountMismatch"),
        ([(O.InList, [SEVERITY])], "BadFilterOperandCountMismatch"),
        ([(O.Not, [element(0)])], "BadFilterOperandInvalid"),
        ([(O.Not, [element(5)])], "BadFilterOperandInvalid"),
        ([(O.IsNull, [field("A", attribute=99)])], "BadFilterOperandInvalid"),
        ([(O.IsNull, [field("A", kind=58)])], "BadFilterOperandInvalid"),
        ([(O.IsNull, [make(ua.AttributeOperand)])], "BadFilterOperandInvalid"),
        ([(O.IsNull, [make(ua.Range, 1.0, 2.0)])], "BadFilterOperandInvalid"),
    ],
)
def test_what_is_wrong_is_told_element_by_element(stage: Stage, elements: Any, expected: str) -> None:
    right = (O.IsNull, [SEVERITY])
    assert wrong(stage, *elements, right) == [expected, "Good"]


def test_an_operator_nobody_knows(stage: Stage) -> None:
    body = int32(1) + int32(18) + int32(0)
    _, (result,) = where_clause(Reader(body), stage.world.space)
    assert status_name(result.code) == "BadFilterOperatorInvalid"


def test_clauses_are_bounded(stage: Stage) -> None:
    with pytest.raises(ServiceFault):
        where_clause(Reader(clause(*[(O.IsNull, [SEVERITY])] * 101)), stage.world.space)
    with pytest.raises(ServiceFault):
        where_clause(Reader(clause((O.InList, [literal(1, V.Int32)] * 1001))), stage.world.space)


def test_results_are_encoded_as_the_specification_has_them(stage: Stage) -> None:
    _, results = where_clause(
        Reader(clause((O.Equals, [SEVERITY, field("A", attribute=99)]))), stage.world.space
    )
    decoded = structs.decode(ua.ContentFilterElementResult, Reader(results[0].encode()))
    assert decoded.StatusCode.name == "BadFilterOperandInvalid"
    assert [code.name for code in decoded.OperandStatusCodes] == ["Good", "BadAttributeIdInvalid"]
