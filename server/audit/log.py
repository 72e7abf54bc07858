"""The log of a running server: a thread writes it, so that a slow disk holds up no event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.audit.chain import SEGMENT, Chain, follow
from server.audit.errors import AuditError
from server.audit.record import GENESIS, seal
from server.audit.segments import Segment, create, reopen, segments
from sources.clock import now

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 16 * 1024 * 1024
"""A file that has grown to this is followed by the next."""

LOST: Final = "lost"
"""The event of a record that says how many were not recorded, whom nobody could be told of."""

_WAITING: Final = 1_000
"""Records that may wait for the disk."""
_TOGETHER: Final = 256
"""Records that share one write, and one wait for the disk."""
_SOON: Final = 1.0
"""Seconds until the disk itself has what nobody waits for to be there."""
_WITHIN: Final = 5.0
"""Seconds a record may take to be on the disk; as long the thread has to end."""
_ANCHOR: Final = 3600.0
"""Seconds between two words about the head of the chain in the server's own log."""


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """A moment's picture. ``unrecorded`` counts what could not be recorded since the start."""

    seq: int = 0
    """The number of the last record."""
    head: str = GENESIS
    """Its hash."""
    segment: int = 0
    waiting: int = 0
    unrecorded: int = 0
    failure: str = ""
    """Why nothing can be recorded now, empty where it can."""


class _Entry:
    """A record on its way to the disk, and who waits for it."""

    __slots__ = ("done", "durable", "event", "fields", "time")

    def __init__(
        self,
        event: str,
        fields: Mapping[str, Any],
        done: asyncio.Future[int] | None = None,
        *,
        durable: bool = False,
        time: int | None = None,
    ) -> None:
        self.event = event
        self.fields = fields
        self.done = done
        self.durable = durable
        """Whether the disk itself has to have it before anybody is told."""
        self.time = now() if time is None else time

    def settle(self, seq: int | None, failure: str = "") -> None:
        """Tell whoever waits; from any thread."""
        if self.done is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self.done.get_loop().call_soon_threadsafe(_settle, self.done, seq, failure)


