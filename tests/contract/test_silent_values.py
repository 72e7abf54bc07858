"""The three ways in which the libraries beneath give a wrong value without a word, each by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from support.contract import spoils
from support.contract.live import live
from support.contract.logix import LogixCase, LogixPlc, telling
from support.contract.modbus import ModbusCase, ModbusPlc
from support.contract.proxy import frame_proxy
from support.net import until

from sources.errors import ConnectionLost


@pytest.fixture
async def logix() -> AsyncIterator[LogixPlc]:
    plc = LogixPlc()
    plc.start()
    await plc.advance()
    yield plc
    plc.kill()


@pytest.fixture
async def modbus() -> AsyncIterator[ModbusPlc]:
    plc = ModbusPlc()
    plc.start()
    await plc.advance()
    yield plc
    plc.kill()


async def test_after_a_late_reply_no_tag_has_another_tags_value(logix: LogixPlc) -> None:
    """pycomm3 takes the late reply for that to the next request, and so on for ever."""
    case = LogixCase()
    async with frame_proxy(lambda: logix.port, case.framing) as between:
        source = case.source(logix, between.port, timeout="300ms")
        tags = [tag for tag in source.tags if tag.name in logix.names]
        read = 0
        for _ in range(3):
            async with source.connect() as session:
                between.spoil = spoils.Once(case.carries_values, spoils.late(0.6))
                for tag in tags * 2:
                    with contextlib.suppress(ConnectionLost):
                        batch = await session.read([tag])
                        if batch.values is not None and batch.values[0] is not None:
                            assert batch.values[0] == logix.value(tag.name)
                            read += 1
                between.heal()
            async with source.connect() as session:
                for tag in tags:
                    batch = await session.read([tag])
                    assert list(batch.values or []) == [logix.value(tag.name)]
                    read += 1
        assert read >= 3 * len(tags)


@pytest.mark.parametrize("close_connections", [False, True], ids=["kept", "closed"])
async def test_after_renumbering_no_tag_has_another_tags_value(
    logix: LogixPlc, close_connections: bool
) -> None:
    """pycomm3 reads and writes by instance ids that a program download gives to other tags."""
    source = LogixCase().source(logix, timeout="300ms")
    (tag,) = (tag for tag in source.tags if tag.name == "W91")
    async with live(logix, source) as alive:
        await alive.good()
        for number in range(3):
            await logix.renumber(close_connections=close_connections)
            await alive.advance()

            async def written(value: int = logix.first("W91") + number) -> bool:
                with contextlib.suppress(Exception):
                    return await alive.supervisor.write([(tag, value)]) == [0]
                return False

            await until(written)
            assert await logix.get("W91") == logix.first("W91") + number
            for name in logix.names:
                assert await logix.get(name) == logix.value(name), "no write went elsewhere"


async def test_after_a_download_of_another_program_no_tag_has_another_tags_value(logix: LogixPlc) -> None:
    """The same names, but tags and members lie elsewhere."""
    case = LogixCase()
    async with (
        frame_proxy(lambda: logix.port, case.framing) as between,
        live(logix, case.source(logix, between.port)) as alive,
    ):
        for moved in (True, False):
            await alive.good()
            between.refuse = True
            logix.spec = telling(moved=moved)
            await logix.restart()
            between.refuse = False
            await alive.advance()


async def test_a_short_modbus_reply_is_no_value(modbus: ModbusPlc) -> None:
    """pymodbus hands five registers up where ten were asked for."""
    async with live(modbus, ModbusCase().source(modbus)) as alive:
        await alive.good()
        await modbus.order({"short_reply": True})
        await until(lambda: "Good" not in alive.qualities)
        assert alive.qualities <= {"BadCommunicationError", "UncertainNoCommunicationLastUsableValue"}
        good = alive.truth.good
        await modbus.advance()
        await asyncio.sleep(0.3)
        assert alive.truth.good == good
        await modbus.order({"short_reply": False})
        await alive.good()
