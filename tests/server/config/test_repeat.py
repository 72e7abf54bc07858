from __future__ import annotations

import pytest

from server.config.repeat import Repetition, Template, TemplateError, parse_repetition

N = frozenset({"n"})


def render(text: str, **variables: int | str) -> str:
    return Template.parse(text, frozenset(variables)).render(variables)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tank{n}", "Tank7"),
        ("Tank{n:03}", "Tank007"),
        ("Tank{n:3}", "Tank  7"),
        ("holding:{(n-1)*20+4}", "holding:124"),
        ("{ n // 2 }.{n % 2}", "3.1"),
        ("{-n + +10}", "3"),
        ("{{n}} {n}", "{n} 7"),
        ("{n}{n}", "77"),
        ("no expression", "no expression"),
        ("", ""),
    ],
)
def test_expressions(text: str, expected: str) -> None:
    assert render(text, n=7) == expected


def test_names_are_put_in_as_they_are() -> None:
    assert render("{site}-{n:02}", site="Lyon", n=3) == "Lyon-03"


def test_without_variables_braces_are_just_braces() -> None:
    template = Template.parse("{n} {{", frozenset())
    assert template.fixed == "{n} {{"


@pytest.mark.parametrize(
    "text",
    [
        "{n",
        "n}",
        "{}",
        "{m}",
        "{n.real}",
        "{n ** n}",
        "{n / 2}",
        "{n and 1}",
        "{1 if n else 2}",
        "{f(n)}",
        "{n[0]}",
        "{__import__('os')}",
        "{'a'}",
        "{1.5}",
        "{True}",
        "{(n)",
        "{n:x}",
        "{n:999}",
        "{n:>5}",
        "{1or 2}",
        "{n := 5}",
        "{n}}",
        "{" + "(" * 150 + "n" + ")" * 40 + "}",
        "{" + "-" * 200 + "n}",
        "{" + "n+" * 200 + "n}",
    ],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        Template.parse(text, N).render({"n": 1})


def test_a_text_cannot_be_calculated_with() -> None:
    with pytest.raises(TemplateError, match="'Lyon' is a text"):
        render("{site + 1}", site="Lyon")
    with pytest.raises(TemplateError, match="takes no width"):
        render("{site:03}", site="Lyon")


def test_a_division_by_zero_is_told_of() -> None:
    with pytest.raises(TemplateError, match="divides by zero"):
        render("{1 // n}", n=0)


def test_ranges_and_names() -> None:
    assert list(parse_repetition("1..3")) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert list(parse_repetition({"k": "-1..0"})) == [{"k": -1}, {"k": 0}]
    both = parse_repetition({"line": ["A", "B"], "n": "1..2"})
    assert both.count == 4
    assert [(v["line"], v["n"]) for v in both] == [("A", 1), ("A", 2), ("B", 1), ("B", 2)]


def test_a_stanza_without_for_stands_once() -> None:
    assert list(Repetition({})) == [{}]


def test_an_enormous_range_is_counted_without_being_run_through() -> None:
    assert parse_repetition("1..999999999999").count == 999_999_999_999


@pytest.mark.parametrize(
    "value",
    [
        "5..1",
        "1-5",
        "1..",
        "a..b",
        "",
        5,
        {},
        [],
        ["A"],
        {"n": []},
        {"n": ["A", "A"]},
        {"n": [1.5]},
        {"n": [True]},
        {"1n": "1..2"},
        {"n": 5},
    ],
)
def test_what_is_no_repetition_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_repetition(value)
