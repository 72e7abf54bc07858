"""What is watched: every tag's node, in a subscription a scan class; made anew when nodes are others."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Final

from sources import clock
from sources.batch import Batch
from sources.opcua.config import OpcUaTag
from sources.opcua.importing import Importing
from sources.opcua.imports import Wanted
from sources.opcua.items import Items
from sources.opcua.kept import Plan, Subscription
from sources.opcua.live import Live
from sources.opcua.stack import ua
from sources.opcua.watch import Watch
from sources.quality import BAD_CONFIGURATION_ERROR
from sources.statistics import ScanStatistics
from sources.tag import ScanClass, Tag

log = logging.getLogger(__name__)

_MOST_RETIRED: Final = 1000
"""Places of a subscription, beyond as many as it has tags, that may be those of tags that are no more."""


class Planning:
    """Makes the plan of a connection, and the next where it holds no longer."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._watch = Watch(live)
        self._items = Items(live)

    async def begin(self) -> None:
        """Plan for the first time over this connection."""
        await self._plan(self._live.device.tags, self._live.connection.namespaces)
        self._live.next_check()

    async def again(self) -> None:
        """Look at the nodes again; where they are others, or there now, subscribe anew."""
        live, plan = self._live, self._live.device.plan
        await live.connection.look()
        names = live.connection.namespaces
        tags = live.device.tags if plan is None else plan.tags
        nodes, missing = await self._resolve(tags)
        importing = live.device.importing
        came = importing is not None and importing.lacks and await importing.came()
        if plan is not None and plan.tags is not tags:
            live.again = live.clock()  # they were replaced meanwhile, which comes first
            return
        unresolved = {key: why for key, why in missing.items() if plan and key in plan.missing}
        lacking = set(plan.missing) - set(unresolved) if plan is not None else set()
        same = plan is not None and plan.nodes == nodes and plan.namespaces == live.connection.namespaces
        # A node that went and came again has the name it had; what watched it before is of one that is gone.
        if not same or lacking or came or live.stale:
            # The one that watches the server stays: what changes meanwhile is not missed.
            watch = next((one for one in live.subscriptions.values() if one.scan is None), None)
            live.device.plan = None
            await self._delete([one.id for one in live.subscriptions.values() if one is not watch])
            await self._plan(tags, names, (nodes, missing), watch)
        live.next_check()

    async def retag(self) -> None:
        """Watch the device's tags of now. Items of those that stay are not touched."""
        device, plan = self._live.device, self._live.device.plan
        if plan is None:
            return
        try:
            await self._take_tags(plan)
        except BaseException:
            # What stands at the server is not what the plan says: it cannot be taken over as it is.
            if device.plan is plan:
                device.plan = None
            raise

    async def _take_tags(self, plan: Plan) -> None:
        device = self._live.device
        tags = device.tags
        plan.retire(tags)
        had = set(map(id, plan.tags))
        nodes, missing = await self._resolve([tag for tag in tags if id(tag) not in had])
        there = set(map(id, device.tags))  # they may be others again, and some of these gone
        plan.nodes |= {key: node for key, node in nodes.items() if key in there}
        plan.missing = {**plan.missing, **{key: why for key, why in missing.items() if key in there}}
        self._count_classes(tags)
        waiting = _by_class([tag for tag in tags if id(tag) in plan.nodes and id(tag) not in had])
        for subscription in [one for one in plan.subscriptions if one.scan is not None and not one.watched]:
            await self._mend(plan, subscription, waiting)
        for scan, members in waiting.items():
            left = members
            while left:
                left = await self._items.subscribe(plan, scan, left)
        self._finish(plan, tags)
        self._live.next_check()

    async def _mend(
        self, plan: Plan, subscription: Subscription, waiting: dict[ScanClass, list[Tag[Any]]]
    ) -> None:
        """Have a subscription watch what of its class is waiting, and no longer what was retired.

        One of which nothing is left is deleted; so is one with far more places than tags, which then
        wait to be watched by another.
        """
        scan = subscription.scan
        assert scan is not None  # noqa: S101  # it watches tags
        living, wanted = subscription.living, waiting.get(scan, [])
        if len(subscription.retired) > max(_MOST_RETIRED, len(living)) or not (living or wanted):
            plan.subscriptions.remove(subscription)
            if (statistics := self._live.device.statistics.get(scan.name)) is not None:
                statistics.blocks -= 1
            await self._delete([subscription.id])
            if living:
                waiting[scan] = [*living, *wanted]
            return
        await self._items.drop(subscription)
        if wanted:
            waiting[scan] = await self._items.add(plan, subscription, wanted)

    async def _delete(self, ids: list[int]) -> None:
        """Delete subscriptions; what still comes of them is dropped."""
        if not ids:
            return
        live = self._live
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters.SubscriptionIds = ids
        for number in ids:
            del live.subscriptions[number]
        live.acknowledge = [one for one in live.acknowledge if one[0] in live.subscriptions]
        await live.connection.ask(request, ua.DeleteSubscriptionsResponse)

    async def _plan(
        self,
        tags: tuple[OpcUaTag, ...],
        names: tuple[str, ...],
        resolved: tuple[dict[int, Any], dict[int, str]] | None = None,
        watch: Subscription | None = None,
    ) -> None:
        """Find every tag's node by these namespaces, and subscribe."""
        device, connection = self._live.device, self._live.connection
        self._live.stale = False
        watch = watch or await self._watch.subscribe()
        nodes, missing = resolved or await self._resolve(tags)
        plan = Plan(names, connection.start_time, nodes, missing, subscriptions=[watch])
        self._count_classes(tags)
        for statistics in device.statistics.values():
            statistics.blocks, statistics.measured = 0, 0.0
        for scan, members in _by_class(tags).items():
            waiting = [tag for tag in members if id(tag) in nodes]
            while waiting and connection.namespaces == names:
                waiting = await self._items.subscribe(plan, scan, waiting)
        if connection.namespaces == names:
            await self._import(plan)
            self._finish(plan, tags)
        if connection.namespaces == names:
            device.plan = plan
        else:  # its NodeIds are of no use, and what is watched by them may be others'
            device.plan, self._live.stale = None, True

    def _finish(self, plan: Plan, tags: tuple[OpcUaTag, ...]) -> None:
        """All of these are watched that can be; those that went meanwhile and came again are still to be."""
        tell_missing(self._live, plan)
        plan.places = {
            id(one.tags[place]): (one, place)
            for one in plan.subscriptions
            if one.tags
            for place in one.reported()
        }
        plan.tags = tags
        known = plan.places.keys() | plan.missing.keys()
        if not known >= set(map(id, tags)):
            plan.retire([tag for tag in tags if id(tag) in known])

    def _count_classes(self, tags: Sequence[OpcUaTag]) -> None:
        """Have statistics of the scan classes there are, and of no others."""
        scans = {tag.scan.name: tag.scan for tag in tags}
        scans |= {wanted.scan.name: wanted.scan for wanted in self._live.device.imports}
        known = self._live.device.statistics
        for gone in known.keys() - scans:
            del known[gone]
        for scan in scans.values():
            if scan.name not in known:
                known[scan.name] = ScanStatistics(scan.period)

    async def _resolve(self, tags: Sequence[OpcUaTag]) -> tuple[dict[int, Any], dict[int, str]]:
        found = await self._live.connection.resolve([tag.address for tag in tags])
        nodes = {id(tag): node for tag, node in zip(tags, found, strict=True) if not isinstance(node, str)}
        missing = {id(tag): why for tag, why in zip(tags, found, strict=True) if isinstance(why, str)}
        return nodes, missing

    async def _import(self, plan: Plan) -> None:
        """Find what is imported, have it shown, and watch its variables."""
        importing = self._live.device.importing
        if importing is None:
            return
        importing.forget()
        plan.imports = self._live.device.imports
        for wanted in plan.imports:
            await self._carry_out(importing, plan, wanted)

    async def _carry_out(self, importing: Importing, plan: Plan, wanted: Wanted) -> None:
        counts = self._live.device.counts
        async with counts.walking(wanted) if counts is not None else nullcontext():
            watched = await importing.run(wanted)
        while watched:
            watched = await self._items.subscribe_imported(plan, wanted, watched)

    async def follow_imports(self) -> None:
        """Carry out imports that are new, and watch no more what those brought that are gone."""
        device, plan, importing = self._live.device, self._live.device.plan, self._live.device.importing
        if plan is None or importing is None:
            return
        wanted = device.imports
        ended = [one for one in plan.subscriptions if one.wanted and one.wanted not in wanted]
        for its in plan.imports:
            if its not in wanted:
                importing.dismiss(its)
        for one in ended:
            plan.subscriptions.remove(one)
            if one.scan is not None and (statistics := device.statistics.get(one.scan.name)) is not None:
                statistics.blocks -= 1
        if ended:
            await self._delete([one.id for one in ended])
        self._count_classes(plan.tags)
        plan.imports = tuple(its for its in plan.imports if its in wanted)
        for its in wanted:
            if its not in plan.imports:
                await self._carry_out(importing, plan, its)
                plan.imports = (*plan.imports, its)
        plan.imports = wanted
        self._live.next_check()


def _by_class(tags: Iterable[OpcUaTag]) -> dict[ScanClass, list[Tag[Any]]]:
    classes: dict[ScanClass, list[Tag[Any]]] = defaultdict(list)
    for tag in tags:
        classes[tag.scan].append(tag)
    return classes


def tell_missing(live: Live, plan: Plan) -> None:
    """Mark the tags whose nodes the server does not have; what is new of them stands in the log."""
    device = live.device
    lacking = [tag for tag in device.tags if id(tag) in plan.missing]
    unresolved = tuple(tag for tag in lacking if id(tag) not in plan.nodes)
    if unresolved:
        live.emit(Batch(unresolved, None, BAD_CONFIGURATION_ERROR, None, clock.now()))
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
