"""Recording what sources emit, for whoever wants it later: by a thread, bounded, never waited for."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from sources import clock
from sources.batch import Batch, Emit
from sources.replay.recording import Unrecordable, Writer
from sources.tag import Tag

log = logging.getLogger(__name__)

QUEUED_VALUES: Final = 1_000_000
"""So many values may wait for the disk; beyond them batches are dropped, and counted."""

PATIENCE: Final = 3.0
"""Seconds the last batches have to get to the disk."""

_FLUSH_EVERY: Final = 1.0


class Recorder:
    """One file that one or more sources are recorded to.

    The file is begun anew at `start`; one that is there already, and one that has reached half of
    ``limit`` bytes, becomes ``FILE.1`` in the place of an older one: so what is kept is the newest,
    and never more than the limit.
    """

    def __init__(
        self, path: Path, limit: int, *, queued_values: int = QUEUED_VALUES, patience: float = PATIENCE
    ) -> None:
        self.path = path
        self.recorded = 0
        """Batches in the file, or in files before it."""
        self._late = self._odd = 0
        """Batches dropped by the one thread, and by the other."""
        self._told: set[str] = set()
        self._limit = limit
        self._most = queued_values
        self._patience = patience
        self._sources: dict[str, Sequence[Tag[Any]]] = {}
        self._queue: queue.SimpleQueue[tuple[str, Batch] | None] = queue.SimpleQueue()
        self._put = self._taken = 0
        """Values, counted by one thread each."""
        self._behind = False
        self._failed: OSError | None = None
        self._writer: Writer | None = None
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Batches that are in no file: the disk was too slow, or full, or a value has no form there."""
        return self._late + self._odd

    def tap(self, source: str, tags: Sequence[Tag[Any]], emit: Emit) -> Emit:
        """What to emit to instead of ``emit``, which gets every batch all the same."""
        # Another mapping, since the thread may be reading this one.
        self._sources = {**self._sources, source: tags}

        def both(batch: Batch) -> None:
            emit(batch)
            self._take(source, batch)

        return both

    def retag(self, source: str, tags: Sequence[Tag[Any]]) -> None:
        """A source that is recorded has these tags; the next file says so from its beginning."""
        self._sources = {**self._sources, source: tags}

    async def start(self) -> None:
        """Open the file. Raises OSError."""
        await asyncio.to_thread(self._open)
        self._thread = threading.Thread(target=self._run, name=f"record {self.path.name}", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, and finish the file; a disk that stalls is not waited for."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(None)
        await asyncio.to_thread(thread.join, self._patience)
        if thread.is_alive():
            log.warning("%s: the disk does not answer; the recording has no end", self.path)
        log.info("%s: %d batches recorded, %d dropped", self.path, self.recorded, self.dropped)

    def _take(self, source: str, batch: Batch) -> None:
        """Queue a batch, on the loop's thread."""
        weight = _weight(batch)
        if self._failed is not None or self._put - self._taken + weight > self._most:
            self._late += 1
            if self._failed is None and not self._behind:
                self._behind = True
                log.warning("%s: the disk does not keep up; what is not recorded is counted", self.path)
            return
        self._behind = False
        self._put += weight
        self._queue.put((source, batch))

    def _open(self) -> None:
        if self.path.exists():
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        self._writer = Writer(self.path, clock.now(), self._sources)

    def _run(self) -> None:
        """The thread: a disk that fails ends the recording, never the server."""
        try:
            self._write()
        except OSError as error:
            self._failed = error
            log.error(  # noqa: TRY400  # what a full disk needs is no traceback
                "%s: recording has ended: %s; make room and start again", self.path, error.strerror or error
            )
        finally:
            self._finish()

    def _finish(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            if self._failed is None:
                log.error("%s: its end could not be written: %s", self.path, error)  # noqa: TRY400

    def _write(self) -> None:
        flushed = time.monotonic()
        while True:
            try:
                item = self._queue.get(timeout=_FLUSH_EVERY)
            except queue.Empty:
                item = ("", _NOTHING)
            if item is None:
                return
            source, batch = item
            if batch is not _NOTHING:
                self._one(source, batch)
                self._taken += _weight(batch)
            if time.monotonic() - flushed >= _FLUSH_EVERY:
                self._flush()
                flushed = time.monotonic()

    def _one(self, source: str, batch: Batch) -> None:
        if self._writer is None:
            return
        try:
            self._writer.batch(source, batch)
        except Unrecordable as error:
            self._odd += 1
            if source not in self._told:
                self._told.add(source)
                log.warning("%s: batches of %s are not recorded: %s", self.path, source, error)
        else:
            self.recorded += 1

    def _flush(self) -> None:
        if self._writer is None:
            return
        self._writer.flush()
        if self._writer.size >= self._limit // 2:
            self._writer.close()
            self._open()


def _weight(batch: Batch) -> int:
    """How many values a batch holds, those of arrays one by one."""
    arrays = sum(len(value) for value in batch.values or () if isinstance(value, tuple))
    return len(batch.tags) + arrays


_NOTHING: Final = Batch((), None, 0, None, 0)


EVERY: Final = "*"
"""In place of a source's name: all that have no recorder of their own, also those that come later."""
NOBODY: Final[Mapping[str, Recorder]] = MappingProxyType({})


def tapped(recorders: Mapping[str, Recorder], source: str, tags: Sequence[Tag[Any]], emit: Emit) -> Emit:
    """What a source is to emit to: ``emit``, and its recorder where it has one."""
    recorder = recorders.get(source) or recorders.get(EVERY)
    return emit if recorder is None else recorder.tap(source, tags, emit)


def retap(recorders: Mapping[str, Recorder], source: str, tags: Sequence[Tag[Any]]) -> None:
    """Tell the recorder of a source, where it has one, that it has other tags."""
    recorder = recorders.get(source) or recorders.get(EVERY)
    if recorder is not None:
        recorder.retag(source, tags)
