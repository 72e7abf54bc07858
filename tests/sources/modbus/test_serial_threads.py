"""Serial ports that are waited for by threads, as on Windows: the same device, the same outcomes.

Here it is a pseudo terminal of this system: what differs on Windows is beneath pyserial.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from support.modbus_lines import simulator_on
from support.modbus_tags import tag
from support.net import until
from support.scanning import scanning

from sources.errors import Unreachable
from sources.modbus import serialport
from sources.modbus.driver import ModbusSource
from sources.modbus.serialport import ThreadedTransport
from sources.quality import BAD_CONNECTION_CLOSED, BAD_TIMEOUT, GOOD


@pytest.fixture(autouse=True)
def _threaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialport, "THREADED", True)


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("serial ")]


async def quiet() -> None:
    await until(lambda: not ours(), what="no thread of a port")


@pytest.mark.parametrize("transport", ["rtu", "ascii"])
async def test_values_are_read_and_written(transport: str, tmp_path: Path) -> None:
    async with simulator_on(transport, tmp_path) as (simulator, where):
        set_point, mode = tag("holding:2", "float32", writable=True), tag("holding:10", "int16")
        async with scanning(ModbusSource("PLC", where, [set_point, mode])) as scan:
            await scan.good(set_point, mode)
            assert len(ours()) == 2
            assert await scan.session.write([(set_point, 432.5)]) == [GOOD]
            assert await simulator.get("SpeedSP") == 432.5
    await quiet()


async def test_a_device_that_falls_silent_is_lost_and_found(tmp_path: Path) -> None:
    its = tag("holding:10", "int16")
    async with simulator_on("rtu", tmp_path, timeout="300ms") as (simulator, where):
        source = ModbusSource("PLC", where, [its])
        async with scanning(source) as scan:
            await scan.good(its)
            await simulator.control(mute=True)
            assert (await scan.lost()).quality == BAD_TIMEOUT
        await simulator.control(mute=False)
        async with scanning(source) as scan:
            await scan.good(its)
    await quiet()


async def test_a_port_that_goes_away_is_lost_at_once(tmp_path: Path) -> None:
    its = tag("holding:10", "int16")
    async with (
        simulator_on("rtu", tmp_path, timeout="20s") as (simulator, where),
        scanning(ModbusSource("PLC", where, [its])) as scan,
    ):
        await scan.good(its)
        await simulator.kill()
        assert (await scan.lost()).quality == BAD_CONNECTION_CLOSED
    await quiet()


async def test_a_port_that_is_closed_can_be_opened_again_at_once(tmp_path: Path) -> None:
    its = tag("holding:10", "int16")
    async with simulator_on("rtu", tmp_path, timeout="5s") as (_, where):
        source = ModbusSource("PLC", where, [its])
        other = ModbusSource("PLC2", where.model_copy(update={"baud": 9600}), [])
        for _ in range(20):
            async with source.connect() as session:
                assert (await session.read([its])).qualities in (GOOD, [GOOD])
                with pytest.raises(Unreachable, match="other settings of the line"):
                    async with other.connect():
                        pass
            async with other.connect():
                pass
    await quiet()


class Stuck:
    """A port that takes nothing and brings nothing, and knows no way to be interrupted."""

    port = "COM7"
    in_waiting = 0

    def __init__(self) -> None:
        self.released = threading.Event()
        self.closed = False

    def read(self, size: int) -> bytes:
        del size
        self.released.wait(0.05)
        return b""

    def write(self, data: bytes) -> None:
        del data
        self.released.wait(20)

    def close(self) -> None:
        self.closed = True


class Lost(asyncio.Protocol):
    lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost = True


async def test_what_a_port_never_takes_does_not_pile_up() -> None:
    port: Any = Stuck()
    protocol = Lost()
    transport = ThreadedTransport(port, protocol)
    for _ in range(serialport._QUEUE + 2):
        transport.write(b"request")
    assert protocol.lost
    assert transport.is_closing()
    port.released.set()
    await quiet()
    assert port.closed
