from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Sequence

import pytest
from pymodbus.client import AsyncModbusTcpClient
from support.modbus_raw import raw_modbus
from support.simulator import FILLER, PACKML_LUT, RunningSimulator, eventually, filler

from sources.simulators.modbus.device import ModbusDevice

READ_SET_POINT = bytes.fromhex("03 0002 0002")
SET_POINT = bytes.fromhex("03 04 4416 0000")


@contextlib.asynccontextmanager
async def master(port: int) -> AsyncIterator[AsyncModbusTcpClient]:
    client = AsyncModbusTcpClient("127.0.0.1", port=port, retries=0, timeout=10)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


def float32(registers: Sequence[int]) -> float:
    value: float = struct.unpack(">f", struct.pack(">2H", *registers))[0]
    return value


async def test_a_master_reads_every_table(simulator: RunningSimulator) -> None:
    async with master(simulator.port) as it:
        holding = (await it.read_holding_registers(0, count=38)).registers
        inputs = (await it.read_input_registers(0, count=2)).registers
        coils = (await it.read_coils(3, count=19)).bits
        discrete = (await it.read_discrete_inputs(7, count=1)).bits
    assert len(holding) == 38
    assert float32(holding[2:4]) == 600.0
    assert holding[9] in PACKML_LUT
    assert holding[10] == 1
    assert b"".join(word.to_bytes(2, "big") for word in holding[30:38]).rstrip(b"\0") == b"Recipe 1"
    assert 0 < inputs[0] <= 27648
    assert 150 < inputs[1] < 210
    assert coils[:17] == [False] * 17
    assert discrete[0] in {False, True}


async def test_the_line_comes_alive_and_its_counters_only_rise(simulator: RunningSimulator) -> None:
    states, counts = set(), [(0, 0, 0)]

    async with master(simulator.port) as it:

        async def bottles_have_left() -> bool:
            words = (await it.read_holding_registers(0, count=26)).registers
            states.add(PACKML_LUT[words[9]])
            entered, good, rejected = struct.unpack(">3I", struct.pack(">6H", *words[20:26]))
            assert all(new >= old for new, old in zip((entered, good, rejected), counts[-1], strict=True))
            assert entered >= good + rejected
            counts.append((entered, good, rejected))
            return bool(good >= 5)

        await eventually(bottles_have_left, within=60)
    assert 6 in states
    assert states <= set(PACKML_LUT.values())


async def test_every_write_holds(simulator: RunningSimulator) -> None:
    async with master(simulator.port) as it:
        assert not (await it.write_registers(2, [0x4396, 0])).isError()
        assert await simulator.get("SpeedSP") == 300.0
        assert not (await it.write_register(10, 2)).isError()
        assert await simulator.get("Mode") == 2
        assert not (await it.write_coil(3, True)).isError()
        assert await simulator.get("Pump") is True
        assert not (await it.write_coils(20, [True])).isError()
        assert (await it.read_coils(20, count=1)).bits[0]
        assert not (await it.mask_write_register(address=26, and_mask=0xFFF7, or_mask=0x0008)).isError()
        assert await simulator.get("Reset") is True
        both = await it.readwrite_registers(read_address=2, read_count=2, address=2, values=[0x43C8, 0])
        assert both.registers == [0x43C8, 0]

        async def runs_at_400() -> bool:
            return bool(390 < await simulator.get("Speed") < 410)

        await eventually(runs_at_400, within=60)
        assert float32((await it.read_holding_registers(2, count=2)).registers) == 400.0


async def test_many_masters_are_served_at_once(simulator: RunningSimulator) -> None:
    async with contextlib.AsyncExitStack() as stack:
        masters = [await stack.enter_async_context(master(simulator.port)) for _ in range(8)]
        replies = await asyncio.gather(
            *(it.read_holding_registers(0, count=38) for it in masters for _ in range(5))
        )
        assert all(len(reply.registers) == 38 for reply in replies)
        assert (await simulator.control(status=True))["connections"] == 8

    async def all_gone() -> bool:
        return bool((await simulator.control(status=True))["connections"] == 0)

    await eventually(all_gone)


async def test_pipelined_requests_are_answered_in_order(simulator: RunningSimulator) -> None:
    async with raw_modbus(simulator.port) as raw:
        sent = [raw.send(bytes([3, 0, 2, 0, 1 + i % 2])) for i in range(200)]
        replies = [await raw.receive() for _ in sent]
    assert [transaction for transaction, _, _ in replies] == sent
    assert [len(pdu) for _, _, pdu in replies] == [4, 6] * 100


async def test_a_request_may_come_byte_by_byte(simulator: RunningSimulator) -> None:
    async with raw_modbus(simulator.port) as raw:
        for byte in bytes.fromhex("0001 0000 0006 01 03 0002 0001"):
            raw.writer.write(bytes([byte]))
            await raw.writer.drain()
            await asyncio.sleep(0)
        assert await raw.receive() == (1, 1, bytes.fromhex("03 02 4416"))


