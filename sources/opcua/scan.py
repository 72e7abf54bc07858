"""Subscribing to every tag of a server, and taking in what it publishes, as long as the connection holds.

A scan class is a subscription, its period the publishing interval. One more watches the server
itself: its namespaces and its model. After a lost connection the subscriptions are transferred to
the new session where the server still has them (OPC 10000-4 §5.14.7), and messages that were missed
are asked for again; else they are made anew.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, Never, TypeVar

from sources import clock
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost
from sources.opcua import wire
from sources.opcua.channel import ServiceError
from sources.opcua.connection import Connection, chunks
from sources.opcua.fit import fit
from sources.opcua.kept import Device, Plan, Subscription
from sources.opcua.stack import status_name, ua
from sources.opcua.walk import read_raw
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_CONNECTION_CLOSED,
    BAD_TIMEOUT,
    GOOD,
    Quality,
    is_bad,
    quality_name,
)
from sources.statistics import ScanStatistics
from sources.tag import ScanClass, Tag

log = logging.getLogger(__name__)

T = TypeVar("T")

_WATCH: Final = 1.0
"""Seconds between two looks at the server itself."""
_SETTLE: Final = 1.0
"""Seconds between a change of the model and the plan that follows it: changes come in crowds."""
_TRUST: Final = 2.0
"""Seconds between two looks at whether the device's certificate is still trusted."""
_MAX_PUBLISHES: Final = 20
_MANY, _LARGE = 10_000, 1 << 20
"""Values, and bytes, of a message that the loop does not decode itself."""
_LONGEST_QUEUE: Final = 1000
"""Values a device may keep for an item, though fewer were asked for."""
_SLACK: Final = 100
_MAX_MISSED: Final = 1000
"""Messages asked for again after one gap."""
_GOOD_TRANSFERRED: Final = 0x002D0000
_NO_SUBSCRIPTION, _TOO_MANY_PUBLISHES, _TIMEOUT = 0x80790000, 0x80780000, 0x800A0000
_TOO_MANY_ITEMS: Final = 0x80DB0000
_NO_MESSAGE: Final = 0x807B0000
_NOT_THERE: Final = frozenset({"BadNodeIdUnknown", "BadNodeIdInvalid", "BadAttributeIdInvalid"})
_FILTER: Final = frozenset(
    {
        "BadFilterNotAllowed",
        "BadMonitoredItemFilterUnsupported",
        "BadMonitoredItemFilterInvalid",
        "BadDeadbandFilterInvalid",
    }
)
_SUBSCRIPTION_NEVER: Final = 1 << 32
_NAMESPACES, _MODEL = 0, 1
"""Client handles in the subscription that watches the server."""


