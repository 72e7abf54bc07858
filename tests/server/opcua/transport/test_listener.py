from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace

import pytest
from support.wire import Wire, chunk, connect, error_code, hosting, until, wire

from server.opcua.transport import listener as listeners
from server.opcua.transport.limits import CAPS, LIMITS, Caps, caps_for
from server.opcua.transport.listener import Listener
from server.opcua.transport.ranks import Ranks, group_of
from server.opcua.types import StatusCodes

MESSAGE = chunk(b"MSGF", b"0123456789abcdef")


async def alive(raw: Wire) -> bool:
    raw.send(MESSAGE)
    try:
        return await raw.chunk() == MESSAGE
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


async def test_in_all_only_so_many_with_a_session() -> None:
    async with hosting(caps=Caps(connections=2)) as host:
        raws = [await connect(host.port) for _ in range(2)]
        for number, raw in enumerate(raws):
            await raw.greet()
            host.handlers[number].connection.authenticated = True
        async with wire(host.port) as third:
            assert error_code(await third.end()) == StatusCodes.BadTcpServerTooBusy
        assert host.listener.refused == {"total": 1}
        assert [await alive(raw) for raw in raws] == [True, True]
        await raws[0].close()
        await until(lambda: host.listener.connections == 1)
        async with wire(host.port) as fourth:
            await fourth.greet()
        await raws[1].close()


async def test_from_one_address_only_so_many_with_a_session() -> None:
    async with hosting(caps=Caps(per_address=1)) as host, wire(host.port) as first:
        await first.greet()
        host.handlers[0].connection.authenticated = True
        async with wire(host.port) as second:
            assert error_code(await second.end()) == StatusCodes.BadTcpServerTooBusy
        assert host.listener.refused == {"address": 1}
        async with wire(host.port, "127.0.0.2") as other:
            await other.greet()
        assert await alive(first)


async def test_without_a_session_the_oldest_makes_room_at_each_address() -> None:
    async with hosting(caps=Caps(unauthenticated_per_address=2)) as host, wire(host.port) as other:
        await other.greet()
        raws = [await connect(host.port, "127.0.0.2") for _ in range(3)]
        assert await raws[0].end() == b""
        for raw in raws[1:]:
            await raw.greet()
            assert await alive(raw)
        assert await alive(other)
        assert host.listener.evicted == 1
        assert not host.listener.refused
        for raw in raws:
            await raw.close()


async def test_without_a_session_whoever_has_most_makes_room_in_all() -> None:
    async with hosting(caps=Caps(unauthenticated=4)) as host, wire(host.port) as single:
        await single.greet()
        raws = [await connect(host.port, "127.0.0.2") for _ in range(6)]
        for raw in raws[:3]:
            assert await raw.end() == b""
        assert await alive(single)
        assert (host.listener.unauthenticated, host.listener.evicted) == (4, 3)
        for raw in raws:
            await raw.close()


async def test_where_all_is_full_those_without_a_session_make_room() -> None:
    async with hosting(caps=Caps(connections=3)) as host, wire(host.port) as user:
        await user.greet()
        host.handlers[0].connection.authenticated = True
        raws = [await connect(host.port) for _ in range(4)]
        assert await raws[0].end() == b""
        assert await raws[1].end() == b""
        assert await alive(user)
        assert host.listener.connections == 3
        for raw in raws:
            await raw.close()


async def test_a_trusted_application_makes_room_last() -> None:
    async with hosting(caps=Caps(connections=3, unauthenticated=2)) as host:
        trusted = await connect(host.port, "127.0.0.2")
        await trusted.greet()
        host.handlers[0].connection.trusted = True
        raws = [await connect(host.port) for _ in range(5)]
        assert await alive(trusted)
        assert (host.listener.unauthenticated, host.listener.evicted) == (3, 3)
        # One after the other they get their sessions; then it is the trusted one's turn.
        for raw in raws[3:]:
            await raw.greet()
        for handler in host.handlers[1:]:
            handler.connection.authenticated = True
        async with wire(host.port) as last:
            await last.greet()
            assert not await alive(trusted)
        for raw in [trusted, *raws]:
            await raw.close()


