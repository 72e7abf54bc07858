"""The log of a running server: what is recorded is on the disk, in order, and never written over."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.auditing import last
from support.net import until

from server.audit.collect import LOGGER, Collector
from server.audit.errors import AuditError
from server.audit.log import AuditLog
from server.audit.verify import verify


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[AuditLog]:
    log = AuditLog(folder, **settings)
    log.open(version="1.2.3")
    try:
        yield log
    finally:
        await log.close()


def events(folder: Path) -> list[str]:
    return [record["event"] for record in last(folder, 10_000, {})]


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def test_a_record_is_on_the_disk_when_its_number_is_given(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        number = await log.record("write", {"node": "Acme.Speed", "asked": 4.5, "old": None, "user": "anna"})
        assert number == 3
        (found,) = last(tmp_path, 1, {})
    assert {key: found[key] for key in ("seq", "event", "node", "asked", "old", "user")} == {
        "seq": 3,
        "event": "write",
        "node": "Acme.Speed",
        "asked": 4.5,
        "old": None,
        "user": "anna",
    }
    assert events(tmp_path) == ["segment", "start", "write", "stop"]


async def test_many_at_once_keep_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        numbers = await asyncio.gather(*(log.record("write", {"n": n}) for n in range(500)))
        assert numbers == list(range(3, 503))
        assert log.status.seq == 502
    report = verify(tmp_path)
    assert (report.broken, report.records, report.seq) == (None, 503, 503)
    assert [record["n"] for record in last(tmp_path, 1000, {"event": "write"})] == list(range(500))


async def test_the_chain_goes_on_over_restarts_and_files(tmp_path: Path) -> None:
    head, segment = "", 0
    for _ in range(3):
        async with opened(tmp_path, segment_bytes=2_000) as log:
            for n in range(20):
                await log.record("write", {"n": n})
        head, segment = log.status.head, log.status.segment
    assert len(files(tmp_path)) == segment > 5
    report = verify(tmp_path, [head, head[:12].upper()])
    assert report.broken is None
    assert report.notes == ()
    assert events(tmp_path).count("segment") == segment
    assert events(tmp_path).count("start") == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
async def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    async with opened(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(files(folder)[0].stat().st_mode) == 0o600


async def test_a_cut_record_is_told_and_kept_and_the_log_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as log:
        await log.record("write", {"n": 1})
    (first,) = files(tmp_path)
    whole = first.read_bytes()
    first.write_bytes(whole[:-30])
    assert [note.what[:22] for note in verify(tmp_path).notes] == ["the last record is cut"]
    async with opened(tmp_path) as log:
        await log.record("write", {"n": 2})
    assert "was cut" in caplog.text
    assert first.read_bytes() == whole[:-30]
    report = verify(tmp_path)
    assert report.broken is None
    assert len(report.notes) == 1
    assert "was cut" in str(report.notes[0])
    assert events(tmp_path) == ["segment", "start", "write", "segment", "start", "write", "stop"]


@pytest.mark.parametrize("left", [b"", b"{", b"\0" * 4096])
async def test_a_file_that_never_got_its_first_record_is_passed_over(tmp_path: Path, left: bytes) -> None:
    async with opened(tmp_path, segment_bytes=1) as log:
        await log.record("write", {"n": 1})
    count = len(files(tmp_path))
    (tmp_path / f"audit-{count + 1:06d}.jsonl").write_bytes(left)
    assert verify(tmp_path).broken is None
    for _ in range(2):
        async with opened(tmp_path):
            pass
    assert verify(tmp_path).broken is None
    assert events(tmp_path).count("start") == 3


async def test_a_damaged_log_is_told_and_the_server_starts_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as log:
        await log.record("write", {"n": 1})
    (first,) = files(tmp_path)
    forged = first.read_bytes().replace(b'"n":1', b'"n":7')
    first.write_bytes(forged)
    async with opened(tmp_path) as log:
        await log.record("write", {"n": 2})
    assert "damaged" in caplog.text
    assert first.read_bytes() == forged
    head = json.loads(files(tmp_path)[1].read_text().splitlines()[0])
    assert f"{first}:3" in head["fault"]
    broken = verify(tmp_path).broken
    assert broken is not None
    assert (broken.path, broken.line) == (first, 3)


async def test_a_log_that_was_damaged_is_not_whole_again_when_the_damage_is_cut_off(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await log.record("write", {"n": 1})
    (first,) = files(tmp_path)
    first.write_bytes(first.read_bytes().replace(b'"n":1', b'"n":7'))
    async with opened(tmp_path):
        pass
    second = files(tmp_path)[1]
    first.write_bytes(b"".join(first.read_bytes().splitlines(keepends=True)[:2]))
    broken = verify(tmp_path).broken
    assert broken is not None
    assert (broken.path, broken.line) == (second, 1)
    assert "found the log damaged" in broken.what
    # Who begins behind the damage knows of it.
    first.unlink()
    report = verify(tmp_path, start=2)
    assert report.broken is None
    assert "found the log damaged" in report.notes[0].what


@contextmanager
def no_file_larger_than(size: int) -> Any:
    """The kernel takes no byte beyond: as a full disk, a write stops in the middle of a record."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_what_another_hand_adds_to_the_file_is_never_written_over(tmp_path: Path) -> None:
    """In a new file, and in one that is taken up again: each record goes to the end, wherever that is."""
    added = b"not a record"
    for _ in range(2):
        async with opened(tmp_path, sync=False) as log:
            await log.record("write", {"n": 1})
            (file,) = files(tmp_path)
            with file.open("ab") as other:
                other.write(added)
            before = file.read_bytes()
            await log.record("write", {"n": 2})
            assert file.read_bytes().startswith(before)
        # As it was, so that the next time takes the same file up again.
        file.write_bytes(b"".join(file.read_bytes().split(added)))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no folders to be waited for")
