from __future__ import annotations

import pytest

from server.config.scalars import integer, plain


@pytest.mark.parametrize(
    "text",
    [
        "on",
        "off",
        "yes",
        "no",
        "y",
        "N",
        "1:30",
        "2024-05-01",
        "1_000",
        "0b1",
        "=",
        "<<",
        "12e",
        "1.2.3",
        "-",
        "+",
        ".",
    ],
)
def test_what_looks_like_text_is_text(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0711", 711),
        ("0o711", 457),
        ("0x1F", 31),
        ("-5", -5),
        ("+5", 5),
        ("1.10", 1.1),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
    ],
)
def test_core_schema(text: str, value: object) -> None:
    found = plain(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9" * 41, "0x" + "f" * 5000])
def test_a_number_nobody_means_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        plain(text)


def test_integer_is_none_for_anything_else() -> None:
    assert integer("1.0") is None
    assert integer("on") is None
