"""Writing, against the simulated controller, strict about what follows a request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.eip_proxy import proxy, service, with_message
from support.logix import everything, serving
from support.logix_tags import settings, tag
from support.net import until
from support.scanning import SLOW, scanning

from sources.errors import ConnectionLost
from sources.ethernetip import codec
from sources.ethernetip.driver import LogixSource
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_CONNECTION_CLOSED,
    BAD_INVALID_STATE,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    BAD_TYPE_MISMATCH,
    BAD_USER_ACCESS_DENIED,
    GOOD,
    Quality,
)
from sources.simulators.logix.faults import Mode
from sources.simulators.logix.spec import IdentitySpec
from sources.tag import Value

WRITES: list[tuple[str, str, Any]] = [
    ("A_BOOL", "bool", True),
    ("A_SINT", "sint", -128),
    ("A_INT", "int", -32768),
    ("A_DINT", "dint", -(2**31)),
    ("A_LINT", "lint", -(2**63)),
    ("A_USINT", "usint", 255),
    ("A_UINT", "uint", 65535),
    ("A_UDINT", "udint", 2**32 - 1),
    ("A_ULINT", "ulint", 2**64 - 1),
    ("A_REAL", "real", -1.5),
    ("A_LREAL", "lreal", 1e-300),
    ("A_STRING", "string", "written"),
    ("Short", "string", "y" * 17),
    ("Dints[1099]", "dint", 5),
    ("Grid[0,1,2]", "int", 6),
    ("Texts[19]", "string", "last"),
    ("Cycle.PRE", "dint", 250),
    ("Boxes.ACC", "dint", 3),
    ("Unit.Flag", "bool", True),
    ("Unit.One.Off", "bool", True),
    ("Unit.Several[2].Label", "string", "deep"),
    ("Unit.Rates[4]", "real", 0.25),
    ("Program:Packer.Unit.One.A", "dint", 12),
    ("Program:Packer.Speed", "real", 80.0),
]
BITS = [
    "A_SINT.7",
    "A_INT.15",
    "A_DINT.0",
    "A_DINT.31",
    "A_LINT.63",
    "Flags[0]",
    "Flags[63]",
    "Unit.Bits[39]",
]


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("together", [True, False])
async def test_every_kind_of_value_is_written(validate: bool, together: bool) -> None:
    async with serving() as plc:
        plc.controller.faults.strict = True
        tags = [tag(address, encoding, SLOW, writable=True) for address, encoding, _ in WRITES]
        values: list[Value] = [value for _, _, value in WRITES]
        source = LogixSource("PLC", settings(plc.port, validate=validate), tags)
        async with source.connect() as session:
            pairs = list(zip(tags, values, strict=True))
            groups = [pairs] if together else [[pair] for pair in pairs]
            for group in groups:
                assert await session.write(group) == [GOOD] * len(group)
            batch = await session.read(tags)
            assert batch.values == values
        for (address, _, value), its in zip(WRITES, tags, strict=True):
            assert plc.controller.read_tag(address) == value, its


@pytest.mark.parametrize("validate", [True, False])
async def test_a_bit_is_written_and_no_other_is_touched(validate: bool) -> None:
    async with serving() as plc:
        plc.controller.faults.strict = True
        tags = [tag(address, "bool", SLOW, writable=True) for address in BITS]
        words = {"A_SINT": 0x55, "A_INT": 0x5555, "A_DINT": 0x55555555, "A_LINT": 0x5555555555555555}
        for name, word in words.items():
            plc.controller.write_tag(name, word)
        source = LogixSource("PLC", settings(plc.port, validate=validate), tags)
        async with source.connect() as session:
            for to in (True, False, True):
                assert await session.write([(its, to) for its in tags]) == [GOOD] * len(tags)
                batch = await session.read(tags)
                assert batch.values == [to] * len(tags)
        assert plc.controller.read_tag("A_INT") == 0x5555 - 0x8000
        assert plc.controller.read_tag("A_DINT") == 0x55555555 - 0x80000000
        flags = plc.controller.read_tag("Flags")
        assert isinstance(flags, list)
        assert [index for index, on in enumerate(flags) if on] == [0, 63]


async def test_a_micro800_is_written_one_at_a_time() -> None:
    async with serving(everything(identity=IdentitySpec(product="2080-LC50-24QWB", major=12))) as plc:
        plc.controller.faults.strict = True
        tags = [tag("A_DINT", scan=SLOW, writable=True), tag("A_REAL", "real", SLOW, writable=True)]
        async with LogixSource("PLC", settings(plc.port, path=""), tags).connect() as session:
            assert await session.write([(tags[0], 5), (tags[1], 2.5)]) == [GOOD, GOOD]
        assert (plc.controller.read_tag("A_DINT"), plc.controller.read_tag("A_REAL")) == (5, 2.5)


@pytest.mark.parametrize(
    ("address", "encoding", "value", "quality"),
    [
        ("A_DINT", "dint", 2**31, BAD_OUT_OF_RANGE),
        ("A_DINT", "dint", 1.5, BAD_TYPE_MISMATCH),
        ("A_DINT", "dint", True, BAD_TYPE_MISMATCH),
        ("A_BOOL", "bool", 1, BAD_TYPE_MISMATCH),
        ("A_DINT.4", "bool", 1, BAD_TYPE_MISMATCH),
        ("A_REAL", "real", 1e39, BAD_OUT_OF_RANGE),
        ("A_STRING", "string", "x" * 83, BAD_OUT_OF_RANGE),
        ("Short", "string", "x" * 21, BAD_OUT_OF_RANGE),
        ("A_STRING", "string", None, BAD_TYPE_MISMATCH),
        ("Shown", "dint", 5, BAD_NOT_WRITABLE),
        ("Pi", "real", 5.0, BAD_NOT_WRITABLE),
        ("A_DIMT", "dint", 5, BAD_CONFIGURATION_ERROR),
    ],
)
async def test_what_cannot_be_written_is_refused(
    address: str, encoding: str, value: Value, quality: Quality
) -> None:
    async with serving() as plc:
        its, other = tag(address, encoding, SLOW, writable=True), tag("A_INT", "int", SLOW, writable=True)
        async with LogixSource("PLC", settings(plc.port), [its, other]).connect() as session:
            assert await session.write([(other, 1), (its, value), (other, 2)]) == [GOOD, quality, GOOD]
        assert plc.controller.read_tag("A_INT") == 2


async def test_a_tag_that_is_not_writable_is_not_sent() -> None:
    async with serving() as plc:
        its = tag("A_DINT", scan=SLOW)
        async with LogixSource("PLC", settings(plc.port), [its]).connect() as session:
            assert await session.write([(its, 5)]) == [BAD_NOT_WRITABLE]
            assert await session.write([]) == []
        assert plc.controller.read_tag("A_DINT") == 0


async def test_the_controllers_refusal_is_the_answer() -> None:
    async with serving() as plc:
        first, second = tag("A_DINT", scan=SLOW, writable=True), tag("A_INT", "int", SLOW, writable=True)
        async with LogixSource("PLC", settings(plc.port), [first, second]).connect() as session:
            plc.controller.fail_tag("A_DINT", (0x0F,))
            assert await session.write([(first, 1), (second, 1)]) == [BAD_USER_ACCESS_DENIED, GOOD]
            plc.controller.faults.mode = Mode.RUN
            plc.controller.fail_tag("A_DINT", None)
            assert await session.write([(first, 1)]) == [BAD_INVALID_STATE]


async def test_a_write_goes_before_the_next_packet_of_the_scan() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        tags = [tag(f"Many{index:03}", scan=SLOW) for index in range(200)]
        target = tag("A_DINT", scan=SLOW, writable=True)
        source = LogixSource(
            "PLC", settings(between.port, connection="small", timeout="20s"), [*tags, target]
        )
        async with scanning(source) as scan:
            plc.controller.faults.delay = 0.05
            await until(lambda: len(scan.listener.batches) > 1, every=0.005)
            assert await scan.session.write([(target, 5)]) == [GOOD]
            assert len(scan.listener.batches) < len(scan.session._plan.packets)
            plc.controller.faults.delay = 0.0


async def test_a_write_that_is_not_answered_is_never_repeated() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        its = tag("A_DINT", scan=SLOW, writable=True)
        source = LogixSource("PLC", settings(between.port, timeout="1s"), [its])
        async with scanning(source) as scan:
            await scan.good(its)
            between.spoil = lambda _request, _reply: []
            with pytest.raises(ConnectionLost) as error:
                await scan.session.write([(its, 5)])
            assert error.value.quality == BAD_TIMEOUT
            assert (await scan.lost()).quality == BAD_TIMEOUT
            assert await scan.session.write([(its, 6)]) == [BAD_NOT_CONNECTED]
            with pytest.raises(ConnectionLost):
                await scan.session.read([its])
        assert sum(service(request) == codec.WRITE_TAG for request in between.requests) == 1
        assert plc.controller.read_tag("A_DINT") == 5


@pytest.mark.parametrize("kept", [0, 10, 30, 47, 49])
async def test_a_reply_cut_short_leaves_the_outcome_unknown(kept: int) -> None:
    async with serving() as plc, proxy(plc.port) as between:
        its = tag("A_DINT", scan=SLOW, writable=True)
        async with LogixSource("PLC", settings(between.port), [its]).connect() as session:
            between.spoil, between.close_after = lambda _request, reply: [reply[:kept]], True
            with pytest.raises(ConnectionLost) as error:
                await session.write([(its, 5)])
            assert error.value.quality == BAD_CONNECTION_CLOSED


async def test_replies_that_are_not_all_there_leave_the_outcome_unknown() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        tags = [tag("A_DINT", scan=SLOW, writable=True), tag("A_INT", "int", SLOW, writable=True)]
        async with LogixSource("PLC", settings(between.port), tags).connect() as session:
            one = b"\x8a\0\0\0\x01\0\x04\0\xcd\0\0\0"
            between.spoil = lambda _request, reply: [with_message(reply, one)]
            with pytest.raises(ConnectionLost, match="1 replies to 2 services") as error:
                await session.write([(its, 5) for its in tags])
            assert error.value.quality == BAD_COMMUNICATION_ERROR


async def test_a_controller_without_multiple_services_gets_each_write_once() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        tags = [tag("A_DINT", scan=SLOW, writable=True), tag("A_INT", "int", SLOW, writable=True)]

        def refuse(request: bytes, reply: bytes) -> list[bytes]:
            several = service(request) == codec.MULTIPLE_SERVICE
            return [with_message(reply, b"\x8a\0\x08\0") if several else reply]

        async with LogixSource("PLC", settings(between.port), tags).connect() as session:
            between.spoil = refuse
            assert await session.write([(tags[0], 5), (tags[1], 6)]) == [GOOD, GOOD]
            singles = [service(request) for request in between.requests[-2:]]
            assert singles == [codec.WRITE_TAG] * 2
            batch = await session.read(tags)
            assert batch.values == [5, 6]
            assert not session._line.limits.multiple


async def test_too_many_commands_at_once_are_refused_not_queued() -> None:
    async with serving() as plc:
        its = tag("A_DINT", scan=SLOW, writable=True)
        async with LogixSource("PLC", settings(plc.port, timeout="20s"), [its]).connect() as session:
            plc.controller.faults.delay_once = 0.5
            outcomes = await asyncio.gather(*(session.write([(its, number)]) for number in range(80)))
        assert {quality for (quality,) in outcomes} == {GOOD, BAD_RESOURCE_UNAVAILABLE}


async def test_a_cancelled_write_leaves_the_line_in_order() -> None:
    async with serving() as plc:
        its = tag("A_DINT", scan=SLOW, writable=True)
        async with LogixSource("PLC", settings(plc.port, timeout="20s"), [its]).connect() as session:
            plc.controller.faults.delay_once = 0.2
            task = asyncio.create_task(session.write([(its, 5)]))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await session.write([(its, 6)]) == [GOOD]
            assert (await session.read([its])).values == [6]
