"""Requests of one connection: beside each other, answered once, given up in time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from support.opcua import OPERATOR, Connect, Running

from server.opcua import peer

DOUBLE = ua.VariantType.Double


def slowly(client: Client, served: Running, value: float = 1.0) -> asyncio.Task[Any]:
    """A write to the device of ``served``, on its way."""
    content = ua.DataValue(ua.Variant(value, DOUBLE))
    return asyncio.create_task(client.get_node(served.bench.node("SpeedSP")).write_value(content))


async def test_a_slow_write_delays_no_read_of_its_connection(connect: Connect, served: Running) -> None:
    async with connect(served, user=OPERATOR) as client:
        served.bench.device.delay = 1.0
        try:
            write = slowly(client, served)
            await asyncio.sleep(0.05)
            begin = time.monotonic()
            for _ in range(20):
                await client.get_node("i=2258").read_value()
            assert not write.done()
            assert time.monotonic() - begin < 0.9
            await write
        finally:
            served.bench.device.delay = 0.0


async def test_writes_to_one_device_keep_the_order_they_were_sent_in(
    connect: Connect, served: Running
) -> None:
    async with connect(served, user=OPERATOR) as client:
        served.bench.device.delay = 0.05
        try:
            await asyncio.gather(*(slowly(client, served, float(value)) for value in range(8)))
        finally:
            served.bench.device.delay = 0.0
        assert served.bench.device.held["SpeedSP"] == 7.0


async def test_a_request_that_takes_longer_than_its_client_waits_is_given_up(
    connect: Connect, served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(served, user=OPERATOR) as client:
        served.bench.device.delay = 0.6
        try:
            protocol: Any = client.uaclient.protocol
            prepare = protocol._setup_request_header

            def impatiently(header: ua.RequestHeader, timeout: float) -> None:
                prepare(header, timeout)
                header.TimeoutHint = 100

            monkeypatch.setattr(protocol, "_setup_request_header", impatiently)
            begin = time.monotonic()
            with pytest.raises(ua.uaerrors.BadTimeout):
                await slowly(client, served, 3.0)
            monkeypatch.undo()
            assert time.monotonic() - begin < 0.5
            await asyncio.sleep(0.7)
            assert served.bench.device.held["SpeedSP"] == 3.0  # what was begun is not cut
            assert await client.get_node("i=2259").read_value() == 0  # and nothing is answered twice
        finally:
            served.bench.device.delay = 0.0


async def test_too_many_requests_at_work_are_refused_and_none_is_lost(
    connect: Connect, served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "MAX_AT_WORK", 3)
    async with connect(served, user=OPERATOR) as client:
        served.bench.device.delay = 0.3
        try:
            writes = [slowly(client, served) for _ in range(6)]
            done = await asyncio.gather(*writes, return_exceptions=True)
        finally:
            served.bench.device.delay = 0.0
        refused = [one for one in done if isinstance(one, ua.uaerrors.BadTooManyOperations)]
        assert len(refused) == 3
        assert [one for one in done if one not in refused] == [None] * 3
        await client.get_node(served.bench.node("SpeedSP")).write_value(ua.DataValue(ua.Variant(2.0, DOUBLE)))
