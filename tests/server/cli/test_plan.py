"""The plan in numbers: what is asked, what it takes, and what spoils it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support.cli import invoke, invoked
from support.logix import everything
from support.net import free_port
from support.simulator import running_simulator

ROOT = Path(__file__).parents[3]
HEAD = 'model: 1\nnamespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}\n'


def plant(folder: Path, source: str, bindings: dict[str, str], scan: str = "") -> Path:
    """A plant of one source; a binding is its flow mapping, its property a UInt16 or what it says."""
    properties = "".join(f"      {name}: {{type: UInt16}}\n" for name in bindings)
    mapped = "".join(f"      {name}: {{{binding}}}\n" for name, binding in bindings.items())
    file = folder / "plant.yaml"
    file.write_text(
        f"{HEAD}{scan}sources:\n  PLC: {source}\n"
        "equipment:\n  Acme:\n    level: Enterprise\n    source: PLC\n"
        f"    properties:\n{properties}    map:\n{mapped}",
        encoding="utf-8",
    )
    return file


def planned(file: Path, *arguments: str) -> dict[str, Any]:
    done = invoke("plan", file, "--json", *arguments)
    assert done.code == 0, done.err
    (found,) = json.loads(done.out)
    return dict(found)


MODBUS = "{driver: modbus, host: 10.0.0.1}"


def test_the_blocks_and_what_they_take(tmp_path: Path) -> None:
    bindings = {f"R{n}": f'addr: "holding:{n}"' for n in range(200)} | {"Far": 'addr: "holding:5000"'}
    found = planned(plant(tmp_path, MODBUS, bindings), "--round-trip", "20ms")
    assert [(each["block"], each["points"], each["ends"]) for each in found["blocks"]] == [
        ("holding:0 to 124", 125, "device's maximum of 125"),
        ("holding:125 to 199", 75, "gap of 4800 registers"),
        ("holding:5000", 1, "last of its class"),
    ]
    (cost,) = found["classes"]
    assert (cost["requests"], cost["points"], cost["period"]) == (3, 201, 1.0)
    assert cost["takes"] == pytest.approx(0.060, rel=0.02)
    assert found["load"] == pytest.approx(0.060, rel=0.02)
    assert cost["cycle"] == 1.0
    (alone,) = found["spoils"]
    assert alone.startswith("Acme.Far costs a request of its own: holding:5000 lies 4800 addresses")


def test_what_the_line_cannot_carry_is_told(tmp_path: Path) -> None:
    bindings = {f"R{n}": f'addr: "holding:{n * 200}", scan: fast' for n in range(100)}
    file = plant(tmp_path, MODBUS, bindings, "scan: {fast: 100ms}\n")
    found = planned(file, "--round-trip", "10ms")
    assert found["classes"][0]["cycle"] == pytest.approx(1.0, rel=0.05), "a hundred requests of 10 ms"
    assert any("fast cannot be kept: its requests take 1" in each for each in found["spoils"])
    assert any("holds all others up for 1 s (timeout)" in each for each in found["spoils"])


def test_classes_that_fit_alone_and_not_together(tmp_path: Path) -> None:
    bindings = {f"A{n}": f'addr: "holding:{n * 200}", scan: a' for n in range(7)}
    bindings |= {f"B{n}": f'addr: "input:{n * 200}", scan: b' for n in range(7)}
    file = plant(tmp_path, MODBUS, bindings, "scan: {a: 100ms, b: 110ms}\n")
    found = planned(file, "--round-trip", "10ms")
    assert found["load"] > 1.3
    assert any("together ask for" in each for each in found["spoils"])
    assert all(cost["cycle"] > cost["period"] for cost in found["classes"])


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("max_registers: 20", "max_registers: 20 makes 10 requests of what would be 2 with 125"),
        ("max_gap: 0", "max_gap: 0 makes 100 requests of what would be 2 with 125"),
    ],
)
def test_limits_that_cost_requests_are_told(tmp_path: Path, key: str, words: str) -> None:
    step = 1 if key.startswith("max_registers") else 2
    bindings = {f"R{n}": f'addr: "holding:{n}"' for n in range(0, 200, step)}
    found = planned(plant(tmp_path, f"{{driver: modbus, host: h, {key}}}", bindings))
    assert any(words in each for each in found["spoils"])


def test_a_serial_line_is_as_fast_as_its_characters(tmp_path: Path) -> None:
    bindings = {f"R{n}": f'addr: "holding:{n}"' for n in range(100)} | {"Near": 'addr: "holding:130"'}
    serial = "{driver: modbus, transport: rtu, device: /dev/ttyUSB0, baud: 9600}"
    found = planned(plant(tmp_path, serial, bindings))
    assert [each["block"] for each in found["blocks"]] == ["holding:0 to 99", "holding:130"]
    first, second = found["blocks"]
    character = 11 / 9600
    assert first["bytes"] == 8 + 5 + 200
    assert first["takes"] == pytest.approx(0.01 + (7 + 213) * character)
    assert second["takes"] == pytest.approx(0.01 + (7 + 15) * character)
    assert not any("max_gap" in each for each in found["spoils"])


def test_a_forbidden_range_is_no_fault_of_the_limits(tmp_path: Path) -> None:
    bindings = {"A": 'addr: "holding:0"', "B": 'addr: "holding:20"'}
    source = '{driver: modbus, host: h, forbidden: ["holding:5..9"]}'
    found = planned(plant(tmp_path, source, bindings))
    assert [each["ends"] for each in found["blocks"]] == [
        *("not read across holding:5 to 9", "last of its class")
    ]


def test_units_of_one_gateway_share_its_line(tmp_path: Path) -> None:
    file = tmp_path / "plant.yaml"
    sources = "".join(f"  U{unit}: {{driver: modbus, host: h, unit: {unit}}}\n" for unit in (1, 2))
    equipment = "".join(
        f'  E{unit}: {{level: Site, source: U{unit}, properties: {{A: {{}}}}, map: {{A: "holding:0"}}}}\n'
        for unit in (1, 2)
    )
    file.write_text(f"{HEAD}sources:\n{sources}equipment:\n{equipment}", encoding="utf-8")
    done = invoke("plan", file, "--json", "--round-trip", "600ms")
    first, second = json.loads(done.out)
    assert "shares its line with U2: together 120% of it" in first["notes"][0]
    assert "shares its line with U1" in second["notes"][0]


def test_a_bad_mix_of_classes_is_told(tmp_path: Path) -> None:
    bindings = {f"R{n}": f'addr: "holding:{n}", scan: {"a" if n % 2 else "b"}' for n in range(100)}
    found = planned(plant(tmp_path, MODBUS, bindings, "scan: {a: 500ms, b: 600ms}\n"))
    assert any("a and b read the same addresses twice: all of it in a" in each for each in found["spoils"])
    apart = {f"R{n}": f'addr: "holding:{n}", scan: {"a" if n < 50 else "b"}' for n in range(100)}
    found = planned(plant(tmp_path, MODBUS, apart, "scan: {a: 500ms, b: 600ms}\n"))
    assert not any("twice" in each for each in found["spoils"])


async def test_a_controller_that_is_asked_has_cheaper_blocks(tmp_path: Path) -> None:
    bindings = {f"D{n}": f'addr: "Dints[{n}]", as: dint' for n in range(1000)}
    bindings["Wrong"] = "addr: Nowhere, as: dint"
    async with running_simulator(everything()) as simulator:
        source = f"{{driver: logix, host: 127.0.0.1, port: {simulator.port}}}"
        file = plant(tmp_path, source, bindings)
        offline = await asyncio.to_thread(planned, file)
        assert "the controller was not asked" in offline["notes"][0]
        done = await invoked("plan", file, "--json", "--connect")
        assert done.code == 0, done.err
        (online,) = json.loads(done.out)
    assert online["classes"][0]["requests"] < offline["classes"][0]["requests"]
    assert online["notes"] == []
    assert any("Acme.Wrong is not read: no tag 'Nowhere'" in each for each in online["spoils"])


def test_parts_of_a_structure_in_several_classes(tmp_path: Path) -> None:
    bindings = {"A": "addr: Pump.A, as: dint, scan: fast", "B": "addr: Pump.B, as: dint"}
    source = "{driver: logix, host: h, connection: small, validate: false}"
    found = planned(plant(tmp_path, source, bindings, "scan: {fast: 200ms}\n"))
    assert any("Pump is read in parts by several scan classes" in each for each in found["spoils"])
    assert any("validate: false" in each for each in found["spoils"])


def test_of_few_points_far_from_each_other_the_fewer_are_told_to_move(tmp_path: Path) -> None:
    found = planned(plant(tmp_path, MODBUS, {f"R{n}": f'addr: "holding:{n}"' for n in (2, 9, 5000)}))
    (told,) = found["spoils"]
    assert told.startswith("Acme.R5000 costs a request of its own: holding:5000 lies 4990 addresses from")


OPCUA = "{driver: opcua, url: 'opc.tcp://10.0.0.1:4840', security: none, sampling: 100ms, queue: 3}"


def test_a_downstream_server_is_planned_by_its_subscriptions(tmp_path: Path) -> None:
    bindings = {f"V{n}": f'addr: "nsu=urn:a;i={n}", scan: {"fast" if n < 3 else "slow"}' for n in range(10)}
    file = plant(tmp_path, OPCUA, bindings, "scan: {fast: 50ms, slow: 2s}\n")
    text = file.read_text(encoding="utf-8")
    file.write_text(
        text + '  Acme/Line: {level: Site, import: {from: PLC, under: "nsu=urn:a;i=99"}}\n', encoding="utf-8"
    )
    found = planned(file)
    assert [(b["class"], b["block"], b["size"], b["requests"]) for b in found["blocks"]] == [
        ("fast", "subscription", "3 items", 1),
        ("slow", "subscription", "7 items", 1),
    ]
    assert [each["cycle"] for each in found["classes"]] == [0.05, 2.0]
    fast, slow = found["spoils"]
    assert fast.startswith("fast asks for values every 0.05 s, and the server looks at them every 0.1 s")
    assert slow.startswith("of the values between two reports of slow the server keeps the last 3")
    assert any("imported" in note for note in found["notes"])
    done = invoke("plan", file)
    assert "PLC (opcua, 10.0.0.1:4840): 10 tags, 2 requests a scan" in done.out


def test_for_people() -> None:
    done = invoke(
        "plan", ROOT / "examples" / "tank-farm.yaml", "--source", "Gateway1", "--source", "Gateway3"
    )
    assert done.code == 0
    assert "Gateway1 (modbus, 10.30.1.1:502): 360 tags, 5 requests a scan" in done.out
    assert "Gateway2" not in done.out
    assert "Gateway3 (modbus, 10.30.1.3:502): disabled" in done.out
    assert "holding:200 to 319" in done.out


def test_wrong_usage_and_devices_that_are_not_there(tmp_path: Path) -> None:
    farm = ROOT / "examples" / "tank-farm.yaml"
    assert "did you mean 'Gateway1'?" in invoke("plan", farm, "--source", "gateway1").err
    assert invoke("plan", farm, "--source", "gateway1").code == 2
    assert invoke("plan", farm, "--round-trip", "fast").code == 2
    port = free_port()
    file = plant(tmp_path, f"{{driver: logix, host: 127.0.0.1, port: {port}}}", {"A": "addr: A, as: dint"})
    done = invoke("plan", file, "--connect")
    assert done.code == 1
    assert done.err.startswith(f"isthmus: PLC (127.0.0.1:{port}): ")
    assert "1 tag, 1 request a scan" in done.out
    assert "note: planned without the device, which did not answer" in done.out
    done = invoke("plan", file, "--connect", "--json")
    assert done.code == 1
    [made] = json.loads(done.out)
    assert (made["planned"], made["failure"].partition("): ")[0]) == (True, f"PLC (127.0.0.1:{port}")
