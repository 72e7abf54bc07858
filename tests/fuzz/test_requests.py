"""Requests of every service there is: whatever they hold, they are answered or end the connection, soon."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz.budget import INPUTS, budget
from support.fuzz.instances import Maker
from support.fuzz.mutate import cut, mutated
from support.fuzz.world import OurFault, World, request_class
from support.rawclient import message
from support.wire import chunk, hello

from server.opcua.types import AttributeIds

SEED = st.integers(0, 2**63)
SPOILED = 12
"""Inputs made of each valid one."""


def test_every_service_has_requests_to_spoil(world: World) -> None:
    assert len(world.services) >= 26
    assert all(request_class(service) is not None for service in world.services.values())


def test_a_fault_of_ours_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise KeyError("found nothing")

    dispatcher = world.server._dispatcher
    assert dispatcher is not None
    read = world.services["Read"]
    monkeypatch.setitem(dispatcher._services, read.request, read._replace(run=fail))
    with pytest.raises(OurFault, match=r"found nothing[\s\S]*526561643a61"):
        world.request("Read", b"a")


def test_valid_requests_are_answered_and_spoiled_ones_refused(world: World) -> None:
    names = list(world.services)
    known = world.known()

    @budget(180, shrink=False)
    @given(SEED)
    def spoil(seed: int) -> None:
        rng = random.Random(seed)
        maker = Maker(rng, known)
        for name in names:
            kind = request_class(world.services[name])
            assert kind is not None
            valid = maker.parameters(kind)
            other = maker.parameters(kind)
            for data in (valid, *(mutated(rng, valid, (other,)) for _ in range(SPOILED))):
                INPUTS[f"requests, {name}"] += 1
                world.request(name, data)

    spoil()


def test_any_bytes_are_a_request(world: World) -> None:
    names = list(world.services)

    @budget(60, shrink=False)
    @given(SEED)
    def spoil(seed: int) -> None:
        rng = random.Random(seed)
        for name in names:
            INPUTS["requests, of nothing but chance"] += 1
            world.request(name, rng.randbytes(rng.choice((0, 1, 4, 20, 200, 2000))))

    spoil()


def test_headers_are_spoiled_too(world: World) -> None:
    known = world.known()
    names = list(world.services)

    @budget(150, shrink=False)
    @given(SEED)
    def spoil(seed: int) -> None:
        rng = random.Random(seed)
        name = rng.choice(names)
        kind = request_class(world.services[name])
        assert kind is not None
        additional = rng.choice((b"\0\0\0", b"\x01\x04\x01\x00\x01" + struct.pack("<i", 4) + b"\x98" * 4))
        parameters = Maker(rng, known).parameters(kind)
        hint = rng.choice((0, 1))
        for _ in range(10):
            INPUTS["request headers"] += 1
            whole = message(name, parameters, token=world.token, hint=hint, additional=additional)
            head, rest = whole[:60], whole[60:]
            world.request("anything", b"", body=mutated(rng, head) + rest)

    spoil()


def test_events_meet_whatever_filters_there_are(world: World) -> None:
    known = world.known()
    engine = world.server._engine
    assert engine is not None
    accepted = 0

    @budget(300, shrink=False)
    @given(SEED)
    def listen(seed: int) -> None:
        nonlocal accepted
        rng = random.Random(seed)
        maker = Maker(rng, known)
        made: Any = ua
        item = made.MonitoredItemCreateRequest(
            ItemToMonitor=made.ReadValueId(
                NodeId=made.NodeId(2253, 0), AttributeId=AttributeIds.EventNotifier
            ),
            MonitoringMode=made.MonitoringMode.Reporting,
            RequestedParameters=made.MonitoringParameters(Filter=maker.make(ua.EventFilter), QueueSize=2),
        )
        both = made.TimestampsToReturn.Both
        valid = struct_to_binary(made.CreateMonitoredItemsParameters(world.numbers[0], both, [item]))
        for data in (valid, *(mutated(rng, valid) for _ in range(6))):
            INPUTS["event filters"] += 1
            before = engine.monitored_items
            world.request("CreateMonitoredItems", data)
            accepted += engine.monitored_items > before

    listen()
    assert accepted > 50


def test_streams_of_chunks_are_spoiled_and_cut(world: World) -> None:
    def conversation(rng: random.Random) -> list[bytes]:
        link = world.link().known()
        link.connection.abort()
        nothing = struct.pack("<iii", -1, -1, -1)
        link.channel = 0
        opening = link.opening()
        link.known()
        body = message(rng.choice(("GetEndpoints", "FindServers", "CreateSession", "Read")), nothing)
        middle = rng.randrange(len(body))
        return [
            hello(),
            opening,
            link.seal(body, 2),
            link.seal(body[:middle], 3, b"C"),
            link.seal(body[middle:], 3),
            link.seal(b"", 4, b"A"),
            link.seal(b"", 5, kind=b"CLO"),
        ]

    @budget(300, shrink=False)
    @given(SEED)
    def spoil(seed: int) -> None:
        rng = random.Random(seed)
        parts = world.run(conversation, rng)
        for _ in range(10):
            INPUTS["streams"] += 1
            sent = list(parts)
            for _ in range(rng.randrange(3)):
                place = rng.randrange(len(sent))
                match rng.randrange(5):
                    case 0:
                        sent[place] = mutated(rng, sent[place], parts)
                    case 1:
                        sent.insert(place, rng.choice(parts))
                    case 2:
                        del sent[place]
                    case 3:
                        sent[place] = chunk(sent[place][:4], mutated(rng, sent[place][8:]))
                    case _:
                        rng.shuffle(sent)
                sent = sent or [b""]
            world.stream(cut(rng, b"".join(sent)))

    spoil()
