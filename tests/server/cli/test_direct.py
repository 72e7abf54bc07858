"""Single values read and written on simulated devices, with no server between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import invoke, invoked
from support.logix import everything
from support.net import free_port
from support.simulator import running_simulator

from server.config import load
from server.simulate import device_spec
from server.tools.direct import of_url
from server.tools.target import parse_target

PLANT = """\
model: 1
namespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}
units:
  bpm: {uri: "urn:acme:units", symbol: bottle/min}
sources:
  FillerPLC: {driver: modbus, host: 127.0.0.1, port: PORT}
equipment:
  Acme:
    level: Enterprise
    source: FillerPLC
    properties:
      SpeedSP: {unit: bpm, range: [0, 800], access: rw}
      Gentle: {range: [0, 800], write: {max_step: 50, max_rate: 40 per minute}}
      Mode: {enum: packml-mode, access: rw}
      Temp: {unit: CEL}
      Kept: {value: 3.0}
    map:
      SpeedSP: {addr: "holding:2", as: float32, gain: 2}
      Gentle: {addr: "holding:2", as: float32, gain: 2}
      Mode: {addr: "holding:10", as: int16}
      Temp: {addr: "input:1", as: int16, gain: 0.1}
"""


def plant(folder: Path, port: int) -> Path:
    file = folder / "plant.yaml"
    file.write_text(PLANT.replace("PORT", str(port)), encoding="utf-8")
    return file


async def test_a_value_of_a_modbus_device(tmp_path: Path) -> None:
    async with running_simulator() as simulator:
        await simulator.set("SpeedSP", 512.5)
        await simulator.set("Mode", 3)
        url = f"modbus://127.0.0.1:{simulator.port}?unit=1"
        code, out, _ = await invoked(
            "read", url, "holding:2:float32", "holding:10", "coil:3", "holding:30 as string(16)"
        )
        assert code == 0
        assert [line.split()[1] for line in out.splitlines()[1:3]] == ["512.5", "3"]
        code, out, _ = await invoked("read", url, "holding:2:float32", "--json")
        (found,) = json.loads(out)
        assert (found["value"], found["quality"], found["device_time"]) == (512.5, "Good", None)
        code, out, err = await invoked("read", url, "holding:900")
        assert code == 1
        assert "BadConfigurationError" in out
        assert err == (
            "holding:900: the device has nothing at this address, or nothing of this type; "
            "isthmus browse lists what it has\n"
        )

        file = plant(tmp_path, simulator.port)
        code, out, _ = await invoked("read", file, "Acme.SpeedSP", "Acme.Mode")
        assert code == 0
        assert "1025.0 bottle/min" in out
        assert "Manual (3)" in out
        await simulator.set("SpeedSP", None)

        code, out, _ = await invoked("write", file, "Acme.SpeedSP", "640", "--yes")
        assert code == 0
        assert "reads 640.0 bottle/min" in out
        assert await simulator.get("SpeedSP") == 320
        code, out, _ = await invoked("write", url, "holding:2:float32", "1e2", "--yes")
        assert (code, await simulator.get("SpeedSP")) == (0, 100)
        code, _, err = await invoked("write", file, "Acme.Gentle", "260", "--yes")
        assert code == 2
        assert "from 200 to 260 is more than its max_step, 50" in err
        code, _, err = await invoked("write", file, "Acme.Gentle", "245", "--yes")
        assert code == 2
        assert "from 200 to 245 is more than its max_rate, 40 per minute" in err
        code, out, _ = await invoked("write", file, "Acme.Gentle", "200", "--yes")
        assert (code, out) == (0, "Acme.Gentle: was 200.0, written, reads 200.0\n")
        code, _, err = await invoked("write", url, "holding:0:float32", "1", "--yes")
        assert code == 1
        assert "did not take it: BadOutOfRange" in err
        code, _, err = await invoked("write", file, "Acme.SpeedSP", "650")
        assert code == 2
        assert "past the server" in err
        assert "--yes" in err
        assert await simulator.get("SpeedSP") == 100, "nobody said yes"


ARRAYS = """\
model: 1
namespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}
enums: {valve: {0: Closed, 1: Open}}
sources:
  OvenPLC: {driver: modbus, host: 127.0.0.1, port: PORT}
