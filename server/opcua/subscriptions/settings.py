"""What a subscription was asked for and what it got (OPC 10000-4 §5.14.2)."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from server.opcua.limits import (
    MAX_KEEP_ALIVE,
    MAX_LIFETIME,
    MAX_PUBLISHING_INTERVAL,
    MIN_PUBLISHING_INTERVAL,
)

_MAX_COUNT: Final = 0xFFFFFFFF
_KEEP_ALIVES_PER_LIFETIME: Final = 3


class Settings(NamedTuple):
    """Revised: what holds."""

    interval: float
    """Of publishing, in milliseconds."""
    lifetime_count: int
    keep_alive_count: int
    max_notifications: int
    """Of one message; 0 for as many as the server likes."""
    priority: int
    enabled: bool = True
    """At the beginning."""


def revise(
    interval: float,
    lifetime_count: int,
    keep_alive_count: int,
    max_notifications: int,
    priority: int,
    *,
    enabled: bool = True,
    least: float = MIN_PUBLISHING_INTERVAL,
) -> Settings:
    """What a client gets that asks for this; ``least`` is the shortest interval.

    0 and less is the shortest interval and the smallest count there is; a lifetime is three
    keep-alives or more.
    """
    if math.isnan(interval) or interval < least:
        interval = least
    interval = min(interval, MAX_PUBLISHING_INTERVAL)
    most = max(int(MAX_KEEP_ALIVE / interval), 1)
    keep_alive_count = min(max(keep_alive_count, 1), most)
    least = _KEEP_ALIVES_PER_LIFETIME * keep_alive_count
    most = max(int(MAX_LIFETIME / interval), least)
    lifetime_count = min(max(lifetime_count, least), most, _MAX_COUNT)
    return Settings(interval, lifetime_count, keep_alive_count, max_notifications, priority, enabled)