async def test_thousands_of_half_open_connections_do_not_hurt_who_has_a_session() -> None:
    sources = [f"127.0.1.{number}" for number in range(1, 9)]
    count = 4_000
    async with hosting() as host, wire(host.port) as user:
        await user.greet()
        host.handlers[0].connection.authenticated = True

        def attack() -> None:
            held: list[socket.socket] = []
            for number in range(count):
                attacker = socket.socket()
                attacker.bind((sources[number % len(sources)], 0))
                attacker.settimeout(10)
                try:
                    attacker.connect(("127.0.0.1", host.port))
                except OSError:
                    attacker.close()
                    continue
                held.append(attacker)
                if len(held) > 200:
                    held.pop(0).close()
            for attacker in held:
                attacker.close()

        async def ask() -> int:
            answered = 0
            while not attacking.done():
                assert await alive(user)
                answered += 1
            return answered

        attacking = asyncio.create_task(asyncio.to_thread(attack))
        assert await asyncio.wait_for(ask(), 60) > 200
        await attacking
        await until(lambda: host.listener.accepted > count * 0.9)
        assert host.listener.unauthenticated <= CAPS.unauthenticated
        assert host.listener.connections <= CAPS.unauthenticated + 1
        assert not host.listener.refused
        # A client that comes now is served.
        async with wire(host.port) as late:
            await late.greet()


async def test_those_that_are_hung_up_on_are_few_too() -> None:
    async with hosting(caps=replace(CAPS, lingering=2)) as host:
        raws = [await connect(host.port) for _ in range(6)]
        for raw in raws:
            raw.send(b"GET / HTTP")
        await until(lambda: host.listener.faults == 6)
        await until(lambda: len(host.listener._connections) == 2)
        assert host.listener.connections == 0
        for raw in raws:
            await raw.close()


async def test_one_address_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async with hosting() as host:
        for source in ("127.0.0.2", "127.0.0.3"):
            for _ in range(10):
                async with wire(host.port, source) as raw:
                    raw.send(b"GET / HTTP")
                    await raw.end()
        assert host.listener.faults == 20
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert "127.0.0.3" in warnings[1]


async def test_close_tells_everybody_and_waits_for_their_requests() -> None:
    listener = Listener(LIMITS)
    port = listener.bind("127.0.0.1", 0)
    ended = []

    class Slow:
        def __init__(self, _: object) -> None: ...

        def receive(self, chunk: bytes) -> None: ...

        def lost(self) -> None:
            ended.append("lost")

        async def wait(self) -> None:
            await asyncio.sleep(0.05)
            ended.append("waited")

    await listener.serve(Slow)
    async with wire(port) as raw:
        await raw.greet()
        closing = asyncio.create_task(listener.close(within=5))
        assert error_code(await raw.end()) == StatusCodes.BadServerHalted
        await raw.close()
        await closing
        assert ended == ["lost", "waited"]
    with pytest.raises(ConnectionError):
        await connect(port)


async def test_close_does_not_wait_for_ever() -> None:
    listener = Listener(replace(LIMITS, linger=60))
    port = listener.bind("127.0.0.1", 0)
    cancelled = []

    class Endless:
        def __init__(self, _: object) -> None: ...

        def receive(self, chunk: bytes) -> None: ...

        def lost(self) -> None:
            raise ZeroDivisionError

        async def wait(self) -> None:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

    await listener.serve(Endless)
    raw = await connect(port)
    await raw.greet()
    async with asyncio.timeout(5):
        await listener.close(within=0.05)
    assert cancelled == [True]
    await raw.close()


