"""Many connections, and slow ones: who is inside notices nothing, and who has a key still gets in."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from support.attack import Flood, flooding, pour, unharmed
from support.crowd import crowd
from support.prober import probing
from support.rawclient import RawClient, message, raw, user_token
from support.victim import MIB, Victim, victim
from support.wire import connect, error_code, hello

from server.opcua.transport.limits import CAPS
from server.opcua.types import ObjectIds, StatusCodes

log = logging.getLogger(__name__)

OPERATOR = ("operator", "line-one-runs")
NOTHING = struct.pack("<iii", -1, -1, -1)
NUMBER = 10_000


async def newcomer(server: Victim, within: float = 5.0, source: str = "127.0.0.5") -> float:
    """A client that is not inside yet gets in, as often as it has to try; how long that took."""
    began = time.monotonic()
    while True:
        try:
            async with raw(server.port, peer=server.peer(), source=source) as client:
                await client.ready(OPERATOR)
                assert (await client.read(("i=2259", 13)))[0].Value is not None
                return time.monotonic() - began
        except (ConnectionError, asyncio.IncompleteReadError):
            assert time.monotonic() - began < within
            await asyncio.sleep(0.1)


# --- Ten thousand connections


@pytest.mark.parametrize(
    ("addresses", "kind"), [(20, "silent"), (20, "hello"), (NUMBER, "half"), (NUMBER, "hello")]
)
async def test_ten_thousand_connections_that_come_to_nothing(
    strict: Victim, addresses: int, kind: str
) -> None:
    """From twenty addresses, and from ten thousand: no cap of one address has to help."""
    before = strict.memory
    async with probing(strict) as prober:
        idle = await prober.measure(0.3)
        async with crowd(strict.port, NUMBER, addresses, kind) as attackers:
            making = asyncio.create_task(attackers.held())
            await asyncio.sleep(0.4)
            times = []
            while not making.done():
                assert (await prober.measure(0.2)).median < max(0.01, 4 * idle.median)
                times.append(await newcomer(strict))
            number, seconds = await making
            assert number == NUMBER
            assert strict.files < CAPS.unauthenticated + 50
            held = await prober.measure(0.3)
            for _ in range(4):
                if held.median < max(2 * idle.median, 0.004):
                    break
                held = await prober.measure(0.3)
            assert held.median < max(2 * idle.median, 0.004)
            times.append(await newcomer(strict))
    log.info(
        "%.1f s for all; reads %.2f ms, %.1f times; newcomers in %.2f s at most; %+.1f MiB",
        seconds,
        held.median * 1e3,
        held.median / idle.median,
        max(times),
        (strict.memory - before) / MIB,
    )
    assert strict.memory - before < 40 * MIB


async def test_connections_that_come_and_go(strict: Victim) -> None:
    async def knock(flood: Flood, which: int) -> None:
        connection = await connect(strict.port, f"127.0.3.{which + 1}")
        if flood.done % 2:
            connection.send(hello())
        await connection.close()
        flood.done += 1

    async with probing(strict) as prober:
        await unharmed(strict, prober, knock, 8)
        await newcomer(strict)


# --- Slow ones


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A server that gives everybody a second or two."""
    limits = {"hello": 1.0, "grace": 2.0, "begun": 1.5}
    with victim(tmp_path_factory.mktemp("impatient"), limits, allow_none=True, anonymous=True) as found:
        yield found


async def trickle(client: RawClient, data: bytes, every: float = 0.1) -> bytes:
    """Send a byte now and then; everything the server says until it hangs up."""
    ending = asyncio.create_task(client.wire.end())
    for at in range(len(data)):
        client.wire.send(data[at : at + 1])
        await asyncio.wait({ending}, timeout=every)
        if ending.done():
            break
    return await ending


async def loiter(server: Victim, what: str) -> bytes:
    """What a client is told that takes its time with that."""
    async with raw(server.port) as client:
        match what:
            case "nothing":
                return await client.wire.end()
            case "hello":
                return await trickle(client, hello())
            case "opening":
                await client.wire.greet()
                return await trickle(client, client.opening())
            case "secure opening":
                await client.wire.greet()
                return await trickle(client, server.peer().opening())
            case "message":
                await client.open()
                return await trickle(client, client.seal(message("GetEndpoints", NOTHING)))
            case _:
                await client.open()
                chunks = b"".join(client.seal(b"\0", final=b"C") for _ in range(50))
                return await trickle(client, chunks, 0.02)


async def loiter_with_session(server: Victim, *, chunk: bool) -> bytes:
    async with raw(server.port, peer=server.peer()) as client:
        await client.ready(OPERATOR)
        sent = client.seal(b"\0" * 100, final=b"C")
        if not chunk:
            return await trickle(client, sent)
        client.wire.send(sent)
        return await client.wire.end()


async def test_a_client_that_takes_its_time_is_given_no_more_than_some(impatient: Victim) -> None:
    """Whatever it is that it does not come to the end of."""
    began = time.monotonic()
    told = await asyncio.gather(
        *(
            loiter(impatient, what)
            for what in ("nothing", "hello", "opening", "secure opening", "message", "chunks")
        ),
        loiter_with_session(impatient, chunk=False),
        loiter_with_session(impatient, chunk=True),
    )
    assert [error_code(said) for said in told] == [StatusCodes.BadTimeout] * 8
    assert time.monotonic() - began < 6


