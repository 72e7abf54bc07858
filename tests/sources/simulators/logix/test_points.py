from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from support.clock import Clock
from support.logix import PACKER, packer, packer_point, parse_reply, path, read, write

from sources.simulators.logix.controller import LogixController
from sources.simulators.logix.derive import spec_from_paths

PROGRAM = "Program:Packer"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def moving(clock: Clock) -> LogixController:
    return LogixController(packer(), clock)


def run(controller: LogixController, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1.0
        controller.read_tag(f"{PROGRAM}.CaseSize")


def send(controller: LogixController, message: bytes) -> bytes:
    reply = parse_reply(controller._device.answer(message, 500))
    assert reply.status == 0
    return reply.data


def test_the_packer_runs_as_one_machine(clock: Clock) -> None:
    controller = moving(clock)
    states, counts, speeds = set(), [], []
    for _ in range(240):
        run(controller, clock, 1)
        pml: Any = controller.read_tag(f"{PROGRAM}.PML")
        states.add(pml["Status"]["StateCurrent"])
        speeds.append(pml["Status"]["CurMachSpeed"])
        admin = pml["Admin"]
        counts.append(
            (
                admin["ProdConsumedCount"][0]["Count"],
                admin["ProdProcessedCount"][0]["Count"],
                admin["ProdDefectiveCount"][0]["Count"],
            )
        )
    assert states <= set(range(1, 18))
    assert 6 in states
    assert 0 < max(speeds) <= 120
    assert min(speeds) == 0
    assert all(before <= after for before, after in itertools.pairwise(counts))
    consumed, processed, _ = counts[-1]
    assert consumed >= processed > 0
    assert 120 <= controller.read_tag(f"{PROGRAM}.GlueTemp") <= 180  # type: ignore[operator]


def test_what_a_client_writes_the_machine_follows(clock: Clock) -> None:
    controller = moving(clock)
    run(controller, clock, 10)
    send(controller, write(path(f"{PROGRAM}.PML.Command.MachSpeed"), 0xCA, 1, struct.pack("<f", 30.0)))
    send(controller, write(path(f"{PROGRAM}.CaseSize"), 0xC3, 1, struct.pack("<h", 12)))
    assert controller.get(PACKER, "SpeedSP") == 30.0
    controller.freeze(PACKER, "State", 6)
    run(controller, clock, 10)
    assert controller.read_tag(f"{PROGRAM}.CaseSize") == 12
    assert controller.read_tag(f"{PROGRAM}.PML.Command.MachSpeed") == 30.0
    speed: Any = controller.get(PACKER, "Speed")
    assert speed == pytest.approx(30, rel=0.05) or speed == 0


def test_a_write_to_a_whole_structure_and_to_a_bit_reaches_the_points_in_it(clock: Clock) -> None:
    point = packer_point("Jog", "Safety.5", "BOOL", writable=True)
    spec = packer()
    controller = LogixController(spec.model_copy(update={"points": (*spec.points, point)}), clock)
    mask = b"\x4e" + path(f"{PROGRAM}.Safety") + struct.pack("<Hii", 4, 1 << 5, -1)
    send(controller, mask)
    assert controller.get(PACKER, "Jog") is True
    data = send(controller, read(path(f"{PROGRAM}.PML.Command")))
    send(controller, b"\x4d" + path(f"{PROGRAM}.PML.Command") + data[:4] + struct.pack("<Hf", 1, 55.5))
    clock.now += 1
    assert controller.get(PACKER, "SpeedSP") == 55.5


def test_what_the_program_owns_comes_back_at_the_next_tick(clock: Clock) -> None:
    controller = moving(clock)
    run(controller, clock, 5)
    send(controller, write(path(f"{PROGRAM}.PML.Status.CurMachSpeed"), 0xCA, 1, struct.pack("<f", 99999.0)))
    run(controller, clock, 1)
    assert controller.get(PACKER, "Speed") <= 120  # type: ignore[operator]


def test_a_frozen_point_stands_whatever_happens(clock: Clock) -> None:
    controller = moving(clock)
    controller.freeze(PACKER, "Speed", 77.5)
    controller.freeze(PACKER, "DoorClosed", True)
    run(controller, clock, 30)
    assert controller.read_tag(f"{PROGRAM}.PML.Status.CurMachSpeed") == 77.5
    assert controller.read_tag(f"{PROGRAM}.Safety.3") is True
    controller.freeze(PACKER, "Speed", None)
    run(controller, clock, 30)
    assert controller.read_tag(f"{PROGRAM}.PML.Status.CurMachSpeed") != 77.5
    with pytest.raises(ValueError, match="outside"):
        controller.freeze(PACKER, "CaseSize", 2**20)
    with pytest.raises(KeyError):
        controller.freeze(PACKER, "Nothing", 1)


def test_engineering_values_are_scaled_into_the_tag() -> None:
    points = (
        packer_point("Weight", "Weight", "INT", low=0, high=50, gain=0.01, writable=True),
        packer_point("Lamp", "Lamp", "SINT", lut={0: 10, 1: 20}, members=(10, 20), writable=True),
    )
    controller = LogixController(spec_from_paths("Scaled", [], points=points))
    controller.freeze(PACKER, "Weight", 12.34)
    assert controller.read_tag(f"{PROGRAM}.Weight") == 1234
    controller.freeze(PACKER, "Weight", None)
    send(controller, write(path(f"{PROGRAM}.Lamp"), 0xC2, 1, b"\1"))
    assert controller.get(PACKER, "Lamp") == 20
    send(controller, write(path(f"{PROGRAM}.Weight"), 0xC3, 1, struct.pack("<h", 100)))
    assert controller.get(PACKER, "Weight") == 1.0
