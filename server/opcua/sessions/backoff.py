"""How often passwords may be tried: slows whoever guesses, without keeping out who knows his own.

Three rules, each with a memory of bounded size:

- One user from one address: after three failures in a row it has to wait, 1 s at first and
  twice as long each time, 30 s at most. A success ends it.
- One address, whatever the user: ten failures are free, then one every ten seconds. This is
  what stops trying one password with many names.
- One user, whatever the address: twenty failures are free, then one every twenty seconds. This
  is what stops trying many passwords from many addresses.

The latter two do not bind a user at an address where that user has logged in before, and the
last one no address where nothing has failed yet: nobody who guesses from elsewhere, or guesses
other names beside him, keeps out who types his password right. An address is an IPv4 address,
or an IPv6 network of 64 bits. Nothing of this outlives the process.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

FREE_ATTEMPTS: Final = 3
MAX_DELAY: Final = 30.0
MAX_REMEMBERED: Final = 4096
_MAX_NAME: Final = 64


class Rate(NamedTuple):
    """So many failures at once, and then one in so many seconds."""

    free: int
    seconds: float


PER_ADDRESS: Final = Rate(10, 10.0)
PER_USER: Final = Rate(20, 20.0)

K = TypeVar("K")
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """The most recently set entries."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        return self._entries.get(key)

    def set(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        self._entries.pop(key, None)


class _Wait(NamedTuple):
    failures: int
    until: float


class _Level(NamedTuple):
    """How full a bucket was that leaks at its rate."""

    failures: float
    at: float


class Backoff:
    """Counts failures, and says who has to wait. Not for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self._pairs: _Recent[tuple[str, str], _Wait] = _Recent(most)
        self._addresses: _Recent[str, _Level] = _Recent(most)
        self._users: _Recent[str, _Level] = _Recent(most)
        self._strangers: _Recent[str, _Level] = _Recent(most)
        """Names nobody has, apart: inventing names makes it forget no user's failures."""
        self._at_home: _Recent[tuple[str, str], None] = _Recent(most)
        """Users, and addresses where they have logged in."""

    def refuses(self, user: str, address: str, *, known: bool) -> str:
        """Why that user cannot try from that address now; empty where it may.

        ``known``: there is such a user.
        """
        user, address = user[:_MAX_NAME], network(address)
        now = self._clock()
        wait = self._pairs.get((user, address))
        if wait is not None and now < wait.until:
            return f"wait {math.ceil(wait.until - now)} s after {wait.failures} failures"
        if (user, address) in self._at_home:
            return ""
        here = self._addresses.get(address)
        if here is None:
            return ""
        if self._level(here, PER_ADDRESS, now) > PER_ADDRESS.free - 1:
            return "too many failures at that address"
        names = self._users if known else self._strangers
        if self._level(names.get(user), PER_USER, now) > PER_USER.free - 1:
            return "too many failures with that name"
        return ""

    def failed(self, user: str, address: str, *, known: bool) -> None:
        """That user's password was wrong."""
        user, address = user[:_MAX_NAME], network(address)
        now = self._clock()
        before = self._pairs.get((user, address))
        failures = before.failures + 1 if before else 1
        self._pairs.set((user, address), _Wait(failures, now + delay(failures)))
        self._addresses.set(address, self._more(self._addresses.get(address), PER_ADDRESS, now))
        names = self._users if known else self._strangers
        names.set(user, self._more(names.get(user), PER_USER, now))

    def succeeded(self, user: str, address: str) -> None:
        """That user's password was right."""
        user, address = user[:_MAX_NAME], network(address)
        self._pairs.drop((user, address))
        self._at_home.set((user, address), None)

    @staticmethod
    def _level(last: _Level | None, rate: Rate, now: float) -> float:
        return max(0.0, last.failures - (now - last.at) / rate.seconds) if last else 0.0

    def _more(self, last: _Level | None, rate: Rate, now: float) -> _Level:
        return _Level(min(self._level(last, rate, now) + 1.0, rate.free), now)


def delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return 0.0 if failures < FREE_ATTEMPTS else min(2.0 ** min(failures - FREE_ATTEMPTS, 16), MAX_DELAY)


def network(address: str) -> str:
    """What counts as one address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
