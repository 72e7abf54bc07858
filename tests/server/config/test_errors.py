from __future__ import annotations

from server.config import ConfigurationError, Problem, format_problems
from server.config.errors import Mark, article, closest, did_you_mean, listed


def test_a_problem_is_one_line() -> None:
    problem = Problem("plant.yaml", 31, 7, "equipment.Acme.map.Speed.addr", "no table 'holdng'", "holding?")
    assert str(problem) == "plant.yaml:31:7: equipment.Acme.map.Speed.addr: no table 'holdng' (holding?)"


def test_a_problem_of_a_whole_file_has_no_line() -> None:
    assert (
        str(Problem("plant.yaml", 0, 0, "", "there is no such file")) == "plant.yaml: there is no such file"
    )
    assert str(Mark("plant.yaml")) == "plant.yaml"


def test_the_report_puts_hints_beneath_and_the_count_last() -> None:
    problems = [Problem("a.yaml", 1, 2, "x", "bad", "do this"), Problem("a.yaml", 3, 4, "y", "worse")]
    assert format_problems(problems) == "a.yaml:1:2: x: bad\n    do this\na.yaml:3:4: y: worse\n2 problems\n"
    assert format_problems(problems[:1], noun="warning").endswith("\n1 warning\n")


def test_a_long_report_is_cut_and_says_so() -> None:
    problems = [Problem("a.yaml", line, 1, "x", "bad") for line in range(1, 251)]
    lines = format_problems(problems, limit=100).splitlines()
    assert lines[-2:] == ["and 150 more", "250 problems"]
    assert len(lines) == 102


def test_the_error_holds_all_problems() -> None:
    problems = (Problem("a.yaml", 1, 2, "x", "bad"), Problem("a.yaml", 3, 4, "y", "worse"))
    error = ConfigurationError(iter(problems))
    assert error.problems == problems
    assert str(error) == "a.yaml:1:2: x: bad\na.yaml:3:4: y: worse"


def test_what_was_meant() -> None:
    assert closest("holdng", ["coil", "holding"]) == "holding"
    assert closest("filler", ["Packer", "Filler"]) == "Filler"
    assert closest("zzz", ["Packer"]) is None
    assert did_you_mean("zzz", ["b", "a"]) == "there are a, b"
    assert did_you_mean("zzz", []) == ""
    assert did_you_mean("zzz", [f"name{i}" for i in range(50)]) == ""


def test_among_very_many_names_only_case_is_forgiven() -> None:
    names = [f"Tank{i}" for i in range(5_000)]
    assert closest("tank7", names) == "Tank7"
    assert closest("Tankk7", names) is None


def test_lists_and_articles() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"
    assert article("Int16") == "an Int16"
    assert article("UInt16") == "a UInt16"
