"""Items hung on a value, from one to many, and taken off again in any order."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.opcua.subscriptions.item import join, leave


class Cell:
    items: Any = None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=80))
def test_whoever_joined_and_did_not_leave_is_told_once(steps: list[tuple[bool, int]]) -> None:
    cell, there = Cell(), dict[int, Any]()
    items: list[Any] = [object() for _ in range(21)]
    for joins, number in steps:
        if joins and number not in there:
            there[number] = items[number]
            join(cell, items[number])
        elif not joins:
            there.pop(number, None)
            leave(cell, items[number])
        assert list(cell.items or ()) == list(there.values())
    assert (cell.items is None) is not bool(there)


def test_to_leave_among_many_takes_no_longer_than_among_few() -> None:
    cell = Cell()
    items: list[Any] = [object() for _ in range(100_000)]
    for item in items:
        join(cell, item)
    begin = time.process_time()
    for item in reversed(items):
        leave(cell, item)
    assert cell.items is None
    assert time.process_time() - begin < 5  # some hundredths; a minute and more if each were looked for
