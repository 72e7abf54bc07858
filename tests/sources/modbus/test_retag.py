"""Other tags of a unit while it is scanned: what stays keeps its rhythm and what is known of it."""

from __future__ import annotations

import asyncio
from types import MethodType
from typing import Any

import pytest
from support.modbus_peer import modbus_peer, mute
from support.modbus_tags import settings, tag
from support.net import until
from support.scanning import FAST, NORMAL, SLOW, Listener, scanning

from sources.modbus.driver import ModbusSource
from sources.modbus.scan import Scan
from sources.quality import BAD_CONFIGURATION_ERROR, BAD_TIMEOUT, GOOD
from sources.tag import ScanClass, Tag

PATIENT = "30s"


def scan_of(source: ModbusSource) -> Scan:
    """What scans it now."""
    told = source._device.on_retag
    assert isinstance(told, MethodType)
    assert isinstance(told.__self__, Scan)
    return told.__self__


def spans(requests: list[bytes]) -> set[tuple[int, int]]:
    return {(r[1] * 256 + r[2], r[3] * 256 + r[4]) for r in requests}


async def test_a_block_that_stays_is_neither_asked_again_nor_let_wait() -> None:
    async with modbus_peer() as peer:
        far = [tag(f"holding:{address}", scan=SLOW) for address in (0, 1000, 2000)]
        source = ModbusSource("PLC", settings(peer.port, timeout=PATIENT), far)
        async with scanning(source) as scan:
            await scan.good(*far)
            blocks = set(source._device.blocks)
            asked = len(peer.requests)
            new = tag("holding:3000", scan=SLOW)
            source.retag([*far, new])
            await scan.good(new)
            assert spans(peer.requests[asked:]) == {(3000, 1)}
            assert blocks < source._device.blocks

            # What replaces a block comes when that would have come: in an hour.
            second = tag("holding:3001", scan=SLOW)
            source.retag([*far, second, new])
            await scan.good(second)
            asked = len(peer.requests)
            source.retag([*far[1:], new])
            await asyncio.sleep(0.1)
            assert peer.requests[asked:] == []
            assert source.statistics["slow"].blocks == 3


async def test_a_tag_that_joins_a_block_comes_at_once_and_the_others_in_their_rhythm() -> None:
    """Its neighbour has a value, and would come in an hour."""
    async with modbus_peer() as peer:
        old, new = tag("holding:0", scan=SLOW), tag("holding:1", scan=SLOW)
        source = ModbusSource("PLC", settings(peer.port, timeout=PATIENT), [old])
        async with scanning(source) as scan:
            await scan.good(old)
            (job,) = scan_of(source)._jobs
            due = job.scan._schedule.due
            source.retag([old, new])
            await scan.good(new)
            await until(lambda: scan_of(source)._schedule.due == due)


