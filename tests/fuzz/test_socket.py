"""Spoiled requests over real sockets: a running server stays there for others, and is never at fault."""

from __future__ import annotations

import asyncio
import logging
import random
from pathlib import Path

import pytest
from support.fuzz.budget import EFFORT, INPUTS
from support.fuzz.instances import Known, Maker
from support.fuzz.mutate import cut, mutated
from support.fuzz.world import STRUCTURES, request_class
from support.opcua import serving
from support.rawclient import NO_TOKEN, RawClient, message, raw

CONNECTIONS = 60
REQUESTS = 12


async def attack(client: RawClient, rng: random.Random, services: dict[str, type]) -> None:
    """Send spoiled requests, and go on for as long as the server listens."""
    await client.ready()
    maker = Maker(rng, Known(structures=STRUCTURES))
    for number in range(REQUESTS):
        INPUTS["over sockets"] += 1
        name = rng.choice(list(services))
        parameters = mutated(rng, maker.parameters(services[name]))
        whole = message(name, parameters, token=rng.choice((client.token, client.token, NO_TOKEN)))
        sealed = client.seal(whole[:60_000], 1000 + number)
        if rng.random() < 0.1:
            sealed = mutated(rng, sealed)
        for piece in cut(rng, sealed):
            client.wire.send(piece)
            await asyncio.sleep(0)
    client.wire.writer.write_eof()
    await asyncio.wait_for(client.wire.reader.read(), 20)


def test_a_running_server_withstands_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path, allow_none=True, anonymous=True, writable=True, max_sessions=1000) as running:
        dispatcher = running.server._dispatcher
        assert dispatcher is not None
        kinds = {service.name: request_class(service) for service in dispatcher}
        services = {name: kind for name, kind in kinds.items() if kind is not None}

        async def all_of_it() -> None:
            async with raw(running.port) as other:
                await other.ready()
                for seed in range(CONNECTIONS * EFFORT):
                    async with raw(running.port, source=f"127.0.1.{seed % 200 + 1}") as client:
                        await attack(client, random.Random(seed), services)
                    assert (await other.read(("i=2258", 13)))[0].Value is not None

        asyncio.run(all_of_it())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
