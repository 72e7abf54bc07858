"""Devices looked at: what is listed, and configuration of it that loads and reads the very same device."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from support.cli import invoked
from support.logix import everything, packer
from support.net import free_port
from support.simulator import running_simulator
from support.terminal import screen

HEAD = 'model: 1\nnamespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}\n'


def ranges(*spans: str) -> list[str]:
    return [word for span in spans for word in ("--range", span)]


async def connected(folder: Path, fragment: str) -> str:
    """What `check --connect` says of a plant that includes the fragment."""
    (folder / "fragment.yaml").write_text(fragment, encoding="utf-8")
    plant = folder / "plant.yaml"
    plant.write_text(f"{HEAD}include: [fragment.yaml]\n", encoding="utf-8")
    done = await invoked("check", plant, "--connect")
    assert done.code == 0, done.out + done.err
    return done.out


async def test_a_logix_controller_is_listed_and_configured(tmp_path: Path) -> None:
    async with running_simulator(everything()) as simulator:
        url = f"eip://127.0.0.1:{simulator.port}/1,0"
        done = await invoked("browse", url)
        assert done.code == 0, done.err
        lines = done.out.splitlines()
        assert lines[0].startswith("product: 1756-L83E")
        assert any(line.split()[:2] == ["Units[12]", "Outer"] for line in lines)
        assert any(line.split()[:2] == ["Program:Packer.Speed", "real"] for line in lines)
        assert "left out: Secret: its External Access is None" in lines
        assert any(line.startswith("left out: Dints: an array of 1100") for line in lines)
        assert any(line.split()[:2] == ["Reals", "real[300]"] for line in lines)

        done = await invoked("browse", url, "--yaml", "--source", "Everything")
        assert done.code == 0, done.err
        assert done.out.count("&Outer") == 1
        assert done.out.count("*Outer") == 2, "an array of twelve, and the one of the program"
        assert "Reals: {type: Float, array: 300}" in done.out
        assert "Flags: {type: Boolean, array: 64}" in done.out
        said = await connected(tmp_path, done.out)
        assert said.rstrip().endswith("connected")
        read = await invoked("read", tmp_path / "plant.yaml", "Everything/Unit.Rates", "--json")
        assert json.loads(read.out)[0]["value"] == [0.0] * 5

        done = await invoked("browse", url, "--json", "--filter", "many00*")
        found = json.loads(done.out)
        assert [tag["address"] for tag in found["tags"]] == [f"Many{n:03}" for n in range(10)]
        assert found["identity"]["serial"]


async def test_a_fragment_serves_the_values_of_the_controller(tmp_path: Path) -> None:
    async with running_simulator(packer()) as simulator:
        url = f"eip://127.0.0.1:{simulator.port}/1,0"
        done = await invoked("browse", url, "--yaml", "-o", tmp_path / "fragment.yaml")
        assert (done.code, done.out) == (0, "")
        plant = tmp_path / "plant.yaml"
        plant.write_text(f"{HEAD}include: [fragment.yaml]\n", encoding="utf-8")
        read = await invoked("read", plant, "PLC/Packer.CaseSize", "--json")
        assert read.code == 0, read.err
        (value,) = json.loads(read.out)
        assert value["quality"] == "Good"
        assert 6 <= value["value"] <= 24


async def test_the_addresses_of_a_modbus_device_that_answer(tmp_path: Path) -> None:
    async with running_simulator() as simulator:
        url = f"modbus://127.0.0.1:{simulator.port}?unit=1"
        done = await invoked("browse", url, *ranges("holding:0..199", "input", "coil:0..40"))
        assert done.code == 0, done.err
        rows = [line.split() for line in done.out.splitlines()]
        at = rows.index(["Table", "From", "To", "Addresses"])
        assert rows[at + 1 :] == [
            ["holding", "0", "37", "38"],
            ["input", "0", "1", "2"],
            ["coil", "3", "21", "19"],
        ]
        assert any(row[0].startswith("VendorName") for row in rows[:at]), "who it is comes first"
        done = await invoked("browse", url, "--yaml", "--range", "holding:0..99", "--range", "discrete:0..20")
        assert done.code == 0, done.err
        assert 'Holding_37: "holding:37"' in done.out
        assert "Discrete_7: {type: Boolean}" in done.out
        said = await connected(tmp_path, done.out)
        assert said.rstrip().endswith("connected")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("modbus://h", "--range", "holdin:0..9"), "did you mean 'holding'?"),
        (("modbus://h", "--range", "holding:9..3"), "the lower first"),
        (("modbus://h", "--range", "holding:a"), "write holding:0..499"),
        (("eip://h", "--range", "holding:0..9"), "which have no list of tags"),
        (("profinet://h",), "no driver speaks 'profinet'"),
        (("eip://h", "--source", "7"), "is not a name"),
    ],
)
async def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], words: str) -> None:
    done = await invoked("browse", *arguments)
    assert done.code == 2
    assert words in done.err


@pytest.mark.parametrize("scheme", ["modbus", "eip"])
async def test_a_device_that_is_not_there_exits_with_1(scheme: str) -> None:
    port = free_port()
    done = await invoked("browse", f"{scheme}://127.0.0.1:{port}")
    assert done.code == 1
    assert f"127.0.0.1:{port}: " in done.err
    assert "refused" in done.err
    assert done.err.count("\n") == 1


async def test_a_unit_for_which_its_gateway_hears_nothing_exits_with_1() -> None:
    async with running_simulator() as simulator:
        done = await invoked("browse", f"modbus://127.0.0.1:{simulator.port}?unit=7")
        assert done.code == 1
        assert f"127.0.0.1:{simulator.port}: unit 7 does not answer: exception 11" in done.err
        assert not done.out


async def test_a_terminal_shows_how_far_it_is() -> None:
    async with running_simulator() as simulator:
        url = f"modbus://127.0.0.1:{simulator.port}"
        command = [sys.executable, "-m", "server.cli", "browse", url, *ranges("holding:0..199")]
        shown = await asyncio.to_thread(screen, command, "Addresses")
    assert "looking at holding:0..199" in shown
    assert "/200" in shown