class AuditLog:
    """See the module. `open`, then `record` and `note`, then `close`.

    The folder belongs to one running server at a time. What is there is never changed: a
    file is added to, or, once it is large or has been damaged, followed by another.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, sync: bool = True) -> None:
        """Without ``sync`` it is left to the operating system when the disk itself has a record."""
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._entries: queue.Queue[_Entry | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        # What follows belongs to the thread, once it runs.
        self._file = _File()
        self._chain = Chain()
        self._fault = ""
        self._failure = ""
        self._unwritten = self._unwritten_notes = 0
        self._told_lost = 0
        self._told = 0.0
        self._head = (0, GENESIS, 0)
        # And this to the loop.
        self._overflowed = 0
        self._unrecorded = 0

    @property
    def status(self) -> AuditStatus:
        """How it is now."""
        seq, head, segment = self._head
        waiting, unrecorded = self._entries.qsize(), self._unrecorded + self._unwritten
        return AuditStatus(seq, head, segment, waiting, unrecorded, self._failure)

    def open(self, **about: Any) -> None:
        """Follow what is there and begin with a record of the start. Blocks; raises AuditError.

        A record that was cut, or a chain that is broken, is told in the log; the records from
        now on stand in a new file.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files = segments(self.folder)
            last = _since_last_head(files)
            chain = self._chain = follow(last)
            chain.number = files[-1].number if files else 0
            if chain.broken is None and chain.torn == 0 and chain.size:
                self._file = _File(reopen(files[-1].path), files[-1].path, chain.size)
        except OSError as error:
            raise AuditError(
                f"{error.filename or self.folder}: the audit log cannot be opened: {error.strerror or error}"
            ) from error
        if chain.broken is not None:
            self._fault = str(chain.broken)
            log.error(
                "the audit log is damaged: %s; it goes on in a new file",
                chain.broken,
            )
        elif chain.torn:
            log.warning(
                "%s: the last record was cut (%d bytes), by a power failure or a full disk; "
                "the log goes on in a new file",
                files[-1].path,
                chain.torn,
            )
        if not chain.log:
            chain.log = secrets.token_hex(16)
        self._write([_Entry("start", about)])
        if self._failure:
            raise AuditError(self._failure)
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    async def record(self, event: str, fields: Mapping[str, Any], *, durable: bool = False) -> int:
        """Record something; returns its number once it is in the file. Raises AuditError.

        Then it outlives this process, and within a second a power failure too. With ``durable``
        it returns once the disk itself has it.
        """
        if self._thread is None:
            raise AuditError(f"{self.folder}: the audit log is closed")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            self._entries.put_nowait(_Entry(event, fields, done, durable=durable))
        except queue.Full:
            self._unrecorded += 1
            raise AuditError(f"{self.folder}: {_WAITING} records wait for the disk already") from None
        try:
            async with asyncio.timeout(_WITHIN):
                return await done
        except TimeoutError:
            raise AuditError(f"{self.folder}: the disk did not take a record within {_WITHIN:g} s") from None

    def note(self, event: str, fields: Mapping[str, Any]) -> None:
        """Record something without waiting. What cannot be recorded is counted, in the log too."""
        try:
            self._entries.put_nowait(_Entry(event, fields))
        except queue.Full:
            self._unrecorded += 1
            self._overflowed += 1

    async def close(self) -> None:
        """Write what waits and end; at most a few seconds, however slow the disk is."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        await asyncio.to_thread(self._end, thread)

    def _end(self, thread: threading.Thread) -> None:
        with suppress(queue.Full):
            self._entries.put(None, timeout=_WITHIN)
        thread.join(_WITHIN)
        if thread.is_alive():
            log.error("%s: the disk is too slow: the last audit records may be missing", self.folder)

    # --- The thread

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            batch: list[_Entry] = []
            try:
                entry = self._entries.get(timeout=self._file.due() if self._sync else None)
            except queue.Empty:
                self._sync_file()
                continue
            while True:
                if entry is None:
                    goes_on = False
                    batch.append(_Entry("stop", {}))
                    break
                batch.append(entry)
                if len(batch) >= _TOGETHER or self._entries.empty():
                    break
                entry = self._entries.get()
            try:
                self._write(batch)
            except Exception:
                log.exception("the audit log failed: a fault of ours")
                for each in batch:
                    each.settle(None, f"{self.folder}: the audit log failed: a fault of ours")
            if self._sync and self._file.due() == 0:
                self._sync_file()
        if self._sync:
            self._sync_file()
        self._tell_head()
        self._file.close()

    def _sync_file(self) -> None:
        """Have the disk itself take what is in the file."""
        failure = self._file.sync()
        if failure is not None:
            self._failed([], self._why(failure))

    def _write(self, batch: list[_Entry]) -> None:
        """Add records to the log; whoever waits for one is told."""
        lost = self._overflowed + self._unwritten_notes - self._told_lost
        if lost:
            batch = [_Entry(LOST, {"records": lost}), *batch]
        fresh, chain = False, self._chain
        try:
            self._open_file()
            fresh = self._file.size == 0
            if fresh:
                batch = [_Entry(SEGMENT, self._heading(), time=batch[0].time), *batch]
            lines = self._sealed(batch)
            sync = self._sync and any(entry.durable for entry in batch)
            written, failure = self._file.add(b"".join(line for line, _ in lines), sync=sync)
        except OSError as error:
            lines, written, failure = [], 0, error
        taken = self._take(lines, written)
        self._head = (chain.seq, chain.head, chain.number)
        # The status comes first: whoever hears that a record is there finds no failure in it.
        why = self._why(failure)
        if failure is None:
            self._told_lost += lost
            self._recovered()
        else:
            self._failed(batch, why)
        for index, entry in enumerate(batch):
            if failure is None:
                entry.settle(chain.seq - taken + index + 1)
            else:
                entry.settle(None, why)
        if fresh or time.monotonic() - self._told >= _ANCHOR:
            self._tell_head()

    def _open_file(self) -> None:
        """See to it that there is a file with room to add to. Raises OSError."""
        if self._file.descriptor >= 0 and self._file.size >= self._segment_bytes:
            if self._sync:
                self._sync_file()
            self._file.close()
        if self._file.descriptor < 0:
            descriptor, path = create(self.folder, self._chain.number + 1)
            self._chain.number += 1
            self._file = _File(descriptor, path)

    def _heading(self) -> dict[str, Any]:
        """The first record of a file."""
        chain = self._chain
        heading: dict[str, Any] = {"log": chain.log, "segment": chain.number}
        if chain.torn:
            heading["torn"] = chain.torn
        if self._fault:
            heading["fault"] = self._fault
        return heading

    def _sealed(self, batch: list[_Entry]) -> list[tuple[bytes, str]]:
        lines = []
        seq, previous = self._chain.seq, self._chain.head
        for entry in batch:
            seq += 1
            line, previous = seal(seq, entry.time, entry.event, entry.fields, previous)
            lines.append((line, previous))
        return lines

    def _take(self, lines: list[tuple[bytes, str]], written: int) -> int:
        """Move on to the last record that is whole in the file; how many of them there are."""
        chain, taken = self._chain, 0
        for line, digest in lines:
            if written < len(line):
                break
            written -= len(line)
            taken += 1
            chain.head, chain.seq, chain.torn, self._fault = digest, chain.seq + 1, 0, ""
        chain.torn += written
        return taken

    def _why(self, failure: OSError | None) -> str:
        if failure is None:
            return ""
        where = self._file.path or self.folder
        return f"{where}: the audit log cannot be written: {failure.strerror or failure}"

    def _failed(self, batch: list[_Entry], why: str) -> None:
        """Go on in another file with the next record, unless nothing stands in this one yet."""
        own = [entry for entry in batch if entry.event not in {SEGMENT, LOST}]
        self._unwritten += len(own)
        self._unwritten_notes += sum(entry.done is None for entry in own)
        if not self._failure:
            log.error("%s: nothing is recorded until that is mended", why)
        self._failure = why
        if self._file.size:
            self._file.close()

    def _recovered(self) -> None:
        if self._failure:
            log.warning("%s: the audit log is written again", self.folder)
            self._failure = ""

    def _tell_head(self) -> None:
        """The anchor: where these lines are kept elsewhere, a log that was shortened is found out."""
        self._told = time.monotonic()
        log.info(
            "audit log: record %d has the hash %s",
            self._chain.seq,
            self._chain.head,
            extra={"event": "audit-head", "seq": self._chain.seq, "head": self._chain.head},
        )


class _File:
    """The file that is added to; none where the descriptor is -1."""

    def __init__(self, descriptor: int = -1, path: Path | None = None, size: int = 0) -> None:
        self.descriptor = descriptor
        self.path = path
        self.size = size
        self._unsynced: float | None = None
        """Since when something is in the file that the disk itself may not have."""

    def add(self, data: bytes, *, sync: bool) -> tuple[int, OSError | None]:
        """Add to the file; how many bytes it took, and what kept it from taking all or holding them."""
        written = 0
        if self._unsynced is None:
            self._unsynced = time.monotonic()
        try:
            while written < len(data):
                written += os.write(self.descriptor, data[written:])
        except OSError as error:
            return written, error
        finally:
            self.size += written
        return written, self.sync() if sync else None

    def due(self) -> float | None:
        """Seconds until the disk itself should have all that is in the file; None where it has."""
        return None if self._unsynced is None else max(0.0, self._unsynced + _SOON - time.monotonic())

    def sync(self) -> OSError | None:
        """Wait until the disk itself has what is in the file; what kept it from that."""
        if self.descriptor < 0 or self._unsynced is None:
            return None
        self._unsynced = None
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            return error
        return None

    def close(self) -> None:
        """Close it, if it is open."""
        descriptor, self.descriptor, self.size, self._unsynced = self.descriptor, -1, 0, None
        if descriptor >= 0:
            with suppress(OSError):  # what was not held was told of when it was written
                os.close(descriptor)


def _since_last_head(files: list[Segment]) -> list[Segment]:
    """The last files, from one on that has records: what is needed to go on."""
    for index in range(len(files) - 1, -1, -1):
        if files[index].path.stat().st_size and follow(files[index:]).records:
            return files[index:]
    return files


def _settle(done: asyncio.Future[int], seq: int | None, failure: str) -> None:
    if done.done():
        return
    if seq is None:
        done.set_exception(AuditError(failure))
    else:
        done.set_result(seq)
