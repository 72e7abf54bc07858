"""Clients of the server that know what every value must be."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from support.contract.plc import PACE
from support.soak.plant import URI, Device
from support.uaclient import ua

KEPT = 20
"""So many wrong values are kept in words."""


class Watch:
    """A subscription to everything.

    A Good value must be its own tag's and of no generation that is yet to come; a Bad one
    must be none. ``wrong`` counts those that are not, ``words`` has the first of them.
    """

    def __init__(self, plant: Sequence[Device]) -> None:
        self._plant = plant
        self._of: dict[Any, tuple[Device, str]] = {}
        self.notifications = 0
        self.qualities: Counter[str] = Counter()
        self.uneasy: Counter[str] = Counter()
        """Values of calm devices that were not Good, by quality."""
        self.wrong = 0
        self.words: list[str] = []

    async def subscribe(self, client: Any) -> None:
        """To every tag of every device."""
        index = await client.get_namespace_index(URI)
        for device in self._plant:
            for tag in device.tags:
                self._of[ua.NodeId(device.node(tag), index)] = device, tag
        subscription = await client.create_subscription(200, self)
        await subscription.subscribe_data_change([client.get_node(node) for node in self._of])

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        """See asyncua."""
        device, tag = self._of[node.nodeid]
        status = data.monitored_item.Value.StatusCode
        self.notifications += 1
        self.qualities[status.name] += 1
        if not status.is_good() and device.calm and status.name != "BadWaitingForInitialData":
            self.uneasy[status.name] += 1
        wrong = why_wrong(device, tag, value, good=status.is_good(), bad=status.is_bad())
        if wrong:
            self.wrong += 1
            if len(self.words) < KEPT:
                self.words.append(f"{device.name} {tag}: {wrong} ({status.name})")


def why_wrong(device: Device, tag: str, value: Any, *, good: bool, bad: bool) -> str:
    """In words; nothing where the value is right."""
    if bad:
        return "" if value is None else f"{value!r}, which is none"
    if value is None:
        return "no value" if good else ""
    generation = value - device.plc.first(tag)
    if not 0 <= generation < PACE:
        return f"{value!r}, which is another tag's"
    if tag in device.plc.names and generation > device.plc.generation:
        return f"{value!r}, which is yet to come"
    return ""


async def write_on(
    client: Any, plant: Sequence[Device], dice: random.Random, outcomes: Counter[str], over: asyncio.Event
) -> None:
    """Write to devices at random until it is over; ``outcomes`` counts the answers by StatusCode."""
    index = await client.get_namespace_index(URI)
    number = 0
    while not over.is_set():
        number += 1
        device = dice.choice(plant)
        tag = dice.choice(device.plc.writable)
        kind = device.case.spec(tag, None, writable=True).natural  # type: ignore[arg-type]
        value = ua.Variant(device.plc.first(tag) + number % PACE, ua.VariantType(kind.value))
        node = client.get_node(ua.NodeId(device.node(tag), index))
        try:
            await node.write_value(ua.DataValue(value))
        except ua.UaStatusCodeError as error:
            outcomes[ua.StatusCode(error.code).name] += 1
        else:
            outcomes["Good"] += 1
        await asyncio.sleep(dice.uniform(0.0, 0.3))


async def differences(client: Any, plant: Sequence[Device]) -> tuple[int, list[str]]:
    """How many values were compared with what the devices hold, and those that differ, in words."""
    index = await client.get_namespace_index(URI)
    compared, found = 0, []
    for device in plant:
        nodes = [client.get_node(ua.NodeId(device.node(tag), index)) for tag in device.tags]
        values = await client.read_attributes(nodes, ua.AttributeIds.Value)
        for tag, value in zip(device.tags, values, strict=True):
            there = await device.plc.get(tag)
            compared += 1
            if not value.StatusCode.is_good() or value.Value.Value != there:
                found.append(
                    f"{device.name} {tag}: {value.Value.Value!r} ({value.StatusCode.name}), not {there!r}"
                )
    return compared, found