async def test_close_ends_even_where_a_connection_does_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listeners, "_ABORTED", 0.05)
    async with hosting() as host, wire(host.port) as raw:
        await raw.greet()
        connection = host.handlers[0].connection
        monkeypatch.setattr(type(connection), "abort", lambda _self: None)
        monkeypatch.setattr(type(connection), "close", lambda *_: None)
        async with asyncio.timeout(5):
            await host.listener.close(within=0.05)
        assert "could not be closed: a fault of ours" in caplog.text
        monkeypatch.undo()
        connection.abort()
        await until(lambda: host.listener.connections == 0)


async def test_close_before_serve_is_all_right() -> None:
    listener = Listener()
    port = listener.bind("127.0.0.1", 0)
    await listener.close(within=1)
    with pytest.raises(ConnectionError):
        await connect(port)


async def test_nobody_is_answered_before_serve() -> None:
    listener = Listener()
    port = listener.bind("127.0.0.1", 0)
    async with wire(port) as raw:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(raw.greet(), 0.05)
    await listener.close(within=1)


async def test_without_a_file_to_spare_it_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_OUT_OF_FILES", 0.02)
    loop = asyncio.get_running_loop()
    accept, failing = loop.sock_accept, [errno.EMFILE, errno.ECONNABORTED, errno.ENFILE]

    async def full(bound: socket.socket) -> tuple[socket.socket, object]:
        if failing:
            raise OSError(failing.pop(), "no more")
        return await accept(bound)

    monkeypatch.setattr(loop, "sock_accept", full)
    async with hosting() as host, wire(host.port) as raw:
        await raw.greet()
        assert host.listener.refused == {"system": 3}


async def test_a_fault_of_ours_lets_the_next_client_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting() as host:
        with monkeypatch.context() as broken:
            broken.setattr(listeners, "group_of", lambda _: 1 / 0)
            async with wire(host.port) as raw:
                assert await raw.end() == b""
        async with wire(host.port) as raw:
            await raw.greet()
        assert host.listener.failures == 1
    assert "ZeroDivisionError" in caplog.text


def test_the_caps_fit_the_sessions() -> None:
    assert caps_for(100) == CAPS
    assert caps_for(1000).connections > 2000


def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Listener().bind("127.0.0.1", taken.getsockname()[1])


async def test_several_hosts_may_be_listened_on() -> None:
    async with hosting() as host:
        listener = Listener()
        port = listener.bind("127.0.0.2", 0)
        assert listener.bind("127.0.0.3", port) == port
        await listener.serve(host.make)
        for address in ("127.0.0.2", "127.0.0.3"):
            raw = Wire(*await asyncio.open_connection(address, port))
            await raw.greet()
            await raw.close()
        await until(lambda: listener.connections == 0)
        await listener.close(within=1)


def test_an_ipv6_network_counts_as_one_address() -> None:
    assert group_of("10.1.2.3") == "10.1.2.3"
    assert group_of("2001:db8:1:2::7") == group_of("2001:db8:1:2:ffff::9") != group_of("2001:db8:1:3::7")
    assert group_of("fe80::1%eth0") == group_of("fe80::2%eth0")
    assert group_of("somewhere") == "somewhere"


def test_ranks_know_their_oldest_and_largest() -> None:
    ranks: Ranks[str] = Ranks()
    assert ranks.first_to_go() is None
    for group, member in (("a", "a1"), ("b", "b1"), ("b", "b2")):
        ranks.add(group, member)
    assert (len(ranks), ranks.count("b"), ranks.oldest("b"), ranks.first_to_go()) == (3, 2, "b1", "b1")
    ranks.discard("b", "b1")
    ranks.discard("b", "b1")
    assert (len(ranks), ranks.oldest("b"), ranks.first_to_go()) == (2, "b2", "a1")
    ranks.discard("a", "a1")
    ranks.discard("c", "c1")
    assert (len(ranks), ranks.oldest("a"), ranks.first_to_go()) == (1, None, "b2")
