from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from support.wire import Host, Wire, chunk, connect, error_code, hello, hosting, until, wire

from server.opcua.transport import connection as connections
from server.opcua.transport.connection import Connection
from server.opcua.transport.framing import TransportError
from server.opcua.transport.limits import CAPS, LIMITS
from server.opcua.types import StatusCodes

MESSAGE = chunk(b"MSGF", b"0123456789abcdef")


async def swept(host: Host, probe: Callable[[], bool]) -> None:
    """Wait until something is so, sweeping all the while."""

    def look() -> bool:
        host.listener.sweep()
        return probe()

    await until(look)


async def test_hello_is_acknowledged_and_chunks_reach_the_handler() -> None:
    async with hosting() as host, wire(host.port) as raw:
        raw.send(hello(url=b"opc.tcp://somewhere:4840/x"))
        assert (await raw.chunk())[:4] == b"ACKF"
        raw.send(MESSAGE + MESSAGE)
        assert [await raw.chunk(), await raw.chunk()] == [MESSAGE, MESSAGE]
        (handler,) = host.handlers
        made = handler.connection
        assert made.url == "opc.tcp://somewhere:4840/x"
        assert made.address == "127.0.0.1"
        assert made.peer == f"127.0.0.1:{raw.writer.get_extra_info('sockname')[1]}"
        assert made.negotiated is not None
        assert not made.backlogged


async def test_the_answers_of_a_turn_are_sent_together_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with hosting() as host, wire(host.port) as raw:
        await raw.greet()
        transport: Any = host.handlers[0].connection._transport
        write, sends = transport.write, list[int]()

        def note(data: bytes) -> None:
            sends.append(len(data))
            write(data)

        monkeypatch.setattr(transport, "write", note)
        requests = [chunk(b"MSGF", bytes([number]) * (16 + number * 400)) for number in range(60)]
        raw.send(b"".join(requests))
        assert [await raw.chunk() for _ in requests] == requests
        assert len(sends) < 40
        # What is large does not wait for more, nor does it overtake.
        assert max(sends) < 200_000


async def test_no_handler_is_made_before_hello() -> None:
    async with hosting() as host, wire(host.port) as raw:
        raw.send(hello()[:-1])
        await until(lambda: host.listener.accepted == 1)
        await asyncio.sleep(0.02)
        assert not host.handlers
        raw.send(hello()[-1:])
        await raw.chunk()
        assert len(host.handlers) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", StatusCodes.BadTcpMessageTypeInvalid),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", StatusCodes.BadTcpMessageTypeInvalid),
        (b"MSGF" + struct.pack("<I", 2**32 - 1), StatusCodes.BadTcpMessageTooLarge),
        (hello(receive=1), StatusCodes.BadConnectionRejected),
        (hello() + hello(), StatusCodes.BadTcpMessageTypeInvalid),
        (hello() + b"MSGF" + struct.pack("<I", 65536), StatusCodes.BadTcpMessageTooLarge),
        (hello(send=8192) + b"MSGF" + struct.pack("<I", 8193), StatusCodes.BadTcpMessageTooLarge),
    ],
)
async def test_what_no_client_may_send_ends_with_an_error(data: bytes, code: int) -> None:
    async with hosting() as host, wire(host.port) as raw:
        raw.send(data)
        said = await raw.end()
        if said[:4] == b"ACKF":
            said = said[28:]
        assert error_code(said) == code
        assert host.listener.faults == 1


async def test_a_client_hears_the_error_even_while_it_sends_more() -> None:
    def refuse(_: Connection, data: bytes) -> None:
        raise TransportError(StatusCodes.BadSecurityChecksFailed, f"{len(data)} bytes that nobody wants")

    async with hosting() as host:
        host.answer = refuse
        for _ in range(20):
            async with wire(host.port) as raw:
                await raw.greet()
                raw.send(MESSAGE * 5000)
                assert error_code(await raw.end()) == StatusCodes.BadSecurityChecksFailed
        assert all(len(handler.chunks) == 1 for handler in host.handlers)


async def test_a_client_that_never_stops_is_hung_up_on_all_the_same() -> None:
    async with hosting(replace(LIMITS, linger=5.0)) as host:
        raw = await connect(host.port)
        raw.send(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: host.listener.faults == 1)
        began = time.monotonic()

        async def flood() -> None:
            while True:
                raw.send(b"x" * 65536)
                await raw.writer.drain()
                await asyncio.sleep(0)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(flood(), 4)
        assert time.monotonic() - began < 4
        await raw.close()


