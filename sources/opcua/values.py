"""What notifications hold, as batches: decoded, fitted to the tags, in columns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from sources import clock
from sources.batch import Batch
from sources.opcua import wire
from sources.opcua.beside import beside_if_long
from sources.opcua.fit import fit_tag
from sources.opcua.kept import Subscription
from sources.opcua.live import Live
from sources.opcua.stack import ua
from sources.quality import GOOD, Quality, is_bad, quality_name
from sources.tag import Tag

log = logging.getLogger(__name__)

T = TypeVar("T")

_SLACK: Final = 100


class Values:
    """Takes in what the subscriptions tell of tags and of imported variables."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def tell(self, subscription: Subscription, body: bytes) -> None:
        """Report a DataChangeNotification of tags, and count it. Raises Malformed."""
        began = time.perf_counter()
        self.take_in(subscription, await decoded(subscription, body, wire.changes))
        self._count(subscription, time.perf_counter() - began)

    def _count(self, subscription: Subscription, lasted: float) -> None:
        its = self._live.device.statistics.get(subscription.scan.name) if subscription.scan else None
        if its is not None:
            its.reads += 1
            its.took(lasted, subscription.lasted)
            subscription.lasted = lasted

    def take_in(self, subscription: Subscription, found: wire.Changes) -> None:
        """Report values in columns, each fitted to its tag."""
        received = clock.now()
        found = _living(subscription, found)
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
                values[index], quality = fit_tag(kind, values[index], tags[handle])
                if quality != GOOD:
                    statuses[index] = quality
                    self._odd(subscription, handle, kind, quality)
        if times and (min(times) < 0 or max(times) > wire.LAST_TIME):
            times = [time if 0 <= time <= wire.LAST_TIME else 0 for time in times]
        good: Quality | Sequence[Quality] = statuses if any(statuses) else GOOD
        if self._live.settings.queue == 1 or len(set(handles)) == len(handles):
            self._report(subscription, handles, values, good, times, received)
        else:
            for start, end in runs(handles):
                cut = slice(start, end)
                self._report(subscription, handles[cut], values[cut], statuses[cut], times[cut], received)

    async def imported(self, subscription: Subscription, notification: wire.Notification) -> None:
        """Hand on a DataChangeNotification of imported variables. Raises Malformed."""
        importing = self._live.device.importing
        if importing is None or not wire.is_data_change(notification):
            return
        began = time.perf_counter()
        found = await decoded(subscription, notification.body, wire.raw_changes)
        subscription.unheard.difference_update(place for place, _ in found)
        await importing.receive(subscription.watched, found)
        self._count(subscription, time.perf_counter() - began)
        self.alive(subscription)

    def _report(  # a batch's columns
        self,
        subscription: Subscription,
        places: Sequence[int],
        values: Sequence[Any],
        qualities: Quality | Sequence[Quality],
        times: Sequence[int],
        received: int,
    ) -> None:
        self._live.emit(Batch(subscription.tags, values, qualities, times, received, places))

    def _odd(self, subscription: Subscription, place: int, kind: int, quality: Quality) -> None:
        if place in subscription.odd:
            return
        subscription.odd.add(place)
        tag = subscription.tags[place]
        log.warning(
            "%s: %s: the device sends %s, which does not fit %s; the value is %s",
            self._live.device.name,
            tag.name,
            kind_name(kind),
            wanted_name(tag),
            quality_name(quality),
        )

    def alive(self, subscription: Subscription) -> None:
        """Nothing more has changed, and that is known of now: a keep-alive, or values of no tag."""
        if subscription.tags or subscription.watched:
            self._live.emit(Batch(subscription.tags, (), GOOD, None, clock.now(), ()))


def _living(subscription: Subscription, found: wire.Changes) -> wire.Changes:
    """What is of tags that are still read."""
    if not subscription.retired or subscription.retired.isdisjoint(found.handles):
        return found
    return found.without(subscription.retired)


async def decoded(subscription: Subscription, body: bytes, decode: Callable[[bytes], T]) -> T:
    """Many values, and large ones, are decoded beside the loop. Raises Malformed."""
    count = wire.value_count(body)
    if count > subscription.room + _SLACK:
        raise wire.Malformed(f"{count} values at once, of items that hold {subscription.room}")
    return await beside_if_long(decode, body, count)


def runs(handles: Sequence[int]) -> list[tuple[int, int]]:
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


def wanted_name(tag: Tag[Any]) -> str:
    """``Int32``, ``Int32[8]``, ``an array of Int32``."""
    if tag.length is None:
        return tag.type.name
    return f"{tag.type.name}[{tag.length}]" if tag.length else f"an array of {tag.type.name}"


def kind_name(kind: int) -> str:
    """``Int32``, or ``an array of Int32``."""
    try:
        name = str(ua.VariantType(kind & 0x3F).name)
    except ValueError:
        name = f"type {kind & 0x3F}"
    return f"an array of {name}" if kind & wire.ARRAY else name