class Scan:
    """One scan over one connection."""

    def __init__(self, device: Device, connection: Connection, emit: Emit) -> None:
        self._device = device
        self._settings = device.settings
        self._connection = connection
        self._emit = emit
        self._clock = asyncio.get_running_loop().time
        self._publishes: dict[asyncio.Future[bytes], None] = {}
        self._most = _MAX_PUBLISHES
        self._acknowledge: list[tuple[int, int]] = []
        self._by_id: dict[int, Subscription] = {}
        self._stale = False
        """Whether the device's model has changed since its nodes were looked at."""
        self._trust_at = self._clock() + _TRUST
        self._again: float | None = None
        """When to plan again, by the loop's clock."""
        self._planning: asyncio.Task[None] | None = None
        """What is planned, while messages go on being taken: an import takes its time."""
        self._grown: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when a subscription was added, and there is more to ask for."""

    async def run(self) -> Never:
        """Until cancelled. Raises ConnectionLost, and Refused for a server that is trusted no longer."""
        device = self._device
        try:
            if await self._resume():
                self._next_check()
            else:
                self._planning = asyncio.create_task(self._begin())
            listened = self._clock()
            while True:
                self._pardon(listened)
                self._publish()
                await self._listen()
                listened = self._clock()
                # In the order they were asked in, which is that of their answers; a set has none.
                for future in [its for its in self._publishes if its.done()]:
                    del self._publishes[future]
                    await self._take(future.result())
                if self._planning is not None and self._planning.done():
                    planned, self._planning = self._planning, None
                    planned.result()
                await self._look_after(listened)
        except ServiceError as error:
            device.plan = None
            raise ConnectionLost(f"the device refused {error}", BAD_COMMUNICATION_ERROR) from None
        except wire.Malformed as error:
            raise ConnectionLost(str(error), BAD_COMMUNICATION_ERROR) from None
        finally:
            for future in self._publishes:
                future.cancel()
            if self._planning is not None:
                self._planning.cancel()
                await asyncio.gather(self._planning, return_exceptions=True)

    # --- The rhythm

    async def _listen(self) -> None:
        """Wait until there is something to do."""
        if self._grown.done():
            self._grown = asyncio.get_running_loop().create_future()
        waited: list[asyncio.Future[Any]] = [*self._publishes, self._grown]
        if self._planning is not None:
            waited.append(self._planning)
        await asyncio.wait(waited, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)

    def _pardon(self, listened: float) -> None:
        """Silence does not count for the time in which nobody listened."""
        now = self._clock()
        for subscription in self._by_id.values():
            subscription.heard = min(subscription.heard + now - listened, now)

    def _add(self, subscription: Subscription) -> None:
        """Have its messages taken in from now on."""
        self._by_id[subscription.id] = subscription
        if not self._grown.done():
            self._grown.set_result(None)

    def _patience(self) -> float:
        """Seconds until something is to be done even if nothing comes."""
        moments = [
            self._connection.channel.renew_at,
            self._trust_at,
            *map(self._silent_at, self._by_id.values()),
        ]
        if self._planning is None:
            moments += [one.settle_at for one in self._by_id.values() if one.beside]
            if self._again is not None:
                moments.append(self._again)
        return max(0.0, min(moments) - self._clock())

    def _silent_at(self, subscription: Subscription) -> float:
        """When a subscription that says nothing is given up."""
        wait = max(subscription.keepalive, subscription.interval) + subscription.interval
        return subscription.heard + wait + self._settings.timeout

    async def _look_after(self, now: float) -> None:
        for subscription in self._by_id.values():
            if now > self._silent_at(subscription):
                silent = now - subscription.heard
                if subscription.mute:
                    # Not every server that says it has transferred one publishes it afterwards.
                    self._device.plan, self._device.transfers = None, False
                raise ConnectionLost(f"not a word from the device for {silent:.1f} s", BAD_TIMEOUT)
        if now >= self._connection.channel.renew_at:
            await self._connection.channel.renew()
        if now >= self._trust_at:
            self._trust_at = now + _TRUST
            await asyncio.to_thread(self._connection.recheck)
        if self._planning is not None:
            return
        for subscription in list(self._by_id.values()):
            if subscription.beside and now >= subscription.settle_at:
                await self._settle(subscription)
        if self._again is not None and now >= self._again:
            self._planning = asyncio.create_task(self._replan())

    def _publish(self) -> None:
        """Have as many Publish requests wait at the server as it takes."""
        wanted = min(len(self._by_id) + 1, self._most) if self._by_id else 0
        longest = max((self._silent_at(s) - s.heard for s in self._by_id.values()), default=10.0)
        while len(self._publishes) < wanted:
            request = ua.PublishRequest()
            request.Parameters.SubscriptionAcknowledgements = [
                ua.SubscriptionAcknowledgement(SubscriptionId=its, SequenceNumber=number)
                for its, number in self._acknowledge
            ]
            self._acknowledge = []
            self._publishes[self._connection.channel.send(request, 2 * longest, most=None)] = None

    # --- What comes

    async def _take(self, data: bytes) -> None:
        answer = wire.publish(data)
        if is_bad(answer.result):
            self._refused(answer.result)
            return
        subscription = self._by_id.get(answer.subscription)
        if subscription is None:
            return  # deleted a moment ago
        subscription.heard, subscription.mute = self._clock(), False
        expected = _following(subscription.sequence)
        if answer.sequence != expected and subscription.sequence:
            if _behind(answer.sequence, expected):
                return  # known already
            await self._fetch(subscription, answer.sequence)
        elif answer.sequence > expected:  # the first there was never came
            self._lost(subscription)
            subscription.sequence = answer.sequence - 1
        if answer.notifications:
            await self._message(subscription, answer)
        else:
            self._alive(subscription)
        if subscription.unheard and not answer.more:
            await self._ask(subscription)

    def _refused(self, code: int) -> None:
        name = status_name(code)
        if code == _TOO_MANY_PUBLISHES:
            self._most = max(1, len(self._publishes))
        elif code == _NO_SUBSCRIPTION:
            self._device.plan = None
            raise ConnectionLost("the device has none of the subscriptions any more", BAD_CONNECTION_CLOSED)
        elif code != _TIMEOUT:
            raise ConnectionLost(f"the device refused to publish: {name}", BAD_CONNECTION_CLOSED)

    async def _fetch(self, subscription: Subscription, until: int) -> None:
        """Ask again for the messages between the last one and that; in their order, each taken once."""
        number = _following(subscription.sequence)
        for _ in range(_MAX_MISSED):
            if number == until:
                return
            request = ua.RepublishRequest()
            request.Parameters.SubscriptionId = subscription.id
            request.Parameters.RetransmitSequenceNumber = number
            self._device.republished += 1
            try:
                message = wire.republished(await self._connection.channel.answer_to(request))
                if is_bad(message.result):
                    raise ServiceError("Republish", message.result)  # noqa: TRY301
                if message.sequence != number:
                    # Not every server says that it has the message no longer.
                    raise ServiceError("Republish", _NO_MESSAGE)  # noqa: TRY301
                await self._message(subscription, message)
            except ServiceError as error:
                self._device.lost_messages += 1
                log.warning(
                    "%s: message %d of a subscription is lost: %s; a change of a value may be missing",
                    self._device.name,
                    number,
                    error,
                )
                self._lost(subscription)
                subscription.sequence = number
            number = _following(number)
        if number != until:
            more = (until - number) % _SUBSCRIPTION_NEVER
            self._device.lost_messages += more
            log.warning("%s: %d more messages of a subscription are lost", self._device.name, more)
            self._lost(subscription)
        subscription.sequence = until - 1 or 0xFFFFFFFF

    def _lost(self, subscription: Subscription) -> None:
        """A message will never come. What it may have told of is asked for, for it is not told again."""
        if subscription.scan is None:
            self._changed("a message of what has changed there is lost")
        subscription.unheard = subscription.reported()

    async def _message(self, subscription: Subscription, message: wire.Publish) -> None:
        """Take a NotificationMessage in."""
        subscription.sequence = message.sequence
        self._acknowledge.append((subscription.id, message.sequence))
        for notification in message.notifications:
            status = wire.status_change(notification)
            if status == _GOOD_TRANSFERRED and subscription.taken_over:
                subscription.taken_over = False
            elif status is not None:
                self._device.plan = None
                raise ConnectionLost(
                    f"the device ended a subscription: {status_name(status)}", BAD_CONNECTION_CLOSED
                )
            elif subscription.scan is None:
                await self._watched(subscription, notification)
            elif subscription.watched:
                await self._imported(subscription, notification)
            elif wire.is_data_change(notification):
                await self._values(subscription, notification.body)

    async def _decoded(self, subscription: Subscription, body: bytes, decode: Callable[[bytes], T]) -> T:
        """Many values, and large ones, are decoded in a thread. Raises Malformed."""
        count = wire.value_count(body)
        if count > subscription.room + _SLACK:
            raise wire.Malformed(f"{count} values at once, of items that hold {subscription.room}")
        if count > _MANY or len(body) > _LARGE:
            return await asyncio.to_thread(decode, body)
        return decode(body)

    async def _values(self, subscription: Subscription, body: bytes) -> None:
        began = time.perf_counter()
        self._take_in(subscription, await self._decoded(subscription, body, wire.changes))
        its = self._device.statistics[subscription.scan.name] if subscription.scan else None
        if its is not None:
            its.reads += 1
            lasted = time.perf_counter() - began
            its.took(lasted, subscription.lasted)
            subscription.lasted = lasted

    def _take_in(self, subscription: Subscription, found: wire.Changes) -> None:
        """Report values in columns, each fitted to its tag."""
        received = clock.now()
        handles, kinds, values, statuses, times = (
            found.handles,
            found.kinds,
            found.values,
            found.statuses,
            found.times,
        )
        if subscription.unheard:
            subscription.unheard.difference_update(handles)
        tags, expected, known = subscription.tags, subscription.expected, subscription.kinds
        count = len(tags)
        for index, handle in enumerate(handles):
            if handle >= count:
                raise wire.Malformed(f"a value for the handle {handle}, which was never given")
            kind = kinds[index]
            if kind == expected[handle] != wire.DATE_TIME:
                known[handle] = kind
            elif not is_bad(statuses[index]):
                known[handle] = kind or known[handle]
                values[index], quality = fit(kind, values[index], tags[handle].type)
                if quality != GOOD:
                    statuses[index] = quality
                    self._odd(subscription, handle, kind, quality)
        if times and (min(times) < 0 or max(times) > wire.LAST_TIME):
            times = [time if 0 <= time <= wire.LAST_TIME else 0 for time in times]
        good: Quality | Sequence[Quality] = statuses if any(statuses) else GOOD
        if self._settings.queue == 1 or len(set(handles)) == len(handles):
            self._report(subscription, handles, values, good, times, received)
        else:
            for start, end in _runs(handles):
                cut = slice(start, end)
                self._report(subscription, handles[cut], values[cut], statuses[cut], times[cut], received)

    async def _ask(self, subscription: Subscription) -> None:
        """Read what was in a message that is lost, or not sent again after a transfer as was asked."""
        plan, importing = self._device.plan, self._device.importing
        if plan is None:
            return
        places = sorted(subscription.unheard)
        subscription.unheard = set()
        if subscription.watched:
            if importing is not None:
                await importing.read([subscription.watched[place] for place in places])
            return
        tags = [subscription.tags[place] for place in places]
        found = await read_raw(
            self._connection, [(plan.nodes[id(tag)], int(ua.AttributeIds.Value)) for tag in tags]
        )
        changes = wire.Changes(handles=places)
        for raw in found:
            kind, value = wire.NOTHING, None
            if raw.variant:
                kind, value, _ = wire.variant(raw.variant, 0)
            changes.kinds.append(kind)
            changes.values.append(value)
            changes.statuses.append(raw.status)
            changes.times.append(raw.time)
        self._take_in(subscription, changes)
        if self._settings.queue == 1 and self._device.settles:
            for place in places:
                subscription.read(place, self._clock(), self._settings.sampling)

    async def _settle(self, subscription: Subscription) -> None:
        """Have the server tell anew of what was read beside the subscription.

        The first sample of an item that is enabled again is always reported, and what follows is compared
        with it (OPC 10000-4 §5.13.1.3). Disabling would lose what stands in a longer queue, and not every
        server can: there the values are read once more, which may again fall between two samples.
        """
        device, places = self._device, sorted(subscription.beside)
        subscription.beside = set()
        if self._settings.queue > 1 or not device.settles:
            subscription.unheard.update(places)
            return
        codes: list[list[int]] = []
        ids = [subscription.items[place] for place in places]
        try:
            for mode in (ua.MonitoringMode.Disabled, ua.MonitoringMode.Reporting):
                codes.append([])
                for part in chunks(ids, self._connection.limits.items):
                    request = ua.SetMonitoringModeRequest()
                    request.Parameters.SubscriptionId = subscription.id
                    request.Parameters.MonitoringMode = mode
                    request.Parameters.MonitoredItemIds = list(part)
                    subscription.halted = True
                    response = await self._connection.channel.request(request, ua.SetMonitoringModeResponse)
                    codes[-1] += [int(code.value) for code in response.Parameters.Results or []]
        except ServiceError as error:
            device.settles = False
            log.info("%s: what was read is read again later: %s", device.name, error)
            if any(codes):
                raise  # some are disabled
            subscription.halted = False
            subscription.unheard.update(places)
            return
        if any(is_bad(after) and not is_bad(before) for before, after in zip(*codes, strict=False)):
            raise ServiceError("SetMonitoringMode", max(codes[1]))
        subscription.halted = False

    async def _imported(self, subscription: Subscription, notification: wire.Notification) -> None:
        importing = self._device.importing
        if importing is None or not wire.is_data_change(notification):
            return
        found = await self._decoded(subscription, notification.body, wire.raw_changes)
        subscription.unheard.difference_update(place for place, _ in found)
        importing.take(subscription.watched, found)

    def _report(  # a batch's columns
        self,
        subscription: Subscription,
        places: Sequence[int],
        values: Sequence[Any],
        qualities: Quality | Sequence[Quality],
        times: Sequence[int],
        received: int,
    ) -> None:
        self._emit(Batch(subscription.tags, values, qualities, times, received, places))

    def _odd(self, subscription: Subscription, place: int, kind: int, quality: Quality) -> None:
        if place in subscription.odd:
            return
        subscription.odd.add(place)
        tag = subscription.tags[place]
        log.warning(
            "%s: %s: the device sends %s, which does not fit %s; the value is %s",
            self._device.name,
            tag.name,
            kind_name(kind),
            tag.type.name,
            quality_name(quality),
        )

    def _alive(self, subscription: Subscription) -> None:
        """A keep-alive: nothing has changed, and that is known of now."""
        if subscription.tags:
            self._emit(Batch(subscription.tags, (), GOOD, None, clock.now(), ()))

    async def _watched(self, subscription: Subscription, notification: wire.Notification) -> None:
        """The server itself: other namespaces, or a GeneralModelChangeEvent."""
        if wire.is_event(notification):
            self._changed("its model has changed")
        elif wire.is_data_change(notification):
            found = await self._decoded(subscription, notification.body, wire.changes)
            for handle, value in zip(found.handles, found.values, strict=True):
                if handle == _NAMESPACES and isinstance(value, bytes):
                    try:
                        names = tuple(ua_strings(value))
                    except wire.Malformed:
                        continue
                    if names != self._connection.namespaces:
                        self._changed("its namespaces have changed")

    def _changed(self, what: str) -> None:
        self._device.model_changes += 1
        self._stale = True
        log.info("%s: %s: looking at its nodes again", self._device.name, what)
        self._again = min(self._again or math.inf, self._clock() + _SETTLE)

    # --- Planning

    def _next_check(self) -> None:
        plan = self._device.plan
        missing = bool(plan is not None and plan.missing)
        self._again = self._clock() + self._device.recheck if missing else None
        if self._stale:  # again, while the plan was made
            self._again = self._clock() + _SETTLE

    async def _resolve(self) -> tuple[dict[int, Any], dict[int, str]]:
        tags = self._device.tags
        found = await self._connection.resolve([tag.address for tag in tags])
        nodes = {id(tag): node for tag, node in zip(tags, found, strict=True) if not isinstance(node, str)}
        missing = {id(tag): why for tag, why in zip(tags, found, strict=True) if isinstance(why, str)}
        return nodes, missing

    async def _begin(self) -> None:
        await self._plan()
        self._next_check()

    async def _replan(self) -> None:
        """Look at the nodes again; where they are others, or there now, subscribe anew."""
        await self._connection.look()
        nodes, missing = await self._resolve()
        plan = self._device.plan
        unresolved = {key: why for key, why in missing.items() if plan and key in plan.missing}
        lacking = set(plan.missing) - set(unresolved) if plan is not None else set()
        same = plan is not None and plan.nodes == nodes and plan.namespaces == self._connection.namespaces
        # A node that went and came again has the name it had; what watched it before is of one that is gone.
        if not same or lacking or self._stale:
            # The one that watches the server stays: what changes meanwhile is not missed.
            watch = next((one for one in self._by_id.values() if one.scan is None), None)
            old = [subscription.id for subscription in self._by_id.values() if subscription is not watch]
            request = ua.DeleteSubscriptionsRequest()
            request.Parameters.SubscriptionIds = old
            for number in old:
                del self._by_id[number]
            self._acknowledge = [one for one in self._acknowledge if one[0] in self._by_id]
            self._device.plan = None
            await self._connection.ask(request, ua.DeleteSubscriptionsResponse)
            await self._plan(nodes, missing, watch)
        self._next_check()

    async def _plan(
        self,
        nodes: dict[int, Any] | None = None,
        missing: dict[int, str] | None = None,
        watch: Subscription | None = None,
    ) -> None:
        """Find every tag's node, and subscribe."""
        device, connection = self._device, self._connection
        self._stale = False
        watch = watch or await self._watch()
        if nodes is None or missing is None:
            nodes, missing = await self._resolve()
        plan = Plan(connection.namespaces, connection.start_time, nodes, missing, [watch])
        classes: dict[ScanClass, list[Tag[Any]]] = defaultdict(list)
        for tag in device.tags:
            classes[tag.scan].append(tag)
        for scan, tags in classes.items():
            statistics = device.statistics.setdefault(scan.name, ScanStatistics(scan.period))
            statistics.planned, statistics.blocks, statistics.measured = scan.period, 0, 0.0
            waiting = [tag for tag in tags if id(tag) in nodes]
            while waiting:
                waiting = await self._subscribe(plan, scan, waiting)
        await self._import(plan)
        self._tell_missing(plan)
        plan.places = {
            id(one.tags[place]): (one, place)
            for one in plan.subscriptions
            if one.tags
            for place in one.reported()
        }
        device.plan = plan

    async def _import(self, plan: Plan) -> None:
        """Find what is imported, have it shown, and watch its variables."""
        importing = self._device.importing
        if importing is None:
            return
        importing.forget()
        for wanted in self._device.imports:
            watched = await importing.run(wanted)
            while watched:
                watched = await self._subscribe_imported(plan, wanted.scan, watched)

    async def _subscribe_imported(
        self, plan: Plan, scan: ScanClass, watched: list[tuple[bytes, Any]]
    ) -> list[tuple[bytes, Any]]:
        """One subscription for these variables; returns those for which it has no room."""
        subscription = await self._create(scan, scan.period)
        subscription.watched = tuple(key for key, _ in watched)
        self._add(subscription)
        plan.subscriptions.append(subscription)
        later: list[tuple[bytes, Any]] = []
        sampling = (self._settings.sampling or scan.period) * 1000
        places = range(len(watched))
        for part in chunks(places, self._connection.limits.items):
            if later:
                later += [watched[place] for place in part]
                continue
            request = ua.CreateMonitoredItemsRequest()
            request.Parameters.SubscriptionId = subscription.id
            request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
            request.Parameters.ItemsToCreate = [
                _item(watched[place][1], place, sampling, self._settings.queue, None) for place in part
            ]
            response = await self._connection.ask(request, ua.CreateMonitoredItemsResponse)
            for place, result in zip(part, response.Results or [], strict=False):
                code = int(result.StatusCode.value)
                if code == _TOO_MANY_ITEMS and place:
                    later.append(watched[place])
                elif is_bad(code):
                    subscription.refused[place] = code
                else:
                    subscription.room += self._queue(result)
        subscription.watched = subscription.watched[: len(watched) - len(later)]
        self._tell_refused(subscription)
        return later

    async def _create(self, scan: ScanClass | None, period: float) -> Subscription:
        settings = self._settings
        keep = max(1, math.ceil(settings.keepalive / period))
        request = ua.CreateSubscriptionRequest()
        request.Parameters.RequestedPublishingInterval = period * 1000
        request.Parameters.RequestedMaxKeepAliveCount = keep
        request.Parameters.RequestedLifetimeCount = max(3 * keep, math.ceil(settings.lifetime / period))
        request.Parameters.MaxNotificationsPerPublish = 0
        request.Parameters.PublishingEnabled = True
        request.Parameters.Priority = 0
        made = (await self._connection.ask(request, ua.CreateSubscriptionResponse)).Parameters
        interval = made.RevisedPublishingInterval / 1000
        if not 0 < interval < math.inf:
            raise ConnectionLost(f"a publishing interval of {interval:g} s", BAD_COMMUNICATION_ERROR)
        if scan is not None and interval > 1.1 * period:
            log.warning(
                "%s: the device reports the scan class %s every %g s, not every %g s",
                self._device.name,
                scan.name,
                interval,
                period,
            )
        subscription = Subscription(
            int(made.SubscriptionId), scan, interval, interval * int(made.RevisedMaxKeepAliveCount)
        )
        subscription.heard = self._clock()
        return subscription

    async def _subscribe(self, plan: Plan, scan: ScanClass, tags: list[Tag[Any]]) -> list[Tag[Any]]:
        """One subscription for these tags; returns those for which it has no room."""
        subscription = await self._create(scan, scan.period)
        statistics = self._device.statistics[scan.name]
        statistics.planned = subscription.interval
        statistics.blocks += 1
        subscription.tags = tuple(tags)
        subscription.expected = tuple(tag.type.value for tag in tags)
        subscription.kinds = [wire.NOTHING] * len(tags)
        subscription.items = [0] * len(tags)
        self._add(subscription)
        plan.subscriptions.append(subscription)
        refused: dict[int, int] = {}
        places = list(range(len(tags)))
        for filtered in (True, False) if self._settings.deadband is not None else (False,):
            refused = await self._items(subscription, plan, places, filtered=filtered)
            places = [place for place, code in refused.items() if status_name(code) in _FILTER]
            if not places:
                break
            log.info(
                "%s: the device takes no deadband for %d nodes; every change of theirs is reported",
                self._device.name,
                len(places),
            )
        return self._sort_out(plan, subscription, refused)

    def _sort_out(self, plan: Plan, subscription: Subscription, refused: dict[int, int]) -> list[Tag[Any]]:
        """What was refused: tags for another subscription, and marks on those that are not there."""
        tags = subscription.tags
        full = min((place for place, code in refused.items() if code == _TOO_MANY_ITEMS), default=len(tags))
        later: list[Tag[Any]] = []
        if full and all(place in refused for place in range(full, len(tags))):
            later = list(tags[full:])
            subscription.tags = tags[:full]
            subscription.expected = subscription.expected[:full]
            del subscription.kinds[full:], subscription.items[full:]
        missing = dict(plan.missing)
        for place, code in refused.items():
            if place < len(subscription.tags):
                quality = BAD_CONFIGURATION_ERROR if status_name(code) in _NOT_THERE else code
                missing[id(tags[place])] = status_name(code)
                subscription.refused[place] = quality
        plan.missing = missing
        self._tell_refused(subscription)
        return later

    def _tell_refused(self, subscription: Subscription) -> None:
        """Mark what the server would not watch."""
        if subscription.tags:
            for place, quality in subscription.refused.items():
                self._emit(Batch(subscription.tags, None, quality, None, clock.now(), (place,)))
        elif subscription.refused and self._device.importing is not None:
            refused = [(place, wire.Raw(b"", code, 0)) for place, code in subscription.refused.items()]
            self._device.importing.take(subscription.watched, refused)

    async def _items(
        self, subscription: Subscription, plan: Plan, places: Sequence[int], *, filtered: bool
    ) -> dict[int, int]:
        """Create monitored items; the StatusCodes of those that were refused, by place."""
        settings, tags = self._settings, subscription.tags
        sampling = settings.sampling or (
            subscription.scan.period if subscription.scan else subscription.interval
        )
        refused: dict[int, int] = {}
        for part in chunks(places, self._connection.limits.items):
            if _TOO_MANY_ITEMS in refused.values():
                refused |= dict.fromkeys(part, _TOO_MANY_ITEMS)
                continue
            request = ua.CreateMonitoredItemsRequest()
            request.Parameters.SubscriptionId = subscription.id
            request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
            request.Parameters.ItemsToCreate = [
                _item(
                    plan.nodes[id(tags[place])],
                    place,
                    sampling * 1000,
                    settings.queue,
                    self._filter() if filtered and tags[place].type.is_number else None,
                )
                for place in part
            ]
            response = await self._connection.ask(request, ua.CreateMonitoredItemsResponse)
            results = response.Results or []
            if len(results) != len(part):
                raise ConnectionLost("monitored items were made in part", BAD_COMMUNICATION_ERROR)
            for place, result in zip(part, results, strict=True):
                code = int(result.StatusCode.value)
                if is_bad(code):
                    refused[place] = code
                else:
                    subscription.items[place] = int(result.MonitoredItemId)
                    subscription.room += self._queue(result)
        return refused

    def _queue(self, result: Any) -> int:
        return max(self._settings.queue, min(int(result.RevisedQueueSize), _LONGEST_QUEUE))

    def _filter(self) -> Any:
        deadband = self._settings.deadband
        assert deadband is not None  # noqa: S101  # asked for only then
        percent = deadband.percent is not None
        return ua.DataChangeFilter(
            Trigger=ua.DataChangeTrigger.StatusValue,
            DeadbandType=int(ua.DeadbandType.Percent if percent else ua.DeadbandType.Absolute),
            DeadbandValue=deadband.percent if deadband.percent is not None else deadband.absolute,
        )

    async def _watch(self) -> Subscription:
        """Watch the server itself. A server that has no such events is not watched for them."""
        subscription = await self._create(None, _WATCH)
        self._add(subscription)
        model = ua.EventFilter(
            SelectClauses=[
                ua.SimpleAttributeOperand(
                    TypeDefinitionId=ua.NodeId(ua.ObjectIds.BaseEventType),
                    BrowsePath=[ua.QualifiedName("EventType", 0)],
                    AttributeId=ua.AttributeIds.Value,
                )
            ],
            WhereClause=ua.ContentFilter(
                Elements=[
                    ua.ContentFilterElement(
                        FilterOperator=ua.FilterOperator.Or,
                        FilterOperands=[ua.ElementOperand(Index=1), ua.ElementOperand(Index=2)],
                    ),
                    _of_type(ua.ObjectIds.GeneralModelChangeEventType),
                    # Some servers take no subtype for its supertype.
                    _of_type(ua.ObjectIds.BaseModelChangeEventType),
                ]
            ),
        )
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters.SubscriptionId = subscription.id
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        request.Parameters.ItemsToCreate = [
            _item(ua.NodeId(ua.ObjectIds.Server_NamespaceArray), _NAMESPACES, _WATCH * 1000, 1, None),
            _item(
                ua.NodeId(ua.ObjectIds.Server), _MODEL, 0, 100, model, attribute=ua.AttributeIds.EventNotifier
            ),
        ]
        response = await self._connection.ask(request, ua.CreateMonitoredItemsResponse)
        for result in response.Results or []:
            if is_bad(int(result.StatusCode.value)):
                log.debug(
                    "%s: the device is not watched for changes of its model: %s",
                    self._device.name,
                    status_name(int(result.StatusCode.value)),
                )
        return subscription

    def _tell_missing(self, plan: Plan) -> None:
        device = self._device
        lacking = [tag for tag in device.tags if id(tag) in plan.missing]
        unresolved = tuple(tag for tag in lacking if id(tag) not in plan.nodes)
        if unresolved:
            self._emit(Batch(unresolved, None, BAD_CONFIGURATION_ERROR, None, clock.now()))
        new = [tag for tag in lacking if tag.name not in device.told]
        device.told = {tag.name for tag in lacking}
        if new:
            log.warning(
                "%s: %s%s; tried again every %g s and when its model changes; check the addresses",
                device.name,
                "; ".join(f"{tag.address} ({tag.name}): {plan.missing[id(tag)]}" for tag in new[:5]),
                f"; and {len(new) - 5} more" if len(new) > 5 else "",
                device.recheck,
            )

    # --- After a lost connection

    async def _resume(self) -> bool:
        """Take over the subscriptions of the connection before; False where they have to be made anew."""
        plan, connection = self._device.plan, self._connection
        if plan is None or not plan.subscriptions or not self._device.transfers:
            self._device.plan = None
            return False
        tags = {id(tag) for tag in self._device.tags}
        if (
            plan.namespaces != connection.namespaces
            or plan.start_time != connection.start_time
            or plan.nodes.keys() | plan.missing.keys() != tags
            or any(one.halted for one in plan.subscriptions)
        ):
            self._device.plan = None
            return False
        request = ua.TransferSubscriptionsRequest()
        request.Parameters.SubscriptionIds = [one.id for one in plan.subscriptions]
        request.Parameters.SendInitialValues = True
        try:
            response = await connection.channel.request(request, ua.TransferSubscriptionsResponse)
        except ServiceError as error:
            log.info("%s: subscriptions are made anew: %s", self._device.name, error)
            self._device.plan = None
            return False
        results = response.Parameters.Results or []
        codes = [int(result.StatusCode.value) for result in results]
        if len(codes) != len(plan.subscriptions) or any(map(is_bad, codes)):
            await self._abandon(
                [o.id for o, code in zip(plan.subscriptions, codes, strict=False) if not is_bad(code)]
            )
            why = next((status_name(code) for code in codes if is_bad(code)), "no answer")
            log.info("%s: subscriptions are made anew: %s", self._device.name, why)
            self._device.plan = None
            return False
        self._device.transferred += 1
        for subscription, result in zip(plan.subscriptions, results, strict=True):
            subscription.heard = self._clock()
            self._by_id[subscription.id] = subscription
            subscription.taken_over = subscription.mute = True
            subscription.unheard = subscription.reported()
            self._tell_refused(subscription)
            await self._catch_up(subscription, result.AvailableSequenceNumbers or [])
        self._tell_missing(plan)
        return True

    async def _catch_up(self, subscription: Subscription, available: Sequence[int]) -> None:
        """Take the messages that were sent and never arrived, in their order; known ones are acknowledged."""
        missed = []
        for number in available:
            if subscription.sequence and _behind(number, _following(subscription.sequence)):
                self._acknowledge.append((subscription.id, number))
            else:
                missed.append(number)
        if missed:
            await self._fetch(subscription, _following(missed[-1]))

    async def _abandon(self, ids: list[int]) -> None:
        if ids:
            request = ua.DeleteSubscriptionsRequest()
            request.Parameters.SubscriptionIds = ids
            await self._connection.ask(request, ua.DeleteSubscriptionsResponse)


