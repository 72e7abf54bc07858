"""Another program in the controller: noticed, followed by another plan, and never another tag's value."""

from __future__ import annotations

import asyncio
import logging
import math
import struct
import time

import pytest
from pydantic import JsonValue
from support.eip_proxy import proxy
from support.logix import Serving, serving
from support.logix_tags import settings, tag
from support.net import until
from support.scanning import FAST, Listener, Scanning, scanning

import sources.ethernetip.scan
from sources.ethernetip import changes
from sources.ethernetip.codec import Reply
from sources.ethernetip.driver import LogixSession, LogixSource
from sources.quality import BAD_CONFIGURATION_ERROR, BAD_TYPE_MISMATCH, GOOD
from sources.simulators.logix.spec import IdentitySpec, LogixSpec, MemberSpec, TagSpec, TypeSpec

A, B, C = 1_000, 2_000, 3_000
"""What `recipe` puts into the members of these names, and a number; so each value says whose it is."""


def recipe(order: str, generation: int) -> LogixSpec:
    """A structure with its members in that order, in any of which its handle is the same."""
    kind = TypeSpec(name="Recipe", members=tuple(MemberSpec(name=name, type="DINT") for name in order))
    own: JsonValue = {"A": A + generation, "B": B + generation, "C": C + generation}
    each = TagSpec(name="Each", type="Recipe[4]")
    tags = (TagSpec(name="It", type="Recipe"), each, TagSpec(name="Alone", type="DINT"))
    values: dict[str, JsonValue] = {"It": own, "Each": [own] * 4, "Alone": generation}
    return LogixSpec(name="Recipes", types=(kind,), tags=tags, values=values)


WANTED = [tag(f"{where}.{name}") for where in ("It", "Each[0]", "Each[2]") for name in "ABC"]
OWN = {"A": A, "B": B, "C": C}


def strangers(listener: Listener) -> list[tuple[str, object]]:
    """Values that came for a tag and are another's."""
    return [
        (its.name, value)
        for batch in listener.batches
        for its, value in zip(batch.tags, batch.values or (), strict=False)
        if its.name[-1] in OWN
        and value is not None
        and value not in range(OWN[its.name[-1]], OWN[its.name[-1]] + 1000)
    ]


def wholes(scan: Scanning[LogixSession]) -> int:
    """How many reads bring a structure whole."""
    return sum(read.guarded for packet in scan.session._plan.packets for read in packet.reads)


def program(plc: Serving, spec: LogixSpec) -> None:
    """Another program, while all connections stand."""
    plc.controller.replace(spec, close_connections=False)


