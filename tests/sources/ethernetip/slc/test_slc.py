"""SLC 500 and MicroLogix, against the simulated one: right values, or none; each write once."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import struct
import threading
import time
from dataclasses import replace
from typing import Any

import pycomm3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.eip_proxy import Spoil, proxy
from support.net import free_port, until
from support.scanning import FAST, SLOW, Listener, scanning
from support.slc import device, serving, settings, tag

from sources.errors import AddressError, ConnectionLost, Unreachable
from sources.ethernetip.slc import status
from sources.ethernetip.slc.driver import SlcSource
from sources.ethernetip.slc.plan import Unwritable, encode, plan
from sources.insight import HasPlan, HasTraffic
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_CONNECTION_CLOSED,
    BAD_INVALID_STATE,
    BAD_NOT_WRITABLE,
    BAD_OUT_OF_RANGE,
    BAD_TIMEOUT,
    BAD_TYPE_MISMATCH,
    BAD_UNEXPECTED_ERROR,
    BAD_USER_ACCESS_DENIED,
    GOOD,
)
from sources.supervisor import Supervisor
from sources.tag import ValueType

EVERY_KIND: list[tuple[str, Any]] = [
    ("N7:0", 100),
    ("N7:199", 299),
    ("N7:5/0", True),
    ("N7:5/1", False),
    ("B3:4", 16),
    ("B3:4/4", True),
    ("B3/69", False),
    ("B3/68", True),
    ("F8:3", 3.5),
    ("L10:19", -1_900_000),
    ("ST9:1", "Col"),
    ("ST9:0", ""),
    ("T4:1.PRE", 500),
    ("T4:1.ACC", 123),
    ("T4:1/DN", True),
    ("T4:1.EN", False),
    ("C5:0.ACC", 4),
    ("C5:0.CU", True),
    ("S:1/15", True),
    ("S:1/1", False),
    ("I:1/3", True),
    ("I:1.0", 8),
    ("O:2/0", False),
]


async def all_quiet() -> None:
    await until(lambda: not any(thread.name == "logix PLC" for thread in threading.enumerate()))


@pytest.mark.parametrize("strict", [True, False])
async def test_every_kind_of_value_is_read(strict: bool) -> None:
    async with serving() as plc:
        plc.device.faults.strict = strict
        tags = [tag(address) for address, _ in EVERY_KIND]
        source = SlcSource("PLC", settings(plc.port), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert {its.name: scan.listener.value(its) for its in tags} == dict(EVERY_KIND)
            batch = await scan.session.read(tags)
            assert batch.values == [value for _, value in EVERY_KIND]
            assert plc.device.open_connections == 1
    assert (source.threads_cut, source.threads_abandoned) == (0, 0)
    await all_quiet()


async def test_pycomm3_used_plainly_reads_the_simulated_controller() -> None:
    async with serving() as plc:
        slc: Any = pycomm3.SLCDriver

        def read() -> list[Any]:
            with slc(f"127.0.0.1:{plc.port}") as driver:
                return [tag.value for tag in driver.read("N7:0{3}", "F8:1", "B3:4/4", "T4:1.ACC", "ST9:1")]

        assert await asyncio.to_thread(read) == [[100, 101, 102], 1.5, True, 123, "Col"]


WRITTEN: list[tuple[str, Any]] = [
    ("N7:3", -5),
    ("F8:2", 0.25),
    ("L10:2", 2**31 - 1),
    ("ST9:2", "24 x 0,5 l"),
    ("B3:2/9", True),
    ("B3:2/1", False),
    ("O:1/7", True),
    ("B3:5", 77),
]


async def test_every_kind_of_value_is_written_once_and_nothing_beside_it() -> None:
    async with serving() as plc:
        tags = [tag(address, writable=True) for address, _ in WRITTEN]
        async with SlcSource("PLC", settings(plc.port), tags).connect() as session:
            before = {number: bytes(its.data) for number, its in plc.device.files.items()}
            pairs = list(zip(tags, (value for _, value in WRITTEN), strict=True))
            assert await session.write(pairs) == [GOOD] * len(pairs)
            assert (await session.read(tags)).values == [value for _, value in WRITTEN]
            assert len(plc.device.writes) == len(pairs)
            assert plc.device.files[7].data[:6] == before[7][:6]
            assert plc.device.files[7].data[8:] == before[7][8:]
            assert struct.unpack_from("<H", plc.device.files[3].data, 4) == (1 << 2 | 1 << 9,)


async def test_what_cannot_be_written_is_refused_and_not_sent() -> None:
    async with serving() as plc:
        number, read_only = tag("N7:0", writable=True), tag("N7:1")
        text, bit = tag("ST9:0", writable=True), tag("B3:0/0", writable=True)
        async with SlcSource("PLC", settings(plc.port), [number]).connect() as session:
            assert await session.write(
                [(number, 40_000), (read_only, 1), (text, "x" * 83), (text, "λ"), (bit, 1), (number, "1")]
            ) == [
                BAD_OUT_OF_RANGE,
                BAD_NOT_WRITABLE,
                BAD_OUT_OF_RANGE,
                BAD_OUT_OF_RANGE,
                BAD_TYPE_MISMATCH,
                BAD_TYPE_MISMATCH,
            ]
            assert plc.device.writes == []
            plc.device.files[7].protected = True
            assert await session.write([(number, 1)]) == [BAD_USER_ACCESS_DENIED]


async def test_an_element_beyond_its_file_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as plc:
        well, beyond, nowhere = tag("N7:199"), tag("N7:200"), tag("N99:0")
        with caplog.at_level(logging.WARNING):
            async with scanning(SlcSource("PLC", settings(plc.port), [well, beyond, nowhere])) as scan:
                await scan.good(well)
                await scan.bad(BAD_CONFIGURATION_ERROR, beyond, nowhere)
                reads = len(scan.listener.batches)
                await until(lambda: len(scan.listener.batches) > reads + 20)
                assert scan.listener.value(well) == 299
        told = [record.getMessage() for record in caplog.records]
        assert sorted(told) == [
            f"PLC: {name} cannot be read: PCCC status 50 (no such address), as {why}; BadConfigurationError"
            for name, why in (("N7:200", "N7 has 200 elements"), ("N99:0", "there is no file N99"))
        ]


def pccc_byte(at: int, to: int) -> Spoil:
    """A reply with another byte at a place behind the CIP head."""

    def spoil(request: bytes, reply: bytes) -> list[bytes]:
        if request[46:47] != b"\x4b":
            return [reply]
        place = 50 + at
        return [reply[:place] + bytes((reply[place] ^ to,)) + reply[place + 1 :]]

    return spoil


@pytest.mark.parametrize("at", [0, 3, 7, 9, 10])
async def test_a_reply_that_is_not_to_this_request_ends_the_connection(at: int) -> None:
    async with serving() as plc, proxy(plc.port) as between:
        its = tag("N7:4")
        async with scanning(SlcSource("PLC", settings(between.port), [its])) as scan:
            await scan.good(its)
            between.spoil = pccc_byte(at, 0x55)
            assert (await scan.lost()).quality == BAD_COMMUNICATION_ERROR
            assert {value for batch in scan.listener.batches for value in batch.values or ()} == {104}
    await all_quiet()


@pytest.mark.parametrize("fault", ["short", "late", "transaction"])
async def test_short_late_and_foreign_replies_are_no_values(fault: str) -> None:
    async with serving() as plc:
        tags = [tag(f"N7:{number}", scan=SLOW) for number in range(0, 200, 40)]
        source = SlcSource("PLC", settings(plc.port, timeout="300ms"), tags)
        wrong: list[object] = []
        for _ in range(2):
            plc.device.short = plc.device.transaction_shift = 0
            async with source.connect() as session:
                if fault == "short":
                    plc.device.short = 1
                elif fault == "transaction":
                    plc.device.transaction_shift = 1
                else:
                    plc.device.faults.delay_once = 0.6
                lost = 0
                for number, its in zip(range(100, 300, 40), tags, strict=True):
                    try:
                        batch = await session.read([its])
                        wrong += [batch.values] if batch.values != [number] else []
                    except ConnectionLost:
                        lost += 1
                assert lost == len(tags)
        assert wrong == []
    await all_quiet()


@pytest.mark.parametrize("kept", [0, 10, 30, 50, 60])
async def test_a_peer_that_closes_within_a_frame_is_lost_at_once(kept: int) -> None:
    async with serving() as plc:
        its = tag("N7:4")
        source = SlcSource("PLC", settings(plc.port, timeout="20s"), [its])
        async with scanning(source) as scan:
            await scan.good(its)
            began = time.monotonic()
            plc.device.faults.cut = kept
            assert (await scan.lost()).quality == BAD_CONNECTION_CLOSED
            assert time.monotonic() - began < 10
    assert source.threads_abandoned == 0
    await all_quiet()


async def test_a_write_that_is_not_answered_is_never_repeated() -> None:
    async with serving() as plc:
        its = tag("N7:3", writable=True)
        source = SlcSource("PLC", settings(plc.port, timeout="300ms"), [its])
        async with source.connect() as session:
            plc.device.faults.mute = True
            with pytest.raises(ConnectionLost) as error:
                await session.write([(its, 1), (its, 2)])
        assert error.value.quality == BAD_TIMEOUT
        plc.device.faults.mute = False
        async with source.connect() as session:
            assert (await session.read([its])).values == [1]
        assert len(plc.device.writes) == 1
    await all_quiet()


async def test_a_controller_that_comes_back_is_read_by_another_driver_object() -> None:
    port, its, listener = free_port(), tag("N7:3"), Listener()
    source = SlcSource("PLC", settings(port, timeout="1s"), [its])
    supervisor = Supervisor(source, listener, delays=lambda: itertools.repeat(0.05))
    run: asyncio.Task[Any] | None = None
    try:
        for _ in range(2):
            async with serving(port):
                run = run or asyncio.create_task(supervisor.run())
                await until(lambda: listener.quality(its) == GOOD)
            await until(lambda: listener.quality(its) != GOOD)
    finally:
        assert run is not None
        run.cancel()
        await asyncio.wait((run,))
    await all_quiet()


async def test_nobody_there_and_a_refused_connection_are_told() -> None:
    with pytest.raises(Unreachable, match=r"^connection refused$"):
        async with SlcSource("PLC", settings(free_port()), []).connect():
            pass
    async with serving() as plc:
        with pytest.raises(Unreachable, match=r"refused the connection: .*check path"):
            async with SlcSource("PLC", settings(plc.port, path="1/7"), []).connect():
                pass
    await all_quiet()


async def test_fifty_connections_leave_nothing_behind() -> None:
    async with serving() as plc:
        source = SlcSource("PLC", settings(plc.port), [tag("N7:3", scan=SLOW)])
        gc.collect()
        for number in range(50):
            async with source.connect() as session:
                if number % 10 == 0:
                    assert (await session.read(source.tags)).values == [103]
        await all_quiet()
        assert plc.device.open_connections == 0
        assert (source.threads_cut, source.threads_abandoned) == (0, 0)


# -- addresses, plans, values


@pytest.mark.parametrize(
    ("address", "more", "complaint"),
    [
        ("Speed", {}, "no address of an SLC"),
        ("N7", {}, "no address of an SLC"),
        ("N7:0/16", {}, "bits 0 to 15"),
        ("N7:256", {}, "0 to 255"),
        ("F8:0/3", {}, "no bits"),
        ("T4:0", {}, "bind its members"),
        ("T4:0.CU", {}, "there is no CU"),
        ("T4:0.ACC", {"writable": True}, "cannot be written"),
        ("L10:0/3", {"writable": True}, "a bit of a long cannot be written"),
        ("I:1/3", {"writable": True}, "cannot be written"),
        ("N7:0", {"encoding": "dint"}, "int or uint"),
        ("F8:0", {"encoding": "int"}, "is real"),
        ("N7:0", {"words": "ABCD"}, "leave words out"),
    ],
)
def test_what_is_no_address_is_refused_with_advice(
    address: str, more: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(AddressError, match=complaint):
        tag(address, **more)


def test_types_follow_from_the_file() -> None:
    assert tag("N7:0").type is ValueType.Int16
    assert tag("N7:0", natural=ValueType.UInt16).type is ValueType.UInt16
    assert tag("N7:0", "uint").type is ValueType.UInt16
    assert tag("F8:0", natural=ValueType.Double).type is ValueType.Float
    assert tag("L9:0/31").type is ValueType.Boolean
    assert tag("ST9:0", natural=ValueType.String).type is ValueType.String
    assert str(tag("b3/17").address) == "B3:1/1"
    assert str(tag("T4:0/DN").address) == "T4:0.DN"
    assert str(tag("t4:0.acc").address) == "T4:0.ACC"


def test_neighbours_share_a_request_no_larger_than_any_controller_takes() -> None:
    tags = [tag(f"N7:{number}") for number in (*range(50), 54, 90)] + [tag("N7:3/4"), tag("F8:0")]
    assert [(block.request, block.size) for block in plan(tags)] == [
        ("N7:0{40}", 80),
        ("N7:40{15}", 30),
        ("N7:90{1}", 2),
        ("F8:0{1}", 4),
    ]
    assert {its.name for block in plan(tags) for its in block.tags} == {its.name for its in tags}


async def test_a_source_shows_its_plan_and_its_traffic() -> None:
    async with serving() as plc:
        tags = [tag(f"N7:{number}") for number in (*range(41), 90)] + [tag("T4:1.ACC")]
        source = SlcSource("PLC", settings(plc.port), tags)
        assert isinstance(source, HasPlan)
        assert isinstance(source, HasTraffic)
        assert source.plan() == []
        async with scanning(source) as scan:
            await scan.good(*tags)
            during = source.traffic.requests
        assert during >= 7
        assert source.traffic.requests > during
        assert source.traffic.bytes_in > 200
    assert [str(block) for block in source.plan()] == [
        "fast: N7:0 to 39, 80 bytes for 40 points; ends: 80 bytes, what every controller takes",
        "fast: N7:40, 2 bytes for 1 point; ends: gap of 49 elements",
        "fast: N7:90, 2 bytes for 1 point; ends: last of its file and class",
        "fast: T4:1, 6 bytes for 1 point; ends: one element a request",
    ]
    assert source.bad_points() == ()


def test_members_of_one_timer_are_one_request() -> None:
    tags = [tag("T4:1.PRE"), tag("T4:1.ACC"), tag("T4:1.DN"), tag("T4:2.DN")]
    assert [(block.request, len(block.tags)) for block in plan(tags)] == [("T4:1.ACC", 3), ("T4:2.ACC", 1)]


def test_a_text_whose_length_cannot_be_is_not_decoded() -> None:
    (block,) = plan([tag("ST9:0")])
    assert block.decode(b"\x53\0" + bytes(82))[0] == [None]


ADDRESSES = ["N7:1", "B3:2", "F8:1", "L10:1", "ST9:1", "B3:1/3"]


@given(
    st.sampled_from(ADDRESSES),
    st.one_of(
        st.integers(-(2**33), 2**33),
        st.floats(width=32, allow_nan=False),
        st.text(max_size=90),
        st.booleans(),
    ),
)
def test_what_can_be_written_reads_back_the_same(address: str, value: Any) -> None:
    its = tag(address, scan=FAST, writable=True)
    try:
        _, raw = encode(its, value)
    except Unwritable:
        return
    (block,) = plan([its])
    assert len(raw) == 2 + block.size
    (back,), quality = block.decode(raw[2:])
    assert (back, quality) == (pytest.approx(value, rel=1e-6) if address == "F8:1" else value, GOOD)


@pytest.mark.parametrize(
    ("code", "extended", "quality", "words"),
    [
        (0x50, 0, BAD_CONFIGURATION_ERROR, "PCCC status 50 (no such address)"),
        (0xF0, 0x0B, BAD_USER_ACCESS_DENIED, "PCCC status F0/0B (access denied)"),
        (0x70, 0, BAD_INVALID_STATE, "PCCC status 70 (the processor is in program mode)"),
        (0x99, 0, BAD_UNEXPECTED_ERROR, "PCCC status 99"),
    ],
)
def test_a_status_has_a_meaning(code: int, extended: int, quality: int, words: str) -> None:
    assert status.meaning(code, extended) == (quality, words)


@given(st.binary(max_size=40))
def test_the_simulated_controller_answers_any_command(body: bytes) -> None:
    its = device()
    reply = its.answer(b"\x4b\x02\x20\x67\x24\x01" + body, 500)
    assert reply[0] == 0xCB


async def test_other_tags_are_read_over_the_connection_there_is() -> None:
    async with serving() as plc:
        kept, goes = tag("N7:3", scan=SLOW), tag("N7:100")
        source = SlcSource("PLC", settings(plc.port), [kept, goes])
        async with scanning(source) as scan:
            await scan.good(kept, goes)
            for turn in range(20):
                number = 50 + turn
                new = replace(tag(f"N7:{number}"), name="It")
                source.retag([kept, new] if turn % 2 else [new, kept, tag("F8:2")])
                count = len(scan.listener.batches)
                await until(lambda its=new, number=number: scan.listener.value(its) == 100 + number)  # type: ignore[misc]
                told = {id(its) for batch in scan.listener.batches[count:] for its in batch.tags}
                assert told <= set(map(id, source.tags))
            assert source.statistics["slow"].reads == 1
            source.retag([])
            await asyncio.sleep(0.1)
            assert source.statistics == {}
            source.retag([goes])
            await scan.good(goes)
            assert {batch.qualities for batch in scan.listener.batches} == {GOOD}
            assert plc.device.open_connections == 1
        source.retag([kept])  # of a connection that is no more: the next reads it
        async with scanning(source) as scan:
            await scan.good(kept)
