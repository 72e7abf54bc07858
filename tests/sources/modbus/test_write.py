from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from support.modbus_peer import Spoil, excepting, frame, honest, modbus_peer, mute
from support.modbus_tags import settings, tag
from support.net import until
from support.scanning import NORMAL, SLOW, scanning

from sources.errors import ConnectionLost
from sources.modbus.driver import ModbusSource
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_CONNECTION_CLOSED,
    BAD_DECODING_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_INVALID_STATE,
    BAD_NO_COMMUNICATION,
    BAD_NOT_CONNECTED,
    BAD_NOT_SUPPORTED,
    BAD_NOT_WRITABLE,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    BAD_TYPE_MISMATCH,
    BAD_UNEXPECTED_ERROR,
    GOOD,
    GOOD_COMPLETES_ASYNCHRONOUSLY,
    Quality,
)
from sources.tag import Value


def _writable(address: str, encoding: str | None = None, **more: Any) -> Any:
    return tag(address, encoding, SLOW, writable=True, **more)


@pytest.mark.parametrize(
    ("address", "encoding", "value", "request_"),
    [
        ("coil:9", None, True, "05 0009 ff00"),
        ("coil:9", None, False, "05 0009 0000"),
        ("holding:9", "int16", -2, "06 0009 fffe"),
        ("holding:9", "float32", 1.5, "10 0009 0002 04 3fc00000"),
        ("holding:9", "string(3)", "KHS", "10 0009 0002 04 4b485300"),
        ("holding:9.0", None, True, "16 0009 fffe 0001"),
        ("holding:9.15", None, False, "16 0009 7fff 0000"),
    ],
)
async def test_each_kind_of_point_has_its_function(
    address: str, encoding: str | None, value: Value, request_: str
) -> None:
    async with modbus_peer() as peer:
        its = _writable(address, encoding)
        async with ModbusSource("PLC", settings(peer.port), [its]).connect() as session:
            assert await session.write([(its, value)]) == [GOOD]
            batch = await session.read([its])
        assert peer.requests[0] == bytes.fromhex(request_)
        assert (batch.tags, batch.values, batch.qualities) == ((its,), [value], [GOOD])


@pytest.mark.parametrize(
    ("way", "address", "encoding", "value", "request_"),
    [
        ("fc16", "holding:9", "int16", -2, "10 0009 0001 02 fffe"),
        ("fc23", "holding:9", "int16", -2, "17 0009 0001 0009 0001 02 fffe"),
        ("fc23", "holding:9", "float32", 1.5, "17 0009 0002 0009 0002 04 3fc00000"),
        ("fc23", "coil:9", None, True, "05 0009 ff00"),
    ],
)
async def test_a_source_may_say_how_registers_are_written(
    way: str, address: str, encoding: str | None, value: Value, request_: str
) -> None:
    async with modbus_peer() as peer:
        its = _writable(address, encoding)
        async with ModbusSource("PLC", settings(peer.port, write_with=way), [its]).connect() as session:
            assert await session.write([(its, value)]) == [GOOD]
            assert (await session.read([its])).values == [value]
        assert peer.requests[0] == bytes.fromhex(request_)


async def test_without_fc_23_registers_are_written_by_fc_16() -> None:
    async with modbus_peer() as peer:
        peer.lacks = {23}
        its = _writable("holding:9")
        async with ModbusSource("PLC", settings(peer.port, write_with="fc23"), [its]).connect() as session:
            assert await session.write([(its, 7), (its, 8)]) == [GOOD, GOOD]
        assert peer.functions() == [23, 16, 16]


async def test_a_short_reply_to_fc_23_leaves_the_outcome_unknown() -> None:
    async with modbus_peer() as peer:
        its = _writable("holding:9", "float32")
        peer.spoil = lambda request, reply: frame(request, reply[7:8] + b"\x02" + reply[9:11])
        async with ModbusSource("PLC", settings(peer.port, write_with="fc23"), [its]).connect() as session:
            with pytest.raises(ConnectionLost, match="may have been carried out"):
                await session.write([(its, 1.0)])


