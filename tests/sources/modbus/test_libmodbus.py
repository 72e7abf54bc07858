"""Against libmodbus, which shares no code with the driver."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from support.libmodbus import libmodbus_server
from support.modbus_lines import cable
from support.modbus_tags import settings, tag
from support.net import until
from support.scanning import FAST, NORMAL, SLOW, scanning

from sources.modbus.config import ModbusSettings
from sources.modbus.driver import ModbusSource
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_NOT_SUPPORTED,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_UNEXPECTED_ERROR,
    GOOD,
    GOOD_COMPLETES_ASYNCHRONOUSLY,
    Quality,
)
from sources.tag import Value

pytestmark = pytest.mark.interop

TYPES: list[tuple[str, str, Value]] = [
    ("int16", ">h", -1234),
    ("uint16", ">H", 64000),
    ("int32", ">i", -123_456_789),
    ("uint32", ">I", 4_000_000_000),
    ("int64", ">q", -1_234_567_890_123_456_789),
    ("uint64", ">Q", 18_000_000_000_000_000_000),
    ("float32", ">f", -0.15625),
    ("float64", ">d", 2.718281828459045),
]


def _registers(layout: str, value: Value, words: str) -> list[int]:
    """What a device of this word order would hold, worked out without the driver."""
    raw = struct.pack(layout, value)
    registers = [raw[index : index + 2] for index in range(0, len(raw), 2)]
    if words in {"CDAB", "DCBA"}:
        registers.reverse()
    if words in {"BADC", "DCBA"}:
        registers = [register[::-1] for register in registers]
    return [int.from_bytes(register, "big") for register in registers]


async def test_every_table() -> None:
    async with libmodbus_server() as server:
        await server.set("coil", 0, 1, 0, 1, 1)
        await server.set("discrete", 7, 1)
        await server.set("holding", 0, 1, 2, 0x8001)
        await server.set("input", 199, 65535)
        expected: dict[str, Value] = {
            "coil:0": True,
            "coil:1": False,
            "coil:2": True,
            "coil:3": True,
            "discrete:6": False,
            "discrete:7": True,
            "holding:0": 1,
            "holding:1": 2,
            "holding:2.0": True,
            "holding:2.1": False,
            "holding:2.15": True,
            "input:199": 65535,
            "input:0.0": False,
        }
        tags = [tag(address) for address in expected]
        async with scanning(ModbusSource("PLC", settings(server.port), tags)) as scan:
            await scan.good(*tags)
            assert scan.listener.values == expected


@pytest.mark.parametrize("words", ["ABCD", "BADC", "CDAB", "DCBA"])
async def test_every_type_is_read_and_written(words: str) -> None:
    async with libmodbus_server() as server:
        tags: list[tuple[Any, str, Value]] = []
        for index, (encoding, layout, value) in enumerate(TYPES):
            await server.set("holding", 10 * index, *_registers(layout, value, words))
            tags.append((tag(f"holding:{10 * index}", encoding, writable=True, words=words), layout, value))
        source = ModbusSource("PLC", settings(server.port), [its for its, _, _ in tags])
        async with scanning(source) as scan:
            await scan.good(*source.tags)
            for its, layout, value in tags:
                assert scan.listener.value(its) == value
                assert isinstance(value, int | float)
                assert await scan.session.write([(its, value // 2)]) == [GOOD]
                held = await server.get("holding", its.address.start, its.address.count)
                assert held == _registers(layout, value // 2, words)
                assert (await scan.session.read([its])).values == [value // 2]


async def test_text_is_read_and_written() -> None:
    async with libmodbus_server() as server:
        await server.set("holding", 0, 0x4B48, 0x5300)
        its = tag("holding:0", "string(8)", SLOW, writable=True)
        async with scanning(ModbusSource("PLC", settings(server.port), [its])) as scan:
            await scan.good(its)
            assert scan.listener.value(its) == "KHS"
            assert await scan.session.write([(its, "Größe")]) == [GOOD]
            assert await server.get("holding", 0, 4) == [0x4772, 0xC3B6, 0xC39F, 0x6500]
            assert (await scan.session.read([its])).values == ["Größe"]


async def test_coils_and_bits_are_written_alone() -> None:
    async with libmodbus_server() as server:
        await server.set("holding", 4, 0b1010)
        coil, bit = tag("coil:4", writable=True), tag("holding:4.0", writable=True)
        async with ModbusSource("PLC", settings(server.port), []).connect() as session:
            assert await session.write([(coil, True), (bit, True)]) == [GOOD, GOOD]
            assert await server.get("coil", 3, 3) == [0, 1, 0]
            assert await server.get("holding", 4) == [0b1011]
            assert await session.write([(coil, False), (bit, False)]) == [GOOD, GOOD]
            assert await server.get("coil", 3, 3) == [0, 0, 0]
            assert await server.get("holding", 4) == [0b1010]


@pytest.mark.parametrize("function", [5, 6, 22])
async def test_functions_the_device_lacks_are_replaced(function: int) -> None:
    async with libmodbus_server() as server:
        await server.fail(function, 1)
        await server.set("holding", 4, 0b1010)
        pairs: list[tuple[Any, Value]] = [
            (tag("coil:4", writable=True), True),
            (tag("holding:5", writable=True), 99),
            (tag("holding:4.0", writable=True), True),
        ]
        async with ModbusSource("PLC", settings(server.port), []).connect() as session:
            assert await session.write(pairs) == [GOOD, GOOD, GOOD]
        assert await server.get("coil", 4) == [1]
        assert await server.get("holding", 4, 2) == [0b1011, 99]


async def test_addresses_the_device_does_not_have() -> None:
    async with libmodbus_server() as server:
        # 200 registers there are: one tag lies behind, one across the end, and nothing in between either.
        beyond, across = (
            tag("holding:230", writable=True),
            tag("holding:199", "float32", writable=True, name="across the end"),
        )
        good = [tag(f"holding:{address}") for address in range(150, 200)]
        coil = tag("coil:200", writable=True)
        source = ModbusSource("PLC", settings(server.port), [*good, beyond, across, coil])
        async with scanning(source) as scan:
            await scan.good(*good)
            await until(
                lambda: all(
                    scan.listener.quality(t) == BAD_CONFIGURATION_ERROR for t in (beyond, across, coil)
                )
            )
            answers = await scan.session.write([(beyond, 1), (across, 1.0), (coil, True)])
            assert answers == [BAD_OUT_OF_RANGE] * 3
            batch = await scan.session.read([good[-1], beyond])
            assert batch.qualities == [GOOD, BAD_CONFIGURATION_ERROR]


@pytest.mark.parametrize(
    ("code", "reading", "writing"),
    [
        (1, BAD_NOT_SUPPORTED, BAD_NOT_SUPPORTED),
        (4, BAD_DEVICE_FAILURE, BAD_DEVICE_FAILURE),
        (5, BAD_UNEXPECTED_ERROR, GOOD_COMPLETES_ASYNCHRONOUSLY),
        (6, BAD_RESOURCE_UNAVAILABLE, BAD_RESOURCE_UNAVAILABLE),
    ],
)
async def test_exceptions(code: int, reading: Quality, writing: Quality) -> None:
    async with libmodbus_server() as server:
        its, other = tag("holding:0", "float32", writable=True), tag("input:0")
        async with scanning(ModbusSource("PLC", settings(server.port), [its, other])) as scan:
            await scan.good(its, other)
            await server.fail(3, code)
            await server.fail(16, code)
            await until(lambda: scan.listener.quality(its) == reading, every=0.005)
            assert scan.listener.quality(other) == GOOD
            assert await scan.session.write([(its, 1.0)]) == [writing]
            await server.fail(3, 0)
            await scan.good(its)


async def test_scan_classes_keep_their_own_time() -> None:
    async with libmodbus_server() as server:
        tags = [tag("holding:0", scan=FAST), tag("holding:1", scan=NORMAL), tag("holding:2", scan=SLOW)]
        source = ModbusSource("PLC", settings(server.port), tags)
        async with scanning(source) as scan:
            await until(lambda: source.statistics.get("normal") and source.statistics["normal"].reads >= 4)
        reads = {name: statistics.reads for name, statistics in source.statistics.items()}
        assert reads["slow"] == 1
        assert reads["fast"] > reads["normal"] > reads["slow"]
        # One may have been on its way at the end.
        assert 0 <= sum(reads.values()) - len(scan.listener.batches) <= 1


async def test_writing_and_reading_back_in_one_request() -> None:
    async with libmodbus_server() as server:
        its = tag("holding:5", "int32", writable=True)
        source = ModbusSource("PLC", settings(server.port, write_with="fc23"), [its])
        async with source.connect() as session:
            assert await session.write([(its, -123_456)]) == [GOOD]
            assert await server.get("holding", 5, 2) == _registers(">i", -123_456, "ABCD")
            assert await server.count() == 1


async def test_a_serial_line() -> None:
    """RTU over two pseudo terminals and what connects them."""
    with cable() as (ours, theirs):
        async with libmodbus_server(theirs) as server:
            await server.set("holding", 0, *_registers(">f", 1.5, "ABCD"), 7)
            await server.set("coil", 9, 1)
            line = {"driver": "modbus", "transport": "rtu", "device": ours, "baud": 115200}
            where = ModbusSettings.model_validate(line | {"parity": "none", "data_bits": 8, "timeout": "5s"})
            level, count = (
                tag("holding:0", "float32", writable=True),
                tag("holding:2", "uint16", writable=True),
            )
            bit, coil = tag("holding:2.0", writable=True), tag("coil:9", writable=True)
            beyond = tag("holding:200")
            source = ModbusSource("PLC", where, [level, count, bit, coil, beyond])
            async with scanning(source) as scan:
                await scan.good(level, count, bit, coil)
                await scan.bad(BAD_CONFIGURATION_ERROR, beyond)
                assert [scan.listener.value(its) for its in (level, count, bit, coil)] == [1.5, 7, True, True]
                pairs = [(level, -2.25), (bit, False), (coil, False)]
                assert await scan.session.write(pairs) == [GOOD] * 3
                assert await server.get("holding", 0, 3) == [*_registers(">f", -2.25, "ABCD"), 6]
                assert await server.get("coil", 9) == [0]
                await server.fail(3, 6)
                await scan.bad(BAD_RESOURCE_UNAVAILABLE, level)
                await server.fail(3, 0)
                await scan.good(level)
