"""What a long start tells of how far it is, and that a terminal shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.line import line
from support.terminal import screen

from nodesets import isa95
from server.config import load
from server.opcua.ids import Namespaces
from server.opcua.space.assemble import build_space
from server.plant.build import namespaces
from server.plant.values import ValueStore
from server.progress import followed

PLANT = """model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
opcua: {{port: 0, listen: [127.0.0.1]}}
classes:
  Machine:
    level: WorkUnit
    properties:
      Make: {{type: String}}
equipment:
  Acme: {{level: Enterprise}}
  Acme/M{{n}}:
    for: 1..{count}
    class: Machine
    properties:
      Make: {{value: KHS}}
"""


def plant(folder: Path, count: int) -> Path:
    path = folder / "plant.yaml"
    path.write_text(PLANT.format(count=count), encoding="utf-8")
    return path


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_it_is_told_from_the_beginning_to_the_end(count: int) -> None:
    told: list[tuple[str, int, int]] = []
    assert list(followed(range(count), "counting", lambda *step: told.append(step))) == list(range(count))
    assert told[-1] == ("counting", count, count)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert len(told) <= 202


def test_reading_the_plant_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    config = load(plant(tmp_path, 300), progress=lambda *step: told.append(step))
    assert len(config.plant.equipment) == 301
    assert told[0][1] < told[-1][1] == 301
    assert {(what, of) for what, _, of in told} == {("reading the plant", 301)}


def test_building_the_address_space_tells_how_far_it_is() -> None:
    told: list[tuple[str, int, int]] = []
    acme = line()
    names = Namespaces("urn:test:isthmus", (isa95.ISA95, *namespaces(acme)))
    points = ValueStore(acme).points
    records = isa95.load().nodes
    build_space(records, names, acme, points, writable=False, progress=lambda *step: told.append(step))
    assert told[-1] == ("building the address space", len(acme.equipment), len(acme.equipment))


def test_a_terminal_shows_a_bar_and_a_pipe_does_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "check", str(plant(tmp_path, 3000))]
    shown = screen(command, "fine.")
    assert "reading the plant" in shown
    assert "3001" in shown
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "reading the plant" not in piped.stdout + piped.stderr
    assert "fine." in piped.stdout


def test_a_server_shows_how_far_its_start_is(tmp_path: Path) -> None:
    file = plant(tmp_path, 3000)
    command = [sys.executable, "-m", "server.cli", "run", str(file), "--data", str(tmp_path / "data")]
    shown = screen(command, "OPC UA at")
    assert "building the address space" in shown