equipment:
  Acme:
    level: Enterprise
    source: OvenPLC
    properties:
      Temps: {array: 3, unit: CEL, range: [0, 300], write: {max_step: 50}}
      Valves: {enum: valve, array: 2, access: rw}
    map:
      Temps: {addr: "holding:0", as: int16, gain: 0.5}
      Valves: {addr: "holding:10", as: int16}
"""


async def test_arrays_are_written_in_brackets(tmp_path: Path) -> None:
    file = tmp_path / "plant.yaml"
    file.write_text(ARRAYS.replace("PORT", "502"), encoding="utf-8")
    config = load(file)
    async with running_simulator(device_spec(config.plant, config.sources[0], any_port=True)) as simulator:
        file.write_text(ARRAYS.replace("PORT", str(simulator.port)), encoding="utf-8")
        url = f"modbus://127.0.0.1:{simulator.port}?unit=1"
        orders: list[tuple[tuple[str | Path, ...], str]] = [
            ((url, "holding:0:int16[3]", "[20, 40, 60]"), "reads [20, 40, 60]"),
            (
                (file, "Acme.Temps", "[11, 22.5, 33]"),
                "was [10.0, 20.0, 30.0] °C, written, reads [11.0, 22.5, 33.0] °C",
            ),
            ((file, "Acme.Valves", "[Open, 0]"), "written, reads Open, Closed ([1, 0])"),
            ((url, "holding:0:int16[2]", "[40,50]"), "was [22, 45], written, reads [40, 50]"),
        ]
        for arguments, said in orders:
            code, out, err = await invoked("write", *arguments, "--yes")
            assert (code, said in out) == (0, True), out + err
        for tag, text, words in (
            ("Acme.Temps", "[1, 2]", "2 elements, and the array has 3"),
            ("Acme.Temps", "1", "write its elements in brackets"),
            ("Acme.Temps", "[1, 2, fast]", "is not a number"),
            ("Acme.Temps", "[1, 2, 301]", "301.0 is outside its limits"),
            ("Acme.Temps", "[20, 25, 290]", "from 33 to 290 is more than its max_step"),
            ("Acme.Valves", "[Open, Ajar]", "is not a whole number"),
        ):
            code, _, err = await invoked("write", file, tag, text, "--yes")
            assert (code, words in err) == (2, True), err
        code, out, _ = await invoked("read", url, "holding:0 as int16[3]", "holding:10:bool[2]", "--json")
        assert code == 2, "a register is no bit"
        code, out, _ = await invoked("read", url, "holding:0 as int16[3]", "--json")
        assert (code, json.loads(out)[0]["value"]) == (0, [40, 50, 66])


async def test_what_must_not_be_written_never_reaches_the_device(tmp_path: Path) -> None:
    file = plant(tmp_path, free_port())
    for tag, value, words in (
        ("Acme.Temp", "1", "is not access: rw"),
        ("Acme.SpeedSP", "801", "outside its limits, 0 to 800"),
        ("Acme.SpeedSP", "-1", "outside its limits, 0 to 800"),
        ("Acme.SpeedSP", "fast", "is not a number"),
        ("Acme.SpeedSP", "nan", "is not a finite number"),
        ("Acme.Mode", "Flying", "is not a whole number"),
        ("Acme.Mode", "9", "it can be 0 Invalid, 1 Produce"),
        ("Acme.Kept", "1", "is a constant"),
        ("Acme.SpedSP", "1", "did you mean Acme.SpeedSP?"),
    ):
        code, _, err = await invoked("write", file, tag, value, "--yes")
        assert (code, words in err) == (2, True), err


async def test_a_value_of_a_logix_controller_has_the_type_the_controller_says() -> None:
    async with running_simulator(everything()) as simulator:
        url = f"eip://127.0.0.1:{simulator.port}/1,0"
        code, out, err = await invoked("read", url, "Shown", "Texts[3]", "Pi", "Many007:dint", "Grid[1,2,3]")
        assert code == 0, out + err
        rows = {line.split()[0]: line for line in out.splitlines()[1:]}
        assert " 7 " in rows["Shown"]
        assert "'third'" in rows["Texts[3]"]
        assert " 3.0 " in rows["Pi"]
        assert " 21 " in rows["Many007:dint"]
        code, out, _ = await invoked("read", url, "Dints[3]:dint[2]", "Texts[2]:string[2]", "--json")
        assert [each["value"] for each in json.loads(out)] == [[3, 4], ["", "third"]]
        code, out, _ = await invoked("write", url, "Texts:string[2]", '["a, b", "c"]', "--yes")
        assert (code, "reads ['a, b', 'c']" in out) == (0, True), out
        code, out, _ = await invoked("write", url, "Many007", "-5", "--yes")
        assert (code, out) == (0, "Many007: was 21, written, reads -5\n")
        code, _, err = await invoked("write", url, "Shown", "8", "--yes")
        assert code == 1
        assert "BadNotWritable" in err
        code, out, _ = await invoked("read", url, "Nowhere")
        assert code == 1
        assert "BadConfigurationError" in out


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("modbus://127.0.0.1:1?timeout=1s", "connection refused"),
        ("eip://127.0.0.1:1/1,0", "127.0.0.1:1"),
    ],
)
async def test_a_device_that_is_not_there_is_told(target: str, words: str) -> None:
    code, _, err = await invoked("read", target, "holding:0" if target.startswith("modbus") else "Speed")
    assert code == 1
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "tag", "words"),
    [
        ("modbus://h?unti=1", "holding:0", "did you mean 'unit'?"),
        ("modbus://h?unit=999", "holding:0", "unit: 999 is out of range: it must be at most 255"),
        ("modbus://h?transport=udb", "holding:0", "transport: 'udb' is not one of tcp, tls, udp"),
        ("modbus://h/5", "holding:0", "?unit=1"),
        ("modbus://h", "40001", "holding:0"),
        ("profinet://h", "x", "no driver speaks 'profinet'"),
        ("eip://h/1,0,2", "x", "is not a route"),
        ("eip://", "x", "names no host"),
        ("modbus://", "x", "names no host"),
        ("eip://u:secret@h", "x", "does not belong in a URL"),
        ("nowhere.yaml", "x", "nowhere.yaml"),
    ],
)
def test_what_cannot_be_meant_is_told_with_what_would_be_right(target: str, tag: str, words: str) -> None:
    done = invoke("read", target, tag)
    assert done.code == 2
    assert words in done.err
    assert "secret" not in done.err


@pytest.mark.parametrize("key", ["user=x&password", "key_password"])
def test_a_password_in_a_url_is_not_shown_again(key: str) -> None:
    done = invoke("read", f"opc.tcp://h?{key}=hunter2", "i=2258")
    assert done.code == 2
    assert "password=…" in done.err
    assert "hunter2" not in done.err


@pytest.mark.parametrize(
    ("url", "tag", "kind"),
    [
        ("slc://10.20.1.13", "N7:0", "Int16"),
        ("slc://10.20.1.13/1,0", "F8:1", "Float"),
        ("modbus://10.20.1.11?addressing=5-digit", "40011:float32", "Float"),
        ("modbus:///dev/ttyUSB0?transport=rtu&unit=3", "holding:0 as bcd32", "UInt32"),
        ("modbus://10.20.1.11", "coil:7", "Boolean"),
    ],
)
def test_addresses_of_every_kind_are_taken(url: str, tag: str, kind: str) -> None:
    place = of_url(parse_target(url), tag)
    assert [each.type.name for each in place.tags] == [kind]
