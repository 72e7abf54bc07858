"""Several units behind one gateway or on one line."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.modbus_lines import simulator_on
from support.modbus_peer import frame, honest, modbus_peer, mute
from support.modbus_tags import settings, tag
from support.net import free_port, until
from support.scanning import scanning

from sources.batch import Batch
from sources.errors import Unreachable
from sources.modbus.dial import dial
from sources.modbus.driver import ModbusSource
from sources.modbus.link import Link
from sources.quality import BAD_CONNECTION_CLOSED, BAD_TIMEOUT, GOOD
from sources.supervisor import SourceState, Supervisor


def _by_unit(request: bytes, reply: bytes) -> bytes:
    """Each unit's registers hold its own number."""
    if request[7] != 3:
        return reply
    return frame(request, bytes((3, reply[8])) + bytes((0, request[6])) * (reply[8] // 2))


async def test_units_at_one_address_share_the_connection() -> None:
    async with modbus_peer() as peer:
        peer.spoil = _by_unit
        its, other = tag("holding:0"), tag("holding:1")
        one = ModbusSource("One", settings(peer.port, unit=1), [its])
        two = ModbusSource("Two", settings(peer.port, unit=2, timeout="2s"), [other])
        apart = ModbusSource("Three", settings(peer.port, unit=3, pipeline=2), [its])
        async with scanning(one) as first, scanning(two) as second, scanning(apart) as third:
            await first.good(its)
            await second.good(other)
            await third.good(its)
            assert (first.listener.value(its), second.listener.value(other)) == (1, 2)
            assert peer.accepted == 2, "who wants another line has one"
        await until(lambda: not peer.connections)
        async with scanning(two) as second:
            await second.good(other)
        assert peer.accepted == 3


async def test_a_dead_unit_costs_the_others_nothing() -> None:
    async with modbus_peer() as peer:
        its, other = tag("holding:0"), tag("holding:0")
        dead = False

        def spoil(request: bytes, reply: bytes) -> bytes | None:
            return None if dead and request[6] == 2 else _by_unit(request, reply)

        peer.spoil = spoil
        one = ModbusSource("One", settings(peer.port, unit=1, timeout="1s"), [its])
        two = ModbusSource("Two", settings(peer.port, unit=2, timeout="1s"), [other])
        async with scanning(one) as alive:
            async with scanning(two) as scan:
                await alive.good(its)
                await scan.good(other)
                dead = True
                error = await scan.lost()
                assert error.quality == BAD_TIMEOUT
                assert str(error).startswith("unit 2 is silent")
            probes = [asyncio.create_task(_probed(two)) for _ in range(3)]
            await asyncio.sleep(0)
            count = len(alive.listener.batches)
            await asyncio.gather(*probes)
            # One connection, one request at a time: were the probes among them, three would fit between.
            assert len(alive.listener.batches) - count > 5
            assert alive.listener.quality(its) == GOOD
            dead = False
            async with scanning(two) as scan:
                await scan.good(other)
            assert not alive.task.done()
            assert not any(batch.values is None for batch in alive.listener.batches)
            assert peer.accepted == 1


async def _probed(source: ModbusSource) -> None:
    with pytest.raises(Unreachable, match="unit 2 does not answer"):
        async with source.connect():
            pass


@pytest.mark.parametrize("code", [10, 11])
async def test_a_unit_that_its_gateway_does_not_reach_is_lost(code: int) -> None:
    async with modbus_peer() as peer:
        its, other = tag("holding:0"), tag("holding:0")
        dead = False

        def spoil(request: bytes, reply: bytes) -> bytes:
            if dead and request[6] == 2:
                return frame(request, bytes((0x83, code)))
            return _by_unit(request, reply)

        peer.spoil = spoil
        one = ModbusSource("One", settings(peer.port, unit=1), [its])
        two = ModbusSource("Two", settings(peer.port, unit=2), [other])
        async with scanning(one) as alive:
            async with scanning(two) as scan:
                await scan.good(other)
                dead = True
                assert f"unit 2: exception {code}" in str(await scan.lost())
            with pytest.raises(Unreachable, match=f"unit 2: exception {code}"):
                async with two.connect():
                    pass
            await alive.good(its)
            assert not alive.task.done()
            assert peer.accepted == 1


async def test_a_line_on_which_nobody_answers_is_lost_for_all() -> None:
    async with modbus_peer() as peer:
        its, other = tag("holding:0"), tag("holding:0")
        one = ModbusSource("One", settings(peer.port, unit=1, timeout="200ms"), [its])
        two = ModbusSource("Two", settings(peer.port, unit=2, timeout="200ms"), [other])
        async with scanning(one) as first, scanning(two) as second:
            await first.good(its)
            await second.good(other)
            peer.spoil = mute
            assert (await first.lost()).quality == BAD_TIMEOUT
            assert (await second.lost()).quality == BAD_TIMEOUT
            await until(lambda: not peer.connections)
        peer.spoil = honest
        async with scanning(two) as second:
            await second.good(other)
        assert peer.accepted == 2


async def test_a_connection_that_is_closed_is_lost_for_all_and_dialled_once() -> None:
    async with modbus_peer() as peer:
        its, other = tag("holding:0"), tag("holding:0")
        one = ModbusSource("One", settings(peer.port, unit=1), [its])
        two = ModbusSource("Two", settings(peer.port, unit=2), [other])
        async with scanning(one) as first, scanning(two) as second:
            await first.good(its)
            await second.good(other)
            peer.hang_up()
            assert (await first.lost()).quality == BAD_CONNECTION_CLOSED
            assert (await second.lost()).quality == BAD_CONNECTION_CLOSED
        async with one.connect() as _, two.connect() as _:
            assert peer.accepted == 2


async def test_who_waits_for_a_call_that_fails_is_told_the_same() -> None:
    port = free_port()
    members = [ModbusSource(f"U{unit}", settings(port, unit=unit), []) for unit in range(1, 6)]

    async def call(source: ModbusSource) -> str:
        with pytest.raises(Unreachable) as caught:
            async with source.connect():
                pass
        return str(caught.value)

    assert await asyncio.gather(*map(call, members)) == ["connection refused"] * 5
    assert members[0]._gateway._calls == 1


async def test_each_unit_of_a_gateway_has_a_state_of_its_own() -> None:
    async with modbus_peer() as peer:
        its, other = tag("holding:0"), tag("holding:0")
        peer.spoil = lambda request, reply: None if request[6] == 2 else _by_unit(request, reply)
        one = ModbusSource("One", settings(peer.port, unit=1, timeout="200ms"), [its])
        two = ModbusSource("Two", settings(peer.port, unit=2, timeout="200ms"), [other])
        supervisors = [Supervisor(source, lambda _: None) for source in (one, two)]
        tasks = [asyncio.create_task(supervisor.run()) for supervisor in supervisors]
        try:
            await until(lambda: supervisors[0].status.state is SourceState.Connected)
            await until(lambda: supervisors[1].status.state is SourceState.Disconnected)
            assert "unit 2 does not answer" in supervisors[1].status.last_error
            peer.spoil = _by_unit
            await until(lambda: supervisors[1].status.state is SourceState.Connected)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert peer.accepted == 1


async def test_the_dead_of_a_serial_line_take_little_of_its_time(tmp_path: Path) -> None:
    its = tag("holding:10", "int16")
    async with simulator_on("rtu", tmp_path, timeout="200ms") as (_, where):
        one = ModbusSource("One", where, [its])
        nobody = ModbusSource("Nobody", where.model_copy(update={"unit": 9}), [its])
        async with scanning(one) as alive:
            await alive.good(its)
            for message in ("unit 9 does not answer", "asked again when the line has time"):
                with pytest.raises(Unreachable, match=message):
                    async with nobody.connect():
                        pass
            count = len(alive.listener.batches)
            await until(lambda: len(alive.listener.batches) > count + 5)
            assert not any(batch.values is None for batch in alive.listener.batches)
            nobody._gateway._no_probe_before = 0.0
            with pytest.raises(Unreachable, match="unit 9 does not answer"):
                async with nobody.connect():
                    pass
            await alive.good(its)


async def test_a_connection_lost_while_the_next_is_dialled_is_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with modbus_peer() as peer:
        dialled: list[Link] = []

        async def dial_and_lose(*given: Any) -> Link:
            dialled.append(await dial(*given))
            if len(dialled) == 2:
                await until(lambda: len(peer.connections) == 2, every=0.005)
                peer.hang_up()
                await until(lambda: not dialled[0].stands, every=0.005)
            return dialled[-1]

        monkeypatch.setattr("sources.modbus.line.dial", dial_and_lose)
        its = tag("holding:0")
        three = ModbusSource("Three", settings(peer.port, connections=3), [its])
        async with scanning(three) as scan:
            await scan.good(its)
            assert len(peer.connections) == 1
        await until(lambda: not peer.connections)
        dialled.clear()
        two = ModbusSource("Two", settings(peer.port, connections=2), [its])
        with pytest.raises(Unreachable, match="the device closed the connection"):
            async with two.connect():
                pass
        await until(lambda: not peer.connections)
        async with scanning(two) as scan:
            await scan.good(its)
            assert len(peer.connections) == 2
        await until(lambda: not peer.connections)


async def test_a_call_given_up_among_several_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with modbus_peer() as peer:
        calls = 0

        async def dial_and_hang(*given: Any) -> Link:
            nonlocal calls
            calls += 1
            if calls == 2:
                await asyncio.Event().wait()
            return await dial(*given)

        monkeypatch.setattr("sources.modbus.line.dial", dial_and_hang)
        source = ModbusSource("PLC", settings(peer.port, connections=2), [])
        attempt = asyncio.create_task(_entered(source))
        await until(lambda: calls == 2 and peer.connections)
        attempt.cancel()
        await asyncio.wait((attempt,))
        await until(lambda: not peer.connections)


def _twenty(batches: list[Batch]) -> bool:
    return len(batches) >= 20


async def _entered(source: ModbusSource) -> None:
    async with source.connect():
        pass


@pytest.mark.parametrize("refusing", [False, True], ids=["closed again", "not taken"])
async def test_a_device_that_takes_fewer_connections_is_read_over_those(
    refusing: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with modbus_peer() as peer:
        peer.most_connections = 2

        async def dial_or_not(*given: Any) -> Link:
            if len(peer.connections) >= peer.most_connections:
                raise Unreachable("no answer to the call within 1 s")
            before = len(peer.connections)
            link = await dial(*given)
            await until(lambda: len(peer.connections) > before, every=0.005)
            return link

        monkeypatch.setattr("sources.modbus.line._SETTLE", 0.4)
        if refusing:
            monkeypatch.setattr("sources.modbus.line.dial", dial_or_not)
        peer.delay = 0.02
        tags = [tag(f"holding:{address}") for address in range(0, 2000, 500)]
        source = ModbusSource("PLC", settings(peer.port, connections=4), tags)
        for _ in range(2):
            async with scanning(source) as scan:
                await scan.good(*tags)
                scan.listener.batches.clear()
                await until(partial(_twenty, scan.listener.batches))
                assert not scan.task.done()
                assert len(peer.connections) == 2
            await until(lambda: not peer.connections)
        (told,) = [text for text in caplog.messages if "connections" in text]
        assert "the device takes 2 of 4 connections" in told
        peer.most_connections = 4
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert len(peer.connections) == 4
