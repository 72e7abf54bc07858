from __future__ import annotations

from typing import Any

from support.modbus_tags import tag

from sources.quality import BAD_NO_COMMUNICATION as BAD
from sources.quality import UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE as UNCERTAIN
from sources.staleness import Blocks
from sources.tag import ScanClass, Stale, Tag

ONE = ScanClass("one", 1.0, Stale(uncertain_after=3, bad_after=2, at_least=2.5))


def block(*addresses: int, scan: ScanClass = ONE) -> tuple[Tag[Any], ...]:
    return tuple(tag(f"holding:{address}", scan=scan) for address in addresses)


def test_a_value_grows_uncertain_then_bad_each_told_once() -> None:
    tags, blocks = block(0, 1), Blocks()
    blocks.heard(tags, 0.0, usable=True)
    assert blocks.grown_stale(3.0) == []
    assert blocks.grown_stale(3.1) == [(tags, UNCERTAIN)]
    assert blocks.stale_points == 2
    assert blocks.grown_stale(5.0) == []
    assert blocks.grown_stale(5.2) == [(tags, BAD)]
    assert blocks.grown_stale(100.0) == []
    blocks.heard(tags, 101.0, usable=True)
    assert blocks.stale_points == 0
    assert blocks.grown_stale(103.0) == []


def test_a_source_may_say_otherwise_than_its_classes() -> None:
    tags, blocks = block(0), Blocks(Stale(uncertain_after=10, bad_after=1))
    blocks.heard(tags, 0.0, usable=True)
    assert blocks.grown_stale(9.0) == []
    assert blocks.grown_stale(10.5) == [(tags, UNCERTAIN)]


def test_a_fast_class_has_its_time_all_the_same() -> None:
    """One reply that is late makes no value Uncertain."""
    tags = block(0, scan=ScanClass("fast", 0.05))
    blocks = Blocks()
    blocks.heard(tags, 0.0, usable=True)
    assert blocks.grown_stale(1.9) == []
    assert blocks.grown_stale(2.1) == [(tags, UNCERTAIN)]


def test_what_brought_no_value_has_none_to_grow_stale() -> None:
    tags, blocks = block(0), Blocks()
    blocks.heard(tags, 0.0, usable=False)
    assert blocks.grown_stale(100.0) == []


def test_a_slow_device_is_not_stale_each_time_it_is_late() -> None:
    """Its scan takes five periods, always: that is what a scan of it is."""
    tags, blocks = block(0), Blocks()
    found = []
    for turn in range(20):
        now = 5.0 * turn
        blocks.heard(tags, now, usable=True)
        found += [(turn, quality) for _, quality in blocks.grown_stale(now + 4.9)]
    assert [turn for turn, _ in found if turn > 2] == []


def test_one_long_silence_does_not_excuse_the_next() -> None:
    tags, blocks = block(0), Blocks()
    for now in (0.0, 3600.0):
        blocks.heard(tags, now, usable=True)
    assert blocks.grown_stale(3606.5) == [(tags, UNCERTAIN)]


def test_tags_that_another_block_brings_are_left_alone() -> None:
    old = block(0, 1, 2)
    new, blocks = (old[1],), Blocks()
    blocks.heard(old, 0.0, usable=True)
    blocks.heard(new, 3.0, usable=True)
    assert blocks.grown_stale(4.0) == [((old[0], old[2]), UNCERTAIN)]


def test_blocks_that_are_no_more_are_forgotten() -> None:
    tags, blocks = block(0, 1), Blocks()
    for _ in range(1000):
        blocks.heard((*tags,)[:1] + tags[1:], 0.0, usable=True)
    assert len(blocks) == 1
    assert blocks.grown_stale(4.0)[0][0] == tags


def test_tags_that_are_read_no_more_do_not_grow_stale() -> None:
    tags, other, blocks = block(0, 1), block(2), Blocks()
    blocks.heard(tags, 0.0, usable=True)
    blocks.heard(other, 0.0, usable=True)
    blocks.retain(tags[:1])
    assert len(blocks) == 1
    assert blocks.grown_stale(4.0) == [(tags[:1], UNCERTAIN)]
    assert blocks.stale_points == 1
    blocks.retain(())
    assert len(blocks) == blocks.stale_points == 0


def test_after_a_lost_connection_the_ageing_goes_on_where_the_scan_does_not_return() -> None:
    tags, other, blocks = block(0), block(1), Blocks()
    blocks.heard(tags, 0.0, usable=True)
    blocks.heard(other, 0.0, usable=True)
    blocks.lost(1.0)
    blocks.heard(other, 2.0, usable=True)
    assert blocks.grown_stale(2.9) == []
    assert blocks.grown_stale(3.1) == [(tags, BAD)]


def test_a_value_read_beside_the_scan_grows_stale_anew() -> None:
    tags, blocks = block(0), Blocks()
    blocks.heard(tags, 0.0, usable=True)
    assert blocks.grown_stale(4.0) == [(tags, UNCERTAIN)]
    blocks.refreshed(tags)
    assert blocks.grown_stale(5.0) == [(tags, UNCERTAIN)]
