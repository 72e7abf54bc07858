"""ReplaySource: a recording played back by its own timing."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Never, TypeAlias

from sources import clock
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Refused
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_NOT_WRITABLE,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    Quality,
)
from sources.replay.config import ReplayAddress, ReplaySettings
from sources.replay.recording import MAX_BLOCKS, Frame, Reader, RecordedTag, RecordedTags, RecordingError
from sources.tag import ANY_LENGTH, INTEGER_LIMITS, Tag, Value, ValueType, Written

log = logging.getLogger(__name__)

ReplayTag: TypeAlias = Tag[ReplayAddress]

_Known: TypeAlias = tuple[Value, Quality, int | None]
"""A value, its quality, and the device's time where there is one."""

_FLOATS: Final = frozenset({ValueType.Float, ValueType.Double})
_CHUNK: Final = 200
"""Batches read ahead."""
_NAMED: Final = 5


class ReplaySource:
    """See `sources.source.Source`."""

    def __init__(self, name: str, settings: ReplaySettings, tags: Sequence[ReplayTag]) -> None:
        self._name = name
        self._settings = settings
        self._tags = tuple(tags)
        self._told: frozenset[str] = frozenset()
        """Tags that stand in the log as missing."""
        self._session: ReplaySession | None = None

    @property
    def name(self) -> str:
        """See Source."""
        return self._name

    @property
    def address(self) -> str:
        """See Source."""
        return str(self._settings.file)

    @property
    def tags(self) -> Sequence[ReplayTag]:
        """See Source."""
        return self._tags

    @property
    def tells_changes(self) -> bool:
        """See sources.insight.TellsChanges: what grew stale stands in the recording."""
        return True

    def retag(self, tags: Sequence[ReplayTag]) -> None:
        """See Source; the recording is not begun anew for it."""
        self._tags = tuple(tags)
        if self._session is not None:
            self._session.retag(self._tags)
            self._tell(self._session.missing)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ReplaySession]:
        """Open the recording. Raises Refused where it is none, or has another source."""
        try:
            recorded = await asyncio.to_thread(self._look)
        except RecordingError as error:
            raise Refused(str(error)) from None
        session = self._session = ReplaySession(self._name, self._settings, _Part(recorded, self._tags))
        self._tell(session.missing)
        try:
            yield session
        finally:
            self._session = None
            await session.close()

    def _tell(self, tags: Sequence[ReplayTag]) -> None:
        """Say once what the recording has not."""
        missing = frozenset(tag.name for tag in tags)
        if missing - self._told:
            shown = ", ".join(sorted(missing)[:_NAMED])
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            log.warning(
                "%s: the recording %s has no %s%s of the types configured",
                self._name,
                self.address,
                shown,
                more,
            )
        self._told = missing

    def _look(self) -> RecordedTags:
        """The tags that the recording has of this source."""
        reader = Reader(self._settings.file)
        reader.close()
        wanted = self._settings.source or self._name
        if wanted not in reader.sources:
            there = ", ".join(reader.sources) or "none"
            raise RecordingError(
                f"the recording {self.address} has no source {wanted!r}; it has {there}: say which by source:"
            )
        return reader.sources[wanted]


