"""A request on its way to the service that answers it, and what a service is to the rest."""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import Key, numeric
from server.opcua.wire.reader import Reader

if TYPE_CHECKING:
    from server.opcua.channels.channel import SecureChannel
    from server.opcua.sessions.session import Session


class Peer(Protocol):
    """The connection a request came by, as services see it."""

    @property
    def channel(self) -> SecureChannel:
        """Its secure channel."""
        ...

    @property
    def address(self) -> str:
        """The client's host."""
        ...

    @property
    def name(self) -> str:
        """Host and port, for people: ``10.1.2.3:50000``."""
        ...

    @property
    def backlogged(self) -> bool:
        """Whether its client does not take what is sent: whoever can wait with sending does."""
        ...

    sessions: dict[Key, Session]
    """The sessions served on it, activated or not, by AuthenticationToken.

    CreateSession puts a session there, a move or its end takes it away.
    """

    refusals: int
    """How often a certificate, a signature or a user was refused here since the last that was not."""

    def sessions_changed(self) -> None:
        """One of its sessions came, was activated or went."""
        ...

    def respond(self, request: Request, body: bytes | list[bytes]) -> None:
        """Send a response; ``body`` is what follows its ResponseHeader. Does nothing once it is closed."""
        ...

    def refuse(self, request: Request, code: int) -> None:
        """Send a ServiceFault (OPC 10000-4 §7.35)."""
        ...

    def cancel(self, session: Session, handle: int) -> int:
        """Refuse the session's requests of that RequestHandle that wait; how many they were."""
        ...

    def end(self, code: int, reason: str) -> None:
        """Send an ERR message and close the connection."""
        ...


class Request:
    """One request: its header decoded, its parameters at the reader's position."""

    __slots__ = ("answered", "deadline", "entry", "handle", "id", "peer", "reader", "service", "token")

    def __init__(  # each is a field of the header
        self,
        peer: Peer,
        id: int,  # noqa: A002  # as in the SequenceHeader
        service: Service,
        token: Key,
        handle: int,
        deadline: float | None,
        reader: Reader,
        entry: str | None = None,
    ) -> None:
        self.peer = peer
        self.id = id
        self.service = service
        self.token = token
        """The AuthenticationToken."""
        self.handle = handle
        self.deadline = deadline
        """By the monotonic clock, from the TimeoutHint; None where the client gave none."""
        self.reader = reader
        self.entry = entry
        """The AuditEntryId: what the client's own audit log calls the request."""
        self.answered = False
        """Whether a response was sent, or nobody waits for one any more: then answering does nothing."""


class Needs(enum.Enum):
    """What a service asks of whoever calls it."""

    Nothing = enum.auto()
    """Discovery: served over SecurityPolicy None even where that is not offered (OPC 10000-4 §5.5)."""
    Channel = enum.auto()
    Session = enum.auto()
    """An activated session."""


LATER: Final = None
"""What a service returns that keeps the request and answers through its peer, as Publish does."""

Answer: TypeAlias = bytes | list[bytes] | None
"""The encoded response parameters, whole or in parts to be joined, or `LATER`."""

Run: TypeAlias = Callable[[Any, Request], Answer | Coroutine[Any, Any, Answer]]
"""Answers at once, or with a coroutine that others are served beside; raises ServiceFault, DecodingError.

Its first argument is the session where the service needs one, else the peer.
"""


class Service(NamedTuple):
    """One service: how its request is recognised, who answers it, what its response is called."""

    name: str
    """As the specification names it: ``Read``."""
    request: Key
    """The NodeId of the request's binary encoding."""
    response: Key
    run: Run
    needs: Needs = Needs.Session


def service(name: str, run: Run, needs: Needs = Needs.Session) -> Service:
    """A service by its name; the numbers of its binary encodings are those namespace 0 has for it."""
    request: int = getattr(ObjectIds, f"{name}Request_Encoding_DefaultBinary")
    response: int = getattr(ObjectIds, f"{name}Response_Encoding_DefaultBinary")
    return Service(name, numeric(request), numeric(response), run, needs)
