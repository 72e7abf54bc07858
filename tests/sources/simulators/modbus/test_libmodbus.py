"""libmodbus as the master: it shares no code with the simulator nor with the driver."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.libmodbus_master import libmodbus
from support.modbus_lines import simulator_on
from support.simulator import PACKML_LUT, RunningSimulator

pytestmark = pytest.mark.interop


async def test_it_reads_every_table(simulator: RunningSimulator) -> None:
    port = simulator.port
    await simulator.set("Speed", 123.5)
    assert await libmodbus(port, "float", 0) == "123.5"
    holding = [int(word) for word in (await libmodbus(port, "holding", 0, 38)).split()]
    assert len(holding) == 38
    assert holding[9] in PACKML_LUT
    await simulator.set("ProductTemp", 12.5)
    assert (await libmodbus(port, "input", 1, 1)) == "125"
    await simulator.set("Valve", value=True)
    assert (await libmodbus(port, "coil", 3, 19)).split()[17] == "1"
    await simulator.set("DoorClosed", value=True)
    assert await libmodbus(port, "discrete", 7, 1) == "1"


async def test_it_writes_with_every_function(simulator: RunningSimulator) -> None:
    port = simulator.port
    await libmodbus(port, "set-float", 2, 432.5)
    assert await simulator.get("SpeedSP") == 432.5
    await libmodbus(port, "set-register", 10, 3)
    assert await simulator.get("Mode") == 3
    await libmodbus(port, "set-coil", 3, 1)
    assert await simulator.get("Pump") is True
    await libmodbus(port, "set-coils", 20, 1)
    assert await simulator.get("Valve") is True
    await libmodbus(port, "mask", 26, 0xFFF7, 0x0008)
    assert await simulator.get("Reset") is True
    assert await libmodbus(port, "exchange", 10, 2) == "2"
    assert await simulator.get("Mode") == 2


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("holding", 38, 1), "Illegal data address"),
        (("set-register", 0, 1), "Illegal data address"),
        (("set-coils", 20, 1, 1), "Illegal data address"),
    ],
)
async def test_it_is_told_what_is_not_there(
    simulator: RunningSimulator, command: tuple[str, int, int], why: str
) -> None:
    name, *arguments = command
    with pytest.raises(LookupError, match=why):
        await libmodbus(simulator.port, name, *arguments)


async def test_it_meets_the_faults(simulator: RunningSimulator) -> None:
    await simulator.control(exception={"table": "holding", "offset": 9, "code": 6})
    with pytest.raises(LookupError, match="Slave device or server is busy"):
        await libmodbus(simulator.port, "holding", 0, 20)
    await simulator.control(exception=None)
    await simulator.control(short_reply=True)
    with pytest.raises(LookupError, match="Invalid data"):
        await libmodbus(simulator.port, "holding", 0, 20)
    with pytest.raises(LookupError, match="Target device failed to respond"):
        await libmodbus(simulator.port, "holding", 0, 20, unit=9)


async def test_it_masters_a_serial_line(tmp_path: Path) -> None:
    async with simulator_on("rtu", tmp_path) as (simulator, where):
        await simulator.set("Speed", 123.5)
        assert await libmodbus(where.device, "float", 0) == "123.5"
        await libmodbus(where.device, "set-register", 10, 3)
        assert await simulator.get("Mode") == 3
        assert await libmodbus(where.device, "exchange", 10, 2) == "2"
        with pytest.raises(LookupError, match="Illegal data address"):
            await libmodbus(where.device, "holding", 38, 1)
