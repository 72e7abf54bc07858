"""docs/conformance.md keeps its word: the tests it names are there, its numbers are right."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from server.opcua import limits
from server.opcua.settings import OpcUaSettings
from server.opcua.transport.limits import LIMITS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "conformance.md").read_text("utf-8")
STATES = {"done", "partly", "not", "does not apply"}
BY_THE_HOST = {"Time Sync - Support", "Time Sync – OS based support"}
"""What the operating system does: no test of ours can show it."""


class Unit(NamedTuple):
    name: str
    number: int
    state: str
    tests: tuple[str, ...]


def units(heading: str) -> list[Unit]:
    """The rows of the tables below a heading of the second level."""
    (part,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    found = []
    for row in re.findall(r"^\| (.*) \|$", part, re.MULTILINE):
        cells = row.split(" | ")
        if len(cells) > 3 and cells[1].isdigit():
            tests = tuple(re.findall(r"`([^`]+::[^`]+)`", cells[-1]))
            found.append(Unit(cells[0], int(cells[1]), cells[-2], tests))
    return found


NEEDED, OPEN, BEYOND = (
    units(heading)
    for heading in ("What the profiles need", "What they leave open", "Beyond the two profiles")
)


@cache
def named_in(path: str) -> frozenset[str]:
    source = (ROOT / path).read_text("utf-8")
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)", source, re.MULTILINE))


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(tests/[^`]+::[^`]+)`", TEXT))))
def test_a_test_that_is_named_is_there(test: str) -> None:
    path, name = test.split("::")
    assert (ROOT / path).is_file()
    assert name in named_in(path)


def test_every_unit_stands_there_once_with_its_state_and_what_shows_it() -> None:
    numbers = [unit.number for unit in NEEDED + OPEN]
    assert len(numbers) == len(set(numbers)) == 123
    for unit in NEEDED + OPEN + BEYOND:
        assert unit.state in STATES, unit
        if unit.state in {"done", "partly"} and unit.name not in BY_THE_HOST:
            assert unit.tests, unit


def test_the_summary_counts_right() -> None:
    def counts(found: list[Unit]) -> tuple[int, ...]:
        states = Counter(unit.state for unit in found)
        return len(found), states["done"], states["not"], states["does not apply"]

    told = re.sub(r"\s+", " ", TEXT)
    needed = re.search(r"Of (\d+) units needed, (\d+) are done, (\d+) are not and (\d+) does not apply", told)
    open_ = re.search(r"Of (\d+) optional units (\d+) are done, (\d+) are not and (\d+) do not apply", told)
    assert needed is not None
    assert open_ is not None
    assert tuple(map(int, needed.groups())) == counts(NEEDED)
    assert tuple(map(int, open_.groups())) == counts(OPEN)


def test_the_capacities_told_are_those_enforced() -> None:
    rows = dict(
        re.findall(r"^\| ([^|]+) \| ([\d,]+)[^|]* \|$", TEXT.partition("## Capacities")[2], re.MULTILINE)
    )
    told = {what: int(number.replace(",", "")) for what, number in rows.items()}
    assert told == {
        "Sessions": OpcUaSettings().max_sessions,
        "Bytes of one request": LIMITS.message,
        "Bytes of one response": LIMITS.response,
        "Nodes of one Read": limits.MAX_NODES_PER_READ,
        "Nodes of one Write": limits.MAX_NODES_PER_WRITE,
        "Nodes of one Browse": limits.MAX_NODES_PER_BROWSE,
        "Paths of one TranslateBrowsePathsToNodeIds": limits.MAX_NODES_PER_TRANSLATE,
        "Nodes of one RegisterNodes": limits.MAX_NODES_PER_REGISTER_NODES,
        "Methods of one Call": limits.MAX_NODES_PER_METHOD_CALL,
        "Items of one call about monitored items": limits.MAX_MONITORED_ITEMS_PER_CALL,
        "Continuation points of one session": limits.MAX_BROWSE_CONTINUATION_POINTS,
        "Registered nodes of one session": limits.MAX_REGISTERED_NODES,
        "Subscriptions": limits.MAX_SUBSCRIPTIONS,
        "Subscriptions of one session": limits.MAX_SUBSCRIPTIONS_PER_SESSION,
        "Monitored items": limits.MAX_MONITORED_ITEMS,
        "Monitored items of one subscription": limits.MAX_MONITORED_ITEMS_PER_SUBSCRIPTION,
        "Values queued for one item": limits.MAX_MONITORED_ITEMS_QUEUE_SIZE,
        "Events queued for one item": limits.MAX_EVENT_QUEUE_SIZE,
        "Waiting Publish requests of one session": limits.MAX_PUBLISH_REQUESTS,
        "Messages kept for Republish of one subscription": limits.MAX_RETRANSMISSION_MESSAGES,
    }
