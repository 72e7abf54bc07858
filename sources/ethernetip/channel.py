"""The TCP connection beneath pycomm3: every frame whole, checked and on time, or the end of it.

pycomm3's own socket takes the next frame for the answer whatever it is, loops without end
at a peer that closes within a frame, and has no deadline over a request. This one takes
its place. One thread uses it; `abort` alone may come from any other.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress

from sources.ethernetip import framing
from sources.ethernetip.failures import Broken
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED, BAD_TIMEOUT, Quality

_CHUNK = 65536


class Channel:
    """One connection, in the shape pycomm3 wants its socket in.

    A request, with its reply, may take ``timeout`` seconds, and all together what
    `allow` was last told. Whatever goes wrong is kept in ``failure`` and ends the
    connection: pycomm3 wraps errors beyond recognition, and goes on.
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.failure: Broken | None = None
        self.sent = 0
        """How many requests were sent, or begun to be."""
        self.bytes_out = 0
        self.bytes_in = 0
        self.conversation = framing.Conversation()
        self._host = host
        self._port = port
        self._timeout = timeout
        self.until = 0.0
        """Until when (of `time.monotonic`) what is under way may take."""
        self._reply_until = 0.0
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def allow(self, seconds: float) -> None:
        """From now on so long, and no longer, until the next call of this."""
        self.until = time.monotonic() + seconds

    def connect(self, _host: str, _port: int) -> None:
        """Connect; pycomm3 knows neither the real host nor the port. Raises Broken."""
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            words = error.strerror or str(error)
            raise self.fail(f"the host name cannot be resolved: {words}", BAD_CONNECTION_CLOSED) from None
        self._reply_until = min(self.until, time.monotonic() + self._timeout)
        last: OSError | None = None
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            try:
                # Each address gets its share of the time: a silent one must not hide one that answers.
                share = self._left() / (len(found) - tried)
                self._connect(socket.socket(family, kind, protocol), address, share)
            except OSError as error:
                last = error
            else:
                return
        if isinstance(last, TimeoutError):
            raise self.fail(f"no answer to the call within {self._timeout:g} s", BAD_TIMEOUT)
        raise self.fail(_words(last), BAD_CONNECTION_CLOSED)

    def _connect(self, made: socket.socket, address: object, within: float) -> None:
        with self._lock:
            self._socket, old = made, self._socket
        if old is not None:
            old.close()
        if self.failure is not None:
            made.close()
            raise self.failure
        made.settimeout(within)
        made.connect(address)  # type: ignore[arg-type] # whatever getaddrinfo gave
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def send(self, frame: bytes, _timeout: float = 0) -> int:
        """Send a request. Raises Broken."""
        connected = self._ready()
        self._reply_until = min(self.until, time.monotonic() + self._timeout)
        try:
            connected.settimeout(self._left())
            self.sent += 1
            self.bytes_out += len(frame)
            connected.sendall(self.conversation.ask(frame))
        except OSError as error:
            raise self._lost(error) from None
        return len(frame)

    def receive(self, _timeout: float = 0) -> bytes:
        """The reply, whole and checked. Raises Broken."""
        header = self._read(framing.HEADER, begun=False)
        frame = header + self._read(framing.body_size(header), begun=True)
        try:
            self.conversation.check(frame)
        except framing.BadFrame as error:
            raise self.fail(str(error), error.quality) from None
        return frame

    def _read(self, size: int, *, begun: bool) -> bytes:
        connected = self._ready()
        parts: list[bytes] = []
        while size:
            try:
                connected.settimeout(self._left())
                part = connected.recv(min(size, _CHUNK))
            except OSError as error:
                raise self._lost(error) from None
            if not part:
                where = " in the middle of a reply" if begun or parts else ""
                raise self.fail(f"the device closed the connection{where}", BAD_CONNECTION_CLOSED)
            parts.append(part)
            self.bytes_in += len(part)
            size -= len(part)
        return b"".join(parts)

    def _ready(self) -> socket.socket:
        if self.failure is not None:
            raise self.failure
        if self._socket is None:
            raise self.fail("the connection was never opened", BAD_CONNECTION_CLOSED)
        return self._socket

    def _left(self) -> float:
        """Seconds until the reply is due. Raises TimeoutError where it is overdue."""
        left = self._reply_until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _lost(self, error: OSError) -> Broken:
        if self.failure is not None:
            return self.failure
        if isinstance(error, TimeoutError):
            return self.fail(f"no reply within {self._timeout:g} s", BAD_TIMEOUT)
        return self.fail(f"the connection was lost: {_words(error)}", BAD_CONNECTION_CLOSED)

    def fail(self, message: str, quality: Quality = BAD_COMMUNICATION_ERROR) -> Broken:
        """Count the connection as broken; returns what to raise, the first failure there was."""
        self.failure = self.failure or Broken(message, quality)
        return self.failure

    def abort(self, reason: str, quality: Quality = BAD_CONNECTION_CLOSED) -> None:
        """End it, from any thread: whoever waits for a reply gets Broken at once.

        The socket is shut down here and closed by the thread that uses it: closed under
        its feet, its number could by then be another connection's.
        """
        with self._lock:
            self.fail(reason, quality)
            if self._socket is not None:
                with suppress(OSError):  # not connected yet, or not any more
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the socket; by the thread that used it."""
        self.fail("the connection was closed by this side", BAD_CONNECTION_CLOSED)
        with self._lock:
            closed, self._socket = self._socket, None
        if closed is not None:
            closed.close()


def _words(error: OSError | None) -> str:
    if error is None:
        return "the host name has no address"
    return os.strerror(error.errno).lower() if error.errno else str(error)
