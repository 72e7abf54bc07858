"""Reading and scanning, against the simulated controller."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from support.logix import everything, packer, serving
from support.logix_tags import settings, tag
from support.net import until
from support.scanning import FAST, NORMAL, SLOW, grainy, scanning

from sources.ethernetip.decode import LogixTag
from sources.ethernetip.driver import LogixSource
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_TYPE_MISMATCH,
    BAD_USER_ACCESS_DENIED,
    GOOD,
)
from sources.simulators.logix.spec import IdentitySpec, LogixSpec, TagSpec

EVERY_KIND: list[tuple[str, str, Any]] = [
    ("A_BOOL", "bool", True),
    ("A_SINT", "sint", -8),
    ("A_INT", "int", -1600),
    ("A_DINT", "dint", -320000),
    ("A_LINT", "lint", -(2**40)),
    ("A_USINT", "usint", 200),
    ("A_UINT", "uint", 60000),
    ("A_UDINT", "udint", 4000000000),
    ("A_ULINT", "ulint", 2**63),
    ("A_REAL", "real", 1.5),
    ("A_LREAL", "lreal", 2.5e300),
    ("A_STRING", "string", "Under"),
    ("A_DINT.31", "bool", True),
    ("a_dint.0", "bool", False),
    ("Dints[999]", "dint", 999),
    ("Grid[1,2,3]", "int", 123),
    ("Flags[33]", "bool", True),
    ("Texts[3]", "string", "third"),
    ("Short", "string", "x" * 20),
    ("Cycle.PRE", "dint", 5000),
    ("Cycle.ACC", "dint", 1234),
    ("Cycle.DN", "bool", True),
    ("Cycle.EN", "bool", False),
    ("Boxes.ACC", "dint", 7),
    ("Boxes.CU", "bool", True),
    ("Unit.Flag", "bool", True),
    ("Unit.Total", "lint", 2**50),
    ("Unit.One.On", "bool", True),
    ("Unit.One.Label", "string", "inner"),
    ("Unit.Several[2].A", "dint", 22),
    ("Unit.Delay.TT", "bool", True),
    ("Unit.Bits[39]", "bool", True),
    ("Unit.Rates[4]", "real", 4.5),
    ("Unit.Code", "string", "code"),
    ("Units[11].Several[1].Off", "bool", True),
    ("Program:Packer.Speed", "real", 99.5),
    ("Program:Packer.Unit.One.A", "dint", 5),
    ("Program:Palletizer.Count", "udint", 17),
    ("Shown", "dint", 7),
]


def fill(controller: Any) -> None:
    """Put the values of EVERY_KIND into the controller."""
    for address, _, value in EVERY_KIND:
        if "." in address and address.rsplit(".", 1)[1].isdecimal():
            continue
        controller.write_tag(address, value)


def tags_of_every_kind() -> list[LogixTag]:
    return [tag(address, encoding) for address, encoding, _ in EVERY_KIND]


@pytest.mark.parametrize("connection", ["large", "small"])
@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("strict", [True, False])
async def test_every_kind_of_value_is_read(connection: str, validate: bool, strict: bool) -> None:
    async with serving() as plc:
        fill(plc.controller)
        plc.controller.faults.strict = strict
        tags = tags_of_every_kind()
        source = LogixSource("PLC", settings(plc.port, connection=connection, validate=validate), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert {its.name: scan.listener.value(its) for its in tags} == {
                address: value for address, _, value in EVERY_KIND
            }
            batch = await scan.session.read(tags)
            assert list(batch.tags) == tags
            assert batch.values == [value for _, _, value in EVERY_KIND]
        assert plc.controller.status()["connections"] == 0
    assert (source.threads_cut, source.threads_abandoned) == (0, 0)


async def test_a_micro800_is_asked_one_thing_at_a_time_and_without_a_route() -> None:
    identity = IdentitySpec(product="2080-LC50-24QWB", major=12)
    async with serving(everything(identity=identity)) as plc:
        fill(plc.controller)
        tags = tags_of_every_kind()
        async with scanning(LogixSource("PLC", settings(plc.port, path=""), tags)) as scan:
            await scan.good(*tags)
            assert [scan.listener.value(its) for its in tags] == [value for _, _, value in EVERY_KIND]
            assert {len(packet.reads) for packet in scan.session._plan.packets} == {1}


async def test_blocks_keep_their_tuple_and_carry_the_time_they_came() -> None:
    async with serving() as plc:
        tags = [tag("A_DINT"), tag("A_REAL", "real"), tag("A_INT", "int", NORMAL)]
        async with scanning(LogixSource("PLC", settings(plc.port), tags)) as scan:
            await until(lambda: len(scan.listener.batches) > 12)
        batches = scan.listener.batches
        assert len({id(batch.tags) for batch in batches}) == 2
        assert all(batch.qualities == GOOD and batch.device_times is None for batch in batches)
        received = [batch.received for batch in batches if batch.tags[0].scan is FAST]
        assert received == sorted(received)


async def test_requests_are_timed_finer_than_the_loop_s_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    grainy(monkeypatch, 0.05)
    async with serving() as plc:
        its = tag("A_DINT")
        source = LogixSource("PLC", settings(plc.port), [its])
        async with scanning(source) as scan:
            await scan.good(its)
            await until(lambda: 0 < source.statistics["fast"].measured < 0.04, within=5)


async def test_many_values_take_few_requests() -> None:
    async with serving() as plc:
        tags = [tag(f"Dints[{index}]", scan=SLOW) for index in range(1000)]
        tags += [
            tag(f"Units[{index}].Rates[{rate}]", "real", SLOW) for index in range(12) for rate in range(5)
        ]
        source = LogixSource("PLC", settings(plc.port), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert [scan.listener.value(its) for its in tags[:1000]] == list(range(1000))
        assert source.statistics["slow"].blocks == 2
        assert source.statistics["slow"].reads == 2


@pytest.mark.parametrize("connection", ["large", "small"])
@pytest.mark.parametrize("count", [998, 999, 1000, 1001])
async def test_arrays_around_the_size_of_a_packet_are_read(connection: str, count: int) -> None:
    async with serving() as plc:
        tags = [tag(f"Dints[{index}]", scan=SLOW) for index in range(count)]
        source = LogixSource("PLC", settings(plc.port, connection=connection), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert [scan.listener.value(its) for its in tags] == list(range(count))


async def test_a_text_larger_than_a_packet_comes_and_goes_in_fragments() -> None:
    spec = LogixSpec(name="Long", tags=(TagSpec(name="Long", type="STRING(2000)"),))
    text = "".join(chr(65 + index % 26) for index in range(1999))
    async with serving(spec) as plc:
        plc.controller.faults.strict = True
        plc.controller.write_tag("Long", text)
        its = tag("Long", "string", writable=True)
        async with scanning(LogixSource("PLC", settings(plc.port, connection="small"), [its])) as scan:
            await scan.good(its)
            assert [packet.fragments for packet in scan.session._plan.packets] == [5]
            assert scan.listener.value(its) == text
            assert await scan.session.write([(its, text[::-1])]) == [GOOD]
            assert plc.controller.read_tag("Long") == text[::-1]


async def test_every_byte_of_a_text_is_a_character() -> None:
    async with serving() as plc:
        plc.controller.write_tag("A_STRING", {"LEN": 2, "DATA": [-4, 65]})
        its = tag("A_STRING", "string")
        async with scanning(LogixSource("PLC", settings(plc.port), [its])) as scan:
            await scan.good(its)
            assert scan.listener.value(its) == "üA"


async def test_the_large_connection_gives_way_to_the_small_one() -> None:
    async with serving() as plc:
        plc.controller.faults.refuse_large = True
        tags = [tag(f"Many{index:03}") for index in range(250)]
        async with scanning(LogixSource("PLC", settings(plc.port), tags)) as scan:
            await scan.good(*tags)
            assert [scan.listener.value(its) for its in tags] == [index * 3 for index in range(250)]
            assert scan.session._line.limits.size == 500


async def test_the_packers_values_move() -> None:
    async with serving(packer()) as plc:
        tags = [
            tag("Program:Packer.PML.Status.StateCurrent"),
            tag("Program:Packer.PML.Status.CurMachSpeed", "real"),
            tag("Program:Packer.PML.Admin.ProdConsumedCount[0].Count"),
            tag("Program:Packer.GlueTemp", "real"),
            tag("Program:Packer.Safety.3", "bool"),
        ]
        async with scanning(LogixSource("PackerPLC", settings(plc.port), tags)) as scan:
            await scan.good(*tags)
            first = scan.listener.value(tags[3])
            await until(lambda: scan.listener.value(tags[3]) != first)


async def test_a_status_is_the_quality_of_its_tag_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as plc:
        well, sick = tag("A_DINT"), tag("A_INT", "int")
        source = LogixSource("PLC", settings(plc.port), [well, sick])
        with caplog.at_level(logging.INFO):
            async with scanning(source) as scan:
                await scan.good(well, sick)
                for status, quality in (
                    ((0x0F,), BAD_USER_ACCESS_DENIED),
                    ((0xFF, 0x2107), BAD_TYPE_MISMATCH),
                ):
                    plc.controller.fail_tag("A_INT", status)
                    await scan.bad(quality, sick)
                    assert scan.listener.quality(well) == GOOD
                plc.controller.fail_tag("A_INT", None)
                await scan.good(sick)
        told = [record.getMessage() for record in caplog.records if "A_INT" in record.getMessage()]
        assert told == [
            "PLC: A_INT cannot be read: CIP status 0F (access denied); BadUserAccessDenied",
            "PLC: A_INT cannot be read: CIP status FF/2107 (another type); BadTypeMismatch",
            "PLC: A_INT can be read again",
        ]


async def test_a_whole_that_is_refused_is_read_value_by_value_from_then_on() -> None:
    async with serving() as plc:
        tags = [tag(f"Dints[{index}]") for index in range(5)] + [tag("A_DINT")]
        async with scanning(LogixSource("PLC", settings(plc.port), tags)) as scan:
            await scan.good(*tags)
            assert [str(read) for packet in scan.session._plan.packets for read in packet.reads] == [
                "Dints[0] (5 elements)",
                "A_DINT",
            ]
            plc.controller.fail_tag("Dints", (0x0C,))
            await until(lambda: len(scan.session._plan.alone) == 5)
            plc.controller.fail_tag("Dints", None)
            await scan.good(*tags)
            assert len([read for packet in scan.session._plan.packets for read in packet.reads]) == 6


async def test_what_a_read_learns_the_scan_heeds() -> None:
    async with serving() as plc:
        tags = [tag(f"Dints[{index}]", scan=NORMAL) for index in range(5)]
        async with scanning(LogixSource("PLC", settings(plc.port), tags)) as scan:
            await scan.good(*tags)
            plc.controller.fail_tag("Dints", (0x0C,))
            await scan.session.read(tags)
            plc.controller.fail_tag("Dints", None)
            await until(lambda: sum(len(packet.reads) for packet in scan.session._plan.packets) == 5)
            await scan.good(*tags)


async def test_a_read_goes_past_the_scan_and_names_what_is_not_there() -> None:
    async with serving() as plc:
        there, gone = tag("A_DINT", scan=SLOW), tag("A_DIMT", scan=SLOW)
        async with scanning(LogixSource("PLC", settings(plc.port), [there, gone])) as scan:
            await scan.good(there)
            plc.controller.write_tag("A_DINT", 77)
            batch = await scan.session.read([gone, there])
            assert (batch.values, batch.qualities) == ([None, 77], [BAD_CONFIGURATION_ERROR, GOOD])


async def test_a_source_without_tags_keeps_its_connection() -> None:
    async with serving() as plc, scanning(LogixSource("PLC", settings(plc.port), [])) as scan:
        await until(lambda: plc.controller.status()["connections"] == 1)
        assert not scan.task.done()


async def test_a_silent_line_says_a_word_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.ethernetip.scan.KEEP_ALIVE", 0.05)
    async with serving() as plc:
        its = tag("A_DINT", scan=SLOW)
        async with scanning(LogixSource("PLC", settings(plc.port, timeout="1s"), [its])) as scan:
            await scan.good(its)
            await asyncio.sleep(0.3)
            assert not scan.task.done()
            plc.controller.faults.mute = True
            await scan.lost()


async def test_an_overrun_is_skipped_and_counted() -> None:
    async with serving() as plc:
        its = tag("A_DINT")
        source = LogixSource("PLC", settings(plc.port, timeout="20s"), [its])
        async with scanning(source) as scan:
            await scan.good(its)
            plc.controller.faults.delay = 0.12
            await until(lambda: source.statistics["fast"].overruns > 3)
            plc.controller.faults.delay = 0.0
            before = source.statistics["fast"].reads
            await until(lambda: source.statistics["fast"].reads > before + 5)
            assert source.statistics["fast"].planned == 0.05


async def test_tags_replaced_between_connections_are_read_over_the_next() -> None:
    async with serving() as plc:
        source = LogixSource("PLC", settings(plc.port), [tag("A_DINT")])
        async with scanning(source) as scan:
            await scan.good(tag("A_DINT"))
        source.retag([tag("A_INT", "int")])
        async with scanning(source) as scan:
            await scan.good(tag("A_INT", "int"))
            assert BAD_DEVICE_FAILURE not in scan.listener.qualities.values()
            assert set(scan.listener.qualities) == {"A_INT"}
