"""What a subscription sends, in the order it was sent; and what of it is lost, or was never sent."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from support.downstream import named
from support.net import until
from support.opcua_messages import Lone, changed, published, republished

from sources.opcua import beside, messages, stack, wire
from sources.opcua import scan as scanning
from sources.opcua.kept import Subscription
from sources.opcua.resume import resume
from sources.opcua.stack import ua


def _holds(sent: Sequence[object], count: int) -> bool:
    return len(sent) == count


async def test_messages_that_are_there_at_once_are_taken_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(10):  # the order of a set differs from time to time
        lone = Lone([named(f"T{place}") for place in range(6)])

        async def resumed(_live: object, _messages: object) -> bool:
            return True

        monkeypatch.setattr(scanning, "resume", resumed)
        for number in range(4):  # with so many subscriptions six Publish requests wait
            lone.live.subscriptions[100 + number] = other = Subscription(100 + number, None, 60.0, 60.0)
            other.heard = lone.subscription.heard
        task = asyncio.create_task(lone.scan.run())
        sent = lone.line.sent
        await until(partial(_holds, sent, 6))
        for place, (_, future) in enumerate(sent[:6]):
            future.set_result(published(place + 1, (place, float(place))))
        await until(partial(_holds, sent, 12))
        task.cancel()
        await asyncio.wait((task,))
        assert lone.values == [(place, float(place)) for place in range(6)]
        assert not lone.line.count("RepublishRequest")


async def test_what_was_in_a_message_that_is_lost_is_read() -> None:
    lone = Lone([named("A"), named("B")])
    await lone.take(published(1, (0, 1.0), (1, 1.0)))
    lone.there = [3.0, 99.0]
    await lone.take(published(3, (0, 3.0)))  # the second told of B, and the server has it no longer
    assert lone.device.lost_messages == 1
    assert lone.values[2:] == [(0, 3.0), (1, 99.0)]
    await lone.take(published(4, (0, 4.0)))
    assert lone.line.count("ReadRequest") == 1


async def test_what_was_in_a_first_message_that_never_came_is_read() -> None:
    lone = Lone([named("A"), named("B")])
    lone.there = [1.0, 2.0]
    await lone.take(published(2))  # that nothing has changed since a message we do not have
    await lone.take(published(2))
    assert lone.values == [(0, 1.0), (1, 2.0)]
    assert lone.line.count("ReadRequest") == 1


async def test_a_gap_too_wide_to_be_asked_for_is_read_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_MAX_MISSED", 2)
    lone = Lone([named("A"), named("B")])
    lone.line.answers["RepublishRequest"] = lambda request: republished(
        request.Parameters.RetransmitSequenceNumber, (0, 2.0)
    )
    await lone.take(published(1, (0, 1.0), (1, 1.0)))
    lone.there = [9.0, 99.0]
    await lone.take(published(10, (0, 10.0)))
    assert lone.device.lost_messages == 6
    assert lone.values[2:] == [(0, 2.0), (0, 2.0), (0, 10.0), (1, 99.0)]


async def test_a_lost_message_of_the_server_itself_has_its_nodes_looked_at_again() -> None:
    lone = Lone([named("A")])
    lone.live.subscriptions[8] = Subscription(8, None, 60.0, 60.0, sequence=1)
    await lone.take(published(3, subscription=8))
    assert lone.device.model_changes == 1


async def test_what_the_server_would_not_watch_is_bad_after_a_transfer_too() -> None:
    lone = Lone([named("A"), named("B")])
    lone.subscription.sequence, lone.subscription.refused = 1, {1: 0x80310000}  # BadNoCommunication
    lone.transferred()
    assert await resume(lone.live, lone.scan._messages)
    (told,) = lone.batches
    assert (told.places, told.values, told.qualities) == ((1,), None, 0x80310000)
    await lone.take(published(2))
    assert lone.values == [(0, 0.0)]  # what it reports is read; what it would not watch never again could be


async def test_a_node_that_went_and_came_again_under_its_name_is_watched_again() -> None:
    """Its NodeId is the one it had, and what watched it there is of a node that is gone."""
    lone = Lone([named("A")])
    planned: list[object] = []

    async def nothing() -> None:
        pass

    async def resolved(_addresses: object) -> list[object]:
        return [0]

    async def plan(*given: object) -> None:
        planned.append(given)
        lone.live.stale = False

    lone.connection.look = nothing  # type: ignore[method-assign]
    lone.connection.resolve = resolved  # type: ignore[assignment,method-assign]
    lone.line.answers["DeleteSubscriptionsRequest"] = lambda _: None
    lone.scan._plans._plan = plan  # type: ignore[assignment,method-assign]
    lone.live.changed("its model has changed")
    await lone.scan._plans.again()
    assert len(planned) == 1
    assert not lone.live.subscriptions


async def test_many_values_are_decoded_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    real = wire.changes

    def changes(data: bytes) -> wire.Changes:
        threads.append(threading.get_ident())
        return real(data)

    monkeypatch.setattr(wire, "changes", changes)
    count = beside.MANY + 1
    tag = named("A")
    lone = Lone([tag] * count)
    await lone.take(published(1, (0, 1.0)))
    await lone.take(published(2, *((place, 2.0) for place in range(count))))
    assert len(lone.values) == count + 1
    assert threads[0] == threading.get_ident() != threads[1]


async def test_more_values_than_are_watched_are_no_message() -> None:
    lone = Lone([named("A")])
    with pytest.raises(wire.Malformed, match="500 values at once, of items that hold 1"):
        await lone.take(published(1, *[(0, 1.0)] * 500))


@pytest.mark.parametrize(
    ("decode", "whole"),
    [(wire.publish, published(1, (0, 1.0))), (wire.republished, republished(1, (0, 1.0)))],
    ids=["publish", "republish"],
)
def test_a_message_of_countless_parts_is_none(decode: Callable[[bytes], wire.Publish], whole: bytes) -> None:
    at = whole.index(changed((0, 1.0)))
    countless = whole[: at - 4] + struct.pack("<i", 5000) + changed((0, 1.0)) * 5000 + b"\xff" * 8
    with pytest.raises(wire.Malformed, match="5000 notifications"):
        decode(countless)


def call_answer(*results: Any) -> bytes:
    return stack.encode(ua.CallResponse(Results=list(results)))


def test_the_answer_to_a_call_is_taken_as_it_is() -> None:
    outputs = [ua.Variant(2.5), ua.Variant([ua.NodeId("Filler", 2)] * 3), ua.Variant(None)]
    answered = call_answer(
        ua.CallMethodResult(
            StatusCode=ua.StatusCode(0x80AB0000),
            InputArgumentResults=[ua.StatusCode(0), ua.StatusCode(0x80740000)],
            InputArgumentDiagnosticInfos=[ua.DiagnosticInfo(AdditionalInfo="odd"), ua.DiagnosticInfo()],
            OutputArguments=outputs,
        )
    )
    encoded = [stack.encode_variant(one) for one in outputs]
    assert wire.call_result(answered) == (0, wire.Called(0x80AB0000, [0, 0x80740000], encoded))
    for end in range(len(answered) - 4):
        with pytest.raises(wire.Malformed):
            wire.call_result(answered[:end])


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ((), "0 results of one call"),
        ((ua.CallMethodResult(),) * 2, "2 results of one call"),
        ((ua.CallMethodResult(OutputArguments=[ua.Variant(None)] * 5_000),), "5000 outputs of one call"),
    ],
)
def test_what_is_no_answer_to_one_call_is_none(results: Sequence[Any], told: str) -> None:
    with pytest.raises(wire.Malformed, match=told):
        wire.call_result(call_answer(*results))
