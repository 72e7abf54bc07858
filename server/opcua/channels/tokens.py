"""The security tokens of a channel: which one serves when (OPC 10000-4 §5.6.2)."""

from __future__ import annotations

import time
from typing import Final

from server.opcua.channels.keys import Keys
from server.opcua.transport.framing import TransportError
from server.opcua.types import StatusCodes

MIN_LIFETIME: Final = 10_000
MAX_LIFETIME: Final = 3_600_000
"""Milliseconds a security token lasts; a client that asks for 0 gets the most."""

OVERLAP: Final = 1.25
"""A token serves a quarter of its lifetime longer, for messages that were under way."""


def revised_lifetime(requested: int) -> int:
    """Milliseconds a security token lasts."""
    return min(max(requested or MAX_LIFETIME, MIN_LIFETIME), MAX_LIFETIME)


class Token:
    """A security token, its keys, and its time by the monotonic clock."""

    __slots__ = ("ends", "expires", "id", "ours", "theirs")

    def __init__(self, number: int, lifetime: int, ours: Keys | None, theirs: Keys | None) -> None:
        self.id = number
        now = time.monotonic()
        self.expires = now + lifetime / 1000
        """From then on we send under the next one, if there is one."""
        self.ends = now + lifetime / 1000 * OVERLAP
        """From then on nothing is accepted under it."""
        self.ours = ours
        """What we secure with; None over SecurityPolicy None."""
        self.theirs = theirs
        """What the client secures with."""


class Tokens:
    """The token the client uses, the one granted to follow it, and the one before while it lasts."""

    __slots__ = ("_former", "_next", "current")

    def __init__(self) -> None:
        self.current: Token | None = None
        """The newest one the client has used, or the first."""
        self._next: Token | None = None
        self._former: Token | None = None

    @property
    def ends(self) -> float:
        """When the last of them ends; 0 where there is none."""
        token = self._next or self.current
        return 0.0 if token is None else token.ends

    def grant(self, token: Token) -> None:
        """Add a token: the first serves at once, a later one from the client's first message under it."""
        if self.current is None:
            self.current = token
        else:
            self._next = token

    def find(self, number: int) -> Token:
        """The token of that number, not ended. Raises TransportError."""
        for token in (self.current, self._next, self._former):
            if token is not None and token.id == number:
                if time.monotonic() > token.ends:
                    break
                return token
        raise TransportError(
            StatusCodes.BadSecureChannelTokenUnknown, f"token {number} has expired, or never was"
        )

    def heard(self, token: Token) -> None:
        """The client has secured a message with it, as its keys prove."""
        if token is self._next:
            self._former, self.current, self._next = self.current, token, None

    def sending(self) -> Token | None:
        """What to send under: the current one, until it expires or the client uses the next."""
        if self._next is not None and self.current is not None and time.monotonic() > self.current.expires:
            return self._next
        return self.current
