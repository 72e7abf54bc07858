from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.net import free_port

from sources.ethernetip.channel import Channel
from sources.ethernetip.failures import Broken, NotSent
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED, BAD_TIMEOUT

REGISTER = struct.pack("<HHII8sIHH", 0x65, 4, 0, 0, b"_pycomm_", 0, 1, 0)


def reply_to(request: bytes) -> bytes:
    """A right answer to a RegisterSession."""
    return request[:4] + b"\x99\0\0\0" + request[8:]


@contextmanager
def peer(act: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener that does something with its first client; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def run() -> None:
            client, _ = listener.accept()
            with client:
                client.settimeout(20)
                act(client)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(20)
            assert not thread.is_alive()


@contextmanager
def channel(port: int, timeout: float = 10.0, host: str = "127.0.0.1") -> Iterator[Channel]:
    made = Channel(host, port, timeout)
    made.allow(20)
    try:
        yield made
    finally:
        made.close()


def ask(its: Channel) -> bytes:
    its.connect("", 0)
    its.send(REGISTER)
    return its.receive()


def until_closed(client: socket.socket) -> None:
    while client.recv(4096):
        pass


def test_a_reply_that_comes_in_pieces_is_whole() -> None:
    def act(client: socket.socket) -> None:
        for byte in reply_to(client.recv(4096)):
            client.sendall(bytes((byte,)))
        until_closed(client)

    with peer(act) as port, channel(port) as its:
        frame = ask(its)
        assert len(frame) == 28
        assert its.failure is None
        assert its.sent == 1
        its.close()


@pytest.mark.parametrize("count", [1, 23, 24, 27])
def test_a_peer_that_closes_within_a_reply_is_a_closed_connection_at_once(count: int) -> None:
    def act(client: socket.socket) -> None:
        client.sendall(reply_to(client.recv(4096))[:count])

    with peer(act) as port, channel(port) as its:
        began = time.monotonic()
        with pytest.raises(Broken, match="in the middle of a reply") as error:
            ask(its)
        assert error.value.quality == BAD_CONNECTION_CLOSED
        assert time.monotonic() - began < 8


def test_a_peer_that_closes_between_replies_is_a_closed_connection() -> None:
    def act(client: socket.socket) -> None:
        client.recv(4096)

    with peer(act) as port, channel(port) as its:
        with pytest.raises(Broken, match=r"closed the connection$|lost") as error:
            ask(its)
        assert error.value.quality == BAD_CONNECTION_CLOSED


def test_a_mute_peer_costs_the_time_of_one_request() -> None:
    with peer(until_closed) as port, channel(port, timeout=0.1) as its:
        with pytest.raises(Broken, match=r"no reply within 0.1 s") as error:
            ask(its)
        assert error.value.quality == BAD_TIMEOUT


def test_a_peer_that_trickles_has_no_more_time_than_others() -> None:
    stop = threading.Event()

    def act(client: socket.socket) -> None:
        reply = reply_to(client.recv(4096))
        try:
            for byte in reply:
                client.sendall(bytes((byte,)))
                stop.wait(0.05)
        except OSError:
            return

    with peer(act) as port, channel(port, timeout=0.3) as its:
        with pytest.raises(Broken) as error:
            ask(its)
        assert error.value.quality == BAD_TIMEOUT
        stop.set()
        its.close()


def test_all_requests_together_have_a_limit_too() -> None:
    with peer(until_closed) as port, channel(port, timeout=20.0) as its:
        its.allow(0.1)
        with pytest.raises(Broken) as error:
            ask(its)
        assert error.value.quality == BAD_TIMEOUT


def test_the_answer_to_another_question_breaks_the_connection_for_good() -> None:
    def act(client: socket.socket) -> None:
        client.sendall(b"\x63\0" + reply_to(client.recv(4096))[2:])
        until_closed(client)

    with peer(act) as port, channel(port) as its:
        with pytest.raises(Broken) as error:
            ask(its)
        assert error.value.quality == BAD_COMMUNICATION_ERROR
        with pytest.raises(Broken) as again:
            its.send(REGISTER)
        assert again.value is error.value
        assert its.sent == 1
        its.close()


def test_nobody_at_the_port() -> None:
    with channel(free_port()) as its:
        with pytest.raises(Broken, match=r"^connection refused$") as error:
            its.connect("", 0)
        assert error.value.quality == BAD_CONNECTION_CLOSED


def test_a_name_that_nobody_knows() -> None:
    with channel(44818, host="plc.invalid") as its, pytest.raises(Broken, match="name cannot be resolved"):
        its.connect("", 0)


def test_a_channel_that_was_never_opened() -> None:
    with channel(44818) as its, pytest.raises(Broken, match="never opened"):
        its.send(REGISTER)


def test_what_waits_for_a_reply_is_woken_from_another_thread() -> None:
    with peer(until_closed) as port, channel(port, timeout=20.0) as its:
        timer = threading.Timer(0.1, its.abort, ("enough",))
        timer.start()
        began = time.monotonic()
        with pytest.raises(Broken, match="enough"):
            ask(its)
        assert time.monotonic() - began < 10
        timer.join()


def test_what_waits_for_a_connection_is_woken_from_another_thread() -> None:
    # A listener whose queue is full takes no further call and refuses none.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        with channel(address[1], timeout=15.0) as its:
            timer = threading.Timer(0.2, its.abort, ("enough",))
            timer.start()
            began = time.monotonic()
            with pytest.raises(Broken):
                its.connect("", 0)
            assert time.monotonic() - began < 10
            timer.join()
        for one in waiting:
            one.close()


def test_a_channel_aborted_before_it_is_opened_stays_closed() -> None:
    with peer(until_closed) as port, channel(port) as its:
        its.abort("not wanted any more")
        with pytest.raises(Broken, match="not wanted any more"):
            ask(its)
        with socket.create_connection(("127.0.0.1", port)):
            pass


def test_not_sent_is_a_broken_connection() -> None:
    assert issubclass(NotSent, Broken)


def test_a_silent_address_does_not_hide_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(client: socket.socket) -> None:
        client.sendall(reply_to(client.recv(100)))

    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, peer(greet) as port:
        # A full backlog: further calls get no answer at all.
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(silent.getsockname())
        addresses = [silent.getsockname(), ("127.0.0.1", port)]
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda *_args, **_more: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", to) for to in addresses],
        )
        begin = time.monotonic()
        try:
            with channel(port, timeout=2.0) as its:
                assert ask(its)[:2] == REGISTER[:2]
        finally:
            for each in waiting:
                each.close()
        assert time.monotonic() - begin >= 0.9, "the silent one was tried first"
