"""How much a client may send and have waiting (OPC 10000-6 §7.1.2), and how many clients there may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIN_CHUNK: Final = 8192
"""Bytes of the smallest buffer the specification lets a side have."""

MAX_URL: Final = 4096
"""Bytes of the longest EndpointUrl."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take; sizes in bytes, times in seconds."""

    chunk: int = 65535
    """The largest MessageChunk, either way."""
    message: int = 4 * 1024 * 1024
    """The largest request, its chunks put together."""
    chunks: int = 640
    """Chunks of one request: enough for the largest in the smallest chunks."""
    early_message: int = 128 * 1024
    """The largest request while no session is activated."""
    response: int = 16 * 1024 * 1024
    """The largest response, whatever the client would take."""
    backlog: int = 64 * 1024
    """Unsent bytes below which a client keeps up."""
    pause: int = 256 * 1024
    """Unsent bytes above which nothing more is read from it."""
    unsent: int = 8 * 1024 * 1024
    """Unsent bytes above which a client that is to get still more is dropped."""
    stall: float = 30.0
    """How long a client may leave unsent bytes waiting."""
    hello: float = 10.0
    """How long it may take to say Hello."""
    grace: float = 30.0
    """How long a connection may stay without an activated session."""
    begun: float = 60.0
    """How long a request may take from its first byte to its last."""
    linger: float = 2.0
    """How long a client may take to hear why it is hung up on."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How many connections there may be; the grace of those without a session is in `Limits`.

    An address is an IPv4 address or an IPv6 network of 64 bits.
    """

    connections: int = 300
    per_address: int = 200
    unauthenticated: int = 100
    """Without an activated session or a channel that a trusted application opened."""
    unauthenticated_per_address: int = 50
    lingering: int = 64
    """Those that are hung up on and may still be reading why."""
    unsent: int = 64 * 1024 * 1024
    """Unsent bytes of all clients together; above, the slowest reader is dropped."""


LIMITS: Final = Limits()
CAPS: Final = Caps()


def caps_for(sessions: int) -> Caps:
    """The caps of a server of so many sessions.

    All of them may come from one host, and be replaced by others before their connections are noticed
    to be dead.
    """
    return Caps(connections=2 * sessions + CAPS.unauthenticated, per_address=2 * sessions)


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the two sides agreed on with Hello and Acknowledge; sizes in bytes, 0 for no limit."""

    receive_chunk: int
    send_chunk: int
    max_response: int = 0
    max_response_chunks: int = 0
    version: int = 0
    """The ProtocolVersion of the client's Hello."""
