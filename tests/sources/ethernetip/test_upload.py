"""The controller's tag list: what it says of bindings, and what happens when it changes or makes no sense."""

from __future__ import annotations

import logging
import struct

import pytest
from support.eip_proxy import Spoil, proxy, service, with_message
from support.logix import everything, serving
from support.logix_tags import settings, tag
from support.net import until
from support.scanning import scanning

from sources.errors import Unreachable
from sources.ethernetip import link
from sources.ethernetip.driver import LogixSource
from sources.quality import BAD_CONFIGURATION_ERROR, GOOD
from sources.simulators.logix.spec import IdentitySpec, LogixSpec, TagSpec

GET_LIST = 0x55
READ_TEMPLATE = 0x4C


def simple(*tags: TagSpec, port: int = 0, serial: int = 1) -> LogixSpec:
    return LogixSpec(name="Simple", tags=tags, port=port, identity=IdentitySpec(serial=serial))


async def test_wrong_bindings_are_named_with_what_is_near_and_cost_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as plc:
        right = [tag("A_DINT"), tag("Program:Packer.Speed", "real")]
        wrong = [
            tag("Program:Packer.Spede", "real"),
            tag("A_REAL", "dint"),
            tag("Dints[1100]"),
            tag("Cycle.ACD"),
            tag("Secret"),
        ]
        with caplog.at_level(logging.INFO):
            async with scanning(LogixSource("PLC", settings(plc.port), [*right, *wrong])) as scan:
                await scan.good(*right)
                await scan.bad(BAD_CONFIGURATION_ERROR, *wrong)
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        near = [
            "Program:Packer.Spede: no tag 'Spede' in Program:Packer; did you mean 'Speed'?",
            "A_REAL: A_REAL is a REAL; write as: real",
            "Dints[1100]: Dints[1100] is beyond the array, whose last element is 1099",
            "Cycle.ACD: Cycle is a TIMER and has no member 'ACD'; did you mean 'ACC'?",
            "Secret: the External Access of Secret is None; make it Read/Write or Read Only",
        ]
        assert told == [f"PLC: {what}; its value is Bad" for what in near]


