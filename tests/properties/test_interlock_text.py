"""The grammar of interlocks: what is written in it is understood, and nothing breaks it."""

from __future__ import annotations

import math
import operator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config.clauses import parse_clause
from server.plant.interlock import Comparison, Condition

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
BLANK = st.sampled_from(["", " ", "  "])
TEXTS = st.text(st.characters(exclude_characters="'\"", exclude_categories=("Cc", "Cs")), max_size=12)
NUMBERS = st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def literals(draw: st.DrawFn) -> tuple[str, Any, bool]:
    """How a value is written, the value, and whether it stands in quotes."""
    kind = draw(st.sampled_from(["number", "truth", "word", "text"]))
    if kind == "number":
        number = draw(NUMBERS)
        return str(number), number, False
    if kind == "truth":
        truth = draw(st.booleans())
        return str(truth).lower(), truth, False
    if kind == "word":
        word = draw(NAMES.filter(lambda name: name.lower() not in {"true", "false", "null"}))
        return word, word, False
    quote, text = draw(st.sampled_from("'\"")), draw(TEXTS)
    return f"{quote}{text}{quote}", text, True


@given(
    st.sampled_from([("", -1), ("./", 0), ("../", 1), ("../../", 2)]),
    st.lists(NAMES, max_size=3),
    NAMES,
    st.sampled_from(list(Comparison)),
    literals(),
    st.tuples(BLANK, BLANK, BLANK, BLANK),
)
def test_what_is_written_is_what_is_meant(
    up: tuple[str, int],
    path: list[str],
    name: str,
    comparison: Comparison,
    literal: tuple[str, Any, bool],
    blanks: tuple[str, ...],
) -> None:
    left = f"{up[0]}{'/'.join(path)}{'.' if path else ''}{name}"
    a, b, c, d = blanks
    found = parse_clause(f"{a}{left}{b}{comparison.value}{c}{literal[0]}{d}")
    assert (found.up, found.path, found.name) == (up[1], "/".join(path), name)
    assert found.left == left
    assert found.comparison is comparison
    assert (found.literal.value, found.literal.quoted) == literal[1:]
    assert type(found.literal.value) is type(literal[1])


@given(st.text(st.sampled_from("aB1./=!<>'\" -_é{}"), max_size=20) | st.text(max_size=30))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    with suppress(ValueError):
        found = parse_clause(text)
        assert parse_clause(f"{found.left} {found.comparison.value} 1").left == found.left


SIGNS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@given(st.sampled_from(sorted(SIGNS)), NUMBERS, NUMBERS)
def test_a_comparison_is_that_of_its_sign(sign: str, found: float, value: float) -> None:
    assert Condition("A.x", Comparison(sign), value, "").holds(found) is SIGNS[sign](found, value)


@pytest.mark.parametrize("sign", sorted(SIGNS))
def test_no_value_and_no_number_satisfy_nothing(sign: str) -> None:
    condition = Condition("A.x", Comparison(sign), 1.0, "")
    assert not condition.holds(None)
    assert not condition.holds(math.nan)
