from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.opcua.services.ranges import Span, parse, replace, select
from server.opcua.types import ServiceFault, StatusCodes

GRID = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize(
    ("text", "spans"),
    [("0", [(0, 0)]), ("2:5", [(2, 5)]), ("1,0:1", [(1, 1), (0, 1)]), ("4294967295", [(4294967295,) * 2])],
)
def test_a_range_is_parsed(text: str, spans: list[tuple[int, int]]) -> None:
    assert parse(text) == tuple(Span(*span) for span in spans)


@pytest.mark.parametrize(
    "text", ["", ":", "1:", ":1", "3:3", "3:2", "-1", "1:2:3", "a", "1,", " 1", "１", "4294967296", "9" * 300]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ServiceFault) as refused:
        parse(text)
    assert refused.value.code == StatusCodes.BadIndexRangeInvalid


@pytest.mark.parametrize(
    ("value", "text", "part"),
    [
        ([1, 2, 3], "1", [2]),
        ([1, 2, 3], "1:9", [2, 3]),  # as much as there is
        ("Orange", "0:1", "Or"),
        (b"\x01\x02\x03", "2", b"\x03"),
        (GRID, "0:1,1:2", [[2, 3], [5, 6]]),
        (["Orange", "Lemon"], "0:1,0:2", ["Ora", "Lem"]),
    ],
)
def test_a_part_is_selected(value: Any, text: str, part: Any) -> None:
    assert select(value, parse(text)) == part


@pytest.mark.parametrize(
    ("value", "text"),
    [([1, 2], "2"), ("", "0"), (5, "0"), (None, "0"), (GRID, "0"), ([1], "0,0"), ("a", "0,0")],
)
def test_where_there_is_nothing_to_select(value: Any, text: str) -> None:
    with pytest.raises(ServiceFault) as refused:
        select(value, parse(text))
    assert refused.value.code == StatusCodes.BadIndexRangeNoData


def test_a_part_is_replaced_and_the_rest_stays() -> None:
    held = [1, 2, 3, 4]
    assert replace(held, parse("1:2"), [8, 9]) == [1, 8, 9, 4]
    assert held == [1, 2, 3, 4]
    assert replace("Orange", parse("0"), "o") == "orange"
    assert replace(GRID, parse("0:1,1:2"), [[0, 0], [0, 0]]) == [[1, 0, 0], [4, 0, 0], [7, 8, 9]]
    assert replace(["Orange", "Lemon"], parse("1,0"), ["l"]) == ["Orange", "lemon"]


@pytest.mark.parametrize(
    ("value", "text", "part", "code"),
    [
        ([1, 2], "1:2", [8, 9], "BadIndexRangeNoData"),
        ([1, 2, 3], "0:1", [8], "BadIndexRangeDataMismatch"),
        ([1, 2, 3], "0", 8, "BadIndexRangeDataMismatch"),
        ("Orange", "0:1", ["a", "b"], "BadIndexRangeDataMismatch"),
        (GRID, "0:1", [1, 2], "BadIndexRangeNoData"),
        (5, "0", [5], "BadIndexRangeNoData"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(value: Any, text: str, part: Any, code: str) -> None:
    with pytest.raises(ServiceFault) as refused:
        replace(value, parse(text), part)
    assert refused.value.code == getattr(StatusCodes, code)


@given(st.lists(st.integers(), min_size=1), st.data())
def test_what_was_written_to_a_range_is_read_from_it(held: list[int], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(held) - 1))
    last = data.draw(st.integers(first, len(held) - 1))
    spans = (Span(first, last),)
    part = data.draw(st.lists(st.integers(), min_size=last - first + 1, max_size=last - first + 1))
    written = replace(held, spans, part)
    assert select(written, spans) == part
    assert written[:first] == held[:first]
    assert written[last + 1 :] == held[last + 1 :]
