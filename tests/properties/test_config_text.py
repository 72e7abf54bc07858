"""Properties of reading: JSON is YAML, expressions are arithmetic, and no text makes more than a problem."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.config import Configuration, ConfigurationError, load
from server.config.errors import Problem, TreeProblem
from server.config.repeat import Template, TemplateError
from server.config.scalars import plain
from server.config.tree import read_tree, to_plain

ROOT = Path(__file__).parents[2]
PLANTS = [
    ROOT / "server" / "demo" / "plant.yaml",
    ROOT / "examples" / "bottling-line.yaml",
    ROOT / "tests" / "cases" / "five_mistakes" / "plant.yaml",
]
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# JSON allows DEL and the C1 controls in a string and YAML does not; a merge key is refused by design.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff"))
KEY = TEXT.filter(lambda text: text not in {"", "<<"})
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=12,
)


@QUIET
@given(st.dictionaries(KEY, VALUES, min_size=1, max_size=5))
def test_json_reads_as_itself(value: dict[str, object]) -> None:
    problems: list[Problem] = []
    text = json.dumps(value, ensure_ascii=False)
    assert to_plain(read_tree(text, "f", problems)) == value
    assert problems == []


@QUIET
@given(st.integers(-(10**38), 10**38))
def test_an_integer_reads_as_itself(number: int) -> None:
    assert plain(str(number)) == number
    assert plain(f"{number:+d}") == number


@QUIET
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_reads_as_itself(number: float) -> None:
    assert plain(repr(number)) == number


@QUIET
@given(st.text(max_size=30))
def test_a_plain_scalar_is_a_value_or_a_documented_error(text: str) -> None:
    try:
        value = plain(text)
    except ValueError:
        return
    assert isinstance(value, str | int | float | bool | None)
    if isinstance(value, str):
        assert value == text


def expressions() -> st.SearchStrategy[str]:
    leaves = st.integers(0, 1000).map(str) | st.sampled_from(["n", "k"])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner).map(" ".join),
            inner.map(lambda text: f"({text})"),
            inner.map(lambda text: f"-({text})"),
        ),
        max_leaves=8,
    )


@QUIET
@given(expressions(), st.integers(-50, 50), st.integers(-50, 50))
def test_an_expression_is_what_python_makes_of_it(text: str, n: int, k: int) -> None:
    template = Template.parse(f"a{{{text}}}b", frozenset({"n", "k"}))
    try:
        expected = f"a{eval(text, {'__builtins__': {}}, {'n': n, 'k': k})}b"
    except ZeroDivisionError:
        with pytest.raises(TemplateError, match="zero"):
            template.render({"n": n, "k": k})
        return
    assert template.render({"n": n, "k": k}) == expected


@QUIET
@given(st.text(max_size=60))
def test_any_template_is_a_text_or_a_documented_error(text: str) -> None:
    try:
        Template.parse(text, frozenset({"n"})).render({"n": 3})
    except TemplateError:
        return
    assert Template.parse(text, frozenset()).fixed == text


@QUIET
@given(st.text(max_size=60))
def test_a_brace_that_is_doubled_is_a_brace(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert Template.parse(doubled, frozenset({"n"})).render({"n": 3}) == text


@QUIET
@given(st.text(st.sampled_from("ab:-[]{},&*!|>'\"#%@?~ \n\t\\0"), max_size=60))
def test_any_text_is_a_tree_or_one_problem(text: str) -> None:
    problems: list[Problem] = []
    try:
        read_tree(text, "f", problems)
    except TreeProblem as trouble:
        problems.append(trouble.problem)
    assert all(problem.message for problem in problems)


TOKEN = re.compile(r"[A-Za-z0-9_./-]+|[^A-Za-z0-9_./-]")
WORDS = st.sampled_from(
    [
        *("", "5", "-1", "true", "null", "x", "[", "]", "{", "}", ":", "*a", "&a ", "'", '"', "\n"),
        *("{n}", "1..3", "for: 1..3", "level", "type", "lut", "enum", "range", "value", "source"),
        *("Acme", "Acme/Lyon", "String", "[1, 2]", "{0: 1}", "é", "0x1F", ".inf", "1e999"),
    ]
)


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """A plant file with a few tokens replaced: mostly the mistakes of a tired person, some worse."""
    tokens = TOKEN.findall(draw(st.sampled_from([path.read_text(encoding="utf-8") for path in PLANTS])))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(tokens) - 1))
        tokens[at] = draw(WORDS | st.sampled_from(tokens))
    return "".join(tokens)


@settings(QUIET, max_examples=250)
@given(spoilt())
def test_a_spoilt_plant_loads_or_tells_where_it_is_wrong(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(text, encoding="utf-8")
    lines = text.count("\n") + 2
    problems: tuple[Problem, ...] = ()
    try:
        assert isinstance(load(path), Configuration)
    except ConfigurationError as error:
        problems = error.problems
    assert all(problem.message and problem.file and 0 <= problem.line <= lines for problem in problems)
    assert len(set(problems)) == len(problems)