@pytest.mark.parametrize("words", ["ABCD", "DCBA"])
async def test_a_bit_changes_no_other_bit(words: str) -> None:
    async with modbus_peer() as peer:
        peer.registers[9] = 0x5AA5
        whole = _writable("holding:9", "uint16", words=words)
        async with ModbusSource("PLC", settings(peer.port), []).connect() as session:
            before = (await session.read([whole])).values
            assert before is not None
            assert isinstance(before[0], int)
            for bit in range(16):
                its = _writable(f"holding:9.{bit}", words=words)
                await session.write([(its, True)])
                assert (await session.read([whole])).values == [before[0] | 1 << bit]
                await session.write([(its, False)])
                assert (await session.read([whole])).values == [before[0] & ~(1 << bit)]
                await session.write([(whole, before[0])])


@pytest.mark.parametrize(
    ("lacking", "address", "value", "functions"),
    [
        (5, "coil:9", True, [5, 15, 15]),
        (6, "holding:9", 77, [6, 16, 16]),
        (22, "holding:9.3", True, [22, 3, 6, 3]),
    ],
)
async def test_a_function_the_device_lacks_is_replaced_and_not_tried_again(
    lacking: int, address: str, value: Value, functions: list[int]
) -> None:
    async with modbus_peer() as peer:
        peer.lacks = {lacking}
        peer.registers[9] = 0x0101
        its = _writable(address)
        source = ModbusSource("PLC", settings(peer.port), [its])
        for _ in range(2):
            async with source.connect() as session:
                assert await session.write([(its, value)]) == [GOOD]
        assert peer.functions() == functions  # the last time the bit was set already
        if lacking == 22:
            assert peer.registers[9] == 0x0109


async def test_without_fc_22_the_danger_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with modbus_peer() as peer:
        peer.lacks = {22}
        its = _writable("holding:9.3")
        async with ModbusSource("PLC", settings(peer.port), [its]).connect() as session:
            assert await session.write([(its, True), (its, False)]) == [GOOD, GOOD]
        assert peer.registers[9] == 0
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "FC 22" in told[0].getMessage()


async def test_without_fc_22_no_other_write_comes_between() -> None:
    async with modbus_peer() as peer:
        peer.lacks, peer.delay = {22}, 0.01
        bits = [_writable(f"holding:9.{bit}") for bit in range(16)]
        async with ModbusSource("PLC", settings(peer.port), []).connect() as session:
            answers = await asyncio.gather(*(session.write([(bit, True)]) for bit in bits))
        assert answers == [[GOOD]] * 16
        assert peer.registers[9] == 0xFFFF


@pytest.mark.parametrize(
    ("spoil", "quality"),
    [(mute, BAD_TIMEOUT), (excepting(2), BAD_OUT_OF_RANGE), (excepting(6), BAD_RESOURCE_UNAVAILABLE)],
)
async def test_without_fc_22_a_register_that_cannot_be_read_is_not_written(
    spoil: Spoil, quality: Quality
) -> None:
    async with modbus_peer() as peer:
        peer.lacks = {22}
        its = _writable("holding:9.3")
        peer.spoil = lambda request, reply: spoil(request, reply) if request[7] == 3 else reply
        async with ModbusSource("PLC", settings(peer.port, timeout="100ms"), []).connect() as session:
            assert await session.write([(its, True)]) == [quality]
        assert peer.functions() == [22, 3]


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        (1, BAD_NOT_SUPPORTED),
        (2, BAD_OUT_OF_RANGE),
        (3, BAD_OUT_OF_RANGE),
        (4, BAD_DEVICE_FAILURE),
        (5, GOOD_COMPLETES_ASYNCHRONOUSLY),
        (6, BAD_RESOURCE_UNAVAILABLE),
        (7, BAD_INVALID_STATE),
        (8, BAD_DEVICE_FAILURE),
        (9, BAD_UNEXPECTED_ERROR),
        (10, BAD_NO_COMMUNICATION),
    ],
)
async def test_an_exception_is_the_answer_to_a_write(code: int, quality: Quality) -> None:
    async with modbus_peer() as peer:
        its = _writable("holding:9", "float32")
        peer.spoil = excepting(code)
        async with ModbusSource("PLC", settings(peer.port), [its]).connect() as session:
            assert await session.write([(its, 1.0)]) == [quality]
        assert len(peer.requests) == 1


