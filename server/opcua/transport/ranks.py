"""Connections in the order in which they make room for others."""

from __future__ import annotations

import ipaddress
from typing import Generic, TypeVar

T = TypeVar("T")


def group_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the network of 64 bits that an IPv6 one is in."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return parsed.packed[:8].hex(":", 2)


class Ranks(Generic[T]):
    """Members by group, each group from the oldest to the newest."""

    __slots__ = ("_groups", "_size")

    def __init__(self) -> None:
        self._groups: dict[str, dict[T, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, group: str, member: T) -> None:
        """Add a member that is not there yet, as the newest."""
        self._groups.setdefault(group, {})[member] = None
        self._size += 1

    def discard(self, group: str, member: T) -> None:
        """Take a member out, where it is in."""
        members = self._groups.get(group)
        if members is None or member not in members:
            return
        del members[member]
        self._size -= 1
        if not members:
            del self._groups[group]

    def count(self, group: str) -> int:
        """How many members a group has."""
        return len(self._groups.get(group, ()))

    def oldest(self, group: str) -> T | None:
        """The oldest member of a group."""
        return next(iter(self._groups.get(group, ())), None)

    def first_to_go(self) -> T | None:
        """The oldest member of the largest group: whoever has few is not pushed out by whoever has many."""
        if not self._groups:
            return None
        return self.oldest(max(self._groups, key=self.count))
