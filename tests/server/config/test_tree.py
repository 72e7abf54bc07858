from __future__ import annotations

import time

import pytest

from server.config.errors import Mark, Problem, TreeProblem
from server.config.tree import MAX_DEPTH, Mapping, find, key_mark, read_tree, to_plain


def read(text: str) -> object:
    problems: list[Problem] = []
    tree = read_tree(text, "a.yaml", problems)
    assert problems == []
    return to_plain(tree)


def refusal(text: str) -> Problem:
    with pytest.raises(TreeProblem) as caught:
        read_tree(text, "a.yaml", [])
    return caught.value.problem


def test_block_and_flow_and_quotes() -> None:
    text = "a: [1, '1', \"1\"]\nb:\n  - c: |\n      two\n      lines\n"
    assert read(text) == {"a": [1, "1", "1"], "b": [{"c": "two\nlines\n"}]}


def test_keys_are_text_as_it_is_written() -> None:
    assert read("{0x10: a, on: b, 'c d': e}") == {"0x10": "a", "on": "b", "c d": "e"}


def test_an_alias_is_the_thing_it_names() -> None:
    assert read("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


def test_marks_point_at_values_and_at_the_keys_of_mappings() -> None:
    tree = read_tree("a:\n  b: 1\n  c: [x,\n    y]\n", "f", [])
    assert find(tree, ("a", "b"))[0] == Mark("f", 2, 6)
    assert find(tree, ("a",))[0] == Mark("f", 1, 1)
    assert find(tree, ("a", "c", 1))[0] == Mark("f", 4, 5)
    assert key_mark(tree, ("a", "c")) == Mark("f", 3, 3)


def test_a_missing_place_is_shown_where_it_would_stand() -> None:
    tree = read_tree("a:\n  b: 1\n", "f", [])
    mark, node = find(tree, ("a", "x", "y"))
    assert mark == Mark("f", 1, 1)
    assert isinstance(node, Mapping)


def test_columns_count_characters_not_bytes() -> None:
    tree = read_tree("{ä€𝄞: 1, b: 2}", "f", [])
    assert key_mark(tree, ("b",)) == Mark("f", 1, 10)


def test_both_places_of_a_duplicate_are_named_and_the_first_wins() -> None:
    problems: list[Problem] = []
    tree = read_tree("a:\n  b: 1\n  b: {c: 1}\n", "f", problems)
    assert to_plain(tree) == {"a": {"b": 1}}
    (problem,) = problems
    assert (problem.line, problem.column, problem.path) == (3, 3, "a.b")
    assert "first at f:2:3" in problem.message


def test_merge_keys_and_tags_are_refused_and_the_rest_is_read() -> None:
    problems: list[Problem] = []
    tree = read_tree("a: &a {x: 1}\nb:\n  <<: *a\n  c: !!int 5\n", "f", problems)
    assert to_plain(tree) == {"a": {"x": 1}, "b": {"c": "5"}}
    assert [problem.line for problem in problems] == [3, 4]


def test_an_alias_bomb_is_refused_before_it_is_expanded() -> None:
    lines = ["a0: &a0 [" + "x, " * 9 + "x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 20)]
    before = time.perf_counter()
    problem = refusal("\n".join(lines))
    assert "aliases expanded" in problem.message
    assert time.perf_counter() - before < 5


def test_an_alias_within_itself_is_refused() -> None:
    assert "inside the thing it names" in refusal("a: &x [1, *x]").message


def test_an_alias_without_anchor_is_refused() -> None:
    assert "&x" in refusal("a: *x").message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_has_an_end(opening: str) -> None:
    problem = refusal(opening * 20_000)
    assert (
        f"more than {MAX_DEPTH} levels" in problem.message
        or "YAML" in problem.message
        or "key" in problem.message
    )


@pytest.mark.parametrize("text", ["", "# only this\n", "---\n...\n", "~"])
def test_nothing_is_said_to_be_nothing(text: str) -> None:
    assert refusal(text).message == "the file is empty"


@pytest.mark.parametrize("text", ["[1, 2]: 3", "{}: 1", ": 1", "? \n: 1"])
def test_a_key_is_a_name_or_a_number(text: str) -> None:
    assert "key" in refusal(text).message


def test_a_control_character_is_shown_with_its_place() -> None:
    problem = refusal("a: 1\nb: x\x00y\n")
    assert (problem.line, problem.column) == (2, 5)
    assert "U+0000" in problem.message