@pytest.mark.parametrize(("connection", "connections"), [("large", 1), ("small", 3)])
async def test_members_that_change_places_never_pass_for_each_other(
    connection: str, connections: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(recipe("ABC", 0)) as plc:
        source = LogixSource(
            "PLC", settings(plc.port, connection=connection, connections=connections), WANTED
        )
        async with scanning(source) as scan:
            await scan.good(*WANTED)
            assert wholes(scan) == 2
            for generation, order in enumerate(["BAC", "CAB"], start=1):
                with caplog.at_level(logging.WARNING):
                    program(plc, recipe(order, generation))
                    await until(
                        lambda g=generation: scan.listener.value(WANTED[0]) == A + g  # type: ignore[misc]
                    )
                    # The next upload shows the new layout, and wholes are read again.
                    await until(lambda g=generation: caplog.text.count("tag list has changed") == g)  # type: ignore[misc]
                    await until(lambda: wholes(scan) == 2, what="wholes again")
            assert strangers(scan.listener) == []
            assert set(scan.listener.qualities.values()) == {GOOD}


async def test_a_read_between_the_change_and_its_discovery_is_right_too() -> None:
    async with serving(recipe("ABC", 0)) as plc:
        source = LogixSource("PLC", settings(plc.port), WANTED)
        async with source.connect() as session:
            for generation, order in enumerate(["BAC", "CAB", "ABC"], start=1):
                program(plc, recipe(order, generation))
                batch = await session.read(WANTED)
                assert batch.values == [OWN[its.name[-1]] + generation for its in WANTED]


async def test_a_whole_that_takes_several_packets_is_not_taken_from_two_programs() -> None:
    filling = [f"Filling{number:03}" for number in range(150)]

    def spec(order: str, generation: int) -> LogixSpec:
        plain = recipe(order, generation)
        more = (MemberSpec(name=name, type="DINT") for name in filling)
        kind = TypeSpec(name="Recipe", members=(*plain.types[0].members, *more))
        tags = (TagSpec(name="It", type="Recipe"),)
        return LogixSpec(name="Big", types=(kind,), tags=tags, values={"It": plain.values["It"]})

    tags = [*WANTED[:3], *(tag(f"It.{name}") for name in filling)]
    async with (
        serving(spec("ABC", 0)) as plc,
        proxy(plc.port) as between,
        scanning(LogixSource("PLC", settings(between.port, connection="small"), tags)) as scan,
    ):
        await scan.good(*tags)
        (packet,) = (packet for packet in scan.session._plan.packets if packet.reads[0].guarded)
        assert packet.fragments > 1
        generation = 0

        def midway(request: bytes, reply: bytes) -> list[bytes]:
            # The other program comes behind the first fragment.
            nonlocal generation
            if generation == 0 and request[46:47] == b"\x52":
                generation = 1
                program(plc, spec("BAC", 1))
            return [reply]

        between.spoil = midway
        await until(lambda: scan.listener.value(WANTED[0]) == A + 1)
        assert strangers(scan.listener) == []


async def test_a_grid_that_is_laid_out_otherwise_keeps_its_elements_apart() -> None:
    def spec(rows: int, columns: int) -> LogixSpec:
        values: dict[str, JsonValue] = {
            f"Grid[{a},{b}]": 100 * a + b for a in range(rows) for b in range(columns)
        }
        return LogixSpec(name="G", tags=(TagSpec(name="Grid", type=f"INT[{rows},{columns}]"),), values=values)

    tags = [tag(f"Grid[{a},{b}]", "int") for a in range(4) for b in range(4)]
    async with serving(spec(4, 6)) as plc, scanning(LogixSource("PLC", settings(plc.port), tags)) as scan:
        await scan.good(*tags)
        program(plc, spec(6, 4))
        batches = len(scan.listener.batches)
        await until(lambda: len(scan.listener.batches) > batches + 3)
        program(plc, spec(4, 6))
        await until(lambda: wholes(scan) == 1)
        for batch in scan.listener.batches:
            got = dict(zip((its.name for its in batch.tags), batch.values or (), strict=True))
            assert got == {f"Grid[{a},{b}]": 100 * a + b for a in range(4) for b in range(4)} or not got


async def test_without_counters_nothing_is_read_whole_that_could_be_misread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    retyped = tag("Alone")
    async with serving(recipe("ABC", 0)) as plc:
        plc.controller.faults.no_counters = True
        source = LogixSource("PLC", settings(plc.port), [*WANTED, retyped], recheck=0.1)
        async with scanning(source) as scan:
            await scan.good(*WANTED, retyped)
            assert wholes(scan) == 0
            program(plc, recipe("CBA", 1))
            await until(lambda: scan.listener.value(WANTED[0]) == A + 1)
            assert strangers(scan.listener) == []
            # The tag list is all that tells: it is uploaded again now and then, unasked.
            with caplog.at_level(logging.WARNING):
                await until(lambda: "tag list has changed" in caplog.text)


async def test_a_tag_that_has_another_type_is_bad_until_it_is_planned_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alone, recipes = tag("Alone", writable=True), WANTED
    async with (
        serving(recipe("ABC", 0)) as plc,
        scanning(LogixSource("PLC", settings(plc.port), [alone, *recipes])) as scan,
    ):
        await scan.good(alone, *recipes)
        spec = recipe("ABC", 1)
        real = TagSpec(name="Alone", type="REAL")
        changed = spec.model_copy(update={"tags": (*spec.tags[:2], real)})
        program(plc, changed)
        assert (await scan.session.write([(alone, 5)])) == [BAD_TYPE_MISMATCH]
        assert plc.controller.read_tag("Alone") == 1.0
        await scan.bad(BAD_CONFIGURATION_ERROR, alone)
        assert "Alone is a REAL; write as: real" in caplog.text
        values = [
            value
            for batch in scan.listener.batches
            for its, value in zip(batch.tags, batch.values or (), strict=False)
            if its is alone
        ]
        assert set(values) <= {0, None}


async def test_a_bit_is_not_written_into_what_is_no_longer_the_word_it_was() -> None:
    bools = LogixSpec(name="F", tags=(TagSpec(name="Flags", type="BOOL[64]"),))
    dints = LogixSpec(name="F", tags=(TagSpec(name="Flags", type="DINT[64]"),))
    bit = tag("Flags[33]", "bool", writable=True)
    async with serving(bools) as plc:
        plc.controller.faults.strict = True
        async with LogixSource("PLC", settings(plc.port), [bit]).connect() as session:
            assert await session.write([(bit, True)]) == [GOOD]
            flags = plc.controller.read_tag("Flags")
            assert isinstance(flags, list)
            assert flags[33]
            program(plc, dints)
            assert await session.write([(bit, True)]) == [BAD_TYPE_MISMATCH]
            assert plc.controller.read_tag("Flags") == [0] * 64


async def test_a_write_by_name_reaches_the_member_of_that_name_in_any_program() -> None:
    its = tag("It.B", writable=True)
    async with (
        serving(recipe("ABC", 0)) as plc,
        scanning(LogixSource("PLC", settings(plc.port), [*WANTED, its])) as scan,
    ):
        for generation, order in enumerate(["BAC", "CBA", "ABC"], start=1):
            program(plc, recipe(order, generation))
            assert await scan.session.write([(its, B + 500 + generation)]) == [GOOD]
            expected = {"A": A + generation, "B": B + 500 + generation, "C": C + generation}
            assert plc.controller.read_tag("It") == expected
        assert strangers(scan.listener) == []


async def test_renumbered_instances_lead_to_a_new_upload_and_the_same_plan(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(recipe("ABC", 0)) as plc, proxy(plc.port) as between:
        async with scanning(LogixSource("PLC", settings(between.port), WANTED)) as scan:
            await scan.good(*WANTED)
            accepted = between.accepted
            plc.controller.download(close_connections=False)
            await until(lambda: between.accepted == accepted + 1, what="another upload")
            await until(lambda: wholes(scan) == 2)
            assert strangers(scan.listener) == []
        assert "tag list has changed" not in caplog.text


async def test_counters_that_never_rest_cost_uploads_at_growing_distances_only() -> None:
    async with (
        serving(recipe("ABC", 0)) as plc,
        proxy(plc.port) as between,
        scanning(LogixSource("PLC", settings(between.port), WANTED)) as scan,
    ):
        await scan.good(*WANTED)
        accepted = between.accepted
        began = time.monotonic()
        for _ in range(20):
            plc.controller.download(close_connections=False)
            await asyncio.sleep(0.05)
        # At once, after one second, after two more, after four more at the earliest.
        most = 2 + math.log2(1 + time.monotonic() - began)
        assert 1 <= between.accepted - accepted <= most
        assert strangers(scan.listener) == []
        assert scan.listener.quality(WANTED[0]) == GOOD


async def test_an_upload_that_a_download_falls_into_is_made_again() -> None:
    async with serving(recipe("ABC", 0)) as plc, proxy(plc.port) as between:
        once = True

        def midway(request: bytes, reply: bytes) -> list[bytes]:
            nonlocal once
            if once and request[46:47] == b"\x55":
                once = False
                program(plc, recipe("CAB", 1))
            return [reply]

        between.spoil = midway
        async with scanning(LogixSource("PLC", settings(between.port), WANTED)) as scan:
            await scan.good(*WANTED)
            assert strangers(scan.listener) == []
            assert wholes(scan) == 2
            assert scan.listener.value(WANTED[0]) == A + 1
            assert between.accepted == 3


async def test_a_quiet_scan_notices_another_program_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No packet brings the counters, and no binding is wrong, so that nothing else leads to an upload."""
    assert sources.ethernetip.scan.WATCH <= 5.0
    monkeypatch.setattr("sources.ethernetip.scan.WATCH", 0.1)
    alone = tag("Alone", scan=FAST)
    async with serving(recipe("ABC", 0)) as plc:
        source = LogixSource("PLC", settings(plc.port), [alone], recheck=3600.0)
        async with scanning(source) as scan:
            await scan.good(alone)
            assert not any(read.guarded for packet in scan.session._plan.packets for read in packet.reads)
            spec = recipe("ABC", 1)
            more = (*spec.tags, TagSpec(name="Added", type="DINT"))
            with caplog.at_level(logging.WARNING):
                program(plc, spec.model_copy(update={"tags": more}))
                await until(lambda: "tag list has changed" in caplog.text)
            assert scan.listener.qualities == {"Alone": GOOD}


async def test_another_controller_at_the_address_is_told_each_time_and_read_by_its_own_types(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same names, but a number is a REAL there, and members stand in another order."""

    def controller(order: str, kind: str, serial: int, port: int = 0) -> LogixSpec:
        spec = recipe(order, serial)
        tags = (*spec.tags[:2], TagSpec(name="Alone", type=kind))
        return spec.model_copy(update={"tags": tags, "identity": IdentitySpec(serial=serial), "port": port})

    alone = tag("Alone")
    source: LogixSource | None = None
    port = 0
    told: list[int] = []
    for order, kind, serial in [
        ("ABC", "DINT", 1),
        ("CAB", "REAL", 2),
        ("CAB", "REAL", 2),
        ("ABC", "DINT", 1),
    ]:
        caplog.clear()
        async with serving(controller(order, kind, serial, port)) as plc:
            port = plc.port
            source = source or LogixSource("PLC", settings(port), [*WANTED, alone])
            with caplog.at_level(logging.WARNING):
                async with scanning(source) as scan:
                    await scan.good(*WANTED)
                    own = {its.name: OWN[its.name[-1]] + serial for its in WANTED}
                    assert {its.name: scan.listener.value(its) for its in WANTED} == own
                    if kind == "DINT":
                        await scan.good(alone)
                    else:
                        await scan.bad(BAD_CONFIGURATION_ERROR, alone)
                        assert (await scan.session.read([alone])).values == [None]
        told.append(
            caplog.text.count(
                f"another controller answers: 1756-L83E/B, revision 33.011, serial {serial:08x}"
            )
        )
    assert told == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("status", "data", "state"),
    [
        (0, b"\5\0" + bytes(36), b"\5\0" + bytes(36)),
        (5, b"", b""),
        (8, b"", b""),
        (0x0A, struct.pack("<HHH", 1, 1, 0x14), b""),
        (0, bytes(65), b""),
        (0, b"\0\0", b""),
    ],
)
def test_counters_are_there_or_not(status: int, data: bytes, state: bytes) -> None:
    assert changes.state_of(Reply(0x83, status, 0, data)) == state
