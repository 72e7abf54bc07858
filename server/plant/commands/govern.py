"""Governs every write: the order of the checks, the queue, the records, the one sending."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from server.audit.errors import AuditError
from server.plant.commands.attempt import Attempt, Caller, Outcome, Result, refused
from server.plant.commands.queue import DeviceQueue, Full
from server.plant.commands.readback import judge
from server.plant.commands.rules import Rules
from server.plant.commands.trail import Listener, Recorder, Trail
from server.plant.convert import ConversionError, raw_of
from server.plant.model import Binding, Property, PropertyType
from server.plant.values import Point, ValueStore
from sources.asking import Asker, Way
from sources.batch import Batch
from sources.clock import now
from sources.errors import ConnectionLost, Denied, Unreachable
from sources.quality import (
    BAD_INDEX_RANGE_NO_DATA,
    BAD_INTERNAL_ERROR,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_CONNECTED,
    BAD_OPERATION_ABANDONED,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    GOOD,
    GOOD_COMPLETES_ASYNCHRONOUSLY,
    Quality,
    is_bad,
    is_good,
)
from sources.tag import Part, Tag, Value, Written

log = logging.getLogger(__name__)

ONE_USERS: Final = 50
"""Forwarded writes and calls of one user that a source has under way: others find room, too."""


class Device(Protocol):
    """The way to one source's device while it is connected."""

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """Raises ConnectionLost, or Unreachable where there is no connection."""
        ...

    def acting(self, asker: Asker) -> Way:
        """The way in the name that whoever asks has there. Raises Denied where he has none."""
        ...


