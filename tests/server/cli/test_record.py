"""Recorded from a simulated PLC, played back in its place: the same values over OPC UA."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from support.cli import invoke, invoked
from support.isthmus import isthmus, running
from support.net import until
from support.simulator import running_simulator
from support.uaclient import Client, ua

PLANT = """\
model: 1
namespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}
opcua: {port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true}
sources:
  FillerPLC: SOURCE
equipment:
  Acme:
    level: Enterprise
    source: FillerPLC
    properties:
      Speed: {unit: C49}
      State: {enum: packml-state}
      Count: {type: UInt32}
      Temp: {unit: CEL}
      Door: {type: Boolean}
      Halves: {type: UInt16, array: 2}
      Missing: {}
    map:
      Speed: {addr: "holding:0", as: float32}
      State: {addr: "holding:9", as: int16, lut: {0: 2, 1: 3, 2: 6, 3: 7, 4: 11, 9: 9}}
      Count: "holding:22"
      Temp: {addr: "input:1", as: int16, gain: 0.1}
      Door: "discrete:7"
      Halves: "holding:22"
      Missing: {addr: "holding:900", as: float32}
"""
NAMES = ("Speed", "State", "Count", "Temp", "Door", "Halves", "Missing")


def write(folder: Path, source: str) -> Path:
    path = folder / "plant.yaml"
    path.write_text(PLANT.replace("SOURCE", source), encoding="utf-8")
    return path


async def shown(url: str) -> dict[str, tuple[Any, str]]:
    """Every value and its StatusCode, once none waits any more."""
    async with Client(url) as client:
        index = await client.get_namespace_index("urn:acme:plant")
        nodes = {name: client.get_node(ua.NodeId(f"Acme.{name}", index)) for name in NAMES}
        found: dict[str, tuple[Any, str]] = {}

        async def settled() -> bool:
            for name, node in nodes.items():
                value = await node.read_data_value(raise_on_bad_status=False)
                found[name] = value.Value.Value, value.StatusCode.name
            states = [status for _, status in found.values()]
            return states.count("Good") == 6 and "BadConfigurationError" in states

        await until(settled, within=60, what=f"six Good values: {found}")
        return found


async def test_a_recording_serves_what_the_device_did(tmp_path: Path) -> None:
    async with running_simulator() as simulator:
        for name, value in {"Speed": 612.5, "State": 6, "GoodCount": 4711, "ProductTemp": 18.5}.items():
            await simulator.set(name, value)
        plant = write(tmp_path, f"{{driver: modbus, host: 127.0.0.1, port: {simulator.port}}}")
        async with running(
            tmp_path / "one", "run", plant, "--data", tmp_path / "data", "--record", tmp_path / "filler.rec"
        ) as server:
            original = await shown(server.ready["opcua"])
            code, _ = await server.stop(signal.SIGTERM)
            assert code == 0
            assert "0 dropped" in server.output
    assert original["Speed"] == (612.5, "Good")
    assert original["Halves"] == ([0, 4711], "Good")
    assert original["Missing"] == (None, "BadConfigurationError")
    plant = write(tmp_path, "{driver: replay, file: filler.rec, loop: true}")
    checked = await invoked("check", plant, "--connect")
    assert "1 of 7 tags cannot be read, Acme.Missing the first" in checked.out
    async with running(tmp_path / "two", "run", plant, "--data", tmp_path / "data") as server:
        assert await shown(server.ready["opcua"]) == original


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--record", "Filer=x.rec"), "did you mean 'FillerPLC'?"),
        (("--record", "x.rec", "--record-limit", "huge"), "is no size"),
        (("--record", "x.rec", "--record", "FillerPLC=y.rec"), "recorded twice"),
        (("--record", "FillerPLC="), "SOURCE=FILE"),
    ],
)
def test_what_cannot_be_recorded_is_told(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    plant = write(tmp_path, "{driver: modbus, host: 127.0.0.1}")
    done = invoke("run", plant, "--data", tmp_path / "data", *arguments)
    assert done.code == 2
    assert words in done.err


@pytest.mark.parametrize("name", ["x.rec", "x.rec.1"])
def test_what_is_played_back_is_not_recorded_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    plant = write(tmp_path, f"{{driver: replay, file: {name}}}")
    done = invoke("run", plant, "--data", tmp_path / "data", "--record", tmp_path / "x.rec")
    assert done.code == 2
    assert "is being played back" in done.err


def test_a_recording_that_is_not_there_is_a_problem_of_its_line(tmp_path: Path) -> None:
    plant = write(tmp_path, "{driver: replay, file: none.rec}")
    done = invoke("check", plant)
    assert done.code == 2
    assert "plant.yaml:5:" in done.err
    assert "there is no file" in done.err


def test_a_place_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    plant = write(tmp_path, "{driver: modbus, host: 127.0.0.1}")
    done = isthmus("run", plant, "--data", tmp_path / "data", "--record", tmp_path / "no" / "x.rec")
    assert done.returncode == 1
    assert "x.rec" in done.stderr
    assert "Traceback" not in done.stderr
