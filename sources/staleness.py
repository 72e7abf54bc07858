"""Staleness: the blocks of a source that are no longer read though its connection stands.

Nothing here is done for each value but when a block is seen first or grows stale. Pure:
the caller has the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sources.quality import (
    BAD_NO_COMMUNICATION,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    Quality,
)
from sources.tag import ScanClass, Stale, Tag


class Block:
    """What one batch brings, as long as it is the one that brings it."""

    __slots__ = ("every", "heard", "marked", "own", "scan", "since", "tags", "troubles", "usable")

    def __init__(self, tags: tuple[Tag[Any], ...], now: float) -> None:
        self.tags = tags
        self.scan: ScanClass = tags[0].scan
        self.own = 0
        """How many of its tags no other block has brought since."""
        self.heard = now
        """When it came last."""
        self.every = self.scan.period
        """How long a scan of it takes: its period, or longer where it really comes less often."""
        self.usable = False
        """Whether it brought values, that is, whether there are any to grow stale."""
        self.marked: Quality | None = None
        """What its values were marked with, None while they are fresh."""
        self.since = now
        """When they were marked Uncertain."""
        self.troubles: frozenset[Quality] = frozenset()
        """Why some or all of it had no value when it came last."""


class Blocks:
    """Every block a source brings now.

    A tag belongs to the block that brought it last; a block none of whose tags is its own
    any more is forgotten, so there are never more blocks than tags.
    """

    def __init__(self, stale: Stale | None = None) -> None:
        """``stale`` takes the place of what the scan classes say, from whenever it is set."""
        self.stale = stale
        self._blocks: dict[int, Block] = {}
        """By the identity of the tuple of tags, which each block keeps alive."""
        self._owners: dict[int, Block] = {}
        """By the identity of the tag."""

    def __len__(self) -> int:
        return len(self._blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks.values())

    def rule(self, scan: ScanClass) -> Stale:
        """What counts for a scan class."""
        return self.stale or scan.stale

    @property
    def stale_points(self) -> int:
        """How many values have grown stale."""
        return sum(block.own for block in self if block.marked is not None)

    def heard(self, tags: tuple[Tag[Any], ...], now: float, *, usable: bool) -> Block:
        """A batch of those tags, one at least, came; ``usable`` where it brought values."""
        block = self._blocks.get(id(tags))
        if block is None:
            block = self._add(tags, now)
        else:
            age, block.heard = now - block.heard, now
            period = block.scan.period
            # Grown step by step: one long silence does not excuse another.
            block.every = period if age <= period else min(age, 2 * block.every)
        block.usable, block.marked = usable, None
        return block

    def _add(self, tags: tuple[Tag[Any], ...], now: float) -> Block:
        block = self._blocks[id(tags)] = Block(tags, now)
        for tag in tags:
            before = self._owners.get(id(tag))
            if before is block:
                continue
            self._owners[id(tag)] = block
            block.own += 1
            if before is not None:
                before.own -= 1
                if not before.own:
                    del self._blocks[id(before.tags)]
        return block

    def retain(self, tags: Iterable[Tag[Any]]) -> None:
        """Only these are read from now on; what is known of others is forgotten."""
        for gone in self._owners.keys() - set(map(id, tags)):
            block = self._owners.pop(gone)
            block.own -= 1
            if not block.own:
                del self._blocks[id(block.tags)]

    def lost(self, now: float) -> None:
        """The connection is lost; the caller marks the values."""
        for block in self:
            if block.usable and block.marked is None:
                block.marked, block.since = UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE, now

    def refreshed(self, tags: Iterable[Tag[Any]]) -> None:
        """Values of these came beside the scan: they grow stale anew where that does not bring them."""
        for tag in tags:
            block = self._owners.get(id(tag))
            if block is not None:
                block.marked = None

    def grown_stale(self, now: float) -> list[tuple[tuple[Tag[Any], ...], Quality]]:
        """What is to be marked now, and with what; each but once."""
        found = []
        for block in self:
            if not block.usable or block.marked == BAD_NO_COMMUNICATION:
                continue
            rule = self.rule(block.scan)
            if block.marked is None:
                if now - block.heard <= max(rule.uncertain_after * block.every, rule.at_least):
                    continue
                block.marked, block.since = UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE, now
            elif now - block.since > rule.bad_after * block.every:
                block.marked = BAD_NO_COMMUNICATION
            else:
                continue
            found.append((self._own(block), block.marked))
        return found

    def _own(self, block: Block) -> tuple[Tag[Any], ...]:
        """Those of its tags that no other block has brought since."""
        if block.own == len(block.tags):
            return block.tags
        return tuple(tag for tag in block.tags if self._owners.get(id(tag)) is block)