class ReplaySession:
    """See `sources.source.Session`."""

    def __init__(self, name: str, settings: ReplaySettings, part: _Part) -> None:
        self._name = name
        self._settings = settings
        self._source = settings.source or name
        self._part = part
        self._last: dict[str, _Known] = {}
        self._reading: asyncio.Future[Any] | None = None
        self._emit: Emit | None = None

    @property
    def missing(self) -> Sequence[ReplayTag]:
        """The tags that the recording has not."""
        return self._part.missing

    def retag(self, tags: Sequence[ReplayTag]) -> None:
        """Play what is recorded of these from the next batch on."""
        before, self._part = self._part, self._part.again(tags)
        kept = {tag.name for tag in tags} - {tag.name for tag in set(before.tags).difference(tags)}
        self._last = {name: known for name, known in self._last.items() if name in kept}
        new = tuple(tag for tag in self._part.missing if tag not in before.missing)
        if new and self._emit is not None:
            self._emit(Batch(new, None, BAD_CONFIGURATION_ERROR, None, clock.now()))

    async def scan(self, emit: Emit) -> Never:
        """See Session: every recorded batch when its time has come. Raises ConnectionLost for a damaged file.

        Batches are as they were recorded, but for the time of reception, which is now. After
        the end, unless it begins again, the last values stay, as those of a connection lost.
        """
        self._emit = emit
        if self._part.missing:
            emit(Batch(self._part.missing, None, BAD_CONFIGURATION_ERROR, None, clock.now()))
        while True:
            if not await self._play(emit):
                raise ConnectionLost(f"{self._settings.file} holds nothing of {self._source}")
            if not self._settings.loop:
                break
            log.debug("%s: the recording begins again", self._name)
        log.info("%s: the recording has ended", self._name)
        lost = UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE
        played = tuple(tag for tag in self._part.tags if tag.name in self._last)
        emit(Batch(played, None, lost, None, clock.now()))
        await asyncio.Event().wait()
        raise AssertionError("nobody sets the event")

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """See Session: what was played last, or, before that, what the recording begins with."""
        if any(tag.name not in self._last for tag in tags):
            part = self._part
            try:
                first = await self._blocking(self._first, {tag.name for tag in tags})
            except RecordingError as error:
                raise ConnectionLost(str(error)) from None
            if self._part is part:
                self._last = {**first, **self._last}
        known: dict[str, _Known] = {tag.name: (None, BAD_WAITING_FOR_INITIAL_DATA, None) for tag in tags}
        known |= self._last
        known |= {tag.name: (None, BAD_CONFIGURATION_ERROR, None) for tag in self._part.missing}
        answers = [known[tag.name] for tag in tags]
        now = clock.now()
        times = [time for _, _, time in answers if time is not None]
        return Batch(
            tuple(tags),
            [value for value, _, _ in answers],
            [quality for _, quality, _ in answers],
            times if times and len(times) == len(answers) else None,
            now,
        )

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """See Session: there is no device to write to."""
        return [BAD_NOT_WRITABLE] * len(pairs)

    async def close(self) -> None:
        """Wait for the thread that reads, if one does."""
        if (reading := self._reading) is not None:
            await asyncio.wait((reading,))
            if not reading.cancelled():
                reading.exception()

    async def _play(self, emit: Emit) -> int:
        """From the beginning to the end; how many batches there were."""
        loop = asyncio.get_running_loop()
        tape = _Tape(self._settings.file, self._source)
        due, played = loop.time(), 0
        before: int | None = None
        try:
            while chunk := await self._blocking(tape.chunk):
                for frame in chunk:
                    if not self._part.of(frame).tags:
                        continue
                    # A clock that was set back while it was recorded takes no time.
                    passed = 0 if before is None else max(frame.received - before, 0)
                    due += passed / (clock.TICKS_PER_SECOND * self._settings.speed)
                    before = frame.received
                    await asyncio.sleep(max(due - loop.time(), 0))
                    played += 1
                    picked = self._part.of(frame)
                    if picked.tags:  # they may be others now
                        batch = picked.batch(frame)
                        self._note(batch)
                        emit(batch)
        except RecordingError as error:
            raise ConnectionLost(str(error)) from None
        finally:
            await self.close()
            tape.close()
        if tape.cut:
            log.info("%s: %s has no end, as that of a server that was killed", self._name, tape.path)
        return played

    def _note(self, batch: Batch) -> None:
        for index, tag in enumerate(_told(batch)):
            value, quality, time = _at(batch, index)
            if batch.values is None and (known := self._last.get(tag.name)) is not None:
                value, time = known[0], known[2]
            self._last[tag.name] = value, quality, time

    def _first(self, wanted: set[str]) -> dict[str, _Known]:
        """The first Good value of each tag; blocking."""
        found: dict[str, _Known] = {}
        part = self._part.again()
        tape = _Tape(self._settings.file, self._source)
        try:
            while not wanted <= found.keys() and (chunk := tape.chunk()):
                for frame in chunk:
                    batch = part.of(frame).batch(frame)
                    for index, tag in enumerate(_told(batch) if batch.values is not None else ()):
                        known = _at(batch, index)
                        if known[1] == GOOD and tag.name in wanted:
                            found.setdefault(tag.name, known)
        finally:
            tape.close()
        return found

    async def _blocking(self, work: Any, *arguments: Any) -> Any:
        """Do something in a thread; who is cancelled meanwhile leaves it to `close` to wait for that."""
        self._reading = future = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
        return await asyncio.shield(future)


@dataclass(frozen=True, slots=True)
class _Picked:
    """What is wanted of a block: tags, where their values are, which become floats, which are arrays."""

    recorded: RecordedTags
    tags: tuple[ReplayTag, ...]
    places: Sequence[int]
    floats: frozenset[int]
    arrays: frozenset[int]

    def batch(self, frame: Frame) -> Batch:
        """A frame of the block as a batch of now."""
        rows, told = self.places, None
        if frame.places is not None:
            row_of = {place: row for row, place in enumerate(frame.places)}
            told = [index for index, place in enumerate(self.places) if place in row_of]
            rows = [row_of[self.places[index]] for index in told]
        values, qualities, times = frame.values, frame.qualities, frame.device_times
        if values is not None:
            values = [values[row] for row in rows]
            if self.floats or self.arrays:
                places = self.places if told is None else [self.places[index] for index in told]
                values = [self._fitted(place, value) for place, value in zip(places, values, strict=True)]
        return Batch(
            self.tags,
            values,
            qualities if isinstance(qualities, int) else [qualities[row] for row in rows],
            None if times is None else [times[row] for row in rows],
            clock.now(),
            told,
        )

    def _fitted(self, place: int, value: Any) -> Value:
        """A value of that place as its tag has it."""
        floats = place in self.floats
        if place in self.arrays:
            return _array(value, floats=floats)
        return float(value) if floats and isinstance(value, int) else value