class Commands:
    """Governs every write.

    ``enabled`` false refuses all. ``keep`` stores a constant for the next start and raises
    OSError where it cannot. With ``refuse_unrecorded`` a write is refused where ``recorder``
    cannot keep that it was asked for.
    """

    def __init__(
        self,
        store: ValueStore,
        devices: Mapping[str, Device],
        *,
        enabled: bool,
        keep: Callable[[str, Value], Awaitable[None]],
        recorder: Recorder | None = None,
        refuse_unrecorded: bool = True,
    ) -> None:
        self._store = store
        self._devices = devices
        self._keep = keep
        self._rules = Rules(store.points, enabled=enabled)
        self._trail = Trail(recorder)
        self._refuse_unrecorded = refuse_unrecorded
        self._queues: dict[str, DeviceQueue] = {}
        """By source; "" is that of the constants."""
        self._doubtful: dict[str, tuple[Attempt, int | None, int]] = {}
        """Writes of unknown outcome by property, until it is heard again: the record's number, since when."""
        self._looking = False
        self._under_way: Counter[tuple[Any, Any]] = Counter()
        """What is forwarded now, by source and user."""
        self.outcomes: Counter[str] = Counter()
        """How attempts ended, by the name of the outcome."""

    def may_write(self, caller: Caller, prop: Property) -> bool:
        """Whether this caller's roles allow writing this property (serves UserAccessLevel)."""
        return self._rules.may_write(caller, prop)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have the end of every attempt told, synchronously; returns what ends that."""
        return self._trail.listen(listener)

    @property
    def waiting(self) -> Mapping[str, int]:
        """Writes that wait, by source."""
        return {source: len(queue) for source, queue in self._queues.items()}

    async def write(
        self,
        caller: Caller,
        key: str,
        value: Written,
        source_time: int | None = None,
        *,
        queued: Callable[[], None] | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> Quality:
        """Write a property's value, or a part of its array, in engineering units.

        Never raises for what a client or device can cause.

        ``source_time`` (ticks) is when the client says the value was so; it becomes the
        point's source time, unless it lies in the future.

        Writes to one device are carried out in the order they come. ``queued`` is called,
        before anything is waited for, once this one has its place among them; ``wanted`` is
        asked when its turn has come: False lets it go unsent, as nobody would hear of it.

        The answer is the StatusCode of OPC 10000-4 §5.11.4; docs/operations.md has the table.
        """
        point = self._store.points.get(key)
        if point is None:  # it was there when the request came
            return BAD_NODE_ID_UNKNOWN
        prop = point.property
        attempt = Attempt(caller, point, prop, point.value, value)
        refusal = self._rules.of_request(caller, prop, value)
        if refusal is None:
            _, way = self._aimed(attempt)
            refusal = way if isinstance(way, Result) else None
        if refusal is not None:
            return await self._end(attempt, refusal)
        rule, binding = prop.type.write, prop.binding
        # A part of an array leaves what is to become of the others to the writes before it.
        latest_wins = rule is not None and rule.latest_wins and not isinstance(value, Part)
        queue = self._queues.setdefault(binding.source if binding is not None else "", DeviceQueue())
        try:
            place = queue.join(key, caller.user, latest_wins=latest_wins)
        except Full as full:
            return await self._end(attempt, refused(BAD_RESOURCE_UNAVAILABLE, str(full)))
        if queued is not None:
            queued()
        asked = None
        async with place:
            attempt = replace(attempt, old=point.value)
            if place.superseded:
                result = refused(BAD_OPERATION_ABANDONED, "a newer write of this property came")
            elif wanted is not None and not wanted():
                result = refused(BAD_TIMEOUT, "its client waits no longer, or may not write any more")
            else:
                time = None if source_time is None else min(source_time, now())
                attempt, way = self._aimed(attempt)
                if isinstance(way, Result):
                    result = way
                else:
                    result, asked = await self._take_turn(attempt, value, time, way, wanted or _always)
        return await self._end(attempt, result, asked)

    def _aimed(self, attempt: Attempt) -> tuple[Attempt, Way | Result | None]:
        """The attempt with its name there, and the way: None for a constant, a Result where there is none."""
        binding = attempt.property.binding
        if binding is None:
            return attempt, None
        device = self._devices.get(binding.source)
        if device is None:
            return attempt, refused(BAD_NOT_CONNECTED)
        try:
            way = device.acting(attempt.caller.asker)
        except Denied as denied:
            return attempt, refused(denied.quality, str(denied))
        return replace(attempt, acts_as=way.acts_as), way

    async def forward(
        self,
        event: str,
        fields: Mapping[str, Any],
        ready: Callable[[], Awaitable[None]],
        send: Callable[[], Awaitable[Quality]],
    ) -> Quality:
        """Send what the device alone governs, once, between its two records; its answer.

        ``ready`` is waited for in between, and sends nothing; it and ``send`` raise Unreachable and
        Denied where nothing was sent, ``send`` ConnectionLost where nobody knows. ``fields`` are those
        of the records: ``node`` and ``user`` among them, ``source`` where there is one. What cannot be
        recorded is refused, as a write is, and what is beyond one user's share of a source.
        """
        its = fields.get("source"), fields["user"]
        if self._under_way[its] >= ONE_USERS:
            crowded = Denied(
                f"{ONE_USERS} writes and calls of this user are under way there", BAD_RESOURCE_UNAVAILABLE
            )
            return await self.withhold(event, fields, crowded)
        self._under_way[its] += 1
        try:
            return await self._forward(event, fields, ready, send)
        finally:
            self._under_way[its] -= 1
            if not self._under_way[its]:
                del self._under_way[its]

    async def _forward(
        self,
        event: str,
        fields: Mapping[str, Any],
        ready: Callable[[], Awaitable[None]],
        send: Callable[[], Awaitable[Quality]],
    ) -> Quality:
        asked = None
        try:
            asked = await self._trail.before(event, fields)
        except AuditError:
            if self._refuse_unrecorded:
                self._count(event, fields, Outcome.Refused, BAD_RESOURCE_UNAVAILABLE, None)
                return BAD_RESOURCE_UNAVAILABLE
        except asyncio.CancelledError:
            self._count(event, fields, Outcome.Refused, BAD_OPERATION_ABANDONED, None)
            raise
        try:
            await ready()
        except (Unreachable, Denied) as error:
            self._count(event, fields, Outcome.Refused, _told(error), asked, str(error))
            return _told(error)
        except asyncio.CancelledError:
            self._count(event, fields, Outcome.Refused, BAD_OPERATION_ABANDONED, asked)
            raise
        outcome, quality, reason = Outcome.Unknown, BAD_INTERNAL_ERROR, ""
        try:
            quality = await send()
            outcome = Outcome.Failed if is_bad(quality) else Outcome.Done
        except (Unreachable, Denied) as error:
            outcome, quality, reason = Outcome.Refused, _told(error), str(error)
        except ConnectionLost as lost:
            quality, reason = lost.quality, str(lost)
        finally:
            self._count(event, fields, outcome, quality, asked, reason)
        return quality

    async def withhold(self, event: str, fields: Mapping[str, Any], denied: Denied) -> Quality:
        """Record that what the device alone governs is not sent for this user; the answer.

        It takes the time its record takes: whoever asks without end leaves others' records their place.
        """
        self.outcomes[Outcome.Refused.value] += 1
        await self._trail.withheld(event, fields, denied.quality, str(denied))
        return denied.quality

    def _count(
        self,
        event: str,
        fields: Mapping[str, Any],
        outcome: Outcome,
        quality: Quality,
        asked: int | None,
        reason: str = "",
    ) -> None:
        self.outcomes[outcome.value] += 1
        self._trail.after(event, fields, outcome, quality, asked, reason)

    async def refuse(self, caller: Caller, key: str, value: object, quality: Quality) -> Quality:
        """Record a write that was refused before it came here; gives the quality back."""
        point = self._store.points.get(key)
        if point is None:
            return BAD_NODE_ID_UNKNOWN
        return await self._end(Attempt(caller, point, point.property, point.value, value), refused(quality))

    async def _end(self, attempt: Attempt, result: Result, asked: int | None = None) -> Quality:
        self.outcomes[result.outcome.value] += 1
        await self._trail.end(attempt, result, asked)
        return result.quality

    async def _take_turn(
        self, attempt: Attempt, value: Written, time: int | None, way: Way | None, wanted: Callable[[], bool]
    ) -> tuple[Result, int | None]:
        """Write it, if it may be now; how that ended, and the number of the record that it was asked."""
        refusal = self._forbidden(attempt, value)
        if refusal is not None:
            return refusal, None
        asked = None
        try:
            asked = await self._recorded(attempt)
            if way is not None:
                await way.ready()
        except (Unreachable, Denied) as error:
            return refused(_told(error), str(error)), asked
        except asyncio.CancelledError:
            self._trail.note(attempt, refused(BAD_OPERATION_ABANDONED, "it was broken off"), asked)
            raise
        # The disk took its time, and the device's: what allowed the write may be so no longer.
        refusal = self._forbidden(attempt, value)
        if refusal is None and not wanted():
            refusal = refused(BAD_TIMEOUT, "its client waits no longer, or may not write any more")
        if refusal is not None:
            return refusal, asked
        self._rules.count(attempt.point, value)
        try:
            result = await self._carry_out(attempt, value, time, way)
        except BaseException:
            # Cancelled, or a fault of ours: what is on its way is not called back.
            result = Result(BAD_INTERNAL_ERROR, Outcome.Unknown, "it was broken off")
            self.outcomes[result.outcome.value] += 1
            self._trail.note(attempt, result, asked)
            raise
        if result.outcome is Outcome.Unknown:
            self._look_out(attempt, asked)
        return result, asked

    async def _recorded(self, attempt: Attempt) -> int | None:
        """Record that it is asked. Raises Denied where it has to be recorded and cannot."""
        try:
            return await self._trail.ask(attempt)
        except AuditError as error:
            if self._refuse_unrecorded:
                raise Denied(f"it cannot be recorded: {error}", BAD_RESOURCE_UNAVAILABLE) from None
            return None

    def _forbidden(self, attempt: Attempt, value: Written) -> Result | None:
        """What forbids it now; among that, that the property is no more what it was asked for."""
        if self._is_gone(attempt):
            return refused(BAD_NODE_ID_UNKNOWN, "the property was removed or changed meanwhile")
        return self._rules.of_moment(attempt.point, value)

    def _is_gone(self, attempt: Attempt) -> bool:
        point, prop = attempt.point, attempt.property
        return self._store.points.get(prop.key) is not point or point.property is not prop

    async def _carry_out(self, attempt: Attempt, value: Written, time: int | None, way: Way | None) -> Result:
        prop = attempt.property
        rule, binding = prop.type.write, prop.binding
        if binding is None or rule is None or way is None:
            return await self._hold(attempt, value, time)
        try:
            raw = raw_of(value, binding.conversion, binding.tag.type)
        except ConversionError as error:
            return refused(BAD_OUT_OF_RANGE, str(error))
        try:
            try:
                (quality,) = await way.write([(binding.tag, raw)])
            finally:
                self._rules.sent(attempt.point)
        except (Unreachable, Denied) as error:
            return refused(_told(error), str(error))
        except ConnectionLost as error:
            return Result(error.quality, Outcome.Unknown, str(error))
        if not is_good(quality):
            return Result(quality, Outcome.Failed)
        if not rule.read_back:
            return Result(quality, Outcome.Done)
        # What it holds is the source's own to read: another user may write what he may not read.
        return await self._read_back(prop.type, binding, attempt, raw, quality, time)

    async def _hold(self, attempt: Attempt, value: Written, time: int | None) -> Result:
        """A constant. Kept first: a value that was acknowledged survives whatever comes next."""
        prop = attempt.property
        if isinstance(value, Part):
            held = attempt.point.value
            if not isinstance(held, tuple) or value.end > len(held):
                return refused(BAD_INDEX_RANGE_NO_DATA, "the array has no such elements")
            value = value.within(held)
        try:
            await self._keep(prop.key, value)
        except OSError as error:
            log.error("%s: written value not kept, so refused: %s", prop.key, error)  # noqa: TRY400 - the text says it all
            return refused(BAD_RESOURCE_UNAVAILABLE, f"it cannot be kept: {error}")
        if self._is_gone(attempt):
            return refused(BAD_NODE_ID_UNKNOWN, "the property was removed or changed meanwhile")
        self._store.set(prop.key, value, source_time=time)
        return Result(GOOD, Outcome.Done, held=value)

    async def _read_back(  # what was written, to what, and what was said of it
        self,
        kind: PropertyType,
        binding: Binding,
        attempt: Attempt,
        raw: Written,
        quality: Quality,
        time: int | None,
    ) -> Result:
        unread = Result(GOOD_COMPLETES_ASYNCHRONOUSLY, Outcome.Done, "it could not be read back")
        device = self._devices.get(binding.source)
        if device is None:
            return unread
        try:
            batch = await device.read([binding.tag])
        except (ConnectionLost, Unreachable):
            return unread
        read_quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[0]
        if batch.values is None or not is_good(read_quality):
            self._store.ingest(batch)
            return unread
        asked: Any = attempt.asked
        result = judge(kind, binding, attempt.old, asked, raw, batch.values[0], quality)
        taken = result.quality == quality
        self._store.ingest(replace(batch, device_times=[time]) if taken and time is not None else batch)
        return result

    # --- Writes of unknown outcome

    def _look_out(self, attempt: Attempt, asked: int | None) -> None:
        """Record what the device holds once it is heard again. Nothing is ever sent for it."""
        if not self._looking:
            self._looking = True
            self._store.listen(self._look)
        self._doubtful[attempt.point.property.key] = attempt, asked, now()

    def _look(self, changed: Sequence[Point]) -> None:
        if not self._doubtful:
            return
        for point in changed:
            doubt = self._doubtful.get(point.property.key)
            if doubt is None or not is_good(point.status) or point.server_time < doubt[2]:
                continue
            del self._doubtful[point.property.key]
            reason = "heard again after an unknown outcome"
            self._trail.note(doubt[0], Result(point.status, Outcome.Seen, reason, point.value), doubt[1])


def _told(error: Unreachable | Denied) -> Quality:
    """What a client is told of a write of which nothing was sent."""
    return error.quality if isinstance(error, Denied) else BAD_NOT_CONNECTED


def _always() -> bool:
    return True
