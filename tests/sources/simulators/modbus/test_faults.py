from __future__ import annotations

import asyncio
import time

import pytest
from support.modbus_raw import raw_modbus
from support.simulator import RunningSimulator, eventually, running_simulator

READ_SET_POINT = bytes.fromhex("03 0002 0002")
SET_POINT = bytes.fromhex("03 04 4416 0000")


async def test_mute_takes_requests_and_answers_nothing_until_it_ends() -> None:
    async with running_simulator() as simulator, raw_modbus(simulator.port) as raw:
        await simulator.control(mute=True)
        raw.send(READ_SET_POINT)
        with pytest.raises(TimeoutError):
            await raw.receive(within=0.5)
        async with raw_modbus(simulator.port) as newcomer:
            newcomer.send(READ_SET_POINT)
            with pytest.raises(TimeoutError):
                await newcomer.receive(within=0.5)
        await simulator.control(mute=False)
        # What was asked while it was mute stays unanswered.
        assert await raw.ask(READ_SET_POINT) == SET_POINT


async def test_delay_holds_every_reply_back_and_keeps_each_right() -> None:
    async with running_simulator() as simulator, raw_modbus(simulator.port) as raw:
        await simulator.control(delay=0.3)
        start = time.monotonic()
        first, second = raw.send(READ_SET_POINT), raw.send(bytes.fromhex("03 000A 0001"))
        assert await raw.receive() == (first, 1, SET_POINT)
        assert time.monotonic() - start >= 0.29
        assert await raw.receive() == (second, 1, bytes.fromhex("03 02 0001"))
        assert time.monotonic() - start >= 0.59
        await simulator.control(delay=0)
        assert (await simulator.control(status=True))["faults"]["delay"] == 0


async def test_delay_once_holds_one_reply_back_with_the_value_of_its_time() -> None:
    async with running_simulator() as simulator:
        await simulator.control(delay_once=0.5)
        async with raw_modbus(simulator.port) as raw, raw_modbus(simulator.port) as other:
            late = raw.send(READ_SET_POINT)

            async def taken() -> bool:
                return not (await simulator.control(status=True))["faults"]["delay_once"]

            await eventually(taken)
            await other.ask(bytes.fromhex("10 0002 0002 04 4396 0000"))
            assert await other.ask(READ_SET_POINT) == bytes.fromhex("03 04 4396 0000")
            assert await raw.receive() == (late, 1, SET_POINT)


async def test_a_master_that_leaves_during_a_delay_is_forgotten() -> None:
    async with running_simulator() as simulator:
        await simulator.control(delay=3600)
        async with raw_modbus(simulator.port) as raw:
            raw.send(READ_SET_POINT)
            await raw.writer.drain()

        async def gone() -> bool:
            return not (await simulator.control(status=True))["connections"]

        await eventually(gone)
        assert await simulator.terminate() == 0


async def test_drop_closes_every_connection_and_masters_may_come_back() -> None:
    async with running_simulator() as simulator:
        async with raw_modbus(simulator.port) as one, raw_modbus(simulator.port) as other:
            for raw in (one, other):
                assert await raw.ask(READ_SET_POINT) == SET_POINT
            await simulator.control(drop=True)
            assert await one.closed()
            assert await other.closed()
        async with raw_modbus(simulator.port) as again:
            assert await again.ask(READ_SET_POINT) == SET_POINT


async def test_refuse_closes_new_connections_and_keeps_the_old() -> None:
    async with running_simulator() as simulator, raw_modbus(simulator.port) as old:
        assert await old.ask(READ_SET_POINT) == SET_POINT
        await simulator.control(refuse=True)
        async with raw_modbus(simulator.port) as new:
            assert await new.closed()
        assert await old.ask(READ_SET_POINT) == SET_POINT
        await simulator.control(refuse=False)
        async with raw_modbus(simulator.port) as new:
            assert await new.ask(READ_SET_POINT) == SET_POINT


