"""What a server says to each of the imported variables that it is to watch."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from support.downstream import named
from support.mirrored import Mirrored
from support.opcua_messages import Lone

from sources.errors import ConnectionLost
from sources.opcua.importing import Importing
from sources.opcua.imports import Wanted
from sources.opcua.items import Items

FULL, DENIED = 0x80DB0000, 0x801F0000


class Watching:
    """Has a server watch variables A, B, C, …, to each of which it says what it is told to."""

    def __init__(self) -> None:
        self.lone = Lone([named("Speed")])
        self.answers: list[list[int]] = []
        self.mirror = Mirrored()
        lone = self.lone
        lone.device.importing = Importing(lone.device, lone.connection.settings, self.mirror)  # type: ignore[arg-type]
        lone.device.importing.connection = lone.connection
        made = SimpleNamespace(RevisedPublishingInterval=200.0, SubscriptionId=7, RevisedMaxKeepAliveCount=10)
        lone.line.answers["CreateSubscriptionRequest"] = lambda _: SimpleNamespace(Parameters=made)
        lone.line.answers["CreateMonitoredItemsRequest"] = self._create

    def _create(self, _request: Any) -> Any:
        results = [
            SimpleNamespace(StatusCode=SimpleNamespace(value=code), MonitoredItemId=1, RevisedQueueSize=1)
            for code in self.answers.pop(0)
        ]
        return SimpleNamespace(Results=results)

    async def watch(self, names: str, *answers: Sequence[int]) -> tuple[list[bytes], tuple[bytes, ...]]:
        """What it has no room for, and what it watches."""
        self.answers = [list(one) for one in answers]
        lone = self.lone
        wanted = Wanted("Acme", None, lone.tags[0].scan)
        lone.live.subscriptions.clear()
        watched = [(name.encode(), None) for name in names]
        left = await Items(lone.live).subscribe_imported(lone.device.plan, wanted, watched)  # type: ignore[arg-type]
        return [key for key, _ in left], lone.live.subscriptions[7].watched


async def test_what_there_is_no_room_for_is_left_for_another() -> None:
    there = Watching()
    assert await there.watch("ABCD", [0, DENIED, FULL, FULL]) == ([b"C", b"D"], (b"A", b"B"))
    assert {key: raw.status for key, raw in there.mirror.values.items()} == {b"B": DENIED}


async def test_one_that_is_refused_amid_others_costs_none_of_them_its_place() -> None:
    there = Watching()
    assert await there.watch("ABC", [0, FULL, 0]) == ([], (b"A", b"B", b"C"))
    assert {key: raw.status for key, raw in there.mirror.values.items()} == {b"B": FULL}


async def test_a_server_with_no_room_at_all_is_not_asked_one_by_one() -> None:
    there = Watching()
    left, watched = await there.watch("ABC", [FULL, FULL, FULL])
    assert (left, watched) == ([], (b"A", b"B", b"C"))
    assert {raw.status for raw in there.mirror.values.values()} == {FULL}
    assert len(there.mirror.values) == 3


async def test_fewer_answers_than_questions_are_none() -> None:
    with pytest.raises(ConnectionLost, match="in part"):
        await Watching().watch("ABC", [0, 0])
