"""Whatever the tags, the plan is legal, complete and no longer than it must be."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st
from support.modbus_tags import tag
from support.scanning import FAST, NORMAL

from sources.modbus.decode import ModbusTag
from sources.modbus.plan import Block, Hole, Limits, plan
from sources.modbus.tables import ADDRESSES, Table

TABLES = st.sampled_from([table for table in Table if table is not Table.fifo])
ENCODINGS = st.sampled_from(["int16", "uint32", "float32", "float64", "string(7)"])
LIMITS = st.builds(Limits, st.integers(0, 125), st.integers(4, 125), st.integers(1, 2000))


@st.composite
def _tags(draw: st.DrawFn) -> ModbusTag:
    table = draw(TABLES)
    scan = draw(st.sampled_from([FAST, NORMAL]))
    name = draw(st.uuids()).hex
    top = draw(st.sampled_from([60, 400, 4000, ADDRESSES - 4]))
    start = draw(st.integers(0, top))
    if table.is_bits:
        return tag(f"{table.name}:{start}", scan=scan, name=name)
    return tag(f"{table.name}:{start}", draw(ENCODINGS), scan, name=name)


HOLES = st.lists(
    st.builds(
        lambda table, low, width: Hole(table, low, low + width),
        TABLES,
        st.integers(0, 500),
        st.integers(0, 10),
    ),
    max_size=6,
)


@given(st.lists(_tags(), max_size=80), LIMITS, HOLES)
def test_every_tag_is_covered_once_and_whole(
    tags: list[ModbusTag], limits: Limits, holes: list[Hole]
) -> None:
    blocks = plan(tags, limits, holes)
    assert sorted(id(its) for block in blocks for its in block.tags) == sorted(map(id, tags))
    for block in blocks:
        for its in block.tags:
            assert (its.address.table, its.scan) == (block.table, block.scan)
            assert block.start <= its.address.start < its.address.end <= block.end


@given(st.lists(_tags(), max_size=80), LIMITS, HOLES)
def test_no_block_exceeds_a_limit_or_reads_across_a_hole(
    tags: list[ModbusTag], limits: Limits, holes: list[Hole]
) -> None:
    for block in plan(tags, limits, holes):
        assert block.end <= ADDRESSES
        assert block.count <= (limits.max_bits if block.table.is_bits else limits.max_registers)
        end, allowed = block.start, limits.max_gap * (16 if block.table.is_bits else 1)
        for its in block.tags:
            assert its.address.start - end <= allowed
            end = max(end, its.address.end)
        crossed = [h for h in holes if h.table is block.table and block.start < h.low and block.end > h.high]
        # A single value may lie across; to join two is what a hole forbids.
        assert all(any(_spans(its, hole) for its in block.tags) for hole in crossed)


def _spans(its: ModbusTag, hole: Hole) -> bool:
    return its.address.start < hole.low and its.address.end > hole.high


@given(st.lists(_tags(), max_size=40), LIMITS)
def test_it_is_never_longer_than_one_request_a_tag_nor_than_a_plan_with_less_gap(
    tags: list[ModbusTag], limits: Limits
) -> None:
    count = len(plan(tags, limits))
    assert count <= len(tags)
    assert count <= len(plan(tags, limits._replace(max_gap=0)))


@given(st.lists(st.integers(0, 300), min_size=1, max_size=12, unique=True), LIMITS)
def test_it_is_the_shortest_there_is(starts: list[int], limits: Limits) -> None:
    tags = [tag(f"holding:{start}") for start in sorted(starts)]

    def shortest(index: int) -> int:
        """The best plan of the tags from index on, by trying every length of the first block."""
        if index == len(tags):
            return 0
        best = len(tags)
        for stop in range(index + 1, len(tags) + 1):
            run = tags[index:stop]
            gaps = (b.address.start - a.address.end for a, b in itertools.pairwise(run))
            if Block.around(tuple(run)).count > limits.max_registers or any(g > limits.max_gap for g in gaps):
                break
            best = min(best, 1 + shortest(stop))
        return best

    assert len(plan(tags, limits)) == shortest(0)


@given(st.lists(_tags(), max_size=40), LIMITS, st.randoms())
def test_the_order_in_which_tags_are_given_does_not_matter(
    tags: list[ModbusTag], limits: Limits, chance: random.Random
) -> None:
    shuffled = list(tags)
    chance.shuffle(shuffled)
    extents = {(b.table, b.scan, b.start, b.count) for b in plan(tags, limits)}
    assert {(b.table, b.scan, b.start, b.count) for b in plan(shuffled, limits)} == extents