async def test_many_slow_ones_slow_nobody(impatient: Victim) -> None:
    async def dawdle(flood: Flood, which: int) -> None:
        async with raw(impatient.port, source=f"127.0.4.{which % 8 + 1}") as client:
            if which % 3:
                await client.wire.greet()
            data = client.opening() if which % 3 else hello()
            for at in range(len(data)):
                client.wire.send(data[at : at + 1])
                await asyncio.sleep(0.02)
                flood.done += 1
                if flood.over or client.wire.reader.at_eof():
                    return

    async with probing(impatient) as prober:
        await unharmed(impatient, prober, dawdle, 80)
        async with flooding(dawdle, 80):
            await asyncio.sleep(0.3)
            await newcomer(impatient)


# --- Who makes room, and for whom


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A server with room for two without a session, and for three in all."""
    caps = {"unauthenticated": 2, "unauthenticated_per_address": 2, "connections": 3}
    data = tmp_path_factory.mktemp("narrow")
    with victim(data, caps=caps, allow_none=True, anonymous=True) as found:
        yield found


async def test_the_oldest_connection_without_a_session_makes_room(narrow: Victim) -> None:
    async with raw(narrow.port) as one, raw(narrow.port) as two:
        await one.open()
        await two.open()
        async with raw(narrow.port) as three:
            await three.open()
            assert await one.wire.end() == b""
            assert (await two.call("GetEndpoints", NOTHING)).code == 0


async def test_where_all_have_sessions_one_more_is_turned_away(narrow: Victim) -> None:
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(3):
            clients.append(await stack.enter_async_context(raw(narrow.port)))
            await clients[-1].ready()
        async with raw(narrow.port) as more:
            assert error_code(await more.wire.end()) == StatusCodes.BadTcpServerTooBusy
        for client in clients:
            assert (await client.read(("i=2259", 13)))[0].Value is not None


# --- Requests of strangers


@pytest.mark.parametrize("service", ["GetEndpoints", "FindServers"])
async def test_a_flood_of_discovery_slows_nobody_else(strict: Victim, service: str) -> None:
    async def ask(flood: Flood, which: int) -> None:
        async with raw(strict.port, source=f"127.0.5.{which % 5 + 1}") as client:
            await client.open()
            await pour(flood, client, message(service, NOTHING))

    async with probing(strict) as prober:
        flood = await unharmed(strict, prober, ask, 30, memory=40)
        assert flood.done > 100
        async with flooding(ask, 30):
            await asyncio.sleep(0.3)
            await newcomer(strict)


async def test_a_flood_of_sessions_slows_nobody_and_keeps_nobody_out(lenient: Victim) -> None:
    """Over None nothing has to be proved to create one."""

    async def ask(flood: Flood, which: int) -> None:
        async with raw(lenient.port, source=f"127.0.6.{which % 5 + 1}") as client:
            await client.open()
            await pour(flood, client, message("CreateSession", client.creation()))

    async with probing(lenient) as prober:
        flood = await unharmed(lenient, prober, ask, 20, memory=40)
        assert flood.done > 100
        async with flooding(ask, 20):
            await asyncio.sleep(0.3)
            await newcomer(lenient)


async def test_many_sessions_of_one_channel_are_at_the_cost_of_the_oldest(lenient: Victim) -> None:
    async with raw(lenient.port, source="127.0.6.9") as client, raw(lenient.port) as other:
        await other.open()
        await other.create()
        await client.open()
        await client.create()
        first = client.token
        for _ in range(300):
            await client.create()
        answer = await client.call("ActivateSession", client.activation(), token=first)
        assert answer.fault == StatusCodes.BadSessionIdInvalid
        await client.activate()
        await other.activate()  # somebody else's, from another address, was not the one to go


async def test_sessions_left_behind_are_gone_with_their_connection(lenient: Victim) -> None:
    before = lenient.memory
    for _ in range(30):
        async with raw(lenient.port) as client:
            await client.open()
            for _again in range(20):
                client.ask("CreateSession", client.creation())
            await client.answer()
    assert lenient.memory - before < 10 * MIB
    await newcomer(lenient)


async def test_a_trusted_application_that_floods_with_sessions_slows_nobody(strict: Victim) -> None:
    """Each takes a signature of the server's."""

    async def ask(flood: Flood, which: int) -> None:
        async with raw(strict.port, peer=strict.peer(), source=f"127.0.6.{which % 5 + 20}") as client:
            await client.open()
            while not flood.over:
                for _ in range(20):
                    client.ask("CreateSession", client.creation())
                for _ in range(20):
                    await client.answer()
                    flood.done += 1

    async with probing(strict) as prober:
        flood = await unharmed(strict, prober, ask, 6, memory=40)
        assert flood.done > 20
        async with flooding(ask, 6):
            await asyncio.sleep(0.3)
            await newcomer(strict)


async def test_a_flood_of_activations_slows_nobody_else(lenient: Victim) -> None:
    async def ask(flood: Flood, which: int) -> None:
        async with raw(lenient.port, source=f"127.0.7.{which % 5 + 1}") as client:
            await client.open()
            await client.create()
            while not flood.over:
                await client.activate()
                flood.done += 1

    async def guess(flood: Flood, which: int) -> None:
        async with raw(lenient.port, source=f"127.0.7.{which % 5 + 50}") as client:
            await client.open()
            await client.create()
            token = user_token(f"user{which}", "a guess", client.nonce, lenient.certificate)
            while not flood.over:
                answer = await client.call("ActivateSession", client.activation(token))
                assert answer.kind == ObjectIds.ServiceFault_Encoding_DefaultBinary
                flood.done += 1

    async with probing(lenient) as prober:
        for attack in (ask, guess):
            flood = await unharmed(lenient, prober, attack, 20, memory=150)
            assert flood.done > 20
            async with flooding(attack, 20):
                await asyncio.sleep(0.3)
                await newcomer(lenient)
