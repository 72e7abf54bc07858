from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any, Never

import pytest
from support.modbus_peer import Peer, Spoil, excepting, frame, honest, modbus_peer, mute
from support.modbus_tags import settings, tag
from support.names import is_alone_in_it
from support.net import free_port, until
from support.scanning import FAST, NORMAL, SLOW, grainy, scanning

from sources.batch import Batch
from sources.errors import Unreachable
from sources.modbus.driver import ModbusSource
from sources.modbus.plan import Block, plan
from sources.modbus.scan import Scan, _Job
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_CONNECTION_CLOSED,
    BAD_DEVICE_FAILURE,
    BAD_INVALID_STATE,
    BAD_NO_COMMUNICATION,
    BAD_NOT_SUPPORTED,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    BAD_UNEXPECTED_ERROR,
    Quality,
    is_good,
)
from sources.tag import ScanClass

PATIENT = "30s"


def _longer(things: Sequence[object], count: int) -> bool:
    return len(things) > count


async def test_every_table_is_read_and_a_block_keeps_its_tuple() -> None:
    async with modbus_peer() as peer:
        peer.registers[10:13] = [1, 2, 0x8001]
        peer.coils[3] = True
        tags = [tag("holding:10"), tag("input:11"), tag("coil:3"), tag("discrete:4"), tag("holding:12.15")]
        async with scanning(ModbusSource("PLC", settings(peer.port), tags)) as scan:
            await scan.good(*tags)
            values = [scan.listener.value(its) for its in tags]
            await until(lambda: len(scan.listener.batches) > 20)
        assert values == [1, 2, True, False, True]
        assert len({id(batch.tags) for batch in scan.listener.batches}) == 4
        assert all(batch.received > 0 and batch.device_times is None for batch in scan.listener.batches)
        assert set(peer.functions()) == {1, 2, 3, 4}


async def test_a_hundred_tags_take_one_request() -> None:
    async with modbus_peer() as peer:
        peer.registers[:100] = range(100)
        tags = [tag(f"holding:{address}", scan=SLOW) for address in range(100)]
        async with scanning(ModbusSource("PLC", settings(peer.port), tags)) as scan:
            await scan.good(*tags)
        assert [scan.listener.value(its) for its in tags] == list(range(100))
        assert len(peer.requests) == 1


async def test_a_source_without_tags_keeps_its_connection() -> None:
    async with modbus_peer() as peer, scanning(ModbusSource("PLC", settings(peer.port), [])) as scan:
        await until(lambda: peer.connections)
        assert not scan.task.done()
        peer.hang_up()
        assert (await scan.lost()).quality == BAD_CONNECTION_CLOSED


async def test_the_cause_of_a_refused_call_is_told() -> None:
    source = ModbusSource("PLC", settings(free_port()), [])
    with pytest.raises(Unreachable, match=r"^connection refused$"):
        async with source.connect():
            pass


async def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("sources.resolve.socket.getaddrinfo", unknown)
    source = ModbusSource("PLC", settings(502, host="plc.invalid"), [])
    with pytest.raises(Unreachable, match="host name cannot be resolved: Name or service not known"):
        async with source.connect():
            pass


async def test_names_whose_server_is_dead_take_no_thread_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ModbusSource("PLC", settings(host="plc.example", timeout="100ms"), [])
    await is_alone_in_it(monkeypatch, "plc.example", source.connect)