async def test_a_client_that_does_not_hang_up_is_made_to() -> None:
    async with hosting(replace(LIMITS, linger=0.05)) as host, wire(host.port) as raw:
        raw.send(b"GET / HTTP/1.1\r\n\r\n")
        assert error_code(await raw.end()) == StatusCodes.BadTcpMessageTypeInvalid
        await until(lambda: not host.listener._connections)


async def test_a_fault_of_ours_is_logged_and_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with hosting() as host, wire(host.port) as raw:
        host.answer = fail
        await raw.greet()
        raw.send(MESSAGE)
        assert error_code(await raw.end()) == StatusCodes.BadTcpInternalError
        assert host.listener.failures == 1
    assert "ZeroDivisionError" in caplog.text


async def test_an_answer_may_come_before_the_error() -> None:
    def refuse(*_: object) -> None:
        raise TransportError(StatusCodes.BadNonceInvalid, "no", [b"OPNF", b"answer"])

    async with hosting() as host, wire(host.port) as raw:
        host.answer = refuse
        await raw.greet()
        raw.send(MESSAGE)
        said = await raw.end()
        assert said[:10] == b"OPNFanswer"
        assert error_code(said[10:]) == StatusCodes.BadNonceInvalid


async def test_the_reason_is_for_our_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with hosting() as host, wire(host.port) as raw:
        host.answer = lambda connection, _: connection.close(StatusCodes.BadTimeout, "a secret")
        await raw.greet()
        raw.send(MESSAGE + MESSAGE)
        assert error_code(await raw.end()) == StatusCodes.BadTimeout
        assert len(host.handlers[0].chunks) == 1
    assert "a secret" in caplog.text


async def test_close_without_a_code_says_nothing_after_the_answers() -> None:
    def part(connection: Connection, data: bytes) -> None:
        connection.write([data, data])
        connection.close()
        connection.write([data])

    async with hosting() as host, wire(host.port) as raw:
        host.answer = part
        await raw.greet()
        raw.send(MESSAGE)
        assert await raw.end() == MESSAGE * 2


async def test_a_held_connection_delivers_nothing_until_it_is_released() -> None:
    async with hosting() as host, wire(host.port) as raw:
        host.answer = lambda connection, _: connection.hold()
        await raw.greet()
        raw.send(MESSAGE * 3)
        (handler,) = host.handlers
        await until(lambda: len(handler.chunks) == 1)
        raw.send(MESSAGE * 3)
        await asyncio.sleep(0.03)
        assert len(handler.chunks) == 1
        host.answer = lambda connection, data: connection.write([data])
        handler.connection.release()
        for _ in range(5):
            assert await raw.chunk() == MESSAGE


async def test_holds_may_be_nested() -> None:
    def hold_twice(connection: Connection, _: bytes) -> None:
        connection.hold()
        connection.hold()

    async with hosting() as host, wire(host.port) as raw:
        host.answer = hold_twice
        await raw.greet()
        raw.send(MESSAGE * 2)
        (handler,) = host.handlers
        await until(lambda: len(handler.chunks) == 1)
        handler.connection.release()
        await asyncio.sleep(0.02)
        assert len(handler.chunks) == 1
        handler.connection.release()
        await until(lambda: len(handler.chunks) == 2)


async def test_released_after_its_end_is_of_no_consequence() -> None:
    async with hosting() as host, wire(host.port) as raw:
        host.answer = lambda connection, _: connection.hold()
        await raw.greet()
        raw.send(MESSAGE)
        (handler,) = host.handlers
        await until(lambda: len(handler.chunks) == 1)
        handler.connection.close(StatusCodes.BadTimeout)
        handler.connection.release()
        assert error_code(await raw.end()) == StatusCodes.BadTimeout


async def test_a_flood_of_requests_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TURN", 0.0)
    async with hosting() as host, wire(host.port) as flood, wire(host.port) as other:
        await flood.greet()
        await other.greet()
        first, second = host.handlers
        order: list[int] = []

        def note(connection: Connection, _: bytes) -> None:
            order.append(1 if connection is first.connection else 2)

        host.answer = note
        flood.send(MESSAGE * 2000)
        other.send(MESSAGE)
        await until(lambda: len(order) == 2001)
        assert order.index(2) < 1000
        assert len(second.chunks) == 1


