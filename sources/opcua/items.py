"""Monitored items: made in the portions a server takes, and sorted by what it said to each."""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from typing import Any, Final

from sources import clock
from sources.batch import Batch
from sources.errors import ConnectionLost
from sources.opcua import wire
from sources.opcua.connection import chunks
from sources.opcua.imports import Wanted
from sources.opcua.kept import Plan, Subscription
from sources.opcua.live import Live
from sources.opcua.stack import status_name, ua
from sources.opcua.subscribe import create
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONFIGURATION_ERROR, is_bad
from sources.statistics import ScanStatistics
from sources.tag import ScanClass, Tag

log = logging.getLogger(__name__)

_LONGEST_QUEUE: Final = 1000
"""Values a device may keep for an item, though fewer were asked for."""
_TOO_MANY_ITEMS: Final = 0x80DB0000
_NOT_THERE: Final = frozenset({"BadNodeIdUnknown", "BadNodeIdInvalid", "BadAttributeIdInvalid"})
_FILTER: Final = frozenset(
    {
        "BadFilterNotAllowed",
        "BadMonitoredItemFilterUnsupported",
        "BadMonitoredItemFilterInvalid",
        "BadDeadbandFilterInvalid",
    }
)


class Items:
    """Makes the items of tags and of imported variables."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def subscribe(self, plan: Plan, scan: ScanClass, tags: list[Tag[Any]]) -> list[Tag[Any]]:
        """One subscription for these tags; returns those for which it has no room."""
        subscription = await create(self._live, scan, scan.period)
        statistics = self._live.device.statistics[scan.name]
        statistics.planned = subscription.interval
        statistics.blocks += 1
        places = subscription.grow(self._still(plan, tags))
        self._live.add(subscription)
        plan.subscriptions.append(subscription)
        return await self._make(plan, subscription, places)

    async def add(self, plan: Plan, subscription: Subscription, tags: list[Tag[Any]]) -> list[Tag[Any]]:
        """Have a subscription watch these as well; returns those for which it has no room."""
        return await self._make(plan, subscription, subscription.grow(self._still(plan, tags)))

    def _still(self, plan: Plan, tags: list[Tag[Any]]) -> list[Tag[Any]]:
        """Those that the device still has: they may have gone since it was asked for, and come again."""
        there = set(map(id, self._live.device.tags))
        return [tag for tag in tags if id(tag) in there and id(tag) in plan.nodes]

    async def drop(self, subscription: Subscription) -> None:
        """Delete the items of tags that are read no more."""
        places = [place for place in sorted(subscription.retired) if subscription.items[place]]
        for part in chunks(places, self._live.connection.limits.items):
            request = ua.DeleteMonitoredItemsRequest()
            request.Parameters.SubscriptionId = subscription.id
            request.Parameters.MonitoredItemIds = [subscription.items[place] for place in part]
            # One that is not there any more is as good as deleted.
            await self._live.connection.ask(request, ua.DeleteMonitoredItemsResponse)
            for place in part:
                subscription.items[place] = 0

    async def _make(self, plan: Plan, subscription: Subscription, fresh: range) -> list[Tag[Any]]:
        """Make the items of places that are new; returns the tags for which there is no room."""
        refused: dict[int, int] = {}
        places: Sequence[int] = fresh
        for filtered in (True, False) if self._live.settings.deadband is not None else (False,):
            for place in places:
                refused.pop(place, None)
            refused |= await self._items(subscription, plan, places, filtered=filtered)
            places = [place for place, code in refused.items() if status_name(code) in _FILTER]
            if not places:
                break
            log.info(
                "%s: the device takes no deadband for %d nodes; every change of theirs is reported",
                self._live.device.name,
                len(places),
            )
        return self._sort_out(plan, subscription, refused)

    async def subscribe_imported(
        self, plan: Plan, wanted: Wanted, watched: list[tuple[bytes, Any]]
    ) -> list[tuple[bytes, Any]]:
        """One subscription for these variables of an import; returns those for which it has no room."""
        scan, keys = wanted.scan, tuple(key for key, _ in watched)
        importing = self._live.device.importing
        at_once = importing.at_once(keys) if importing is not None else 0
        subscription = await create(self._live, scan, scan.period, at_once=at_once)
        statistics = self._live.device.statistics.setdefault(scan.name, ScanStatistics(scan.period))
        statistics.planned = subscription.interval
        statistics.blocks += 1
        subscription.wanted = wanted
        subscription.watched = keys
        self._live.add(subscription)
        plan.subscriptions.append(subscription)
        sampling = (self._live.settings.sampling or scan.period) * 1000
        refused: dict[int, int] = {}
        places = range(len(watched))
        for part in chunks(places, self._live.connection.limits.items):
            if _TOO_MANY_ITEMS in refused.values():
                refused |= dict.fromkeys(part, _TOO_MANY_ITEMS)
                continue
            asked = [
                item(watched[place][1], place, sampling, self._live.settings.queue, None) for place in part
            ]
            for place, result in zip(part, await self._create(subscription, asked), strict=True):
                code = int(result.StatusCode.value)
                if is_bad(code):
                    refused[place] = code
        full = _full(refused, len(watched))
        subscription.watched = keys[:full]
        subscription.refused |= {place: code for place, code in refused.items() if place < full}
        tell_refused(self._live, subscription)
        return watched[full:]

    async def _items(
        self, subscription: Subscription, plan: Plan, places: Sequence[int], *, filtered: bool
    ) -> dict[int, int]:
        """Create monitored items; the StatusCodes of those that were refused, by place."""
        settings, tags = self._live.settings, subscription.tags
        sampling = settings.sampling or (
            subscription.scan.period if subscription.scan else subscription.interval
        )
        refused: dict[int, int] = {}
        for part in chunks(places, self._live.connection.limits.items):
            if plan.namespaces != self._live.connection.namespaces:
                break  # the NodeIds are others' now, and all is planned anew at once
            if _TOO_MANY_ITEMS in refused.values():
                refused |= dict.fromkeys(part, _TOO_MANY_ITEMS)
                continue
            part = [place for place in part if place not in subscription.retired]  # noqa: PLW2901
            if not part:
                continue
            asked = [
                item(
                    plan.nodes[id(tags[place])],
                    place,
                    sampling * 1000,
                    settings.queue,
                    self._filter() if filtered and tags[place].type.is_number else None,
                )
                for place in part
            ]
            for place, result in zip(part, await self._create(subscription, asked), strict=True):
                code = int(result.StatusCode.value)
                if is_bad(code):
                    refused[place] = code
                else:
                    subscription.items[place] = int(result.MonitoredItemId)
        return refused

    async def _create(self, subscription: Subscription, asked: list[Any]) -> Sequence[Any]:
        """Have the server make items, and room for their values; a result each. Raises ConnectionLost."""
        queue = self._live.settings.queue
        # Their first values may come before the answer.
        subscription.room += queue * len(asked)
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters.SubscriptionId = subscription.id
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        request.Parameters.ItemsToCreate = asked
        response = await self._live.connection.ask(request, ua.CreateMonitoredItemsResponse)
        results = _each(response, len(asked))
        for result in results:
            if not is_bad(int(result.StatusCode.value)):
                subscription.room += self._queue(result) - queue
        return results

    def _sort_out(self, plan: Plan, subscription: Subscription, refused: dict[int, int]) -> list[Tag[Any]]:
        """What was refused: tags for another subscription, and marks on those that are not there."""
        tags = subscription.tags
        later: list[Tag[Any]] = []
        gone = subscription.retired
        nowhere = {place for place in gone if not subscription.items[place]}
        if (full := _full(refused, len(tags), nowhere)) < len(tags):
            later = [tag for place, tag in enumerate(tags[full:], full) if place not in gone]
            subscription.shrink(full)
        missing = dict(plan.missing)
        for place, code in refused.items():
            if place < len(subscription.tags) and place not in subscription.retired:
                quality = BAD_CONFIGURATION_ERROR if status_name(code) in _NOT_THERE else code
                missing[id(tags[place])] = status_name(code)
                subscription.refused[place] = quality
        plan.missing = missing
        tell_refused(self._live, subscription)
        return later

    def _queue(self, result: Any) -> int:
        return max(self._live.settings.queue, min(int(result.RevisedQueueSize), _LONGEST_QUEUE))

    def _filter(self) -> Any:
        deadband = self._live.settings.deadband
        assert deadband is not None  # noqa: S101  # asked for only then
        percent = deadband.percent is not None
        return ua.DataChangeFilter(
            Trigger=ua.DataChangeTrigger.StatusValue,
            DeadbandType=int(ua.DeadbandType.Percent if percent else ua.DeadbandType.Absolute),
            DeadbandValue=deadband.percent if deadband.percent is not None else deadband.absolute,
        )


def _each(response: Any, count: int) -> Sequence[Any]:
    """A result for each item that was asked for. Raises ConnectionLost."""
    results: Sequence[Any] = response.Results or []
    if len(results) != count:
        raise ConnectionLost("monitored items were made in part", BAD_COMMUNICATION_ERROR)
    return results


def _full(refused: dict[int, int], count: int, nowhere: Container[int] = ()) -> int:
    """How many of so many places a subscription has room for: all, where it takes none or later ones.

    Places that are ``nowhere`` are asked for no more.
    """
    full = min((place for place, code in refused.items() if code == _TOO_MANY_ITEMS), default=count)
    later = all(place in refused or place in nowhere for place in range(full, count))
    return full if full and later else count


def tell_refused(live: Live, subscription: Subscription) -> None:
    """Mark what the server would not watch."""
    if subscription.tags:
        for place, quality in subscription.refused.items():
            live.emit(Batch(subscription.tags, None, quality, None, clock.now(), (place,)))
    elif subscription.refused and live.device.importing is not None:
        refused = [(place, wire.Raw(b"", code, 0)) for place, code in subscription.refused.items()]
        live.device.importing.take(subscription.watched, refused)


def item(  # the parameters of the service
    node: Any, handle: int, sampling: float, queue: int, its_filter: Any, *, attribute: int = 13
) -> Any:
    """What one item is asked for; ``sampling`` in milliseconds."""
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