async def test_what_is_wrong_is_told_once_over_all_connections(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as plc:
        source = LogixSource("PLC", settings(plc.port), [tag("A_DINT"), tag("Nothing")])
        with caplog.at_level(logging.INFO):
            for _ in range(3):
                async with scanning(source) as scan:
                    await scan.good(tag("A_DINT"))
        assert sum("Nothing" in record.getMessage() for record in caplog.records) == 1
        assert sum("the controller is a" in record.getMessage() for record in caplog.records) == 1


async def test_of_very_many_wrong_bindings_only_some_get_a_line(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as plc:
        source = LogixSource("PLC", settings(plc.port), [tag(f"Nothing{index}") for index in range(100)])
        with caplog.at_level(logging.WARNING):
            async with source.connect():
                pass
        assert len(caplog.records) == 21
        assert "and 80 more" in caplog.records[-1].getMessage()


async def test_only_what_bindings_need_is_uploaded() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        async with LogixSource("PLC", settings(between.port), [tag("A_DINT")]).connect():
            assert not any(service(request) == READ_TEMPLATE for request in between.requests)
        before = len(between.requests)
        async with LogixSource("PLC", settings(between.port), [tag("Cycle.ACC")]).connect():
            pass
        templates = [request for request in between.requests[before:] if service(request) == READ_TEMPLATE]
        assert len(templates) == 1


async def test_another_tag_list_after_a_reconnect_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    speed, count = tag("Speed", "real"), tag("Count")
    async with serving(simple(TagSpec(name="Speed", type="REAL"))) as plc:
        source = LogixSource("PLC", settings(plc.port), [speed, count])
        async with scanning(source) as scan:
            await scan.good(speed)
            await scan.bad(BAD_CONFIGURATION_ERROR, count)
        port = plc.port
    caplog.clear()
    spec = simple(TagSpec(name="Count", type="DINT"), TagSpec(name="Speed", type="REAL"), port=port, serial=2)
    with caplog.at_level(logging.INFO):
        async with serving(spec) as plc, scanning(source) as scan:
            await scan.good(speed, count)
    told = " / ".join(record.getMessage() for record in caplog.records)
    assert "tag list has changed" in told
    assert "another controller answers" in told
    assert "all bindings fit" in told


async def test_a_tag_that_is_added_while_connected_is_found() -> None:
    speed, count = tag("Speed", "real"), tag("Count")
    async with (
        serving(simple(TagSpec(name="Speed", type="REAL"))) as old,
        serving(simple(TagSpec(name="Speed", type="REAL"), TagSpec(name="Count", type="DINT"))) as new,
        proxy(old.port) as between,
    ):
        source = LogixSource("PLC", settings(between.port), [speed, count], recheck=0.2)
        async with scanning(source) as scan:
            await scan.good(speed)
            await scan.bad(BAD_CONFIGURATION_ERROR, count)
            # From now on the next connection, for looking again, sees other tags ...
            between.target = new.port
            await until(lambda: between.accepted > 1)
            await until(lambda: "Count" in scan.session._plan.bindings.places)
            # ... and the old one still answers for what it has.
            await scan.good(speed)
        assert (source.threads_cut, source.threads_abandoned) == (0, 0)


async def test_a_download_that_keeps_the_names_changes_nothing() -> None:
    async with serving() as plc:
        tags = [tag("A_DINT"), tag("Cycle.ACC"), tag("Cycle.DN", "bool"), tag("Many007"), tag("Unit.One.A")]
        plc.controller.write_tag("A_DINT", 41)
        async with scanning(LogixSource("PLC", settings(plc.port), tags)) as scan:
            await scan.good(*tags)
            for number in range(5):
                plc.controller.write_tag("A_DINT", number)
                plc.controller.download(close_connections=False)
                await until(lambda number=number: scan.listener.value(tags[0]) == number)  # type: ignore[misc]
                assert scan.listener.value(tags[3]) == 21
            assert not scan.task.done()


async def test_a_download_that_closes_connections_is_a_lost_one_and_the_next_reads_rightly() -> None:
    async with serving() as plc:
        its = tag("Many007", writable=True)
        source = LogixSource("PLC", settings(plc.port, timeout="1s"), [its])
        async with scanning(source) as scan:
            await scan.good(its)
            plc.controller.download(close_connections=True)
            await scan.lost()
        async with scanning(source) as scan:
            await scan.good(its)
            assert scan.listener.value(its) == 21
            assert await scan.session.write([(its, 5)]) == [GOOD]
        assert plc.controller.read_tag("Many007") == 5
        assert plc.controller.read_tag("Many008") == 24


def endless(request: bytes, reply: bytes) -> list[bytes]:
    """There is more, and nothing of it."""
    return [with_message(reply, b"\xd5\0\x06\0")] if service(request) == GET_LIST else [reply]


def circular(request: bytes, reply: bytes) -> list[bytes]:
    """The same tag over and over."""
    if service(request) != GET_LIST:
        return [reply]
    row = struct.pack("<IH", 1, 1) + b"A" + struct.pack("<HIIIIII", 0xC4, 0, 0, 0, 0, 0, 0) + b"\0"
    return [with_message(reply, b"\xd5\0\x06\0" + row)]


def garbled(request: bytes, reply: bytes) -> list[bytes]:
    """Half a row."""
    return [with_message(reply, b"\xd5\0\0\0" + bytes(7))] if service(request) == GET_LIST else [reply]


def unsupported(request: bytes, reply: bytes) -> list[bytes]:
    """A device that has no such service."""
    return [with_message(reply, b"\xd5\0\x08\0")] if service(request) == GET_LIST else [reply]


@pytest.mark.parametrize("spoil", [endless, circular, garbled, unsupported])
async def test_a_tag_list_that_makes_no_sense_costs_the_validation_only(
    spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as plc, proxy(plc.port) as between:
        between.spoil = spoil
        tags = [tag("A_DINT"), tag("Cycle.ACC"), tag("Texts[3]", "string")]
        source = LogixSource("PLC", settings(between.port), tags)
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                async with scanning(source) as scan:
                    await scan.good(*tags)
                    assert scan.listener.value(tags[2]) == "third"
        assert sum("gives no tag list" in record.getMessage() for record in caplog.records) == 1
        assert sum(service(request) == GET_LIST for request in between.requests) <= 4
        assert (source.threads_cut, source.threads_abandoned) == (0, 0)


@pytest.mark.parametrize(
    "message", [b"\xcc\0\x06\0", b"\xcc\0\x05\0", b"\xcc\0\0\0" + bytes(30), b"\xcc\0\0\0"]
)
async def test_a_template_that_makes_no_sense_costs_its_own_tags_blocks_only(message: bytes) -> None:
    async with serving() as plc, proxy(plc.port) as between:
        tags = [tag("Unit.One.A"), tag("A_DINT"), tag("Cycle.ACC")]

        def spoil(request: bytes, reply: bytes) -> list[bytes]:
            # Class 0x6C, with an instance of two bytes: a template.
            is_template = service(request) == READ_TEMPLATE and request[48:50] == b"\x20\x6c"
            return [with_message(reply, message) if is_template else reply]

        between.spoil = spoil
        async with scanning(LogixSource("PLC", settings(between.port), tags)) as scan:
            # What cannot be looked into is read by its names, and no other tag suffers.
            await scan.good(*tags)
            assert all(not read.whole for packet in scan.session._plan.packets for read in packet.reads)


async def test_an_upload_that_never_ends_has_a_limit() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        count = 0

        def rising(request: bytes, reply: bytes) -> list[bytes]:
            nonlocal count
            if service(request) != GET_LIST:
                return [reply]
            count += 1
            row = (
                struct.pack("<IH", count, 1) + b"A" + struct.pack("<HIIIIII", 0xC4, 0, 0, 0, 0, 0, 0) + b"\0"
            )
            return [with_message(reply, b"\xd5\0\x06\0" + row)]

        between.spoil = rising
        source = LogixSource("PLC", settings(between.port, upload_timeout="300ms"), [tag("A_DINT")])
        with pytest.raises(Unreachable, match="the upload of the tag list failed"):
            async with source.connect():
                pass
        assert count > 3
        assert source.threads_abandoned == 0


async def test_an_old_controller_tells_no_access_rights() -> None:
    async with serving(everything(identity=IdentitySpec(major=16))) as plc:
        its = tag("A_DINT", writable=True)
        async with scanning(LogixSource("PLC", settings(plc.port), [its])) as scan:
            await scan.good(its)
            assert await scan.session.write([(its, 5)]) == [GOOD]


async def test_a_tag_list_without_sense_costs_the_validation_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nonsense(*_: object) -> None:
        raise KeyError("template")

    monkeypatch.setattr(link, "symbol_table", nonsense)
    its = tag("A_DINT")
    async with serving() as plc, scanning(LogixSource("PLC", settings(plc.port), [its])) as scan:
        await scan.good(its)
    assert "makes no sense" in caplog.text
