"""What the parts of one scan over one connection have in common."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Final

from sources.batch import Emit
from sources.opcua.connection import Connection
from sources.opcua.kept import Device, Subscription

log = logging.getLogger(__name__)

_SETTLE: Final = 1.0
"""Seconds between a change of the model and the plan that follows it: changes come in crowds."""


class Live:
    """The device, the connection to it, and the subscriptions whose messages are taken in."""

    def __init__(self, device: Device, connection: Connection, emit: Emit) -> None:
        loop = asyncio.get_running_loop()
        self.device = device
        self.settings = device.settings
        self.connection = connection
        self.emit = emit
        self.clock = loop.time
        self.subscriptions: dict[int, Subscription] = {}
        """By their ids."""
        self.acknowledge: list[tuple[int, int]] = []
        """Subscription and sequence number of the messages that the server may forget."""
        self.stale = False
        """Whether the device's model has changed since its nodes were looked at."""
        self.again: float | None = None
        """When to plan again, by the loop's clock."""
        self.grown: asyncio.Future[None] = loop.create_future()
        """Done when a subscription was added, and there is more to ask for, or when others are wanted."""

    def add(self, subscription: Subscription) -> None:
        """Have its messages taken in from now on."""
        self.subscriptions[subscription.id] = subscription
        self.wake()

    def wake(self) -> None:
        """Have the scan look at what there is to do."""
        if not self.grown.done():
            self.grown.set_result(None)

    def retagged(self) -> None:
        """The device has other tags: what is gone is reported no more, from this moment on."""
        there = set(map(id, self.device.tags))
        for subscription in self.subscriptions.values():
            subscription.retire(there)
        self.wake()

    @property
    def is_behind(self) -> bool:
        """Whether the plan is not yet that of the device's tags."""
        plan = self.device.plan
        return plan is not None and plan.tags is not self.device.tags

    @property
    def imports_others(self) -> bool:
        """Whether the plan is not yet that of what is imported."""
        plan = self.device.plan
        return plan is not None and plan.imports != self.device.imports

    def silent_at(self, subscription: Subscription) -> float:
        """When a subscription that says nothing is given up."""
        wait = max(subscription.keepalive, subscription.interval) + subscription.interval
        return subscription.heard + wait + self.settings.timeout

    def changed(self, what: str) -> None:
        """Have the nodes looked at again soon."""
        self.device.model_changes += 1
        self.stale = True
        log.info("%s: %s: looking at its nodes again", self.device.name, what)
        self.again = min(self.again or math.inf, self.clock() + _SETTLE)

    def renamed(self, names: Sequence[str]) -> None:
        """The NamespaceArray is another: a NodeId from before may be another node's. Look again at once."""
        self.connection.rename(names)
        self.device.plan = None
        self.changed("its namespaces have changed")
        self.again = self.clock()

    def next_check(self) -> None:
        """Say when the nodes are looked at again, after they were."""
        plan = self.device.plan
        importing = self.device.importing
        missing = bool(plan is not None and plan.missing) or (importing is not None and importing.lacks)
        self.again = self.clock() + self.device.recheck if missing else None
        if self.stale:  # again, while the plan was made
            self.again = self.clock() + _SETTLE