@pytest.mark.parametrize("address", ["coil:9", "holding:9", "holding:9.3"])
async def test_a_unit_that_does_not_answer_its_gateway_may_have_carried_out_a_write(address: str) -> None:
    async with modbus_peer() as peer:
        its = _writable(address)
        peer.spoil = excepting(11)
        async with ModbusSource("PLC", settings(peer.port), [its]).connect() as session:
            with pytest.raises(ConnectionLost, match=r"exception 11 .* may have been carried out") as caught:
                await session.write([(its, 1 if address == "holding:9" else True)])
            assert caught.value.quality == BAD_TIMEOUT
            assert len(peer.requests) == 1
            peer.spoil = honest
            assert await session.write([(its, 1 if address == "holding:9" else True)]) == [GOOD]
        assert peer.accepted == 1, "the connection to the gateway stands"


async def test_what_cannot_be_meant_is_not_sent() -> None:
    async with modbus_peer() as peer:
        pairs: list[tuple[Any, Value]] = [
            (tag("holding:9"), 1),
            (_writable("holding:9", "int16"), 70000),
            (_writable("coil:9"), 1),
            (_writable("holding:9.1"), None),
            (_writable("holding:9", "string(2)"), "long"),
        ]
        async with ModbusSource("PLC", settings(peer.port), []).connect() as session:
            qualities = await session.write(pairs)
        assert qualities == [
            BAD_NOT_WRITABLE,
            BAD_OUT_OF_RANGE,
            BAD_TYPE_MISMATCH,
            BAD_TYPE_MISMATCH,
            BAD_OUT_OF_RANGE,
        ]
        assert peer.requests == []


async def test_pairs_are_written_in_order_each_with_its_answer() -> None:
    async with modbus_peer() as peer:
        pairs = [(_writable("holding:5"), 1), (_writable("coil:7"), True), (_writable("holding:5"), 2)]
        async with ModbusSource("PLC", settings(peer.port), []).connect() as session:
            assert await session.write(pairs) == [GOOD, GOOD, GOOD]
        assert [request[:5].hex() for request in peer.requests] == ["0600050001", "050007ff00", "0600050002"]


@pytest.mark.parametrize("address", ["coil:9", "holding:9", "holding:9.3"])
async def test_a_write_without_a_reply_is_never_repeated(address: str) -> None:
    async with modbus_peer() as peer:
        its = _writable(address)
        peer.spoil = mute
        async with ModbusSource("PLC", settings(peer.port, timeout="100ms"), [its]).connect() as session:
            with pytest.raises(ConnectionLost, match="may have been carried out") as caught:
                await session.write([(its, 1 if address == "holding:9" else True)])
        assert caught.value.quality == BAD_TIMEOUT
        assert len(peer.requests) == 1


async def test_a_write_the_connection_dies_of_is_never_repeated_and_the_next_is_not_sent() -> None:
    async with modbus_peer() as peer:
        its = _writable("holding:9")

        def hang_up(_request: bytes, _reply: bytes) -> None:
            peer.hang_up()

        peer.spoil = hang_up
        async with ModbusSource("PLC", settings(peer.port, timeout="30s"), [its]).connect() as session:
            with pytest.raises(ConnectionLost) as caught:
                async with asyncio.timeout(10):
                    await session.write([(its, 1)])
            assert caught.value.quality == BAD_CONNECTION_CLOSED
            assert await session.write([(its, 2)]) == [BAD_NOT_CONNECTED]
            with pytest.raises(ConnectionLost):
                await session.read([its])
        assert len(peer.requests) == 1


