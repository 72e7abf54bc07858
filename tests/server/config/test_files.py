from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.plants import HEAD

from server.config import ConfigurationError, Problem, load
from server.config.files import MAX_BYTES, read_files
from server.config.tree import to_plain


def refusal(path: Path) -> Problem:
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    (problem,) = caught.value.problems
    return problem


def test_a_missing_file_is_one_problem_with_the_name_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(HEAD)
    problem = refusal(tmp_path / "plan.yaml")
    assert problem.message == "there is no such file"
    assert problem.hint == "did you mean 'plant.yaml'?"


def test_a_missing_directory_is_told_of(tmp_path: Path) -> None:
    assert "no directory" in refusal(tmp_path / "sub" / "plant.yaml").hint


def test_a_directory_is_no_plant_file(tmp_path: Path) -> None:
    assert refusal(tmp_path).message == "this is a directory"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plant.yaml")
    assert refusal(tmp_path / "plant.yaml").message == "this is not a regular file"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "plant.yaml").write_text(HEAD)
    monkeypatch.setattr(Path, "read_bytes", refuse)  # root, who runs tests in CI, may read everything
    assert "may not be read" in refusal(tmp_path / "plant.yaml").message


def test_text_that_is_not_utf8_is_told_of_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_bytes(HEAD.encode() + "# Abfüller\n".encode("latin-1"))
    problem = refusal(tmp_path / "plant.yaml")
    assert problem.message == "the file is not UTF-8 text"
    assert problem.line == 3


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    text = HEAD + "equipment: {Acme: {level: Enterprise}}\n"
    (tmp_path / "plant.yaml").write_bytes(text.encode("utf-8-sig"))
    assert load(tmp_path / "plant.yaml").plant.equipment[0].path == "Acme"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "plant.yaml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "larger than 16 MiB" in refusal(tmp_path / "plant.yaml").message


def test_a_link_that_leads_to_itself(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").symlink_to(tmp_path / "plant.yaml")
    assert "cannot be read" in refusal(tmp_path / "plant.yaml").message


def test_sections_of_several_files_are_merged_by_name(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    (tmp_path / "plant.yaml").write_text(HEAD + "include: [common.yaml, 'lines/*.yaml']\nscan: {a: 1s}\n")
    (tmp_path / "common.yaml").write_text("model: 1\nscan: {b: 2s}\nopcua: {port: 1}\n")
    (tmp_path / "lines" / "2.yaml").write_text("include: ../more.yaml\nequipment: {D: {}}\n")
    (tmp_path / "lines" / "1.yaml").write_text("equipment: {C: {}}\nscan:\n")
    (tmp_path / "more.yaml").write_text("equipment: {E: {}}\n")
    problems: list[Problem] = []
    tree, _ = read_files(tmp_path / "plant.yaml", problems)
    assert problems == []
    merged = to_plain(tree)
    assert merged["scan"] == {"a": "1s", "b": "2s"}
    assert merged["opcua"] == {"port": 1}
    assert list(merged["equipment"]) == ["C", "D", "E"]
    assert "include" not in merged


def test_a_pattern_does_not_mean_the_file_it_stands_in(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(HEAD + "include: '*.yaml'\n")
    (tmp_path / "more.yaml").write_text("equipment: {Acme: {level: Site}}\n")
    assert len(load(tmp_path / "plant.yaml").plant.equipment) == 1


def test_a_file_cannot_include_itself_by_name(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(HEAD + "include: plant.yaml\n")
    assert "in a ring" in refusal(tmp_path / "plant.yaml").message


def test_a_file_is_included_once(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(HEAD + "include: [a.yaml, b.yaml]\n")
    (tmp_path / "a.yaml").write_text("include: c.yaml\n")
    (tmp_path / "b.yaml").write_text("include: c.yaml\n")
    (tmp_path / "c.yaml").write_text("scan: {a: 1s}\n")
    problem = refusal(tmp_path / "plant.yaml")
    assert "included already at" in problem.message
    assert problem.file.endswith("b.yaml")


def test_an_included_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(HEAD + "include: a.yaml\n")
    (tmp_path / "a.yaml").write_text("model: 3\n")
    assert "3 is not a format" in refusal(tmp_path / "plant.yaml").message


def test_an_include_through_an_absolute_pattern(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(HEAD + f"include: '{tmp_path}/a*.yaml'\n")
    (tmp_path / "a1.yaml").write_text("equipment: {Acme: {level: Site}}\n")
    assert len(load(tmp_path / "plant.yaml").plant.equipment) == 1
