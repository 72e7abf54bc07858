"""One DataSetWriter at run time: what it owes its subscribers, and the next message. No I/O."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from server.mqtt.dataset import ConfigurationVersion, DataSet
from server.mqtt.encode import DELTA_FRAME, KEEP_ALIVE, KEY_FRAME, Json, data_message, status_code
from server.mqtt.mirrored import MirroredDataSet
from server.mqtt.state import WriterIdentity
from sources.clock import to_iso
from sources.quality import Quality
from sources.tag import same

_SEQUENCE_END: Final = 1 << 32
_LIMITS_EXCEEDED: Final = 0x80080000

AT_ONCE: Final = 8 << 10
"""Bytes of values that the loop encodes itself: at most some milliseconds."""
MOST: Final = 32 << 20
"""Bytes of a message, whatever a broker takes."""

_Held = tuple[int, Any, Quality, str]
"""Of a field: its index, value, status and time."""


def _weight(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else 8 * len(value) if isinstance(value, tuple) else 8


def _none(time: str) -> bytes:
    """A value for which a message has no room."""
    return orjson.dumps({"Value": None, "Status": status_code(_LIMITS_EXCEEDED), "SourceTimestamp": time})


@dataclass(frozen=True, slots=True)
class Draft:
    """A message with the values it is to hold, which may be others by the time it is encoded."""

    dataset: DataSet | MirroredDataSet
    publisher_id: str
    identity: WriterIdentity
    kind: str
    sequence: int
    time: int
    fields: Sequence[_Held] | None

    @property
    def size(self) -> int:
        """About how many bytes there are to encode."""
        return sum(_weight(held[1]) for held in self.fields or ())

    def encoded(self, most: int) -> tuple[bytes, int]:
        """The message, and how many values are left out of it, the largest ones, to be of so many bytes.

        It may be larger all the same where it has very many fields. Touches nothing that others change.
        """
        if self.fields is None:
            return self._message(None), 0
        if self.size <= AT_ONCE:
            name_of = self.dataset.field_name
            message = self._message({name_of(held[0]): self.dataset.encoded(*held) for held in self.fields})
            if len(message) <= most:
                return message, 0
        return self._fitted(self.fields, min(most, MOST))

    def _fitted(self, fields: Sequence[_Held], most: int) -> tuple[bytes, int]:
        """Value by value, so that no more is in memory than the message may have.

        Once some had to be left out, those are not even encoded for which there would be no room.
        """
        payload: Json = {}
        largest: list[tuple[int, str, str]] = []
        left, without, texts, weights = most - len(self._message({})), 0, 1, 1
        for held in fields:
            name, weight = self.dataset.field_name(held[0]), _weight(held[1])
            if without and weight * texts // weights > max(left, AT_ONCE):
                text = _none(held[3])
                without += 1
            else:
                text = orjson.dumps(self.dataset.encoded(*held))
                texts, weights = texts + len(text), weights + weight
            payload[name] = orjson.Fragment(text)
            left -= len(text) + len(orjson.dumps(name)) + 2
            heapq.heappush(largest, (-len(text), name, held[3]))
            while left < 0:
                size, which, time = largest[0]
                text = _none(time)
                if len(text) >= -size:
                    break
                heapq.heapreplace(largest, (-len(text), which, time))
                payload[which] = orjson.Fragment(text)
                left -= len(text) + size
                without += 1
        return self._message(payload), without

    def _message(self, payload: Json | None) -> bytes:
        return data_message(
            self.publisher_id,
            self.kind,
            writer_id=self.identity.id,
            sequence=self.sequence,
            minor_version=self.identity.version.minor,
            time=self.time,
            payload=payload,
        )


class DataSetWriter:
    """Key frames, delta frames and keep-alives of one DataSet (OPC 10000-14 §5.3.3).

    Time is counted in publishing intervals, which the caller numbers, and for keep-alives
    in seconds of a monotonic clock. What belongs to the caller: ``queued`` is true while a
    message of this writer waits to be made, ``held`` while nothing may go out because its
    metadata has not, ``ended`` once the data set has another writer or is no more.
    """

    __slots__ = (
        "_key_frame_every",
        "_key_frame_turn",
        "_last",
        "_pending",
        "_publisher_id",
        "_sent_at",
        "_sequence",
        "dataset",
        "ended",
        "held",
        "identity",
        "points",
        "queued",
    )

    def __init__(
        self,
        dataset: DataSet | MirroredDataSet,
        identity: WriterIdentity,
        points: Sequence[Any],
        *,
        publisher_id: str,
        key_frame_every: int,
    ) -> None:
        """``points`` in the order of the DataSet's fields: each a `Point` of the plant, or a `Cell`."""
        self.dataset = dataset
        self.identity = identity
        self.points = points
        self.queued = False
        self.held = False
        self.ended = False
        self._publisher_id = publisher_id
        self._key_frame_every = key_frame_every
        self._key_frame_turn = 0
        self._sequence = 1
        self._sent_at = 0.0
        self._pending: set[int] = set()
        self._last: list[tuple[Any, Quality] | None] = [None] * len(points)

    @property
    def name(self) -> str:
        """The DataSetWriterName: its level in the topics."""
        return self.dataset.writer_name

    @property
    def version(self) -> ConfigurationVersion:
        """The version of its metadata."""
        return self.identity.version

    def succeed(self, former: DataSetWriter) -> None:
        """Count on where the writer left off that this data set had before (§7.2.5.4.2)."""
        self._sequence = former._sequence

    def changed(self, index: int) -> None:
        """Note that a field has another value or status."""
        self._pending.add(index)

    def forget(self) -> bool:
        """Drop what is pending: a key frame will tell it. True if there was something."""
        had = bool(self._pending)
        self._pending.clear()
        return had

    def restart(self, turn: int) -> None:
        """Owe a key frame from that turn on."""
        self._key_frame_turn = turn

    def due(self, turn: int, quiet_since: float) -> bool:
        """Whether a message is owed: a key frame, changes, or nothing was sent since that moment."""
        return turn >= self._key_frame_turn or bool(self._pending) or self._sent_at <= quiet_since

    def draft(self, turn: int, quiet_since: float, *, monotonic: float, time: int) -> Draft | None:
        """The message that is due; None where the changes turned out to be none. ``time`` in ticks."""
        if turn >= self._key_frame_turn:
            self._key_frame_turn = turn + self._key_frame_every
            message = self._numbered(KEY_FRAME, self._held(range(len(self.points))), time)
        elif held := self._held(sorted(i for i in self._pending if self._differs(i))):
            message = self._numbered(DELTA_FRAME, held, time)
        elif self._sent_at <= quiet_since:
            message = self._draft(KEEP_ALIVE, None, time)
        else:
            self._pending.clear()
            return None
        self._pending.clear()
        self._sent_at = monotonic
        return message

    def _differs(self, index: int) -> bool:
        last, point = self._last[index], self.points[index]
        if last is None or last[1] != point.status:
            return True
        return not same(last[0], point.value)

    def _held(self, indices: Sequence[int]) -> Sequence[_Held]:
        held: list[_Held] = []
        times: dict[int, str] = {}
        for index in indices:
            point = self.points[index]
            ticks, value, status = point.source_time, point.value, point.status
            time = times.get(ticks)
            if time is None:
                time = times[ticks] = to_iso(ticks)
            self._last[index] = (value, status)
            held.append((index, value, status, time))
        return held

    def _numbered(self, kind: str, held: Sequence[_Held], time: int) -> Draft:
        message = self._draft(kind, held, time)
        self._sequence = (self._sequence + 1) % _SEQUENCE_END
        return message

    def _draft(self, kind: str, held: Sequence[_Held] | None, time: int) -> Draft:
        return Draft(self.dataset, self._publisher_id, self.identity, kind, self._sequence, time, held)
