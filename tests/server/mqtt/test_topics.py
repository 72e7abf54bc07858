from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.mqtt.topics import Topics, level

LEVEL = re.compile(r"[A-Za-z0-9_-]*")
NAMES = st.text(st.characters(blacklist_characters="/", blacklist_categories=["Cs"]), min_size=1, max_size=12)
AWKWARD = st.text("_x0041Fa- é😀", min_size=1, max_size=12)


def path_of(text: str) -> str:
    """The inverse, as a subscriber would write it: escapes first, from left to right."""

    def back(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else "/"

    return re.sub(r"_x([0-9A-F]{4,6})_|__", back, text)


@given(st.lists(NAMES | AWKWARD, min_size=1, max_size=5).map("/".join))
@example("_")
@example("a_/b")
@example("a/_b")
@example("a__b")
@example("a_é")
@example("_x0041_")
@example("a/x0041_")
def test_a_level_is_legal_and_tells_its_path(path: str) -> None:
    assert LEVEL.fullmatch(level(path))
    assert path_of(level(path)) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Acme/Lyon/Line-1/Filler_A", "Acme__Lyon__Line-1__Filler_A"),
        ("Acme/Zone +/Füller", "Acme__Zone_x0020__x002B___F_x00FC_ller"),
        ("a_/b", "a_x005F___b"),
    ],
)
def test_ordinary_names_stay_readable(path: str, expected: str) -> None:
    assert level(path) == expected


def test_topics_follow_the_tree_of_part_14() -> None:
    topics = Topics("opcua", "acme-lyon", "plant")
    assert topics.data("Filler") == "opcua/json/data/acme-lyon/plant/Filler"
    assert topics.metadata("Filler") == "opcua/json/metadata/acme-lyon/plant/Filler"
    assert topics.status == "opcua/json/status/acme-lyon"
    assert topics.connection == "opcua/json/connection/acme-lyon"
    assert Topics("a/b", "p", "g").data("W") == "a/b/json/data/p/g/W"
