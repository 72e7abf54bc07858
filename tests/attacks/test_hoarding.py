"""Clients with a session that take more than they need: what each may keep and be sent is bounded."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from asyncua import ua
from support.attack import Flood, deaf, flooding, unharmed
from support.prober import probing
from support.rawclient import RawClient, encode, message, raw, read_value, reading, user_token
from support.victim import MIB, Victim
from support.wire import Wire

from server.opcua.limits import MAX_BROWSE_CONTINUATION_POINTS
from server.opcua.transport.limits import LIMITS
from server.opcua.types import StatusCodes

OPERATOR = ("operator", "line-one-runs")
LARGE = 0.04
"""Seconds a read may take while users ask for all they may: an answer of megabytes is secured in one go."""


@pytest.fixture
async def session(strict: Victim) -> AsyncIterator[RawClient]:
    async with raw(strict.port, peer=strict.peer(), source="127.2.0.1") as client:
        await client.ready(OPERATOR)
        yield client


async def still_serves(client: RawClient) -> None:
    (found,) = await client.read(("i=2259", 13))
    assert found.Value is not None
    assert found.Value.Value == 0


def browsing(nodes: list[str], most: int = 0) -> ua.BrowseParameters:
    made: Any = ua.BrowseParameters
    wanted = []
    for node in nodes:
        one = ua.BrowseDescription()
        one.NodeId = ua.NodeId.from_string(node)
        one.BrowseDirection = ua.BrowseDirection.Both
        one.IncludeSubtypes = True
        one.ResultMask = 63
        wanted.append(one)
    found: ua.BrowseParameters = made(RequestedMaxReferencesPerNode=most, NodesToBrowse=wanted)
    return found


# --- Clients that do not read


def stop_reading(wire: Wire) -> asyncio.Transport:
    transport: asyncio.Transport = wire.reader._transport  # type: ignore[attr-defined]  # no other way
    transport.pause_reading()
    return transport


async def ask_without_end(flood: Flood, client: RawClient, body: bytes, most: int = 10**9) -> None:
    """Send a request again and again; whoever is not read from any more waits a while."""
    transport = stop_reading(client.wire)
    number = 100
    try:
        while not flood.over and number < most:
            number += 1
            client.say(body, number)
            flood.done += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(client.wire.writer.drain(), 0.1)
            if client.wire.writer.transport.get_write_buffer_size() > 100_000:
                await asyncio.sleep(0.05)
    finally:
        transport.abort()


async def test_a_client_that_never_reads_its_values_costs_little(strict: Victim) -> None:
    """Each answer has four megabytes."""

    async def never_read(flood: Flood, which: int) -> None:
        async with raw(strict.port, peer=strict.peer(), source=f"127.2.1.{which + 1}") as client:
            await client.ready(OPERATOR)
            body = encode(reading([read_value(strict.node("Recipe"))] * 1000))
            await ask_without_end(flood, client, message("Read", body, token=client.token))

    async with probing(strict) as prober:
        flood = await unharmed(strict, prober, never_read, 5, memory=120)
    assert flood.done > 5


async def test_a_client_that_never_reads_its_endpoints_costs_little(lenient: Victim) -> None:
    async def never_read(flood: Flood, which: int) -> None:
        async with raw(lenient.port, source=f"127.2.1.{which + 1}") as client:
            await client.open()
            body = message("GetEndpoints", struct.pack("<iii", -1, -1, -1))
            await ask_without_end(flood, client, body)

    async with probing(lenient) as prober:
        await unharmed(lenient, prober, never_read, 30, memory=60)


async def test_a_subscriber_that_never_reads_costs_little(strict: Victim) -> None:
    made: Any = ua.CreateMonitoredItemsParameters
    asked: Any = ua.MonitoredItemCreateRequest

    async def never_read(flood: Flood, which: int) -> None:
        async with raw(strict.port, peer=strict.peer(), source=f"127.2.2.{which + 1}") as client:
            await client.ready(OPERATOR)
            parameters = ua.CreateSubscriptionParameters()
            parameters.RequestedPublishingInterval = 20
            answer = await client.call("CreateSubscription", parameters)
            number = answer.of(ua.CreateSubscriptionResult).SubscriptionId
            items = []
            for node in ("i=2258", strict.node("Recipe")):
                item = asked(ItemToMonitor=read_value(node))
                item.RequestedParameters.SamplingInterval = 20
                item.RequestedParameters.QueueSize = 1000
                items += [item] * 500
            answer = await client.call(
                "CreateMonitoredItems", made(SubscriptionId=number, ItemsToCreate=items)
            )
            assert answer.code == 0
            await ask_without_end(
                flood, client, message("Publish", struct.pack("<i", -1), token=client.token), 10_000
            )

    async with probing(strict) as prober:
        await unharmed(strict, prober, never_read, 3, memory=120, seconds=1)


# --- Little that asks for much


async def test_an_answer_larger_than_any_is_refused_not_built_for_ever(
    strict: Victim, session: RawClient
) -> None:
    before = strict.memory
    body = reading([read_value(strict.node("Recipe"))] * 10_000)  # forty megabytes
    assert (await session.call("Read", body)).fault == StatusCodes.BadResponseTooLarge
    assert strict.memory - before < 8 * LIMITS.response
    await still_serves(session)


async def _page_by_page(flood: Flood, client: RawClient, service: str, body: bytes) -> None:
    """Ask for as much as may be asked for at once, again and again, many at a time."""
    async with deaf(client.wire):
        request, number = message(service, body, token=client.token), 100
        while not flood.over:
            for _ in range(5):
                number += 1
                client.say(request, number)
                flood.done += 1
            await client.wire.writer.drain()
            await asyncio.sleep(0.01)


def paths(number: int, depth: int) -> bytes:
    made: Any = ua.TranslateBrowsePathsToNodeIdsParameters
    element: Any = ua.RelativePathElement
    name: Any = ua.QualifiedName
    path = ua.BrowsePath()
    path.StartingNode = ua.NodeId.from_string("i=84")
    there, back = (
        element(
            ReferenceTypeId=ua.NodeId.from_string("i=31"),
            IsInverse=inverse,
            IncludeSubtypes=True,
            TargetName=name("Types" if not inverse else "Root"),
        )
        for inverse in (False, True)
    )
    path.RelativePath.Elements = [there, back] * (depth // 2)
    return encode(made([path] * number))


@pytest.mark.parametrize(
    ("service", "body"),
    [
        ("Read", encode(reading([read_value("i=7617", a) for a in range(1, 28)] * 370))),
        ("Read", encode(reading([read_value("i=2256")] * 10_000))),
        ("Browse", encode(browsing(["i=58", "i=61", "i=68", "i=63", "i=31", "i=85", "i=2253"] * 140))),
        ("TranslateBrowsePathsToNodeIds", paths(1000, 20)),
        ("RegisterNodes", encode(struct.pack("<i", 10_000) + b"\1\0\xcd\x08" * 10_000)),
    ],
    ids=["attributes", "server status", "references", "paths", "registered nodes"],
)
async def test_small_requests_that_ask_for_much_slow_nobody_else(
    strict: Victim, service: str, body: bytes
) -> None:
    async def ask(flood: Flood, which: int) -> None:
        async with raw(strict.port, peer=strict.peer(), source=f"127.2.3.{which + 1}") as client:
            await client.ready(OPERATOR)
            await _page_by_page(flood, client, service, body)

    async with probing(strict) as prober:
        # Of each client one answer of up to 16 MB: joined, secured, and on its way.
        await unharmed(strict, prober, ask, 3, memory=300, floor=LARGE)


# --- What is kept for a session


async def test_continuation_points_are_few_and_the_oldest_goes(strict: Victim, session: RawClient) -> None:
    before = strict.memory
    made: Any = ua.BrowseNextParameters
    points = []
    for _ in range(300):
        answer = await session.call("Browse", browsing(["i=58"], 1))
        (result,) = answer.whole(ua.BrowseResponse).Results
        points.append(result.ContinuationPoint)
    answer = await session.call("BrowseNext", made(False, points[-500:]))
    results = answer.whole(ua.BrowseNextResponse).Parameters.Results
    valid = [r for r in results if r.StatusCode is not None and r.StatusCode.is_good()]
    assert len(valid) == MAX_BROWSE_CONTINUATION_POINTS
    answer = await session.call("Browse", browsing(["i=58"] * 1000, 1))
    results = answer.whole(ua.BrowseResponse).Results
    codes = {r.StatusCode.value for r in results if r.StatusCode is not None}
    assert codes == {0, StatusCodes.BadNoContinuationPoints}
    assert strict.memory - before < 20 * MIB


async def test_registered_nodes_are_bounded(strict: Victim, session: RawClient) -> None:
    before = strict.memory
    node = ua.NodeId.from_string(strict.node("Recipe"))
    made: Any = ua.RegisterNodesParameters
    body = encode(made([node] * 10_000))
    for _ in range(20):
        assert (await session.call("RegisterNodes", body)).code == 0
    answer = await session.call("RegisterNodes", body)
    found = answer.whole(ua.RegisterNodesResponse).Parameters.RegisteredNodeIds
    assert (len(found), found[-1]) == (10_000, node)  # beyond the limit each is its own handle
    assert strict.memory - before < 40 * MIB
    await still_serves(session)


async def test_subscriptions_and_items_are_bounded(strict: Victim, session: RawClient) -> None:
    before = strict.memory
    # Long enough that none ends of itself, however slow the machine is.
    parameters = encode(ua.CreateSubscriptionParameters(1000, RequestedLifetimeCount=1000))
    codes = [(await session.call("CreateSubscription", parameters)).code for _ in range(150)]
    assert set(codes) == {0, StatusCodes.BadTooManySubscriptions}
    assert strict.memory - before < 40 * MIB
    await still_serves(session)


async def test_publish_requests_are_bounded(session: RawClient) -> None:
    await session.call("CreateSubscription", ua.CreateSubscriptionParameters())
    for _ in range(1000):
        session.ask("Publish", struct.pack("<i", -1))
    codes = [(await session.answer()).code for _ in range(850)]
    assert set(codes) <= {0, StatusCodes.BadTooManyPublishRequests}
    assert codes.count(StatusCodes.BadTooManyPublishRequests) > 800


async def test_requests_at_work_are_bounded(strict: Victim, session: RawClient) -> None:
    """A great many slow ones at once: what is too much is refused, not kept."""
    before = strict.memory
    body = encode(browsing(["i=58"] * 80))
    for _ in range(400):
        session.ask("Browse", body)
    most, codes = 0, set()
    for _ in range(400):
        codes.add((await session.answer()).code)
        most = max(most, strict.memory)
    assert codes <= {0, StatusCodes.BadTooManyOperations}
    assert most - before < 100 * MIB


async def test_sessions_of_one_user_are_bounded(strict: Victim) -> None:
    codes = []
    async with AsyncExitStack() as stack:
        for _ in range(25):
            peer = strict.peer()
            client = await stack.enter_async_context(raw(strict.port, peer=peer, source="127.2.4.1"))
            await client.open()
            await client.create()
            token = user_token("observer", "only-looking", client.nonce, strict.certificate)
            wanted = client.activation(token, server=strict.certificate, private=client.private)
            codes.append((await client.call("ActivateSession", wanted)).code)
        assert codes == [0] * 20 + [StatusCodes.BadTooManySessions] * 5
        async with raw(strict.port, peer=strict.peer()) as other:
            await other.ready(OPERATOR)
            await still_serves(other)


async def test_floods_of_those_inside_leave_room_for_newcomers(strict: Victim) -> None:
    async def ask(flood: Flood, which: int) -> None:
        async with raw(strict.port, peer=strict.peer(), source=f"127.2.5.{which + 1}") as client:
            await client.ready(OPERATOR)
            await _page_by_page(flood, client, "Browse", encode(browsing(["i=58"] * 100)))

    async with flooding(ask, 5):
        await asyncio.sleep(0.5)
        async with asyncio.timeout(5), raw(strict.port, peer=strict.peer()) as client:
            await client.ready(OPERATOR)
            await still_serves(client)