async def test_what_the_device_lacks_is_not_asked_for_again_in_a_block(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with modbus_peer() as peer:
        peer.illegal = {5, 6}
        tags = [tag(f"holding:{address}") for address in range(10)]
        present = [its for its in tags if its not in tags[5:7]]
        source = ModbusSource("PLC", settings(peer.port, timeout=PATIENT), tags)
        async with scanning(source) as scan:
            await scan.good(*present)
            await scan.bad(BAD_CONFIGURATION_ERROR, *tags[5:7])
            new = tag("holding:10")
            asked = len(peer.requests)
            source.retag([*tags[:6], *tags[7:], new])
            await scan.good(new)
            await until(lambda: len(peer.requests) > asked + 6)
            assert spans(peer.requests[asked + 1 :]) == {(0, 5), (7, 4)}
            assert list(source.bad_points()) == [tags[5].name]

            # One of that name elsewhere has nothing of it.
            moved = Tag(tags[5].name, tag("holding:11").address, tags[5].type, FAST)
            source.retag([*present, moved])
            await scan.good(moved)
            assert list(source.bad_points()) == []
    assert sum("the device has no" in record.getMessage() for record in caplog.records) == 1


async def test_a_missing_point_that_is_found_as_the_tags_change_is_read_once() -> None:
    async with modbus_peer() as peer:
        peer.illegal = {5}
        tags = [tag(f"holding:{address}") for address in range(10)]
        source = ModbusSource("PLC", settings(peer.port, timeout=PATIENT), tags, retry_missing=0.1)
        async with scanning(source) as scan:
            await scan.bad(BAD_CONFIGURATION_ERROR, tags[5])
            peer.illegal = set()
            its = scan_of(source)
            await until(lambda: its._found_again, every=0.005)
            source.retag(tags[1:])
            await scan.good(*tags)
            await until(lambda: its._replanning is None)
            assert sorted(one.name for block in source._device.blocks for one in block.tags) == sorted(
                one.name for one in tags[1:]
            )
            assert all(not job.missing for job in its._jobs)


async def test_tags_that_come_while_it_is_searched_for_what_is_missing_are_read() -> None:
    async with modbus_peer() as peer:
        peer.illegal, peer.delay = {30}, 0.01
        tags = [tag(f"holding:{address}") for address in range(60)]
        source = ModbusSource("PLC", settings(peer.port, timeout=PATIENT), tags)
        async with scanning(source) as scan:
            for turn in range(8):
                await asyncio.sleep(0.01)
                source.retag([*tags[: 50 + turn], tag(f"holding:{60 + turn}")])
            peer.delay = 0.0
            there = list(source.tags)
            await scan.good(*(its for its in there if its is not tags[30]))
            await scan.bad(BAD_CONFIGURATION_ERROR, tags[30])


async def test_units_that_share_a_line_take_other_tags_each_for_itself() -> None:
    async with modbus_peer() as peer:
        one = ModbusSource("One", settings(peer.port, unit=1, timeout=PATIENT), [tag("holding:0")])
        other = ModbusSource("Other", settings(peer.port, unit=2, timeout=PATIENT), [tag("holding:100")])
        async with scanning(one) as first, scanning(other) as second:
            await first.good(*one.tags)
            await second.good(*other.tags)
            one.retag([tag("holding:5")])
            await first.good(*one.tags)
            other.retag([])
            one.retag([*one.tags, tag("coil:3", scan=NORMAL)])
            await first.good(*one.tags)
            assert peer.accepted == 1
            assert not second.task.done()
            other.retag([tag("holding:101")])
            await second.good(*other.tags)


async def test_a_scan_class_of_the_same_name_and_another_period_is_another() -> None:
    async with modbus_peer() as peer:
        kept, its = tag("holding:0"), tag("holding:1", scan=NORMAL)
        source = ModbusSource("PLC", settings(peer.port, timeout=PATIENT), [kept, its])
        async with scanning(source) as scan:
            await scan.good(kept, its)
            faster = tag("holding:1", scan=ScanClass("normal", 0.01))
            source.retag([kept, faster])
            reads = source.statistics["normal"].reads
            assert source.statistics["normal"].planned == 0.01
            await until(lambda: source.statistics["normal"].reads > reads + 20)
            source.retag([kept])
            assert set(source.statistics) == {"fast"}


async def test_each_write_is_sent_once_whatever_is_planned_meanwhile() -> None:
    async with modbus_peer() as peer:
        peer.delay = 0.002
        kept, written = tag("holding:0"), tag("holding:500", writable=True)
        source = ModbusSource("PLC", settings(peer.port, timeout=PATIENT), [kept, written])
        async with scanning(source) as scan:
            await scan.good(kept, written)
            writes = [asyncio.create_task(scan.session.write([(written, number)])) for number in range(40)]
            turn = 0
            while not all(write.done() for write in writes):
                turn += 1
                await asyncio.sleep(0.001)
                source.retag([kept, written, tag(f"holding:{turn}")] if turn % 3 else [kept])
            assert [write.result() for write in writes] == [[GOOD]] * 40
            sent = [request for request in peer.requests if request[0] not in {1, 2, 3, 4}]
            assert len(sent) == len(set(sent)) == 40
            assert peer.registers[500] == 39


async def test_a_device_that_is_dead_is_found_so_though_its_tags_change_all_the_time() -> None:
    async with modbus_peer() as peer:
        source = ModbusSource("PLC", settings(peer.port, timeout="300ms"), [tag("holding:0")])
        async with scanning(source) as scan:
            await scan.good(*source.tags)
            peer.spoil = mute
            for turn in range(200):
                await asyncio.sleep(0.05)
                source.retag([tag(f"holding:{turn}")])
                if scan.task.done():
                    break
            assert (await scan.lost(0.0)).quality == BAD_TIMEOUT


async def test_an_error_of_planning_ends_the_scan_not_the_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with modbus_peer() as peer:
        source = ModbusSource("PLC", settings(peer.port), [tag("holding:0")])

        def broken(*_: Any) -> Any:
            raise ZeroDivisionError("a bug")

        async with source.connect() as session:
            listener = Listener()
            scan = asyncio.create_task(session.scan(listener))
            await until(lambda: listener.batches)
            monkeypatch.setattr("sources.modbus.scan.plan", broken)
            source.retag([tag("holding:1")])
            with pytest.raises(ZeroDivisionError, match="a bug"):
                await scan