async def test_a_crowd_of_strangers_has_one_turn_together() -> None:
    async with hosting() as host, AsyncExitStack() as stack:
        known = await stack.enter_async_context(wire(host.port))
        await known.greet()
        handled = 0

        def answer(connection: Connection, data: bytes) -> None:
            nonlocal handled
            if connection is host.handlers[0].connection:
                connection.write([data])
            else:
                handled += 1
                time.sleep(0.0006)

        host.answer = answer
        host.handlers[0].connection.authenticated = True
        crowd = [await stack.enter_async_context(wire(host.port)) for _ in range(20)]
        for stranger in crowd:
            await stranger.greet()
            stranger.send(MESSAGE * 20)
        await until(lambda: handled > 40)
        meanwhile = []
        for _ in range(10):
            before = handled
            known.send(MESSAGE)
            await known.chunk()
            meanwhile.append(handled - before)
        assert sorted(meanwhile)[5] < 20, meanwhile
        # It loses nothing but time.
        await until(lambda: handled == 20 * 20)


async def test_clients_that_ask_for_what_takes_long_have_one_turn_together() -> None:
    rounds, handled = 0, Counter[int]()

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    def answer(connection: Connection, data: bytes) -> None:
        handled[rounds] += 1
        time.sleep(0.003)
        connection.write([data])

    async def ask(client: Wire) -> None:
        for _ in range(10):
            client.send(MESSAGE)
            await client.chunk()

    async with hosting() as host, AsyncExitStack() as stack:
        host.answer = answer
        clients = [await stack.enter_async_context(wire(host.port)) for _ in range(10)]
        for client in clients:
            await client.greet()
            host.handlers[-1].connection.authenticated = True
        counting = asyncio.create_task(count_rounds())
        await asyncio.gather(*map(ask, clients))
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
    # The first of each is answered at once: nobody knows yet how long it takes.
    assert sorted(handled.values())[-3] <= 2, handled


# --- Clients that do not read


