"""Another program in an SLC is noticed: no tag has the value of another file, or of what was one."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from support.net import until
from support.scanning import scanning
from support.slc import Serving, serving, settings, tag

from sources.errors import Unreachable
from sources.ethernetip.slc import driver, known
from sources.ethernetip.slc.driver import SlcSession, SlcSource
from sources.ethernetip.slc.link import SlcLink
from sources.ethernetip.slc.survey import survey
from sources.ethernetip.worker import Worker
from sources.quality import BAD_CONFIGURATION_ERROR, GOOD
from sources.simulators.slc.device import file
from sources.simulators.slc.directory import Processor

N, F = 0x89, 0x8A


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    assert driver.WATCH <= 5.0
    monkeypatch.setattr(driver, "WATCH", 0.1)


def download(plc: Serving, *, same_program: bool = False) -> None:
    """N7 is a file of floats now, N20 one of words, F8 has two elements instead of 40."""
    plc.device.files[7] = file(F, 100)
    plc.device.files[8] = file(F, 2)
    plc.device.files[20] = file(N, 4)
    plc.device.files[8].data[:4] = struct.pack("<f", 9.25)
    if not same_program:
        plc.device.processor = replace(plc.device.processor, program=2)


async def test_files_of_another_type_or_size_are_bad_with_their_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as plc:
        # A controller that does not look at types would hand out halves of floats.
        plc.device.loose = True
        word, low, high, new = tag("N7:4"), tag("F8:0"), tag("F8:30"), tag("N20:1")
        source = SlcSource("PLC", settings(plc.port), [word, low, high, new])
        with caplog.at_level(logging.INFO):
            async with scanning(source) as scan:
                await scan.good(word, low, high)
                await scan.bad(BAD_CONFIGURATION_ERROR, new)
                download(plc)
                await scan.bad(BAD_CONFIGURATION_ERROR, word, high)
                await scan.good(low, new)
                await until(lambda: scan.listener.value(low) == 9.25)
                await until(
                    lambda: any(
                        "F8:30 cannot be read" in line and "as F8 has 2 elements" in line
                        for line in map(logging.LogRecord.getMessage, caplog.records)
                    )
                )
                assert source.bad_points() == ("N7:4",)
                assert all("N7" not in block.label for block in source.plan())
                assert (await scan.session.read([word])).qualities == [BAD_CONFIGURATION_ERROR]
                # And back: no connection was lost over all that.
                plc.device.files[7], plc.device.files[8] = file(N, 200), file(F, 40)
                plc.device.processor = replace(plc.device.processor, program=3)
                await scan.good(word, low, high, new)
                assert plc.device.open_connections == 1
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert (
        "PLC: the controller has another program: N7 is F7 now, F8 has 2 elements instead of 40, "
        "N20 of 4 is new; reading is planned anew" in told
    )
    assert "PLC: N7:4: file 7 is F7, not N7; its value is Bad" in told


async def test_a_write_to_a_file_that_became_another_is_not_sent() -> None:
    async with serving() as plc:
        plc.device.loose = True
        its = tag("N7:3", writable=True)
        source = SlcSource("PLC", settings(plc.port), [its])
        async with source.connect() as session:
            assert await session.write([(its, 5)]) == [GOOD]
        download(plc)
        async with source.connect() as session:
            assert await session.write([(its, 6)]) == [BAD_CONFIGURATION_ERROR]
        assert len(plc.device.writes) == 1


async def test_other_files_are_noticed_though_the_program_says_it_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver, "LOOK", 0.3)
    async with serving() as plc:
        plc.device.loose = True
        word = tag("N7:4")
        async with scanning(SlcSource("PLC", settings(plc.port), [word])) as scan:
            await scan.good(word)
            download(plc, same_program=True)
            await scan.bad(BAD_CONFIGURATION_ERROR, word)


async def test_another_controller_at_the_address_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as plc:
        source = SlcSource("PLC", settings(plc.port), [tag("N7:4")])
        with caplog.at_level(logging.WARNING):
            async with source.connect():
                pass
            plc.device.identity = replace(plc.device.identity, serial=0xBEEF)
            download(plc)
            async with source.connect() as session:
                assert (await session.read(source.tags)).qualities == [BAD_CONFIGURATION_ERROR]
        told = [record.getMessage() for record in caplog.records]
    assert told[0] == (
        "PLC: another controller answers: 1747-L553C/C, revision 12.001, serial 0000beef; "
        "before it was 1747-L553C/C, revision 12.001, serial 00c0ffee"
    )
    assert "another program" in told[1]


@pytest.mark.parametrize("lacking", ["no_directory", "no_status"])
async def test_what_a_controller_does_not_tell_keeps_nobody_from_its_values(
    lacking: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as plc:
        setattr(plc.device, lacking, True)
        word = tag("N7:4")
        with caplog.at_level(logging.INFO):
            async with scanning(SlcSource("PLC", settings(plc.port), [word])) as scan:
                await scan.good(word)
        assert any("data files are not known" in record.getMessage() for record in caplog.records)


async def test_a_controller_that_says_nothing_to_the_question_is_read_without_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that drops what it does not know would else never be connected."""
    async with serving() as plc:
        word = tag("N7:4")
        source = SlcSource("PLC", settings(plc.port, timeout="200ms"), [word])
        real = plc.device._answer

        def silent(command: int, function: int, body: bytes) -> bytes:
            plc.device.faults.mute = command == 6
            return real(command, function, body)

        monkeypatch.setattr(plc.device, "_answer", silent)
        for _ in range(known._MOST_LOST):
            with pytest.raises(Unreachable, match="no reply"):
                async with source.connect():
                    pass
            plc.device.faults.mute = False
        async with source.connect() as session:
            assert (await session.read([word])).values == [104]
        assert any("without a look at them" in record.getMessage() for record in caplog.records)


