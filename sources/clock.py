"""OPC UA time: 100 ns ticks since 1601-01-01 UTC (OPC 10000-6 §5.2.2.5), as plain ints."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

TICKS_PER_SECOND: Final = 10_000_000
UNIX_EPOCH_TICKS: Final = 116_444_736_000_000_000
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """The wall clock in ticks."""
    return time.time_ns() // 100 + UNIX_EPOCH_TICKS


def to_datetime(ticks: int) -> datetime:
    """An aware UTC datetime, cut to its microsecond."""
    return _UNIX_EPOCH + timedelta(microseconds=(ticks - UNIX_EPOCH_TICKS) // 10)


def from_datetime(moment: datetime) -> int:
    """Ticks of a datetime; a naive one is taken as UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    delta = aware - _UNIX_EPOCH
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    return micros * 10 + UNIX_EPOCH_TICKS


def to_iso(ticks: int) -> str:
    """ISO 8601 in UTC with microseconds and a ``Z``, as PubSub JSON wants it (OPC 10000-6 §5.4.2.6)."""
    seconds, rest = divmod(ticks - UNIX_EPOCH_TICKS, TICKS_PER_SECOND)
    moment = _UNIX_EPOCH + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 10:06d}Z"
