from __future__ import annotations

import time

import pytest

from server.opcua.subscriptions.like import Pattern


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("main%", "main", True),
        ("main%", "maintenance", True),
        ("main%", "a main", False),
        ("%en%", "entail", True),
        ("%en%", "green", True),
        ("%en%", "none", False),
        ("%en%", "fe", False),
        ("_ould", "would", True),
        ("_ould", "ould", False),
        ("%5\\%%", "is 5% of", True),
        ("%5\\%%", "is 5 of", False),
        ("abc[13-68]", "abc1", True),
        ("abc[13-68]", "abc5", True),
        ("abc[13-68]", "abc8", True),
        ("abc[13-68]", "abc7", False),
        ("xyz[c-f]", "xyzd", True),
        ("xyz[c-f]", "xyzg", False),
        ("ABC[^13-5]", "ABC2", True),
        ("ABC[^13-5]", "ABC4", False),
        ("a[]]", "a]", True),
        ("", "", True),
        ("", "a", False),
        ("%", "", True),
        ("%%a", "aaa", True),
        ("a%b%c", "a1b2b3c", True),
        ("a.c", "abc", False),
        ("A", "a", False),
    ],
)
def test_patterns(pattern: str, text: str, matches: bool) -> None:
    assert Pattern(pattern).matches(text) is matches


@pytest.mark.parametrize("pattern", ["abc\\", "[abc", "["])
def test_patterns_without_an_end(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Pattern(pattern)


def test_no_pattern_takes_for_ever() -> None:
    start = time.process_time()
    assert not Pattern("%a" * 200 + "%b").matches("a" * 2000)
    assert time.process_time() - start < 3