async def test_a_master_that_does_not_read_its_replies_is_not_read_until_it_does() -> None:
    device = ModbusDevice(filler())
    async with device.listening() as (_, port), raw_modbus(port) as deaf, raw_modbus(port) as other:
        assert await other.ask(READ_SET_POINT) == SET_POINT
        assert await deaf.ask(READ_SET_POINT) == SET_POINT
        # Little room in the sockets, so that few requests fill them.
        for it in device._server._connections:
            assert it._socket is not None
            it._socket.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
        before = device.status()["requests"]
        sent = [deaf.send(bytes.fromhex("03 0000 0026")) for _ in range(20_000)]
        done = -1
        while done != device.status()["requests"]:
            done = device.status()["requests"]
            await asyncio.sleep(0.3)
        assert done - before < len(sent)
        assert await other.ask(READ_SET_POINT) == SET_POINT
        deaf.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        for transaction in sent[: done - before + 100]:
            assert (await deaf.receive())[0] == transaction
        deaf.writer.transport.abort()


@pytest.mark.parametrize("unit", [0, 1, 255])
async def test_it_answers_its_unit_and_none(simulator: RunningSimulator, unit: int) -> None:
    async with raw_modbus(simulator.port) as raw:
        assert await raw.ask(bytes.fromhex("03 0002 0001"), unit) == bytes.fromhex("03 02 4416")


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        # Illegal function.
        ("07", "87 01"),
        ("2B 0D 01 00", "AB 01"),
        ("83 02", "83 01"),
        # Illegal data value: counts and lengths that cannot be.
        ("03 0000 0000", "83 03"),
        ("03 0000 007E", "83 03"),
        ("04 0000 FFFF", "84 03"),
        ("01 0003 07D1", "81 03"),
        ("02 0007 0000", "82 03"),
        ("03 0000", "83 03"),
        ("03 0000 0001 00", "83 03"),
        ("05 0003 1234", "85 03"),
        ("0F 0003 0001 02 00 00", "8F 03"),
        ("0F 0003 0000 00", "8F 03"),
        ("10 0002 0001 04 0000 0000", "90 03"),
        ("10 0002 0002 04 0000", "90 03"),
        ("10 0002 0000 00", "90 03"),
        ("16 0000 0000", "96 03"),
        ("17 0002 0000 0002 0001 02 0000", "97 03"),
        ("17 0002 0001 0002 0000 00", "97 03"),
        # Illegal data address: outside the table, or not writable.
        ("03 0026 0001", "83 02"),
        ("03 0000 007D", "83 02"),
        ("03 FFFF 0002", "83 02"),
        ("04 0002 0001", "84 02"),
        ("01 0002 0001", "81 02"),
        ("01 0003 0014", "81 02"),
        ("02 0008 0001", "82 02"),
        ("05 0015 FF00", "85 02"),
        ("06 0000 0001", "86 02"),
        ("06 0008 0001", "86 02"),
        ("0F 0014 0002 01 03", "8F 02"),
        ("10 0001 0002 04 0000 0000", "90 02"),
        ("16 0009 0000 0000", "96 02"),
        ("17 0026 0001 0002 0002 04 4396 0000", "97 02"),
    ],
)
async def test_a_bad_request_gets_its_exception_and_changes_nothing(request_: str, reply: str) -> None:
    device = ModbusDevice(filler())
    async with device.listening() as (_, port), raw_modbus(port) as raw:
        assert (await raw.ask(bytes.fromhex(request_))).hex() == bytes.fromhex(reply).hex()
        assert await raw.ask(READ_SET_POINT) == SET_POINT
        assert device.get(FILLER, "Valve") is False


async def test_another_unit_is_behind_no_gateway(simulator: RunningSimulator) -> None:
    async with raw_modbus(simulator.port) as raw:
        assert await raw.ask(bytes.fromhex("03 0000 0001"), unit=7) == bytes.fromhex("83 0B")


async def test_a_single_write_is_echoed_even_where_the_value_does_not_stick(
    simulator: RunningSimulator,
) -> None:
    await simulator.set("Mode", 3)
    await simulator.set("Pump", value=False)
    async with raw_modbus(simulator.port) as raw:
        for request in ("06 000A 0002", "05 0003 FF00"):
            assert await raw.ask(bytes.fromhex(request)) == bytes.fromhex(request)
    assert await simulator.get("Mode") == 3


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", bytes.fromhex("0001 0000 0001 01"), bytes(7)])
async def test_what_is_not_modbus_ends_its_own_connection_only(
    simulator: RunningSimulator, junk: bytes
) -> None:
    async with raw_modbus(simulator.port) as raw, raw_modbus(simulator.port) as other:
        raw.writer.write(junk)
        assert await raw.closed()
        assert await other.ask(bytes.fromhex("03 0002 0001")) == bytes.fromhex("03 02 4416")
