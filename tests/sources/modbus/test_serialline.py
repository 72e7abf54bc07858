"""RTU frames from a device in the test's own process, whole, broken, late and other people's."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import pytest
from pymodbus.framer import FramerRTU
from support.modbus_tags import settings, tag
from support.net import until
from support.scanning import NORMAL, SLOW, Listener, scanning

from sources.errors import ConnectionLost
from sources.modbus.config import ModbusSettings
from sources.modbus.driver import ModbusSource
from sources.modbus.serialline import SerialLink
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_TIMEOUT, GOOD

Spoil: TypeAlias = Callable[[bytes, bytes], bytes | None]


def _framed(body: bytes) -> bytes:
    """With the CRC that pymodbus makes."""
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


def _honest(_request: bytes, reply: bytes) -> bytes:
    return reply


class Rtu:
    """Holding registers of any unit, each its own address plus a thousand times the unit."""

    def __init__(self) -> None:
        self.spoil: Spoil = _honest
        self.requests: list[bytes] = []
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    def send(self, data: bytes) -> None:
        self.writers[-1].write(data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while len(request := await reader.read(256)) == 8:
            self.requests.append(request)
            unit, function, start, count = struct.unpack(">BBHH", request[:6])
            values = [start + index + 1000 * unit for index in range(count)]
            body = struct.pack(f">BBB{count}H", unit, function, 2 * count, *values)
            answer = self.spoil(request, _framed(body))
            if answer is not None:
                writer.write(answer)
        writer.close()


@asynccontextmanager
async def rtu(**more: Any) -> AsyncIterator[tuple[Rtu, ModbusSettings]]:
    device = Rtu()
    server = await asyncio.start_server(device.serve, "127.0.0.1", 0)
    device.port = server.sockets[0].getsockname()[1]
    try:
        yield device, settings(device.port, transport="rtu-over-tcp", **({"timeout": "300ms"} | more))
    finally:
        server.close()
        for writer in device.writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0.01)


def _failed_since(listener: Listener, count: int) -> bool:
    return any(batch.values is None for batch in listener.batches[count:])


async def test_a_reply_that_comes_byte_by_byte_is_put_together() -> None:
    async with rtu(timeout="30s") as (device, where):
        its = tag("holding:7", "uint32")
        loop = asyncio.get_running_loop()

        def pieces(_request: bytes, reply: bytes) -> None:
            for index in range(len(reply)):
                loop.call_later(0.002 * index, device.send, reply[index : index + 1])

        device.spoil = pieces
        async with scanning(ModbusSource("PLC", where, [its])) as scan:
            await scan.good(its)
            assert scan.listener.value(its) == 1007 << 16 | 1008


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _, reply: reply[:-1] + bytes((reply[-1] ^ 1,)), id="CRC"),
        pytest.param(lambda _, reply: b"\xff" + reply, id="noise before"),
        pytest.param(lambda _, reply: reply + b"\0\0", id="noise behind"),
        pytest.param(lambda request, _: _framed(request[:2] + b"\x02\0\x07"), id="short"),
        pytest.param(
            lambda request, _: _framed(request[:1] + b"\x04\x04\0\x07\0\x08"), id="another function"
        ),
        pytest.param(
            lambda request, _: _framed(request[:1] + b"\x63\x04\0\x07\0\x08"), id="unknown function"
        ),
    ],
)
async def test_a_broken_reply_is_no_value_and_the_next_is_right(spoil: Spoil) -> None:
    async with rtu() as (device, where):
        its = tag("holding:7", "uint32")
        async with scanning(ModbusSource("PLC", where, [its])) as scan:
            await scan.good(its)
            device.spoil = spoil
            await until(lambda: scan.listener.quality(its) == BAD_COMMUNICATION_ERROR, every=0.005)
            device.spoil = _honest
            await scan.good(its)
            assert not scan.task.done()
            assert {tuple(b.values) for b in scan.listener.batches if b.values} == {(1007 << 16 | 1008,)}


async def test_other_units_replies_are_not_ours() -> None:
    async with rtu() as (device, where):
        its = tag("holding:7")
        device.spoil = lambda request, reply: _framed(b"\x09" + request[1:2] + b"\x02\xff\xff") + reply
        async with scanning(ModbusSource("PLC", where, [its])) as scan:
            await until(lambda: scan.listener.batches)
            assert {tuple(b.values) for b in scan.listener.batches if b.values} <= {(1007,)}


async def test_a_late_reply_of_the_same_look_is_not_the_next_one_s() -> None:
    async with rtu() as (device, where):
        tags = [tag(f"holding:{address}", scan=NORMAL) for address in (100, 400)]
        loop = asyncio.get_running_loop()

        def late(_request: bytes, reply: bytes) -> None:
            device.spoil = _honest
            loop.call_later(0.4, device.send, reply)

        async with scanning(ModbusSource("PLC", where, tags)) as scan:
            await scan.good(*tags)
            for _ in range(3):
                count = len(scan.listener.batches)
                device.spoil = late
                await until(partial(_failed_since, scan.listener, count), every=0.005)
                await scan.good(*tags)
            for batch in scan.listener.batches:
                if batch.values is not None:
                    (its,) = batch.tags
                    assert list(batch.values) == [1000 + its.address.start]


@pytest.mark.parametrize(
    ("stall", "noise"),
    [
        pytest.param(0.7, b"", id="longer than twice the timeout"),
        pytest.param(0.1, b"\x01\x55\0\x13\x37\0", id="noise before a reply that still comes"),
    ],
)
async def test_one_disturbance_shifts_no_later_value(stall: float, noise: bytes) -> None:
    async with rtu() as (device, where):
        tags = [tag(f"holding:{address}", scan=NORMAL) for address in (100, 400, 700)]
        loop = asyncio.get_running_loop()
        busy_until, disturbed = 0.0, False

        def in_turn(_request: bytes, reply: bytes) -> None:
            """One after the other, as a device does it."""
            nonlocal busy_until, disturbed
            busy_until = max(loop.time(), busy_until) + 0.02
            if disturbed:
                disturbed, busy_until = False, busy_until + stall
                device.send(noise)
            loop.call_at(busy_until, device.send, reply)

        device.spoil = in_turn
        async with scanning(ModbusSource("PLC", where, tags)) as scan:
            await scan.good(*tags)
            count, disturbed = len(scan.listener.batches), True
            await until(partial(_failed_since, scan.listener, count), every=0.005)
            healed = len(scan.listener.batches)
            await until(lambda: len(scan.listener.batches) > healed + 9)
            for batch in scan.listener.batches:
                if batch.values is not None:
                    (its,) = batch.tags
                    assert list(batch.values) == [1000 + its.address.start]
            assert {
                its for batch in scan.listener.batches[healed:] if batch.values for its in batch.tags
            } == set(tags), "and they are read again"


async def test_a_unit_that_is_late_holds_no_other_back() -> None:
    async with rtu(timeout="1500ms") as (device, where):
        one, other = tag("holding:1", scan=SLOW), tag("holding:2")
        device.spoil = lambda request, reply: None if request[0] == 1 else reply
        late = ModbusSource("Late", where, [one])
        quick = ModbusSource("Quick", where.model_copy(update={"unit": 2}), [other])
        async with quick.connect() as session:
            gateway = quick._gateway
            listener = Listener()
            task = asyncio.create_task(session.scan(listener))
            await until(lambda: listener.quality(other) == GOOD)
            attempt = asyncio.create_task(_tried(late))
            await until(attempt.done)
            count = len(listener.batches)
            await until(lambda: len(listener.batches) > count + 2, every=0.005)
            (link,) = session._line._line._links
            assert isinstance(link, SerialLink)
            assert link._late[1] > asyncio.get_running_loop().time(), "it is still waited for"
            assert gateway._dead == {1}
            task.cancel()
            await asyncio.wait((task,))
            assert listener.value(other) == 2002


async def _tried(source: ModbusSource) -> str:
    try:
        async with source.connect():
            return ""
    except Exception as error:  # noqa: BLE001 - what it was, the test sees by its effect
        return str(error)


async def test_a_cancelled_read_s_reply_is_not_the_next_one_s() -> None:
    async with rtu(timeout="5s") as (device, where):
        first, second = tag("holding:100"), tag("holding:400")
        loop = asyncio.get_running_loop()
        async with ModbusSource("PLC", where, []).connect() as session:

            def slow(_request: bytes, reply: bytes) -> None:
                loop.call_later(0.2, device.send, reply)

            device.spoil = slow
            reading = asyncio.create_task(session.read([first]))
            await until(lambda: device.requests, every=0.001)
            reading.cancel()
            await asyncio.wait((reading,))
            device.spoil = _honest
            assert (await session.read([second])).values == [1400]
            assert (await session.read([first])).values == [1100]


async def test_a_silent_line_is_lost() -> None:
    async with rtu() as (device, where):
        its = tag("holding:7")
        async with scanning(ModbusSource("PLC", where, [its])) as scan:
            await scan.good(its)
            device.spoil = lambda *_: None
            error = await scan.lost()
            assert isinstance(error, ConnectionLost)
            assert error.quality == BAD_TIMEOUT
