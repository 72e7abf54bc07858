"""Golden folders: a plant file with realistic mistakes, and exactly what is printed for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from server.config import ConfigurationError, format_problems, load

CASES = Path(__file__).parents[2] / "cases"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir())


def printed(case: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(CASES / case)
    with pytest.raises(ConfigurationError) as caught:
        load(Path("plant.yaml"))
    return format_problems(caught.value.problems)


@pytest.mark.parametrize("case", NAMES)
def test_the_mistakes_of_a_case_are_all_told(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (CASES / case / "expected.txt").read_text(encoding="utf-8")
    assert printed(case, monkeypatch) == expected


def test_there_are_enough_cases() -> None:
    assert len(NAMES) >= 30


def test_five_kinds_of_mistake_are_named_with_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed("five_mistakes", monkeypatch)
    lines = {int(line.split(":")[1]): line for line in text.splitlines() if line.startswith("plant.yaml:")}
    assert sorted(lines) == [4, 13, 20, 28, 33]
    assert "out of range" in lines[4]
    assert "unknown key 'rnge'" in lines[13]
    assert "SpeedSP has neither a binding nor a value" in lines[20]
    assert "no source 'FilerPLC'" in lines[28]
    assert "a second time; first at plant.yaml:19:3" in lines[33]


@pytest.mark.parametrize("case", [name for name in NAMES if name.startswith("broken_yaml")])
def test_broken_yaml_is_one_problem_with_its_line_without_libyaml_too(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.config.tree._LOADER", yaml.SafeLoader)
    monkeypatch.chdir(CASES / case)
    with pytest.raises(ConfigurationError) as caught:
        load(Path("plant.yaml"))
    (problem,) = caught.value.problems
    assert problem.line > 0


@pytest.mark.parametrize(
    "case", [name for name in NAMES if not name.startswith(("broken_yaml", "include_missing"))]
)
def test_the_parser_written_in_python_says_the_same(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.config.tree._LOADER", yaml.SafeLoader)
    expected = (CASES / case / "expected.txt").read_text(encoding="utf-8")
    assert printed(case, monkeypatch) == expected
