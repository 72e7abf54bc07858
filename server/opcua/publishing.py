"""Publish requests that wait for something to tell (OPC 10000-4 §5.14.5)."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from asyncua import ua

from server.opcua.statistics import Tally
from server.opcua.types import StatusCodes

log = logging.getLogger(__name__)

_SPARE: Final = 10
"""So many more requests than subscriptions may wait."""


class PublishRequest(NamedTuple):
    """One Publish request that waits."""

    id: int
    handle: int
    results: list[ua.StatusCode]
    expires: float
    """By the monotonic clock."""

    @classmethod
    def of(cls, number: int, header: ua.RequestHeader, results: list[ua.StatusCode]) -> PublishRequest:
        """With the timeout its client gave it; none means a day."""
        seconds = header.TimeoutHint / 1000.0 if header.TimeoutHint else 86_400.0
        return cls(number, header.RequestHandle, results, time.monotonic() + seconds)


class Publishing:
    """The waiting Publish requests of a connection, and the subscriptions that wait for one."""

    def __init__(
        self,
        answer: Callable[[PublishRequest, Any], None],
        fault: Callable[[PublishRequest, int], None],
        tally: Tally,
    ) -> None:
        self._answer = answer
        self._fault = fault
        self._tally = tally
        self._requests: deque[PublishRequest] = deque()
        self._hungry: dict[int, None] = {}

    def clear(self) -> None:
        """Forget everything: the connection is gone, or the session is."""
        self._requests.clear()
        self._hungry.clear()

    async def take(
        self,
        request: PublishRequest,
        subscriptions: int,
        publish: Callable[[int, PublishRequest], Awaitable[bool]],
    ) -> None:
        """Give a request to a subscription that waits for one, else let it wait.

        ``publish`` has a subscription answer a request, and says whether it did.
        """
        while self._hungry:
            number = next(iter(self._hungry))
            del self._hungry[number]
            if await publish(number, request):
                return
        while len(self._requests) >= subscriptions + _SPARE:
            self._fault(self._requests.popleft(), StatusCodes.BadTooManyPublishRequests)
        self._requests.append(request)

    def get_publish_request(self, subscription: int) -> PublishRequest | None:
        """A request for a subscription that has something to tell; None has it wait for one."""
        now = time.monotonic()
        while self._requests:
            request = self._requests.popleft()
            if now < request.expires:
                return request
            self._fault(request, StatusCodes.BadTimeout)
        self._hungry[subscription] = None
        return None

    async def forward_publish_response(self, result: ua.PublishResult, request: PublishRequest) -> None:
        """Answer a request with what a subscription has to tell."""
        result.Results = request.results
        for part in result.NotificationMessage.NotificationData or ():
            self._tally.notifications += len(getattr(part, "MonitoredItems", ()))
        response = ua.PublishResponse()
        response.Parameters = result
        self._answer(request, response)
