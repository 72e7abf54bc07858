"""Which addresses of a Modbus device answer, whatever the device is like."""

from __future__ import annotations

import pytest
from support.modbus_peer import Peer, excepting, modbus_peer, mute

from server.progress import silent
from server.tools.errors import ToolError
from server.tools.survey import MOST_SINGLES, Span, Survey, as_inventory
from server.tools.target import parse_target


async def look(peer: Peer, *spans: Span, keys: str = "timeout=5s") -> list[str]:
    target = parse_target(f"modbus://127.0.0.1:{peer.port}?{keys}")
    return [str(span) for span in await Survey(target, silent).run(spans)]


async def test_holes_are_found_to_the_address() -> None:
    async with modbus_peer() as peer:
        peer.illegal = {10, 11, 50, 199}
        found = await look(peer, Span("holding", 0, 199))
        assert found == ["holding:0..9", "holding:12..49", "holding:51..198"]
        assert len(peer.requests) < 60
        found = await look(peer, Span("coil", 0, 20))
        assert found == ["coil:0..9", "coil:12..20"]


async def test_a_device_that_reads_values_of_two_registers_only_whole() -> None:
    def whole(request: bytes, reply: bytes) -> bytes | None:
        start, count = int.from_bytes(request[8:10], "big"), int.from_bytes(request[10:12], "big")
        return excepting(2)(request, reply) if start % 2 or count % 2 else reply

    async with modbus_peer() as peer:
        peer.spoil = whole
        peer.illegal = set(range(40, 70))
        assert await look(peer, Span("input", 0, 99)) == ["input:0..39", "input:70..99"]


async def test_a_device_that_takes_little_at_once() -> None:
    async with modbus_peer() as peer:
        peer.most = 10
        keys = "timeout=5s&max_registers=10"
        assert await look(peer, Span("holding", 0, 49), keys=keys) == ["holding:0..49"]
        assert len(peer.requests) == 5


async def test_a_table_that_is_not_there_costs_one_request() -> None:
    async with modbus_peer() as peer:
        peer.lacks = {4}
        assert await look(peer, Span("input", 0, 999), Span("holding", 0, 9)) == ["holding:0..9"]
        assert len(peer.requests) == 2


async def test_silence_is_no_end_at_once_but_in_the_end() -> None:
    def silent_once(request: bytes, reply: bytes) -> bytes | None:
        return None if int.from_bytes(request[8:10], "big") == 124 else reply

    async with modbus_peer() as peer:
        peer.spoil = silent_once
        spans = await look(peer, Span("holding", 0, 371), keys="timeout=500ms")
        assert spans == ["holding:0..123", "holding:248..371"]
        peer.spoil = mute
        with pytest.raises(ToolError, match="does not answer any more"):
            await look(peer, Span("holding", 0, 999), keys="timeout=100ms")


def test_of_a_device_that_answers_everywhere_only_a_part_becomes_values() -> None:
    found = as_inventory({}, [Span("coil", 0, 9), Span("holding", 0, 9999)])
    assert len(found.singles) == MOST_SINGLES
    (left,) = found.left_out
    assert left.label == f"holding:{MOST_SINGLES - 10}..9999"