async def test_an_exception_meets_every_request_that_touches_its_address() -> None:
    async with running_simulator() as simulator, raw_modbus(simulator.port) as raw:
        await simulator.control(exception={"table": "holding", "offset": 3, "code": 4})
        await simulator.control(exception={"table": "coil", "offset": 20, "code": 0x42})
        assert await raw.ask(READ_SET_POINT) == bytes.fromhex("83 04")
        assert await raw.ask(bytes.fromhex("03 0000 0026")) == bytes.fromhex("83 04")
        assert await raw.ask(bytes.fromhex("10 0002 0002 04 4396 0000")) == bytes.fromhex("90 04")
        assert await raw.ask(bytes.fromhex("06 0003 0000")) == bytes.fromhex("86 04")
        assert await raw.ask(bytes.fromhex("17 000A 0001 0002 0002 04 0000 0000")) == bytes.fromhex("97 04")
        assert await raw.ask(bytes.fromhex("05 0014 FF00")) == bytes.fromhex("85 42")
        assert await raw.ask(bytes.fromhex("03 0002 0001")) == bytes.fromhex("03 02 4416")
        assert await raw.ask(bytes.fromhex("04 0001 0001")) != bytes.fromhex("84 04")
        await simulator.control(exception=None)
        assert await raw.ask(READ_SET_POINT) == SET_POINT


async def test_a_short_reply_brings_half_and_its_lengths_agree() -> None:
    async with running_simulator() as simulator, raw_modbus(simulator.port) as raw:
        await simulator.control(short_reply=True)
        for request, short in (
            ("03 0002 0002", "03 02 4416"),
            ("03 0002 0001", "03 00"),
            ("01 0003 0011", "01 01 00"),
            ("02 0007 0001", "02 00"),
        ):
            assert await raw.ask(bytes.fromhex(request)) == bytes.fromhex(short)
        # A write's echo stays whole.
        assert await raw.ask(bytes.fromhex("06 000A 0001")) == bytes.fromhex("06 000A 0001")


async def test_a_frozen_value_is_what_masters_read() -> None:
    async with running_simulator() as simulator, raw_modbus(simulator.port) as raw:
        await simulator.set("State", 11)
        await simulator.set("ProductTemp", 5.0)
        assert await raw.ask(bytes.fromhex("03 0009 0001")) == bytes.fromhex("03 02 0004")
        assert await raw.ask(bytes.fromhex("04 0001 0001")) == bytes.fromhex("04 02 0032")
        await simulator.set("ProductTemp", None)
        assert await simulator.get("ProductTemp") > 10


async def test_it_comes_back_on_the_same_port_after_a_kill() -> None:
    async with running_simulator() as simulator:
        port, pid = simulator.port, simulator.pid
        async with raw_modbus(port) as raw:
            assert await raw.ask(READ_SET_POINT) == SET_POINT
            await simulator.kill()
            assert await raw.closed()
        await simulator.restart()
        assert simulator.port == port
        assert simulator.pid != pid
        async with raw_modbus(port) as raw:
            assert await raw.ask(READ_SET_POINT) == SET_POINT


SENSELESS = (
    ("", "JSON"),
    ("{", "JSON"),
    ("[]", "object"),
    ("{}", "there is none"),
    ('{"mute": 1}', "mute"),
    ('{"mute": null}', "null says nothing"),
    ('{"delay": -1}', "delay"),
    ('{"delay": "1"}', "delay"),
    ('{"explode": true}', "explode"),
    ('{"mute": true, "refuse": true}', "one command a line"),
    ('{"exception": {"table": "holding", "offset": 9}}', "code"),
    ('{"exception": {"table": "memory", "offset": 9, "code": 4}}', "table"),
    ('{"set": {"machine": "M", "name": "Speed", "value": 1}}', "no such"),
    ('{"set": {"machine": "Acme/Lyon/Packaging/Line1/Filler", "name": "State", "value": 17}}', "lookup"),
    ('{"set": {"machine": "Acme/Lyon/Packaging/Line1/Filler", "name": "State", "value": [1]}}', "value"),
    ('{"set": {"machine": "Acme/Lyon/Packaging/Line1/Filler", "name": "State"}}', "value"),
    ('{"get": {"name": "Speed"}}', "machine"),
    ("\\xff\\xfe", "JSON"),
    ('{"mute": ' + "1" * 100_000, "at most"),
)


async def test_a_control_line_that_makes_no_sense_is_answered_with_why(simulator: RunningSimulator) -> None:
    before = (await simulator.control(status=True))["faults"]
    for line, complaint in SENSELESS:
        answer = await simulator.ask(line)
        assert answer["ok"] is False, line
        assert complaint in answer["error"], line
        assert (await simulator.control(status=True))["faults"] == before, line


async def test_many_lines_on_one_control_connection(simulator: RunningSimulator) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.control_port)
    writer.write(b'{"delay": 0.5}\nnonsense\n{"status": true}\n')
    answers = [await reader.readline() for _ in range(3)]
    writer.close()
    await writer.wait_closed()
    assert answers[0] == b'{"ok": true}\n'
    assert b'"ok": false' in answers[1]
    assert b'"delay": 0.5' in answers[2]