@contextmanager
def nobody_accepts() -> Iterator[int]:
    """A port at which calls are not answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        queued = [socket.socket() for _ in range(3)]  # the next call waits
        try:
            for one in queued:
                one.setblocking(False)
                one.connect_ex(address)
            yield address[1]
        finally:
            for one in queued:
                one.close()


async def test_each_address_of_a_name_is_called_in_its_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with modbus_peer() as peer:
        with nobody_accepts() as silent:
            ports = [free_port(), silent, peer.port]
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
            monkeypatch.setattr("sources.resolve.socket.getaddrinfo", lambda *_, **__: found)
            its = tag("holding:1")
            source = ModbusSource("PLC", settings(host="plc.example", timeout="2s"), [its])
            async with scanning(source) as scan:
                await scan.good(its)
            found[1:] = []
            with pytest.raises(Unreachable, match=r"^connection refused$"):
                async with source.connect():
                    pass


async def test_a_call_that_nobody_answers_ends_at_the_timeout() -> None:
    with nobody_accepts() as port:
        source = ModbusSource("PLC", settings(port, timeout="100ms"), [])
        with pytest.raises(Unreachable, match=r"within 0\.1 s"):
            async with source.connect():
                pass


async def test_one_lost_reply_marks_its_block_and_the_next_heals_it() -> None:
    async with modbus_peer() as peer:
        one, other = tag("holding:0"), tag("coil:0", scan=SLOW)
        async with scanning(ModbusSource("PLC", settings(peer.port, timeout="500ms"), [one, other])) as scan:
            await scan.good(one, other)

            def once(_request: bytes, _reply: bytes) -> None:
                peer.spoil = honest

            peer.spoil = once
            await until(lambda: scan.listener.saw(one, BAD_TIMEOUT))
            await scan.good(one)
            assert not scan.listener.saw(other, BAD_TIMEOUT)
            assert not scan.task.done()
            assert peer.accepted == 1


async def test_two_requests_without_a_reply_and_the_connection_is_lost() -> None:
    async with modbus_peer() as peer:
        one, other = tag("holding:0"), tag("coil:0", scan=SLOW)
        async with scanning(ModbusSource("PLC", settings(peer.port, timeout="150ms"), [one, other])) as scan:
            await scan.good(one, other)
            asked = len(peer.requests)
            peer.spoil = mute
            error = await scan.lost()
            assert error.quality == BAD_TIMEOUT
            assert "no reply to 2 requests in a row" in str(error)
            assert scan.listener.quality(one) == BAD_TIMEOUT
            assert len(peer.requests) - asked in {2, 3}  # one may have been answered on the way


async def test_after_a_silent_request_the_next_waits_no_longer_than_promised() -> None:
    async with modbus_peer() as peer:
        one = ScanClass("one", 1.0)
        tags = [tag("holding:0", scan=one), tag("coil:0", scan=one)]
        async with scanning(ModbusSource("PLC", settings(peer.port, timeout="1800ms"), tags)) as scan:
            await scan.good(*tags)
            peer.spoil = mute
            line = scan.session._line
            # The other block's values were Good more than 1.8 s ago, and are to leave Good within 2 s.
            await until(lambda: 0.449 < line.patience < 1, every=0.001)
            assert (await scan.lost()).quality == BAD_TIMEOUT


async def test_a_late_reply_is_not_taken_for_the_next_one() -> None:
    async with modbus_peer() as peer:
        one, other = tag("holding:0", scan=NORMAL), tag("holding:500", scan=NORMAL)
        peer.registers[0], peer.registers[500] = 111, 555
        loop = asyncio.get_running_loop()

        def late(_request: bytes, reply: bytes) -> None:
            peer.spoil = honest
            (connection,) = peer.connections
            loop.call_later(0.55, connection.transport.write, reply)

        source = ModbusSource("PLC", settings(peer.port, timeout="500ms", max_gap=0), [one, other])
        async with scanning(source) as scan:
            await scan.good(one, other)
            for _ in range(3):
                peer.spoil = late
                await until(lambda: peer.is_honest, every=0.005)
                count = len(scan.listener.batches)
                await until(partial(_longer, scan.listener.batches, count + 3), every=0.005)
                await scan.good(one, other)
            assert {scan.listener.value(one), scan.listener.value(other)} == {111, 555}
            for batch in scan.listener.batches:
                if batch.values is not None:
                    assert list(batch.values) == [111 if batch.tags == (one,) else 555]


async def test_a_late_reply_in_one_segment_with_the_right_one_costs_nothing() -> None:
    async with modbus_peer() as peer:
        tags = [tag(f"holding:{address}") for address in range(125)]
        kept: list[bytes] = []

        def hold_back(_request: bytes, reply: bytes) -> None:
            kept.append(reply)
            peer.spoil = both

        def both(_request: bytes, reply: bytes) -> bytes:
            peer.spoil = honest
            return kept.pop() + reply

        async with scanning(ModbusSource("PLC", settings(peer.port, timeout="500ms"), tags)) as scan:
            await scan.good(*tags)
            peer.spoil = hold_back
            await until(lambda: scan.listener.saw(tags[0], BAD_TIMEOUT))
            await scan.good(*tags)
            assert not scan.task.done()


async def test_a_peer_that_closes_with_a_request_pending_is_noticed_at_once() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0")

        def hang_up(_request: bytes, _reply: bytes) -> None:
            peer.hang_up()

        async with scanning(ModbusSource("PLC", settings(peer.port, timeout=PATIENT), [its])) as scan:
            await scan.good(its)
            peer.spoil = hang_up
            error = await scan.lost(within=10)  # a third of the timeout
            assert error.quality == BAD_CONNECTION_CLOSED


async def test_a_peer_that_closes_between_two_scans_is_noticed_at_once() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0", scan=SLOW)
        async with scanning(ModbusSource("PLC", settings(peer.port, timeout=PATIENT), [its])) as scan:
            await scan.good(its)
            peer.hang_up()
            assert (await scan.lost(within=10)).quality == BAD_CONNECTION_CLOSED
            await asyncio.sleep(0.3)
            assert peer.accepted == 1, "only the supervisor dials again"


async def test_a_short_reply_is_no_value() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0", "int64")

        def short(request: bytes, reply: bytes) -> bytes:
            return frame(request, reply[7:8] + b"\x04" + reply[9:13])

        async with scanning(ModbusSource("PLC", settings(peer.port), [its])) as scan:
            await scan.good(its)
            peer.spoil = short
            await until(lambda: scan.listener.quality(its) == BAD_COMMUNICATION_ERROR, every=0.005)
            peer.spoil = honest
            await scan.good(its)
            assert peer.accepted == 1


async def test_replies_that_come_in_pieces_are_put_together() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0", "float64")
        loop = asyncio.get_running_loop()

        def pieces(_request: bytes, reply: bytes) -> bytes:
            (connection,) = peer.connections
            for index in range(1, len(reply)):
                loop.call_later(0.002 * index, connection.transport.write, reply[index : index + 1])
            return reply[:1]

        peer.spoil = pieces
        async with scanning(ModbusSource("PLC", settings(peer.port, timeout=PATIENT), [its])) as scan:
            await scan.good(its)


async def test_half_a_reply_ends_the_connection() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0", "float64")
        async with scanning(ModbusSource("PLC", settings(peer.port, timeout="200ms"), [its])) as scan:
            await scan.good(its)
            peer.spoil = lambda _, reply: reply[:12]
            error = await scan.lost()
            assert error.quality == BAD_COMMUNICATION_ERROR
            assert "incomplete or garbled" in str(error)


async def test_bytes_that_are_no_modbus_end_the_connection() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0")
        async with scanning(ModbusSource("PLC", settings(peer.port, timeout="200ms"), [its])) as scan:
            peer.spoil = lambda _request, _reply: b"HTTP/1.1 400 Bad Request\r\n\r\n"
            assert (await scan.lost()).quality == BAD_COMMUNICATION_ERROR


async def test_a_stranger_s_reply_is_dropped() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0")
        peer.registers[0] = 7

        def stranger_first(request: bytes, reply: bytes) -> bytes:
            wrong = (int.from_bytes(request[:2], "big") + 5).to_bytes(2, "big") + reply[2:9] + b"\xff\xff"
            other_unit = reply[:6] + b"\x63" + reply[7:9] + b"\xff\xff"
            nobody_s = b"\0\0" + reply[2:9] + b"\xff\xff"
            return wrong + other_unit + nobody_s + reply

        peer.spoil = stranger_first
        async with scanning(ModbusSource("PLC", settings(peer.port), [its])) as scan:
            await until(lambda: len(scan.listener.batches) > 10)
        assert {tuple(batch.values or ()) for batch in scan.listener.batches} == {(7,)}


@pytest.mark.parametrize(
    "spoiled",
    [
        pytest.param(lambda request, reply: frame(request, b"\x04" + reply[8:]), id="another function"),
        pytest.param(lambda request, _: frame(request, b"\x83"), id="exception without a code"),
        pytest.param(lambda request, _: frame(request, b"\x65\x01\x02"), id="unknown function"),
        pytest.param(lambda request, _: frame(request, b"\x03\x02\x00"), id="cut within its frame"),
        pytest.param(lambda request, _: frame(request, b"\x03"), id="nothing but the function"),
    ],
)
async def test_a_reply_that_answers_another_question_is_no_value(
    spoiled: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0")
        async with scanning(ModbusSource("PLC", settings(peer.port), [its])) as scan:
            await scan.good(its)
            assert callable(spoiled)
            peer.spoil = spoiled
            await until(lambda: scan.listener.quality(its) == BAD_COMMUNICATION_ERROR, every=0.005)
            peer.spoil = honest
            await scan.good(its)
            assert peer.accepted == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        (1, BAD_NOT_SUPPORTED),
        (4, BAD_DEVICE_FAILURE),
        (5, BAD_UNEXPECTED_ERROR),
        (6, BAD_RESOURCE_UNAVAILABLE),
        (7, BAD_INVALID_STATE),
        (8, BAD_DEVICE_FAILURE),
        (9, BAD_UNEXPECTED_ERROR),
        (10, BAD_NO_COMMUNICATION),
        (11, BAD_TIMEOUT),
        (77, BAD_UNEXPECTED_ERROR),
    ],
)
async def test_an_exception_is_its_block_s_quality_told_once(
    code: int, quality: Quality, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sources")
    async with modbus_peer() as peer:
        its = tag("holding:0")
        peer.spoil = excepting(code)
        async with scanning(ModbusSource("PLC", settings(peer.port), [its])) as scan:
            await until(lambda: len(scan.listener.batches) > 5)
            assert scan.listener.quality(its) == quality
            peer.spoil = honest
            await scan.good(its)
            assert peer.accepted == 1
    told = [record for record in caplog.records if record.name.startswith("sources")]
    assert [record.levelno for record in told] == [logging.WARNING, logging.INFO]
    assert f"exception {code}" in told[0].getMessage()


async def test_points_the_device_does_not_have_are_named_once_and_the_rest_is_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with modbus_peer() as peer:
        peer.illegal = {17, 40, 41}
        tags = [tag(f"holding:{address}") for address in range(60)]
        missing = [tags[address] for address in sorted(peer.illegal)]
        present = [its for its in tags if its not in missing]
        source = ModbusSource("PLC", settings(peer.port), tags)
        for _ in range(2):
            async with scanning(source) as scan:
                await scan.good(*present)
                await until(lambda: all(scan.listener.quality(m) == BAD_CONFIGURATION_ERROR for m in missing))
                asked = len(peer.requests)
                await until(partial(_longer, peer.requests, asked + 20))
                spans = {(r[1] * 256 + r[2], r[3] * 256 + r[4]) for r in peer.requests[asked + 3 :]}
                assert spans == {(0, 17), (18, 22), (42, 18)}
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert sum(text.count(str(its.address)) for its in missing for text in warnings) == 3
    assert len(warnings) <= 2
    assert "exception 2 (illegal data address)" in warnings[0]


async def test_a_missing_point_is_tried_again_and_taken_back() -> None:
    async with modbus_peer() as peer:
        peer.illegal = {5}
        tags = [tag(f"holding:{address}") for address in range(10)]
        source = ModbusSource("PLC", settings(peer.port), tags, retry_missing=0.2)
        async with scanning(source) as scan:
            await until(lambda: scan.listener.quality(tags[5]) == BAD_CONFIGURATION_ERROR)
            await scan.good(*tags[:5], *tags[6:])
            peer.illegal, peer.registers[5] = set(), 55
            await scan.good(*tags)
            assert scan.listener.value(tags[5]) == 55
            await until(lambda: scan.listener.batches[-1].tags == tuple(tags))  # one request again
            assert source.statistics["fast"].blocks == 1


async def test_missing_points_that_come_back_together_are_planned_together(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plans = 0

    def counted(*given: Any) -> list[Block]:
        nonlocal plans
        plans += 1
        return plan(*given)

    async with modbus_peer() as peer:
        peer.illegal = set(range(0, 200, 2))
        tags = [tag(f"holding:{address}", scan=NORMAL) for address in range(200)]
        source = ModbusSource("PLC", settings(peer.port, pipeline=4), tags, retry_missing=0.3)
        async with scanning(source) as scan:
            await until(lambda: len(source.bad_points()) == 100)
            await scan.good(*tags[1::2])
            monkeypatch.setattr("sources.modbus.scan.plan", counted)
            with caplog.at_level(logging.INFO, "sources.modbus.scan"):
                peer.illegal = set()
                await until(lambda: source.statistics["normal"].blocks == 2)
            assert 1 <= plans <= 20, "else one for each point"
            await scan.good(*tags)
            assert source.bad_points() == ()
            told = [text for text in caplog.messages if text.endswith(" now")]
            assert len(told) == plans
            assert sum(text.count("holding:") for text in told) == 200, "each by its address and name"


@pytest.mark.parametrize("spoilt", [honest, excepting(6)], ids=["answered", "busy"])
async def test_a_block_planned_anew_while_it_is_searched_is_not_read_twice(spoilt: Spoil) -> None:
    async with modbus_peer() as peer:
        peer.illegal = {20}
        tags = [tag(f"holding:{address}") for address in (10, 11, 12, 20)]
        source = ModbusSource(
            "PLC", settings(peer.port, pipeline=2, timeout=PATIENT), tags, retry_missing=0.2
        )
        held: list[bytes | None] = []

        def hold(request: bytes, reply: bytes) -> bytes | None:
            if request[7:] == bytes((3, 0, 10, 0, 1)) and not held:
                held.append(spoilt(request, reply))
                return None
            return reply

        def read() -> list[str]:
            return sorted(its.name for block in source._device.blocks for its in block.tags)

        async with scanning(source) as scan:
            await scan.good(*tags[:3])
            await scan.bad(BAD_CONFIGURATION_ERROR, tags[3])
            peer.spoil, peer.illegal = hold, {12, 20}
            await until(lambda: held, what="the search")
            peer.illegal = {12}
            await until(lambda: "holding:20" in read(), what="the point that came back")
            (connection,) = peer.connections
            assert held[0] is not None
            connection.transport.write(held[0])
            await until(lambda: source.bad_points() == ("holding:12",))
            await scan.good(*tags[:2], tags[3])
            peer.requests.clear()
            one, other = bytes((3, 0, 10, 0, 2)), bytes((3, 0, 20, 0, 1))
            await until(lambda: peer.requests.count(other) > 12)
            assert peer.requests.count(one) < peer.requests.count(other) + 4
            assert source.statistics["fast"].blocks == len(source._device.blocks) == 2
            assert not scan.listener.saw(tags[0], BAD_RESOURCE_UNAVAILABLE)


async def test_a_gap_the_device_does_not_have_is_read_around() -> None:
    async with modbus_peer() as peer:
        peer.illegal = set(range(20, 90))
        tags = [tag(f"holding:{address}") for address in (0, 1, 19, 90, 91)]
        async with scanning(ModbusSource("PLC", settings(peer.port), tags)) as scan:
            await scan.good(*tags)
            asked = len(peer.requests)
            await until(lambda: len(peer.requests) > asked + 10)
            assert BAD_CONFIGURATION_ERROR not in scan.listener.qualities.values()
            assert {r[1] * 256 + r[2] for r in peer.requests[asked + 3 :]} == {0, 90}


async def test_a_wall_between_two_areas_is_not_read_across() -> None:
    async with modbus_peer() as peer:
        peer.walls = {32}
        tags = [tag(f"holding:{address}") for address in range(64)]
        async with scanning(ModbusSource("PLC", settings(peer.port), tags)) as scan:
            await scan.good(*tags)


async def test_a_device_that_takes_fewer_registers_at_once_is_read_in_pieces() -> None:
    async with modbus_peer() as peer:
        peer.most = 40
        peer.registers[:125] = range(125)
        tags = [tag(f"holding:{address}") for address in range(125)]
        async with scanning(ModbusSource("PLC", settings(peer.port), tags)) as scan:
            await scan.good(*tags)
            assert [scan.listener.value(its) for its in tags] == list(range(125))


async def test_a_device_that_has_none_of_the_points_goes_on_being_asked() -> None:
    async with modbus_peer() as peer:
        peer.illegal = set(range(100))
        tags = [tag(f"holding:{address}") for address in range(20)]
        source = ModbusSource("PLC", settings(peer.port), tags, retry_missing=0.3)
        async with scanning(source) as scan:
            await until(lambda: set(scan.listener.qualities.values()) == {BAD_CONFIGURATION_ERROR})
            peer.illegal = {3}
            await scan.good(*tags[:3], *tags[4:])


async def test_a_search_that_is_cut_short_is_taken_up_again() -> None:
    async with modbus_peer() as peer:
        peer.illegal = {7}
        tags = [tag(f"holding:{address}") for address in range(10)]

        def busy_half_way(request: bytes, reply: bytes) -> bytes:
            if len(peer.requests) % 3 == 0 and len(peer.requests) < 12:
                return frame(request, b"\x83\x06")
            return reply

        peer.spoil = busy_half_way
        async with scanning(ModbusSource("PLC", settings(peer.port), tags)) as scan:
            await scan.good(*tags[:7], *tags[8:])
            assert scan.listener.quality(tags[7]) == BAD_CONFIGURATION_ERROR


async def test_a_connection_that_is_lost_while_it_is_searched_is_noticed_at_once() -> None:
    """Others who wait for their turn must not take it on a link that is gone: a time-out would pass."""
    async with modbus_peer() as peer:
        peer.illegal, peer.delay = {30}, 0.02
        tags = [*(tag(f"holding:{address}") for address in range(60)), tag("holding:1000"), tag("coil:7")]
        source = ModbusSource("PLC", settings(peer.port, timeout=PATIENT), tags)
        async with scanning(source) as scan:
            await until(lambda: peer.requests)
            told = source._device.on_retag
            assert isinstance(told, MethodType)
            its: Scan = told.__self__  # type: ignore[assignment]
            (link,) = its.line._line._links

            def there() -> bool:
                waiting = its.line.slots._patient
                asked = [type(exchange) for exchange in link._pending.values()]
                return asked == [_Job] and len(waiting) == 2 and waiting[0] == its._given

            await until(there, every=0.001)
            peer.hang_up()
            assert (await scan.lost()).quality == BAD_CONNECTION_CLOSED


async def test_scans_that_come_too_late_are_skipped_and_counted_never_queued() -> None:
    async with modbus_peer() as peer:
        its, other = tag("holding:0"), tag("coil:0", scan=NORMAL)
        peer.delay = 0.12  # the fast class's period is 0.05
        source = ModbusSource("PLC", settings(peer.port), [its, other])
        async with scanning(source) as scan:
            await until(lambda: len(scan.listener.batches) > 12)
            fast = source.statistics["fast"].snapshot()
            normal = source.statistics["normal"].snapshot()
            peer.delay = 0.0
            asked = len(peer.requests)
            await until(lambda: len(peer.requests) > asked + 3, every=0.001)
        assert fast.overruns >= fast.reads
        assert fast.measured >= 0.1
        assert normal.reads >= 2
        assert (fast.planned, fast.blocks, normal.blocks) == (0.05, 1, 1)


async def test_requests_are_timed_finer_than_the_loop_s_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    grainy(monkeypatch, 0.05)
    async with modbus_peer() as peer:
        its = tag("holding:0")
        source = ModbusSource("PLC", settings(peer.port), [its])
        async with scanning(source) as scan:
            await scan.good(its)
            await until(lambda: 0 < source.statistics["fast"].measured < 0.04, within=5)


async def test_blocks_of_a_class_are_spread_over_its_period() -> None:
    async with modbus_peer() as peer:
        tags = [tag(f"holding:{address}", scan=ScanClass("half", 0.5)) for address in range(0, 5000, 500)]
        loop = asyncio.get_running_loop()
        times: list[float] = []

        def stamp(_request: bytes, reply: bytes) -> bytes:
            times.append(loop.time())
            return reply

        peer.spoil = stamp
        async with scanning(ModbusSource("PLC", settings(peer.port), tags)) as scan:
            await scan.good(*tags)  # each is read at once ...
            await until(lambda: len(times) >= 30)
        later = times[10:30]  # ... and then one every twentieth of a second
        gaps = sorted(b - a for a, b in itertools.pairwise(later))
        assert gaps[len(gaps) // 2] > 0.02


async def test_a_timer_that_is_early_has_nothing_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    call_at = loop.call_at
    monkeypatch.setattr(loop, "call_at", lambda when, *rest, **more: call_at(when - 0.002, *rest, **more))
    async with modbus_peer() as peer:
        its = tag("holding:0", scan=ScanClass("tenth", 0.1))
        async with scanning(ModbusSource("PLC", settings(peer.port), [its])) as scan:
            await scan.good(its)
            asked = len(peer.requests)
            await asyncio.sleep(1.0)
            assert len(peer.requests) - asked <= 11


async def test_cancelling_in_the_instant_of_a_reply_ends_the_scan() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0")
        async with ModbusSource("PLC", settings(peer.port), [its]).connect() as session:
            seen: list[Batch] = []

            def cancel_as_it_comes(batch: Batch) -> None:
                seen.append(batch)
                task.cancel()

            task: asyncio.Task[Never] = asyncio.create_task(session.scan(cancel_as_it_comes))
            done, _ = await asyncio.wait((task,), timeout=10)
            assert done, "the cancellation was swallowed"
            assert task.cancelled()
            asked = len(peer.requests)
            await asyncio.sleep(0.15)
            assert len(seen) == 1
            assert len(peer.requests) <= asked + 1


async def test_an_error_of_whoever_takes_the_batches_ends_the_scan() -> None:
    def broken(_: Batch) -> None:
        raise ZeroDivisionError

    async with modbus_peer() as peer:
        source = ModbusSource("PLC", settings(peer.port), [tag("holding:0")])
        async with source.connect() as session:
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(session.scan(broken), 10)


async def test_as_many_requests_are_in_flight_as_the_pipeline_takes() -> None:
    async with modbus_peer() as peer:
        peer.delay = 0.05
        peer.registers[:2000:125] = range(16)
        tags = [tag(f"holding:{address}", scan=NORMAL) for address in range(0, 2000, 125)]
        most: list[int] = []
        answered = 0

        def count(_request: bytes, reply: bytes) -> bytes:
            nonlocal answered
            answered += 1
            most.append(len(peer.requests) - answered + 1)
            return reply

        peer.spoil = count
        source = ModbusSource("PLC", settings(peer.port, max_gap=0, pipeline=4), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert [scan.listener.value(its) for its in tags] == list(range(16))
            await until(lambda: len(scan.listener.batches) > 60)
        assert max(most) == 4
        assert peer.accepted == 1


async def test_replies_out_of_order_find_their_blocks() -> None:
    async with modbus_peer() as peer:
        peer.registers[:2000:500] = [1, 2, 3, 4]
        tags = [tag(f"holding:{address}") for address in range(0, 2000, 500)]
        kept: list[bytes] = []

        def backwards(_request: bytes, reply: bytes) -> bytes | None:
            kept.append(reply)
            if len(kept) < 4:
                return None
            replies = b"".join(reversed(kept))
            kept.clear()
            return replies

        peer.spoil = backwards
        source = ModbusSource("PLC", settings(peer.port, timeout=PATIENT, pipeline=4), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert [scan.listener.value(its) for its in tags] == [1, 2, 3, 4]


async def test_several_connections_share_the_work_and_one_lost_is_all_lost() -> None:
    async with modbus_peer() as peer:
        peer.delay = 0.02
        tags = [tag(f"holding:{address}") for address in range(0, 2000, 500)]
        source = ModbusSource("PLC", settings(peer.port, connections=3), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert peer.accepted == 3
            next(iter(peer.connections)).transport.abort()
            assert (await scan.lost()).quality == BAD_CONNECTION_CLOSED
            await until(lambda: not peer.connections)


async def test_replaced_tags_are_read_over_the_connection_there_is() -> None:
    async with modbus_peer() as peer:
        before, after = tag("holding:0"), tag("coil:1", scan=NORMAL)
        source = ModbusSource("PLC", settings(peer.port), [before])
        async with scanning(source) as scan:
            await scan.good(before)
            source.retag([after])
            count = len(scan.listener.batches)
            await scan.good(after)
            assert all(batch.tags == (after,) for batch in scan.listener.batches[count:])
            assert peer.accepted == 1
        assert list(source.tags) == [after]
        assert set(source.statistics) == {"normal"}


async def test_an_unreadable_text_is_bad_beside_good_values() -> None:
    async with modbus_peer() as peer:
        peer.registers[1] = 0xFFFF
        number, text = tag("holding:0"), tag("holding:1", "string(2)")
        async with scanning(ModbusSource("PLC", settings(peer.port), [number, text])) as scan:
            await scan.good(number)
            assert not is_good(scan.listener.quality(text))


async def test_the_address_is_for_people() -> None:
    assert ModbusSource("PLC", settings(5020), []).address == "127.0.0.1:5020"
    assert ModbusSource("PLC", settings(502, host="fe80::1"), []).address == "[fe80::1]:502"
    assert FAST.period < NORMAL.period


def test_a_peer_is_honest_by_default() -> None:
    assert Peer().answer(b"\x03\0\0\0\1") == b"\x03\x02\0\0"
