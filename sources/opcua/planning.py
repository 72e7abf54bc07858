"""What is watched: every tag's node, in a subscription a scan class; made anew when nodes are others."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

from sources import clock
from sources.batch import Batch
from sources.opcua.items import Items
from sources.opcua.kept import Plan, Subscription
from sources.opcua.live import Live
from sources.opcua.stack import ua
from sources.opcua.watch import Watch
from sources.quality import BAD_CONFIGURATION_ERROR
from sources.statistics import ScanStatistics
from sources.tag import ScanClass, Tag

log = logging.getLogger(__name__)


class Planning:
    """Makes the plan of a connection, and the next where it holds no longer."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._watch = Watch(live)
        self._items = Items(live)

    async def begin(self) -> None:
        """Plan for the first time over this connection."""
        await self._plan()
        self._live.next_check()

    async def again(self) -> None:
        """Look at the nodes again; where they are others, or there now, subscribe anew."""
        await self._live.connection.look()
        nodes, missing = await self._resolve()
        plan = self._live.device.plan
        unresolved = {key: why for key, why in missing.items() if plan and key in plan.missing}
        lacking = set(plan.missing) - set(unresolved) if plan is not None else set()
        same = (
            plan is not None and plan.nodes == nodes and plan.namespaces == self._live.connection.namespaces
        )
        # A node that went and came again has the name it had; what watched it before is of one that is gone.
        if not same or lacking or self._live.stale:
            # The one that watches the server stays: what changes meanwhile is not missed.
            watch = next((one for one in self._live.subscriptions.values() if one.scan is None), None)
            old = [
                subscription.id
                for subscription in self._live.subscriptions.values()
                if subscription is not watch
            ]
            request = ua.DeleteSubscriptionsRequest()
            request.Parameters.SubscriptionIds = old
            for number in old:
                del self._live.subscriptions[number]
            self._live.acknowledge = [
                one for one in self._live.acknowledge if one[0] in self._live.subscriptions
            ]
            self._live.device.plan = None
            await self._live.connection.ask(request, ua.DeleteSubscriptionsResponse)
            await self._plan(nodes, missing, watch)
        self._live.next_check()

    async def _plan(
        self,
        nodes: dict[int, Any] | None = None,
        missing: dict[int, str] | None = None,
        watch: Subscription | None = None,
    ) -> None:
        """Find every tag's node, and subscribe."""
        device, connection = self._live.device, self._live.connection
        self._live.stale = False
        watch = watch or await self._watch.subscribe()
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
                waiting = await self._items.subscribe(plan, scan, waiting)
        await self._import(plan)
        tell_missing(self._live, plan)
        plan.places = {
            id(one.tags[place]): (one, place)
            for one in plan.subscriptions
            if one.tags
            for place in one.reported()
        }
        device.plan = plan

    async def _resolve(self) -> tuple[dict[int, Any], dict[int, str]]:
        tags = self._live.device.tags
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
        for wanted in self._live.device.imports:
            watched = await importing.run(wanted)
            while watched:
                watched = await self._items.subscribe_imported(plan, wanted.scan, watched)


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
