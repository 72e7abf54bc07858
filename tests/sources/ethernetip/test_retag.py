"""Other tags of a controller while it is scanned: what was uploaded and learnt counts for them too."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from support.logix import everything, serving
from support.logix_tags import settings, tag
from support.net import until
from support.scanning import SLOW, scanning

from sources.ethernetip.bindings import Bindings
from sources.ethernetip.driver import LogixSource
from sources.ethernetip.line import Line, Survey
from sources.ethernetip.planned import Plan
from sources.ethernetip.scan import Scan
from sources.quality import BAD_CONFIGURATION_ERROR, BAD_NOT_WRITABLE, GOOD
from sources.simulators.logix.spec import TagSpec


class Uploads:
    """Counts them, and holds them back if told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.go = asyncio.Event()
        self.go.set()
        real = Line.survey

        async def survey(line: Line) -> Survey:
            self.count += 1
            await self.go.wait()
            return await real(line)

        monkeypatch.setattr(Line, "survey", survey)


async def test_nothing_is_uploaded_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(monkeypatch)
    async with serving(everything()) as plc:
        kept = tag("Unit.Total", "lint")
        source = LogixSource("PLC", settings(plc.port), [kept])
        async with scanning(source) as scan:
            await scan.good(kept)
            new = tag("Unit.One.A", "dint")
            source.retag([kept, new])
            await scan.good(new)
            assert uploads.count == 1
            for batch in scan.listener.batches:
                assert batch.qualities == GOOD


