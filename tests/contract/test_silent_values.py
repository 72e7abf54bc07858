"""The ways in which the libraries beneath give a wrong value without a word, each by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial

import pytest
from support.contract import spoils
from support.contract.live import Live, live
from support.contract.logix import LogixCase, LogixPlc, telling
from support.contract.modbus import ModbusCase, ModbusPlc
from support.contract.plc import number_of
from support.contract.proxy import frame_proxy
from support.contract.slc import SlcCase, SlcPlc
from support.net import until

from sources.errors import ConnectionLost
from sources.quality import BAD_CONFIGURATION_ERROR, GOOD, Quality


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


@pytest.fixture
async def slc() -> AsyncIterator[SlcPlc]:
    plc = SlcPlc()
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


async def test_an_slc_reply_that_is_late_is_nobody_elses(slc: SlcPlc) -> None:
    """pycomm3 holds no reply against its request, neither its sequence count nor its transaction."""
    case = SlcCase()
    async with frame_proxy(lambda: slc.port, case.framing) as between:
        source = case.source(slc, between.port, timeout="300ms")
        tags = [tag for tag in source.tags if tag.name in slc.names]
        read = 0
        for _ in range(2):
            async with source.connect() as session:
                between.spoil = spoils.Once(case.carries_values, spoils.late(0.6))
                for tag in tags * 2:
                    with contextlib.suppress(ConnectionLost):
                        batch = await session.read([tag])
                        assert list(batch.values or []) == [slc.value(tag.name)]
                        read += 1
                between.heal()
            async with source.connect() as session:
                for tag in tags:
                    batch = await session.read([tag])
                    assert list(batch.values or []) == [slc.value(tag.name)]
                    read += 1
        assert read >= 2 * len(tags)


def holds(alive: Live, qualities: Mapping[str, Quality]) -> bool:
    return all(alive.truth.qualities[name] == quality for name, quality in qualities.items())


async def test_after_a_download_to_an_slc_no_tag_has_a_value_of_another_file(
    slc: SlcPlc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file is a file of words now, another is shorter; no connection is lost."""
    monkeypatch.setattr("sources.ethernetip.slc.driver.WATCH", 0.2)
    async with live(slc, SlcCase().source(slc)) as alive:
        await alive.good()
        for program in (1, 3):
            await slc.download(program, L10=10, L12=0, N12=60)
            gone = [name for name in slc.names if name.startswith("L12:") or number_of(name) in range(21, 25)]
            now = {name: BAD_CONFIGURATION_ERROR if name in gone else GOOD for name in slc.names}
            await until(partial(holds, alive, now))
            alive.true()
            await slc.download(program + 1)
            await alive.advance()
        assert alive.supervisor.status.connects == 1