def _item(  # the parameters of the service
    node: Any, handle: int, sampling: float, queue: int, its_filter: Any, *, attribute: int = 13
) -> Any:
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=attribute),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=handle,
            SamplingInterval=float(sampling),
            Filter=its_filter,
            QueueSize=queue,
            DiscardOldest=True,
        ),
    )


def _of_type(number: int) -> Any:
    operand = ua.LiteralOperand(Value=ua.Variant(ua.NodeId(number), ua.VariantType.NodeId))
    return ua.ContentFilterElement(FilterOperator=ua.FilterOperator.OfType, FilterOperands=[operand])


def _following(sequence: int) -> int:
    """The sequence number after one; they begin anew at 1 (OPC 10000-4 §7.11)."""
    return 1 if sequence >= _SUBSCRIPTION_NEVER - 1 else sequence + 1


def _behind(number: int, expected: int) -> bool:
    """Whether a number has gone before that one, numbers being a circle."""
    return 0 < (expected - number) % _SUBSCRIPTION_NEVER < _SUBSCRIPTION_NEVER // 2


def _runs(handles: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches within which no handle comes twice: values of one node arrive one after the other."""
    found: list[tuple[int, int]] = []
    start, seen = 0, set[int]()
    for index, handle in enumerate(handles):
        if handle in seen:
            found.append((start, index))
            start, seen = index, set()
        seen.add(handle)
    found.append((start, len(handles)))
    return found


def ua_strings(encoded: bytes) -> list[str]:
    """The texts of a Variant of an array of String. Raises Malformed."""
    if encoded[0] != wire.ARRAY | 12:
        raise wire.Malformed("no array of String")
    count = int.from_bytes(encoded[1:5], "little", signed=True)
    at, found = 5, []
    for _ in range(count):
        size = int.from_bytes(encoded[at : at + 4], "little", signed=True)
        found.append(encoded[at + 4 : at + 4 + max(size, 0)].decode("utf-8", "replace"))
        at += 4 + max(size, 0)
    return found


def kind_name(kind: int) -> str:
    """``Int32``, or ``an array of Int32``."""
    try:
        name = str(ua.VariantType(kind & 0x3F).name)
    except ValueError:
        name = f"type {kind & 0x3F}"
    return f"an array of {name}" if kind & wire.ARRAY else name
