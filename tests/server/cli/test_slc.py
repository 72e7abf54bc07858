"""An SLC looked at, planned, read and written with the tools, against the simulated one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cli import invoked
from support.net import free_port
from support.simulator import RunningSimulator, running_simulator

from sources.simulators.slc.spec import FileSpec, SlcIdentity, SlcSpec

HEAD = 'model: 1\nnamespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}\n'
FILES = {
    "O0": 2,
    "I1": 2,
    "S2": 32,
    "B3": 4,
    "T4": 3,
    "C5": 1,
    "R6": 1,
    "N7": 12,
    "F8": 4,
    "L10": 2,
    "ST11": 2,
}
LEFT_OUT = {"O0", "I1", "S2", "R6"}


def spec(bulletin: str = "5/05", **files: int) -> SlcSpec:
    return SlcSpec(
        name="Mixer",
        identity=SlcIdentity(bulletin=bulletin),
        files=tuple(FileSpec(name=name, elements=count) for name, count in (FILES | files).items()),
        values={"N7:3": 42, "F8:1": 2.5, "T4:2.2": 77, "ST11:0": "Lemonade", "B3:0/5": True},
    )


def url(simulator: RunningSimulator) -> str:
    return f"slc://127.0.0.1:{simulator.port}"


def plant(folder: Path, text: str) -> Path:
    file = folder / "plant.yaml"
    file.write_text(HEAD + text, encoding="utf-8")
    return file


async def test_its_data_files_are_listed_and_configured(tmp_path: Path) -> None:
    async with running_simulator(spec("1763-LEC")) as simulator:
        done = await invoked("browse", url(simulator))
        assert done.code == 0, done.err
        lines = done.out.splitlines()
        assert lines[0].startswith("product: 1747-L553")
        assert {"processor: 1763-LEC", "mode: run", "program: 1747"} <= set(lines)
        rows = [line.split() for line in lines]
        assert ["N7", "12", "N7:0", "to", "N7:11"] in rows
        assert ["T4", "3", "T4:0", "to", "T4:2"] in rows
        assert any(line.startswith("S2") and "bind what you need" in line for line in lines)

        done = await invoked("browse", url(simulator), "--yaml", "-o", tmp_path / "fragment.yaml")
        assert (done.code, done.out) == (0, ""), done.err
        file = plant(tmp_path, "include: [fragment.yaml]\n")
        checked = await invoked("check", file, "--connect")
        assert checked.code == 0, checked.out + checked.err
        read = await invoked(
            *("read", file, "PLC.N7_3", "PLC.F8_1", "PLC/T4_2.ACC", "PLC.ST11_0", "PLC.B3_0", "--json")
        )
        assert read.code == 0, read.err
        assert [each["value"] for each in json.loads(read.out)] == [42, 2.5, 77, "Lemonade", 32]

        done = await invoked("browse", url(simulator), "--json", "--filter", "n7:1*")
        found = json.loads(done.out)
        assert [each["address"] for each in found["tags"]] == ["N7:1", "N7:10", "N7:11"]


async def test_what_the_directory_says_is_held_against_the_controller() -> None:
    async with running_simulator(spec()) as simulator:
        await simulator.control(tag_status={"tag": "N7:11", "status": 0x50})
        done = await invoked("browse", url(simulator), "--json")
        assert done.code == 0, done.err
        left = json.loads(done.out)["left_out"]
        assert set(left) == {*LEFT_OUT, "N7"}
        assert left["N7"] == "the controller lists 12 elements, and refuses the last: BadConfigurationError"


@pytest.mark.parametrize(
    ("fault", "words"),
    [("no_directory", "it does not give its file directory"), ("no_status", "it gives no diagnostic status")],
)
async def test_a_controller_that_does_not_tell_its_files_is_named(fault: str, words: str) -> None:
    async with running_simulator(spec()) as simulator:
        await simulator.control(**{fault: True})
        done = await invoked("browse", url(simulator))
        assert done.code == 1
        assert done.err.count("\n") == 1
        assert f"serial 00c0ffee: its data files cannot be listed: {words}" in done.err
        read = await invoked("read", url(simulator), "N7:3")
        assert read.code == 0, "single values need no list"


async def test_one_that_is_not_there_exits_with_1() -> None:
    done = await invoked("browse", f"slc://127.0.0.1:{free_port()}")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "refused" in done.err


async def test_values_are_read_and_written() -> None:
    async with running_simulator(spec()) as simulator:
        done = await invoked("read", url(simulator), "N7:3", "T4:2.ACC", "B3/5", "ST11:0", "--json")
        assert done.code == 0, done.err
        assert [each["value"] for each in json.loads(done.out)] == [42, 77, True, "Lemonade"]
        done = await invoked("write", url(simulator), "F8:1", "7.25", "--yes")
        assert done.code == 0, done.err
        assert done.out == "F8:1: was 2.5, written, reads 7.25\n"
        assert (await simulator.control(get_tag="F8:1"))["value"] == 7.25
        done = await invoked("read", url(simulator), "N7:12")
        assert done.code == 1
        done = await invoked("read", url(simulator), "N99:0")
        assert (done.code, "BadConfigurationError" in done.out) == (1, True)


def planned(text: str) -> dict[str, Any]:
    (found,) = json.loads(text)
    return dict(found)


async def test_its_plan_and_what_spoils_it(tmp_path: Path) -> None:
    async with running_simulator(spec(N7=100)) as simulator:
        timers = "".join(f'      T{n}: {{addr: "T4:{n % 3}.ACC", scan: {"ab"[n // 3]}}}\n' for n in range(6))
        words = "".join(f'      N{n}: {{addr: "N7:{n}"}}\n' for n in range(60))
        names = [*(f"T{n}" for n in range(6)), *(f"N{n}" for n in range(60)), "Wrong"]
        file = plant(
            tmp_path,
            "scan: {a: 1s, b: 2s}\n"
            f"sources:\n  PLC: {{driver: slc, host: 127.0.0.1, port: {simulator.port}}}\n"
            "equipment:\n  Acme:\n    level: Enterprise\n    source: PLC\n    properties:\n"
            + "".join(f"      {name}: {{type: Int16}}\n" for name in names)
            + f'    map:\n{timers}{words}      Wrong: {{addr: "N8:0", scan: b}}\n',
        )
        done = await invoked("plan", file, "--json")
        assert done.code == 0, done.err
        found = planned(done.out)
        blocks = [(each["class"], each["block"], each["ends"]) for each in found["blocks"]]
        assert (found["blocks"][0]["class"], len(blocks)) == ("a", 9)
        assert {each[1:] for each in blocks if "N7" in each[1]} == {
            ("N7:0 to 39", "80 bytes, what every controller takes"),
            ("N7:40 to 59", "last of its file and class"),
        }
        assert any(each.startswith("6 timers, counters") for each in found["spoils"])
        assert found["load"] > 0
        done = await invoked("plan", file, "--json", "--connect")
        assert done.code == 0, done.err
        found = planned(done.out)
        assert len(found["blocks"]) == 8
        assert "Acme.Wrong is not read: file 8 is F8, not N8" in found["spoils"]