async def test_an_echo_of_another_place_leaves_the_outcome_unknown() -> None:
    async with modbus_peer() as peer:
        its = _writable("holding:9")
        peer.spoil = lambda request, _: frame(request, b"\x06\x00\x08\x00\x01")
        async with ModbusSource("PLC", settings(peer.port), [its]).connect() as session:
            with pytest.raises(ConnectionLost) as caught:
                await session.write([(its, 1)])
        assert caught.value.quality == BAD_COMMUNICATION_ERROR


async def test_a_write_goes_before_the_next_block_of_the_scan() -> None:
    async with modbus_peer() as peer:
        peer.delay = 0.05
        tags = [tag(f"holding:{address}", scan=NORMAL) for address in range(0, 20_000, 500)]
        its = _writable("coil:0")
        async with scanning(ModbusSource("PLC", settings(peer.port), tags)) as scan:
            await until(lambda: len(peer.requests) >= 3, every=0.001)
            begun = len(peer.requests)
            assert await scan.session.write([(its, True)]) == [GOOD]
            assert 5 in peer.functions()[begun : begun + 2]
            assert (await scan.session.read([its])).values == [True]


async def test_too_many_commands_at_once_are_refused_not_queued() -> None:
    async with modbus_peer() as peer:
        its = _writable("holding:9")
        async with ModbusSource("PLC", settings(peer.port), [its]).connect() as session:
            answers = await asyncio.gather(*(session.write([(its, value)]) for value in range(100)))
            reads = await asyncio.gather(*(session.read([its]) for _ in range(100)))
        assert answers == [[GOOD]] * 65 + [[BAD_RESOURCE_UNAVAILABLE]] * 35
        assert sum(batch.qualities == BAD_RESOURCE_UNAVAILABLE for batch in reads) == 35
        assert session._line.slots.refused == 70


async def test_a_write_cancelled_while_it_waits_is_not_sent() -> None:
    async with modbus_peer() as peer:
        one, other = _writable("holding:1"), _writable("holding:2")
        peer.delay = 0.1
        async with ModbusSource("PLC", settings(peer.port), []).connect() as session:
            first = asyncio.create_task(session.write([(one, 1)]))
            second = asyncio.create_task(session.write([(other, 2)]))
            await until(lambda: peer.requests, every=0.001)
            second.cancel()
            assert await first == [GOOD]
            assert await session.write([(one, 3)]) == [GOOD]
            await asyncio.wait((second,))
            assert second.cancelled()
        assert [request[2] for request in peer.requests] == [1, 1]


async def test_reading_tells_each_tag_its_own_quality() -> None:
    async with modbus_peer() as peer:
        peer.illegal = {3}
        peer.registers[:6] = [10, 11, 12, 13, 0xFFFF, 15]
        tags = [
            tag("holding:5"),
            tag("holding:3"),
            tag("holding:0"),
            tag("holding:4", "string(2)"),
            tag("coil:1"),
        ]
        async with ModbusSource("PLC", settings(peer.port), tags).connect() as session:
            batch = await session.read(tags)
            assert batch.tags == tuple(tags)
            assert batch.values == [15, None, 10, None, False]
            assert batch.qualities == [GOOD, BAD_CONFIGURATION_ERROR, GOOD, BAD_DECODING_ERROR, GOOD]
            peer.spoil = excepting(4)
            assert (await session.read(tags[:1])).qualities == [BAD_DEVICE_FAILURE]
            peer.spoil = lambda request, _: frame(request, b"\x03\x01\x00")
            assert (await session.read(tags[:1])).qualities == [BAD_COMMUNICATION_ERROR]
            peer.spoil = honest
            assert (await session.read([])).tags == ()


async def test_a_read_without_a_reply_raises() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0")
        peer.spoil = mute
        async with ModbusSource("PLC", settings(peer.port, timeout="100ms"), [its]).connect() as session:
            with pytest.raises(ConnectionLost) as caught:
                await session.read([its])
        assert caught.value.quality == BAD_TIMEOUT
