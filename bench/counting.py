"""Notifications counted as they come, without decoding them, and acknowledged."""

from __future__ import annotations

import functools
import selectors
import struct
import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import asyncua.ua
from asyncua.ua import ua_binary

from bench.session import FINAL, Session

# Its annotations do not say what its own callers pass.
ua: Any = asyncua.ua

OUTSTANDING: Final = 20
"""Publish requests of a session that wait at the server."""

_TYPE: Final = ua_binary.nodeid_to_binary(
    ua.FourByteNodeId(ua.ObjectIds.PublishRequest_Encoding_DefaultBinary)
)
_RESPONSE: Final = ua_binary.nodeid_to_binary(
    ua.FourByteNodeId(ua.ObjectIds.PublishResponse_Encoding_DefaultBinary)
)
_DATA_CHANGE: Final = ua_binary.nodeid_to_binary(
    ua.FourByteNodeId(ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary)
)
# Timestamp, RequestHandle, ReturnDiagnostics, null AuditEntryId, TimeoutHint, no additional header.
_REQUEST: Final = struct.pack("<QIIiI3x", 0, 0, 0, -1, 0)
_NO_ACKNOWLEDGEMENT: Final = struct.pack("<i", -1)
_ACKNOWLEDGEMENT: Final = struct.Struct("<iII")
_QUIET: Final = 0.02


class NotANotification(Exception):
    """A server sent something else than what is counted; the text says what."""


class Published(NamedTuple):
    """The head of a PublishResponse; 0 notifications in a keep-alive."""

    subscription: int
    sequence: int
    notifications: int


def published(body: bytes) -> Published | None:
    """Read the head of a response's body; None when it is one to another request than Publish.

    Raises NotANotification when it is bad, or holds more than one DataChangeNotification.
    """
    if body[:4] != _RESPONSE:
        return None
    (result,) = struct.unpack_from("<I", body, 16)
    if result:
        raise NotANotification(f"a PublishResponse is 0x{result:08X}")
    (strings,) = struct.unpack_from("<i", body, 21)
    if body[20] or strings > 0 or body[25:28] != bytes(3):
        raise NotANotification("a PublishResponse has diagnostics or an additional header")
    subscription, available = struct.unpack_from("<Ii", body, 28)
    at = 36 + 4 * max(available, 0) + 1
    sequence, _, parts = struct.unpack_from("<IQi", body, at)
    if parts <= 0:
        return Published(subscription, sequence, 0)
    at += 16
    if parts != 1 or body[at : at + 4] != _DATA_CHANGE:
        raise NotANotification(f"a PublishResponse has {parts} notifications, {body[at : at + 4]!r} first")
    (count,) = struct.unpack_from("<i", body, at + 9)
    return Published(subscription, sequence, count)


class Counter:
    """Keeps Publish requests at the server for every session, and counts what they bring."""

    def __init__(self, sessions: Iterable[Session]) -> None:
        self.notifications = 0
        self.messages = 0
        self._selector = selectors.DefaultSelector()
        for session in sessions:
            prefix = _TYPE + ua_binary.nodeid_to_binary(session.token) + _REQUEST
            self._selector.register(session.socket, selectors.EVENT_READ, (session, prefix))
            session.other = functools.partial(self._take, session, prefix)
            for _ in range(OUTSTANDING):
                session.send(prefix + _NO_ACKNOWLEDGEMENT)

    def close(self) -> None:
        """Count no more."""
        self._selector.close()

    def until(self, moment: float) -> None:
        """Count until then, by time.monotonic()."""
        while (left := moment - time.monotonic()) > 0:
            self.poll(left)

    def until_quiet(self, within: float) -> None:
        """Count until nothing has come for a while, at most so many seconds."""
        end = time.monotonic() + within
        while self.poll(_QUIET) and time.monotonic() < end:
            pass

    def until_all(self, notifications: int, within: float) -> None:
        """Count until there were so many. Raises NotANotification when they do not come in time."""
        end = time.monotonic() + within
        while self.notifications < notifications:
            if time.monotonic() > end:
                raise NotANotification(f"{self.notifications} of {notifications} first values came")
            self.poll(1.0)

    def poll(self, timeout: float) -> bool:
        """Take what is there; whether anything was."""
        ready = self._selector.select(timeout)
        for key, _ in ready:
            session, prefix = key.data
            for frame in session.frames():
                self._take(session, prefix, frame)
        return bool(ready)

    def _take(self, session: Session, prefix: bytes, frame: memoryview) -> None:
        # Of a message in chunks the first says all; its last has it answered, for it is whole then.
        last = frame[3] == FINAL
        if session.unfinished is None:
            session.unfinished = published(session.peek(frame)[4:])
        if not last:
            return
        found, session.unfinished = session.unfinished, None
        if found is None:
            return
        self.notifications += found.notifications
        self.messages += 1
        acknowledged = _NO_ACKNOWLEDGEMENT
        if found.notifications:
            acknowledged = _ACKNOWLEDGEMENT.pack(1, found.subscription, found.sequence)
        session.send(prefix + acknowledged)