class Mute:
    """A client that sends and never reads: its socket takes next to nothing."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(hello())
        self.socket.setblocking(False)


def answer_much(connection: Connection, _: bytes) -> None:
    connection.write([b"y" * 100_000])


async def test_a_client_that_does_not_read_is_not_read_from() -> None:
    async with hosting() as host:
        mute = Mute(host.port)
        host.answer = answer_much
        await until(lambda: bool(host.handlers))
        (handler,) = host.handlers
        mute.socket.send(MESSAGE * 200)
        await until(lambda: handler.connection.backlogged)
        await asyncio.sleep(0.05)
        answered = len(handler.chunks)
        assert answered < 30
        assert handler.connection.unsent < LIMITS.pause + 200_000
        # It reads again: so do we.
        mute.socket.settimeout(5)
        left = 28 + 200 * 100_000
        while left:
            left -= len(await asyncio.to_thread(mute.socket.recv, 1 << 20))
        assert len(handler.chunks) == 200
        mute.socket.close()


async def test_a_client_that_is_sent_too_much_is_dropped_and_counted() -> None:
    limits = replace(LIMITS, unsent=1_000_000)
    async with hosting(limits) as host:
        mute = Mute(host.port)
        await until(lambda: bool(host.handlers))
        (handler,) = host.handlers
        for _ in range(100):  # as subscriptions would that do not look
            handler.connection.write([b"z" * 100_000])
            await asyncio.sleep(0)
        assert handler.connection.closing
        assert host.listener.dropped == 1
        await until(lambda: handler.lost_times == 1)
        mute.socket.close()


async def test_one_large_answer_is_no_reason_to_drop_a_client() -> None:
    async with hosting(replace(LIMITS, unsent=1_000_000)) as host, wire(host.port) as raw:
        host.answer = lambda connection, _: connection.write([b"w" * 10_000_000])
        await raw.greet()
        raw.send(MESSAGE)
        assert len(await asyncio.wait_for(raw.reader.readexactly(10_000_000), 10)) == 10_000_000
        assert not host.listener.dropped


async def test_a_client_whose_answers_wait_too_long_is_dropped() -> None:
    async with hosting(replace(LIMITS, stall=0.1)) as host:
        mute = Mute(host.port)
        host.answer = answer_much
        await until(lambda: bool(host.handlers))
        host.handlers[0].connection.authenticated = True
        mute.socket.send(MESSAGE * 200)
        await until(lambda: host.handlers[0].connection.backlogged)
        host.listener.sweep()
        assert not host.listener.dropped
        await swept(host, lambda: host.listener.dropped == 1)
        assert host.handlers[0].connection.closing
        mute.socket.close()


async def test_of_all_unsent_bytes_the_slowest_reader_pays() -> None:
    async with hosting(caps=replace(CAPS, unsent=2_000_000)) as host, wire(host.port) as reading:
        mute = Mute(host.port)
        await reading.greet()
        await until(lambda: len(host.handlers) == 2)
        good, bad = sorted(host.handlers, key=lambda h: h.connection.peer != peer_of(reading))
        bad.connection.write([b"x" * 5_000_000])
        host.listener.sweep()
        assert bad.connection.closing
        assert not good.connection.closing
        assert host.listener.dropped == 1
        mute.socket.close()


def peer_of(raw: Wire) -> str:
    return f"127.0.0.1:{raw.writer.get_extra_info('sockname')[1]}"


# --- Clients that take their time


@pytest.mark.parametrize("data", [b"", b"HEL", hello()[:-1]])
async def test_a_client_that_does_not_say_hello_is_hung_up_on(data: bytes) -> None:
    async with hosting(replace(LIMITS, hello=0.05)) as host, wire(host.port) as raw:
        raw.send(data)
        await swept(host, lambda: host.listener.expired == 1)
        assert error_code(await raw.end()) == StatusCodes.BadTimeout


async def test_a_client_without_a_session_is_hung_up_on_and_one_with_stays() -> None:
    async with hosting(replace(LIMITS, grace=0.3)) as host, wire(host.port) as idle, wire(host.port) as busy:
        await busy.greet()
        host.handlers[0].connection.authenticated = True
        await idle.greet()
        await swept(host, lambda: host.listener.expired == 1)
        assert error_code(await idle.end()) == StatusCodes.BadTimeout
        busy.send(MESSAGE)
        assert await busy.chunk() == MESSAGE
        # Without its session it has that time anew.
        host.handlers[0].connection.authenticated = False
        host.listener.sweep()
        assert not host.handlers[0].connection.closing
        await swept(host, lambda: host.listener.expired == 2)


@pytest.mark.parametrize("start", [MESSAGE[:-1], MESSAGE[:3], chunk(b"MSGC", b"x" * 16)])
async def test_a_request_that_does_not_come_to_its_end_ends_its_connection(start: bytes) -> None:
    async with hosting(replace(LIMITS, begun=0.1)) as host, wire(host.port) as raw:
        host.answer = lambda *_: None
        await raw.greet()
        host.handlers[0].connection.authenticated = True
        raw.send(start)
        await swept(host, lambda: host.listener.expired == 1)
        assert error_code(await raw.end()) == StatusCodes.BadTimeout


async def test_a_request_that_trickles_in_many_chunks_has_no_more_time() -> None:
    async with hosting(replace(LIMITS, begun=0.15)) as host, wire(host.port) as raw:
        host.answer = lambda *_: None
        await raw.greet()
        host.handlers[0].connection.authenticated = True

        def trickle() -> bool:
            raw.send(chunk(b"MSGC", b"x" * 16))
            return host.listener.expired == 1

        await swept(host, trickle)


async def test_requests_that_come_to_an_end_may_go_on_for_ever() -> None:
    async with hosting(replace(LIMITS, begun=0.3)) as host, wire(host.port) as raw:
        host.answer = lambda *_: None
        await raw.greet()
        host.handlers[0].connection.authenticated = True
        for _ in range(20):
            raw.send(chunk(b"MSGC", b"x" * 16))
            await asyncio.sleep(0.01)
            host.listener.sweep()
            raw.send(MESSAGE + MESSAGE[:5])
            await asyncio.sleep(0.01)
            host.listener.sweep()
            raw.send(MESSAGE[5:])
        assert not host.listener.expired


async def test_a_channel_whose_token_ran_out_is_the_end() -> None:
    async with hosting() as host, wire(host.port) as raw:
        await raw.greet()
        made = host.handlers[0].connection
        made.authenticated = True
        made.expires = time.monotonic() + 100
        host.listener.sweep()
        assert not made.closing
        made.expires = time.monotonic() - 0.1
        host.listener.sweep()
        assert error_code(await raw.end()) == StatusCodes.BadSecureChannelTokenUnknown


async def test_a_client_that_leaves_is_told_to_the_handler_at_once() -> None:
    async with hosting() as host:
        raw = await connect(host.port)
        await raw.greet()
        await raw.close()
        await until(lambda: host.handlers[0].lost_times == 1)
        await until(lambda: host.handlers[0].waited)
        host.handlers[0].connection.write([b"nobody hears this"])
