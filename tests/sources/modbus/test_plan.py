from __future__ import annotations

import random

from support.modbus_tags import settings, tag
from support.scanning import FAST, NORMAL

from sources.modbus.plan import Block, Hole, Limits, plan
from sources.modbus.tables import Table

LIMITS = Limits.of(settings())


def _extents(blocks: list[Block]) -> list[tuple[int, int]]:
    return sorted((block.start, block.count) for block in blocks)


def test_neighbours_share_a_request_and_the_gap_decides_who_is_one() -> None:
    tags = [tag(f"holding:{address}", "float32") for address in (0, 2, 12, 40)]
    assert _extents(plan(tags, Limits(0, 125, 2000))) == [(0, 4), (12, 2), (40, 2)]
    assert _extents(plan(tags, Limits(8, 125, 2000))) == [(0, 14), (40, 2)]
    assert _extents(plan(tags, LIMITS)) == [(0, 42)]


def test_a_value_that_would_cross_the_maximum_opens_the_next_block() -> None:
    tags = [tag(f"holding:{address}", "float32") for address in range(0, 130, 2)]
    assert _extents(plan(tags, LIMITS)) == [(0, 124), (124, 6)]


def test_tables_and_scan_classes_are_read_apart() -> None:
    tags = [tag("holding:0"), tag("input:1"), tag("holding:2", scan=NORMAL), tag("coil:3"), tag("discrete:4")]
    blocks = plan(tags, LIMITS)
    assert {(block.table, block.scan) for block in blocks} == {
        (Table.holding, FAST),
        (Table.holding, NORMAL),
        (Table.input, FAST),
        (Table.coil, FAST),
        (Table.discrete, FAST),
    }


def test_the_gap_counts_sixteen_bits_as_a_register() -> None:
    tags = [tag("coil:0"), tag("coil:17"), tag("coil:40")]
    assert _extents(plan(tags, Limits(1, 125, 2000))) == [(0, 18), (40, 1)]
    assert _extents(plan(tags, Limits(125, 125, 20))) == [(0, 18), (40, 1)]


def test_overlapping_tags_are_read_once() -> None:
    tags = [tag("holding:0", "string(20)"), tag("holding:3"), tag("holding:9", "uint32")]
    assert _extents(plan(tags, Limits(0, 125, 2000))) == [(0, 11)]


def test_no_request_reads_across_a_hole() -> None:
    tags = [tag(f"holding:{address}") for address in (0, 1, 5, 6)]
    assert _extents(plan(tags, LIMITS, {Hole(Table.holding, 3, 4)})) == [(0, 2), (5, 2)]
    assert _extents(plan(tags, LIMITS, {Hole(Table.holding, 1, 1)})) == [(0, 1), (1, 6)]
    assert _extents(plan(tags, LIMITS, {Hole(Table.input, 3, 4)})) == [(0, 7)]


def test_holes_part_blocks_in_whatever_order_they_lie() -> None:
    chance = random.Random(7)
    for _ in range(200):
        places = sorted(chance.sample(range(60), chance.randint(2, 20)))
        lows = [chance.randrange(60) for _ in range(chance.randint(0, 8))]
        holes = {Hole(Table.holding, low, low + chance.choice((0, 0, 1, 2, 9))) for low in lows}
        expected = [(places[0], 1)]
        for place in places[1:]:
            first, _ = expected[-1]
            if any(first < hole.low and place + 1 > hole.high for hole in holes):
                expected.append((place, 1))
            else:
                expected[-1] = first, place + 1 - first
        found = plan([tag(f"holding:{place}") for place in places], LIMITS, holes)
        assert _extents(found) == expected, (places, holes)


def test_nothing_to_read_needs_no_request() -> None:
    assert plan([], LIMITS) == []