async def test_the_disk_has_the_name_of_a_new_file_before_a_record_in_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power failure takes the file with all that is in it, however well its content was kept."""
    folders: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        info = os.fstat(descriptor)
        if stat.S_ISDIR(info.st_mode):
            assert info.st_ino == tmp_path.stat().st_ino
            folders.append(len(files(tmp_path)))

    monkeypatch.setattr("server.audit.segments.os.fsync", fsync)
    async with opened(tmp_path, segment_bytes=1_000) as log:
        assert folders == [1]
        for _ in range(20):
            await log.record("write", {"text": "x" * 100}, durable=True)
            assert folders[-1] == len(files(tmp_path))
    assert folders == list(range(1, len(files(tmp_path)) + 1))
    assert len(folders) > 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no folders to be waited for")
def test_a_log_whose_folder_cannot_be_kept_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("server.audit.segments.os.fsync", fsync)
    with pytest.raises(AuditError, match="cannot be written: Input/output error"):
        AuditLog(tmp_path).open()


async def test_a_full_disk_refuses_and_the_log_recovers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as log:
        await log.record("write", {"n": 1})
        size = files(tmp_path)[0].stat().st_size
        with no_file_larger_than(size + 40):
            with pytest.raises(AuditError, match="cannot be written"):
                await log.record("write", {"n": 2})
            for _ in range(3):
                with pytest.raises(AuditError, match="cannot be written"):
                    await log.record("write", {"n": 3, "text": "x" * 4000})
            log.note("session", {"n": 4, "text": "x" * 4000})
            await until(lambda: log.status.unrecorded == 5, what="the note to fail")
            assert log.status.failure
        assert await log.record("write", {"n": 5})
        assert log.status.failure == ""
    found = [record.get("n", record["event"]) for record in last(tmp_path, 100, {})]
    assert found[:3] == ["segment", "start", 1]
    assert found[-4:] == ["segment", "lost", 5, "stop"] or found[-3:] == ["lost", 5, "stop"]
    report = verify(tmp_path)
    assert report.broken is None
    assert any("was cut (40 bytes)" in note.what for note in report.notes)
    assert [r.levelname for r in caplog.records if "audit log" in r.getMessage()].count("ERROR") == 1


async def test_a_log_that_cannot_be_opened_is_an_error_with_its_place(tmp_path: Path) -> None:
    place = tmp_path / "audit"
    place.write_text("a file")
    with pytest.raises(AuditError, match=f"{place}: the audit log cannot be opened"):
        AuditLog(place).open()


async def test_after_the_end_nothing_is_recorded(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        pass
    with pytest.raises(AuditError, match="closed"):
        await log.record("write", {})


async def test_a_disk_that_stalls_holds_up_no_loop_and_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.audit.log._WITHIN", 0.2)
    slow, real = os.pipe(), os.fsync
    async with opened(tmp_path) as log:
        monkeypatch.setattr(
            "server.audit.log.os.fsync", lambda descriptor: (os.read(slow[0], 1), real(descriptor))
        )
        try:
            with pytest.raises(AuditError, match="did not take a record"):
                await log.record("write", {"n": 1}, durable=True)
            for n in range(1_100):
                log.note("session", {"n": n})
            assert log.status.waiting == 1_000
            with pytest.raises(AuditError, match="wait for the disk already"):
                await log.record("write", {"n": 2})
            assert log.status.unrecorded == 101
        finally:
            os.write(slow[1], b"x" * 100)
        await until(lambda: log.status.waiting == 0, what="the disk to catch up")
        assert await log.record("write", {"n": 3})
    for end in slow:
        os.close(end)
    found = last(tmp_path, 10_000, {})
    assert {record["records"] for record in found if record["event"] == "lost"} == {100}
    assert verify(tmp_path).broken is None


async def test_the_disk_is_waited_for_where_that_is_asked_and_soon_has_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    async with opened(tmp_path) as log:
        (file,) = files(tmp_path)
        await until(lambda: log._file.due() is None, what="the start on the disk")
        monkeypatch.setattr("server.audit.log.os.fsync", fsync)
        await log.record("write", {"n": 1}, durable=True)
        assert synced == [file.stat().st_size]
        await log.record("write", {"n": 2})
        await until(lambda: len(synced) == 2, what="the second on the disk")
        assert synced[1] == file.stat().st_size
        await log.record("write", {"n": 3})
    assert synced[-1] == file.stat().st_size
    async with opened(tmp_path, sync=False) as log:
        synced.clear()
        await log.record("write", {"n": 4}, durable=True)
    assert synced == []


async def test_what_the_audit_logger_hears_is_recorded_but_not_twice(tmp_path: Path) -> None:
    logger = logging.getLogger(LOGGER)
    async with opened(tmp_path) as log:
        collector = Collector(log, per_minute=3)
        collector.start()
        logger.setLevel(logging.INFO)
        try:
            logger.info("in", extra={"event": "session", "user": "anna", "seq": 99, "text": "x" * 5_000})
            logger.info("written", extra={"event": "write", "record": 7})
            for _ in range(5):
                logger.warning("refused", extra={"event": "channel"})
            collector._filled -= 60
            logger.info("out", extra={"event": "session"})
        finally:
            collector.stop()
            logger.setLevel(logging.NOTSET)
        logger.warning("after")
    found = last(tmp_path, 100, {})
    assert [record["event"] for record in found[2:]] == ["session", "channel", "channel", "session", "stop"]
    assert (found[2]["user"], found[2]["seq"], len(found[2]["text"])) == ("anna", 3, 1_001)
    assert found[5]["suppressed"] == 3


async def test_the_head_is_told_where_others_keep_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened(tmp_path) as log:
        await log.record("write", {"n": 1})
    heads = [vars(record)["head"] for record in caplog.records if vars(record).get("event") == "audit-head"]
    assert len(heads) == 2
    report = verify(tmp_path, heads)
    assert report.broken is None
    assert report.head == heads[1]
