from __future__ import annotations

import struct

import pytest
from support.logix import (
    forward_close,
    forward_open,
    instance,
    parse_reply,
    path,
    raw_client,
    read,
    serving,
    write,
)
from support.net import until

from sources.simulators.logix.connections import ConnectionManager
from sources.simulators.logix.epath import Port
from sources.simulators.logix.faults import LogixFaults


async def test_forward_open_answers_both_identifiers_and_the_triad() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        reply = await client.open(4000, serial=77)
        to_target, to_originator, serial, vendor, originator, interval, back, size, _ = struct.unpack(
            "<IIHHIIIBB", reply.data
        )
        assert (reply.service, reply.status) == (0x5B, 0)
        assert (to_originator, serial, vendor, originator) == (0x11223344, 77, 0x1337, 42)
        assert (interval, back, size) == (2_000_000, 2_000_000, 0)
        assert to_target == client.connection
        assert (await client.connected(read(path("A_DINT")))).status == 0


@pytest.mark.parametrize("size", [504, 4002])
async def test_replies_stay_within_the_connection(size: int) -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        assert (await client.open(size)).status == 0
        raw = await client.connected_bytes(read(path("Dints"), 1100))
        reply = parse_reply(raw)
        # Two bytes of the connection carry the sequence number, four the reply's head, two the type.
        assert reply.status == 6
        assert size - 4 < len(raw) + 2 <= size
        whole = (size - 8) // 4
        assert reply.data == struct.pack(f"<H{whole}i", 0xC4, *range(whole))


async def test_forward_close_ends_it_once() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        await client.open()
        closed = await client.unconnected(forward_close())
        assert (closed.service, closed.status, closed.data) == (
            0x4E,
            0,
            struct.pack("<HHIH", 1, 0x1337, 42, 0),
        )
        again = await client.unconnected(forward_close())
        assert (again.status, again.extended, again.data) == (
            1,
            (0x0107,),
            struct.pack("<HHIH", 1, 0x1337, 42, 0),
        )


@pytest.mark.parametrize(
    ("size", "more", "extended"),
    [
        (4003, {}, (0x0109, 4002)),
        (8, {}, (0x0109, 511)),
        (500, {"transport": 0x01}, (0x0103,)),
        (500, {"route": b"\x01\x05\x20\x02\x24\x01"}, (0x0312,)),
        (500, {"route": b"\x02\x00\x20\x02\x24\x01"}, (0x0311,)),
        (500, {"route": b"\x01\x00\x20\x04\x24\x01"}, (0x0315,)),
    ],
)
async def test_what_cannot_be_opened_says_why(
    size: int, more: dict[str, object], extended: tuple[int, ...]
) -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        reply = await client.open(size, **more)
        assert (reply.status, reply.extended) == (1, extended)
        assert reply.data == struct.pack("<HHIH", 1, 0x1337, 42, 0)


async def test_the_same_connection_opens_only_once() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        assert (await client.open(500)).status == 0
        assert (await client.open(500)).extended == (0x0100,)
        assert (await client.open(500, serial=2)).status == 0


async def test_connections_run_out_and_come_back() -> None:
    async with serving() as serves:
        async with raw_client(serves.port) as client:
            for serial in range(64):
                assert (await client.open(500, serial=serial)).status == 0
            async with raw_client(serves.port) as other:
                assert (await other.open(500)).extended == (0x0113,)
        await until(lambda: serves.controller.status()["connections"] == 0)
        async with raw_client(serves.port) as client:
            assert (await client.open(500)).status == 0


async def test_a_connection_that_is_not_there_answers_nothing() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        client.connection = 0xDEAD
        await client.send(client.unit_data(read(path("A_DINT"))))
        # The next reply is the next request's.
        assert (await client.ask(0x04)).command == 0x04


async def test_a_repeated_sequence_number_is_answered_and_not_carried_out_again() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        await client.open()
        toggle = b"\x4e" + path("A_DINT") + struct.pack("<Hii", 4, 1, -1)
        assert (await client.connected(toggle, sequence=5)).status == 0
        serves.controller.write_tag("A_DINT", 100)
        assert (await client.connected(write(path("A_DINT"), 0xC4, 1, bytes(4)), sequence=5)).service == 0x4E
        assert serves.controller.read_tag("A_DINT") == 100
        assert (await client.connected(write(path("A_DINT"), 0xC4, 1, bytes(4)), sequence=6)).service == 0x4D
        assert serves.controller.read_tag("A_DINT") == 0


async def test_a_request_longer_than_its_connection_is_refused_by_a_strict_controller() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        await client.open(100)
        long = write(path("Dints"), 0xC4, 40, bytes(160))
        assert (await client.connected(long)).status == 0
        serves.controller.faults.strict = True
        await client.send(client.unit_data(long))
        assert (await client.receive()).status == 0x65


async def test_the_connection_manager_is_reached_outside_connections_only() -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        await client.open()
        assert (await client.connected(forward_open(500, serial=2))).status == 0x08
        assert (await client.unconnected(b"\x01" + instance(6, 1))).status == 0x08
        assert (await client.unconnected(b"\x54" + instance(6, 2))).status == 0x05


@pytest.mark.parametrize(
    ("route", "status", "extended"),
    [
        (b"\x01\x00", 0, ()),
        (b"", 0, ()),
        (b"\x01\x03", 1, (0x0312,)),
        (b"\x12\x0b10.20.30.40\x00", 1, (0x0311,)),
        (b"\x20\x02", 1, (0x0315,)),
    ],
)
async def test_unconnected_send_goes_where_its_route_says(
    route: bytes, status: int, extended: tuple[int, ...]
) -> None:
    async with serving() as serves, raw_client(serves.port) as client:
        inner = b"\x01" + instance(1, 1)
        outer = struct.pack("<BBH", 10, 5, len(inner)) + inner + bytes((len(route) // 2, 0)) + route
        reply = await client.unconnected(b"\x52" + instance(6, 1) + outer)
        assert (reply.status, reply.extended) == (status, extended)
        assert reply.service == (0x52 if status else 0x01)


async def test_an_unused_connection_times_out() -> None:
    now = [100.0]
    manager = ConnectionManager(LogixFaults(), (Port(1, b"\0"),), lambda: True, lambda: now[0])
    opened = manager.open(forward_open(500, interval=1_000_000, multiplier=0)[6:], large=False)
    (handle,) = struct.unpack_from("<I", opened.data)
    # One second, times four.
    now[0] += 3.9
    assert manager.find(handle) is not None
    now[0] += 3.9
    assert manager.find(handle) is not None
    now[0] += 4.1
    assert len(manager) == 0
    assert manager.find(handle) is None