class _Part:
    """What of a recording belongs to which tag: by name, else by address.

    ``recorded`` are the tags it had at its beginning. One that came later is found as well,
    when its first batch comes.
    """

    def __init__(self, recorded: RecordedTags, tags: Sequence[ReplayTag]) -> None:
        self._recorded = recorded
        self.tags = tuple(tags)
        self._by_name = {tag.name: tag for tag in tags}
        self._by_address: dict[str, list[ReplayTag]] = {}
        self._blocks: dict[int, _Picked] = {}
        known = {its.name for its in recorded}
        for tag in tags:
            for address in tag.address.names if tag.name not in known else ():
                self._by_address.setdefault(address, []).append(tag)
        present = {tag.name for its in recorded for tag in self._meant(its)}
        self.missing = tuple(tag for tag in tags if tag.name not in present)

    def again(self, tags: Sequence[ReplayTag] | None = None) -> _Part:
        """The same for another thread, or for other tags."""
        return _Part(self._recorded, self.tags if tags is None else tags)

    def of(self, frame: Frame) -> _Picked:
        """Which tags a frame has values of, and where in it; one for each block."""
        known = self._blocks.get(id(frame.tags))
        if known is None or known.recorded is not frame.tags:
            if len(self._blocks) >= 2 * MAX_BLOCKS:
                self._blocks.clear()
            chosen = {
                tag.name: (tag, index) for index, its in enumerate(frame.tags) for tag in self._meant(its)
            }
            known = self._blocks[id(frame.tags)] = _Picked(
                frame.tags,
                tuple(tag for tag, _ in chosen.values()),
                [index for _, index in chosen.values()],
                frozenset(
                    index
                    for tag, index in chosen.values()
                    if tag.type in _FLOATS and frame.tags[index].type.is_integer
                ),
                frozenset(index for tag, index in chosen.values() if tag.length is not None),
            )
        return known

    def _meant(self, its: RecordedTag) -> Iterator[ReplayTag]:
        """The tags that have the values of a recorded one."""
        named = self._by_name.get(its.name)
        for tag in self._by_address.get(its.address, ()) if named is None else (named,):
            if _fits(its.type, tag.type) and _alike(its.length, tag.length):
                yield tag


class _Tape:
    """A recording read piece by piece; blocking, one thread at a time."""

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self._source = source
        self._reader: Reader | None = None
        self._frames: Iterator[Frame] = iter(())

    @property
    def cut(self) -> bool:
        """Whether the recording turned out to have no end."""
        return self._reader is not None and self._reader.cut

    def chunk(self) -> list[Frame]:
        """The next batches of the source; none at the end. Raises RecordingError."""
        if self._reader is None:
            self._reader = Reader(self.path)
            self._frames = (frame for frame in self._reader.frames() if frame.source == self._source)
        return list(itertools.islice(self._frames, _CHUNK))

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()


def _told(batch: Batch) -> Sequence[ReplayTag]:
    """The tags that a batch says something of."""
    return batch.tags if batch.places is None else [batch.tags[place] for place in batch.places]


def _at(batch: Batch, index: int) -> _Known:
    """What a batch says of one of the tags it is about."""
    quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[index]
    value = None if batch.values is None else batch.values[index]
    return value, quality, None if batch.device_times is None else batch.device_times[index]


def _array(value: object, *, floats: bool) -> Value:
    """An array as it was recorded; None for what is none."""
    if not isinstance(value, list):
        return None
    return tuple(map(float, value)) if floats else tuple(value)


def _alike(recorded: int | None, configured: int | None) -> bool:
    """Whether an array of the one length is one of the other's; None is a scalar."""
    if recorded is None or configured is None:
        return recorded is configured
    return configured in {ANY_LENGTH, recorded}


def _fits(recorded: ValueType, configured: ValueType) -> bool:
    """Whether every value of the one type is one of the other's, or becomes one as a float."""
    if recorded is configured:
        return True
    inner, outer = INTEGER_LIMITS.get(recorded), INTEGER_LIMITS.get(configured)
    if inner is not None and outer is not None:
        return outer[0] <= inner[0] and inner[1] <= outer[1]
    return configured in _FLOATS and (recorded in _FLOATS or inner is not None)