async def test_what_was_read_alone_is_read_in_blocks_again_after_another_program() -> None:
    async with serving() as plc:
        low, high = tag("F8:0"), tag("F8:3")
        source = SlcSource("PLC", settings(plc.port), [low, high])

        def labels() -> list[str]:
            return [block.label for block in source.plan()]

        async with scanning(source) as scan:
            await scan.good(low, high)
            assert labels() == ["F8:0 to 3"]
            download(plc)
            await scan.bad(BAD_CONFIGURATION_ERROR, high)
            assert labels() == ["F8:0", "F8:3"]
            plc.device.files[8] = file(F, 40)
            plc.device.processor = replace(plc.device.processor, program=3)
            await scan.good(low, high)
            await until(lambda: labels() == ["F8:0 to 3"])


async def test_tags_that_change_while_the_files_are_looked_at_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as plc:
        before, after = tag("N7:4"), tag("N7:5")
        source = SlcSource("PLC", settings(plc.port), [before])
        begin = SlcSession.begin

        async def meanwhile(session: SlcSession) -> None:
            await begin(session)
            source.retag([after])

        monkeypatch.setattr(SlcSession, "begin", meanwhile)
        async with scanning(source) as scan:
            await scan.good(after)
            assert scan.listener.value(before) is None


class Unusual(Processor):
    """One whose file 0 is of another type than its name makes expect."""

    @property
    def layout(self) -> tuple[int, int]:
        return 3, 113


async def test_a_directory_is_found_whatever_its_type() -> None:
    async with serving() as plc:
        plc.device.processor = Unusual("1747-NEW")
        source = SlcSource("PLC", settings(plc.port), [])
        async with source.connect():
            found = source.known.survey.directory
        assert found is not None
        assert [str(its) for its in found.files][-2:] == ["ST9 of 3", "L10 of 20"]


async def test_files_are_not_taken_from_two_programs() -> None:
    """A download while the directory is read: it is read again."""
    async with serving() as plc:
        link = SlcLink(settings(plc.port), "127.0.0.1")
        worker = Worker("PLC", link)
        asked = 0

        async def ask(work: Callable[[], bytes]) -> bytes:
            nonlocal asked
            asked += 1
            if asked == 3:
                download(plc)
            return await worker.do(work, 10)

        try:
            await worker.do(link.open, 10)
            found = await survey(ask, link)
        finally:
            await worker.stop()
        assert found.processor is not None
        assert found.directory is not None
        assert (found.processor.program, found.directory.conflict(tag("N7:0").address)) == (
            2,
            "file 7 is F7, not N7",
        )
        assert str(found.directory.files[-1]) == "N20 of 4"
        assert asked > 10


async def test_a_question_that_is_answered_no_more_does_not_end_one_connection_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the controller said once is no reason to ask it for ever."""
    async with serving() as plc:
        word = tag("N7:4")
        source = SlcSource("PLC", settings(plc.port, timeout="200ms"), [word])
        real = plc.device._answer

        def silent(command: int, function: int, body: bytes) -> bytes:
            plc.device.faults.mute = command == 6
            return real(command, function, body)

        async with scanning(source) as scan:
            await scan.good(word)
            monkeypatch.setattr(plc.device, "_answer", silent)
            await scan.lost()
        plc.device.faults.mute = False
        with pytest.raises(Unreachable, match="no reply"):
            async with source.connect():
                pass
        plc.device.faults.mute = False
        async with scanning(source) as scan:
            await scan.good(word)
            word_from = source.statistics[word.scan.name].reads
            await until(lambda: source.statistics[word.scan.name].reads > word_from + 20)
            assert not scan.task.done()


async def test_what_one_controller_said_does_not_count_for_another_that_says_nothing() -> None:
    async with serving() as plc:
        plc.device.loose = True
        was, its = tag("N7:4"), tag("F7:4")
        source = SlcSource("PLC", settings(plc.port), [was, its])
        async with source.connect() as session:
            assert (await session.read([its])).qualities == [BAD_CONFIGURATION_ERROR]
        download(plc)
        plc.device.no_status = True
        async with source.connect():
            assert source.bad_points() == ("F7:4",)  # it is the same: as during a download
        plc.device.identity = replace(plc.device.identity, serial=0xBEEF)
        async with source.connect() as session:
            assert source.bad_points() == ()
            assert (await session.read([its])).qualities == [GOOD]
