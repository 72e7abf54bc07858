"""A server that publishes without pause takes no more than half of the loop, and nothing piles up."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from support.downstream import named
from support.net import until
from support.opcua_messages import Lone, published

from sources.opcua import pace

MANY = 2000
"""Values of each message."""


async def test_whoever_floods_is_made_to_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pace, "_TOLD", 5)
    caplog.set_level(logging.WARNING)
    lone = Lone([named(f"V{number}") for number in range(MANY)])
    lone.device.plan = None  # as after a first connection: it is there by the test's hand

    async def planned() -> None:
        return None

    monkeypatch.setattr(lone.scan._plans, "begin", planned)
    most = turns = sequence = 0
    scan = asyncio.create_task(lone.scan.run())

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    neighbour = asyncio.create_task(others())
    traffic = lone.device.traffic

    def flooded() -> bool:
        """Every request is answered at once."""
        nonlocal most, sequence
        most = max(most, len(lone.line.sent))
        sent, lone.line.sent = lone.line.sent, []
        for _, future in sent:
            sequence += 1
            future.set_result(published(sequence, *((place, float(sequence)) for place in range(MANY))))
        return traffic.slowed > 10

    try:
        await until(flooded, every=0)
        begun = turns
        await until(lambda: flooded() and turns > begun + 100, every=0)
        assert 0 < most <= 20
        assert lone.subscription.sequence > 10
        assert "is made to wait" in caplog.text
    finally:
        for task in (scan, neighbour):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await scan
        await asyncio.wait((neighbour,))