async def test_what_leads_to_where_no_upload_has_looked_is_read_by_its_name_until_one_has(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uploads = Uploads(monkeypatch)
    async with serving(everything()) as plc:
        kept = tag("A_DINT", "dint", scan=SLOW)
        source = LogixSource("PLC", settings(plc.port), [kept])
        async with scanning(source) as scan:
            await scan.good(kept)
            reads = source.statistics["slow"].reads
            uploads.go.clear()
            new = [
                tag("Unit.Total", "lint"),
                tag("Units[3].One.A", "dint"),
                tag("Shown", "dint", writable=True),
            ]
            astray = tag("Nowhere", "dint")
            source.retag([kept, *new, astray])
            await scan.good(*new)  # though the upload has not even begun
            source.retag([kept, new[0], new[1], new[2], astray, later := tag("A_INT", "int")])
            await scan.good(later)  # nor does who comes meanwhile wait for it
            uploads.go.set()
            await until(lambda: "Nowhere" in source.bad_points())
            await scan.bad(BAD_CONFIGURATION_ERROR, astray)
            await until(lambda: not scan.session._plan.is_narrow)
            assert await scan.session.write([(new[2], 1)]) == [BAD_NOT_WRITABLE]
            assert uploads.count in {2, 3}
            assert source.statistics["slow"].reads == reads
    assert not any("tag list has changed" in record.getMessage() for record in caplog.records)


async def test_an_upload_follows_where_nothing_else_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(monkeypatch)
    async with serving(everything()) as plc:
        kept, new = tag("A_DINT", "dint"), tag("A_INT", "int")
        source = LogixSource("PLC", settings(plc.port), [kept])
        async with scanning(source) as scan:
            await scan.good(kept)
            source.retag([kept, new])
            await until(lambda: uploads.count == 2 and not scan.session._plan.is_narrow)
            await scan.good(new)


async def test_what_is_gone_brings_nothing_though_the_new_plan_takes_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = asyncio.Event()
    real = Line.bind

    async def bind(*given: Any) -> Bindings:
        await go.wait()
        return await real(*given)

    async with serving(everything()) as plc:
        kept, goes, new = tag("A_DINT", "dint"), tag("A_INT", "int"), tag("A_SINT", "sint")
        source = LogixSource("PLC", settings(plc.port), [kept, goes])
        async with scanning(source) as scan:
            await scan.good(kept, goes)
            monkeypatch.setattr(Line, "bind", bind)
            source.retag([kept, new])
            count = len(scan.listener.batches)
            await until(lambda: len(scan.listener.batches) > count + 3)
            go.set()
            await scan.good(new)
            assert {one for batch in scan.listener.batches[count:] for one in batch.tags} == {kept, new}


async def test_a_reply_that_an_upload_overtakes_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tags come in the moment in which another program's are bound, and a packet is on its way."""
    monkeypatch.setattr("sources.ethernetip.scan.WATCH", 0.1)
    async with serving(everything()) as plc:
        kept, goes = tag("A_DINT", "dint"), tag("A_INT", "int")
        source = LogixSource("PLC", settings(plc.port), [kept, goes])
        moments: list[int] = []
        async with scanning(source) as scan:
            await scan.good(kept, goes)
            real = Plan.rebind

            async def rebind(plan: Plan, survey: Survey) -> None:
                plc.controller.faults.delay = 0.5
                reads = source.statistics["fast"].reads
                await until(lambda: source.statistics["fast"].reads > reads, every=0.001)
                source.retag([kept])
                moments.append(len(scan.listener.batches))
                await real(plan, survey)

            monkeypatch.setattr(Plan, "rebind", rebind)
            other = everything()
            other = other.model_copy(update={"tags": (*other.tags, TagSpec(name="More", type="DINT"))})
            plc.controller.replace(other, close_connections=False)
            await until(lambda: moments)
            plc.controller.faults.delay = 0.0
            await until(lambda: len(scan.listener.batches) > moments[0] + 3)
            told = [one.name for batch in scan.listener.batches[moments[0] :] for one in batch.tags]
            assert set(told) == {kept.name}


async def test_a_name_that_leads_elsewhere_is_written_there_at_once() -> None:
    async with serving(everything()) as plc:
        old = tag("A_DINT", "dint", name="It", writable=True)
        source = LogixSource("PLC", settings(plc.port), [old])
        async with scanning(source) as scan:
            await scan.good(old)
            new = tag("A_UDINT", "udint", name="It", writable=True)
            source.retag([new])
            assert await scan.session.write([(new, 7), (old, 5)]) == [GOOD, GOOD]
            batch = await scan.session.read([old, new])
            assert batch.values == [5, 7]
            await until(lambda: scan.listener.value(new) == 7)


async def test_what_was_read_alone_is_so_until_its_name_is_anothers() -> None:
    async with serving(everything()) as plc:
        tags = [tag("Unit.Total", "lint"), tag("Unit.One.A", "dint"), tag("A_INT", "int")]
        source = LogixSource("PLC", settings(plc.port), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            plan = scan.session._plan
            plan.alone = frozenset({tags[0].name, tags[1].name})
            source.retag([tags[0], replace(tags[1]), tag("A_SINT", "sint")])
            await scan.good(*source.tags)
            assert plan.alone == {tags[0].name}


async def test_what_is_gone_is_not_told_to_be_bad_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the connection is lost before the new plan is made, and what it refuses is told afterwards."""
    go = asyncio.Event()
    real = Line.bind
    bound: list[Any] = []

    async def bind(*given: Any) -> Bindings:
        bound.append(given)
        await go.wait()
        return await real(*given)

    async with serving(everything()) as plc:
        kept, goes, astray = tag("A_DINT", "dint"), tag("A_INT", "int"), tag("Unit.Nowhere", "dint")
        source = LogixSource(
            "PLC", settings(plc.port, timeout="300ms"), [kept, goes, tag("Unit.Total", "lint")]
        )
        async with scanning(source) as scan:
            await scan.good(*source.tags)
            monkeypatch.setattr(Line, "bind", bind)
            source.retag([kept, astray])
            await until(lambda: bound)
            source.retag([kept])
            count = len(scan.listener.batches)
            go.set()
            await until(lambda: len(bound) > 1)
            go.clear()
            source.retag([kept, goes])
            source.retag([kept])
            plc.controller.faults.mute = True
            await scan.lost()
            told = {one.name for batch in scan.listener.batches[count:] for one in batch.tags}
            assert told == {kept.name}


async def test_a_reply_that_another_program_overtakes_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tags come when all is planned anew already, and a packet of before is still on its way."""
    monkeypatch.setattr("sources.ethernetip.scan.WATCH", 0.1)
    async with serving(everything()) as plc:
        kept, goes = tag("A_DINT", "dint"), tag("A_INT", "int")
        source = LogixSource("PLC", settings(plc.port), [kept, goes])
        moments: list[int] = []
        async with scanning(source) as scan:
            await scan.good(kept, goes)
            rebind, start = Plan.rebind, Scan._start

            async def on_its_way(plan: Plan, survey: Survey) -> None:
                plc.controller.faults.delay = 0.5
                reads = source.statistics["fast"].reads
                await until(lambda: source.statistics["fast"].reads > reads, every=0.001)
                await rebind(plan, survey)

            def anew(its: Scan) -> None:
                start(its)
                source.retag([kept])
                moments.append(len(scan.listener.batches))

            monkeypatch.setattr(Plan, "rebind", on_its_way)
            monkeypatch.setattr(Scan, "_start", anew)
            other = everything()
            other = other.model_copy(update={"tags": (*other.tags, TagSpec(name="More", type="DINT"))})
            plc.controller.replace(other, close_connections=False)
            await until(lambda: moments)
            plc.controller.faults.delay = 0.0
            await until(lambda: len(scan.listener.batches) > moments[0] + 3)
            told = [one.name for batch in scan.listener.batches[moments[0] :] for one in batch.tags]
            assert set(told) == {kept.name}
