"""A session's Publish requests that wait, and its subscriptions that wait for one (OPC 10000-4 §5.14.5)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from server.opcua.limits import MAX_NOTIFICATIONS_PER_PUBLISH, MAX_PUBLISH_REQUESTS
from server.opcua.subscriptions import messages
from server.opcua.subscriptions.timers import NEVER
from server.opcua.types import StatusCodes

if TYPE_CHECKING:
    from server.opcua.requests import Request
    from server.opcua.sessions.session import Session
    from server.opcua.subscriptions.engine import Engine
    from server.opcua.subscriptions.subscription import Subscription

RANK: Final = 1000
MAX_FAREWELLS: Final = 100
"""StatusChangeNotifications of subscriptions that are gone that one session may have waiting."""


class Waiting(NamedTuple):
    """A Publish request that waits; its acknowledgements are done, and ``results`` says how (encoded)."""

    request: Request
    results: bytes


class Publishing:
    """A session's part in all this. Made empty by `Session.part`; `Engine.publishing` gives it its places."""

    engine: Engine
    session: Session

    def __init__(self) -> None:
        self.bound = False
        self.subscriptions: dict[int, Subscription] = {}
        self.ready: dict[Subscription, None] = {}
        """Those that have to send something, the one that waits longest first."""
        self.due = NEVER
        """When the next request is too old."""
        self.entry = 0
        self._requests: deque[Waiting] = deque()
        self._farewells: deque[tuple[int, bytes]] = deque(maxlen=MAX_FAREWELLS)

    def __len__(self) -> int:
        """How many requests wait."""
        return sum(not waiting.request.answered for waiting in self._requests)

    # --- Requests

    def take(self, request: Request, results: bytes) -> None:
        """Let a request wait; where too many do, the oldest is refused."""
        if len(self._requests) >= MAX_PUBLISH_REQUESTS:
            self._clear_out()
            if len(self._requests) >= MAX_PUBLISH_REQUESTS:
                _refuse(self._requests.popleft(), StatusCodes.BadTooManyPublishRequests)
        self._requests.append(Waiting(request, results))
        if request.deadline is not None and request.deadline < self.due:
            self.engine.timers.set(self, request.deadline, RANK)

    def has_request(self) -> bool:
        """Whether a request waits."""
        requests = self._requests
        while requests and requests[0].request.answered:
            requests.popleft()
        return bool(requests)

    def fire(self, now: float) -> None:
        """A request may be too old now (`Timed`)."""
        soonest = NEVER
        for waiting in self._requests:
            deadline = waiting.request.deadline
            if deadline is None or waiting.request.answered:
                continue
            if deadline <= now:
                _refuse(waiting, StatusCodes.BadTimeout)
            else:
                soonest = min(soonest, deadline)
        self._clear_out()
        if soonest != NEVER:
            self.engine.timers.set(self, soonest, RANK)

    def refuse_all(self, code: int) -> None:
        """No request waits any longer."""
        requests, self._requests = self._requests, deque()
        for waiting in requests:
            _refuse(waiting, code)

    def moved(self) -> None:
        """The session has another connection, or none: requests of the former are of no use."""
        here = self.session.peer
        for waiting in self._requests:
            if waiting.request.peer is not here:
                _refuse(waiting, StatusCodes.BadSecureChannelClosed)
        self._clear_out()

    def _clear_out(self) -> None:
        self._requests = deque(waiting for waiting in self._requests if not waiting.request.answered)

    # --- Answers

    def farewell(self, subscription: int, message: bytes) -> None:
        """Tell of the end of a subscription, which is not among the session's any more."""
        self._farewells.append((subscription, message))
        self.engine.touch(self)

    @property
    def has_farewell(self) -> bool:
        """Whether the end of a subscription is to be told."""
        return bool(self._farewells)

    @property
    def blocked(self) -> bool:
        """Whether its client does not take what it was sent already."""
        peer = self.session.peer
        return peer is not None and peer.backlogged

    def serve(self) -> bool:
        """Answer requests while there is something to say; False where more is left for another turn.

        The subscription with the highest priority is first, and of equal ones the one that waits
        longest (OPC 10000-4 §5.14.1.1).
        """
        left = MAX_NOTIFICATIONS_PER_PUBLISH
        while self.has_request():
            if self._farewells:
                self._say_farewell()
                continue
            if not self.subscriptions:
                self.refuse_all(StatusCodes.BadNoSubscription)
                return True
            if not self.ready or self.blocked:
                return True
            if left <= 0:
                return False
            left -= self._publish(max(self.ready, key=_priority))
        return True

    def _say_farewell(self) -> None:
        number, message = self._farewells.popleft()
        request, results = self._requests.popleft()
        body = messages.publish_response(number, (), more=False, message=message, results=results)
        request.peer.respond(request, body)

    def _publish(self, subscription: Subscription) -> int:
        """Have a subscription answer the oldest request; how many notifications that took."""
        request, results = self._requests.popleft()
        # Whatever is left to send waits behind others of the same priority.
        self.ready.pop(subscription, None)
        try:
            message, count = subscription.publish(len(results))
        except BaseException:
            request.peer.refuse(request, StatusCodes.BadInternalError)
            raise
        if subscription.more:
            self.ready[subscription] = None
        body = messages.publish_response(
            subscription.id,
            subscription.unacknowledged,
            more=subscription.more,
            message=message,
            results=results,
        )
        request.peer.respond(request, body)
        self.engine.notifications += count
        return count


def _refuse(waiting: Waiting, code: int) -> None:
    waiting.request.peer.refuse(waiting.request, code)
    waiting.request.answered = True


def _priority(subscription: Subscription) -> int:
    return subscription.priority
