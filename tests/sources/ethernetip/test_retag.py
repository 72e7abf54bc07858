"""Other tags of a controller while it is scanned: what was uploaded and learnt counts for them too."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.logix import everything, serving
from support.logix_tags import settings, tag
from support.net import until
from support.scanning import SLOW, scanning

from sources.ethernetip.driver import LogixSource
from sources.ethernetip.line import Line, Survey
from sources.quality import BAD_CONFIGURATION_ERROR, BAD_NOT_WRITABLE, GOOD


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
