"""Sessions and publish requests, without a network."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from asyncua import ua

from server.opcua.publishing import Publishing, PublishRequest
from server.opcua.session import ChannelKey, Session, Sessions, revised_timeout
from server.opcua.statistics import Tally
from server.opcua.types import ServiceFault, StatusCodes, opaque_id

KEY = ChannelKey(b"certificate", "policy", 3)


async def nothing(_session: Session) -> None:
    pass


@pytest.mark.parametrize(
    ("asked", "given"),
    [(0, 60.0), (-5, 60.0), (math.nan, 60.0), (math.inf, 60.0), (1, 10.0), (30_000, 30.0), (1e12, 3600.0)],
)
def test_a_timeout_is_brought_within_bounds(asked: float, given: float) -> None:
    assert revised_timeout(asked) == given


async def test_a_closed_session_is_found_no_more_and_closes_once() -> None:
    closed: list[Session] = []

    async def note(session: Session) -> None:
        closed.append(session)

    sessions = Sessions(1, note)
    session = sessions.create(object(), KEY, 0)
    assert sessions.find(session.token) is session
    with pytest.raises(ServiceFault):
        sessions.create(object(), KEY, 0)
    await sessions.close(session)
    await sessions.close(session)
    assert closed == [session]
    with pytest.raises(ServiceFault):
        sessions.find(session.token)
    sessions.create(object(), KEY, 0)


async def test_tokens_and_nonces_never_repeat() -> None:
    sessions = Sessions(1000, nothing)
    made = [sessions.create(object(), KEY, 0) for _ in range(1000)]
    assert len({session.token for session in made}) == 1000
    assert len({session.nonce for session in made} | {session.renew_nonce() for session in made}) == 2000
    with pytest.raises(ServiceFault):
        sessions.find(opaque_id(b"guessed"))


class Answers:
    def __init__(self) -> None:
        self.sent: list[tuple[int, Any]] = []
        self.tally = Tally()
        self.publishing = Publishing(
            lambda request, response: self.sent.append((request.id, response)),
            lambda request, code: self.sent.append((request.id, code)),
            self.tally,
        )


def request(number: int, hint: int = 0) -> PublishRequest:
    return PublishRequest.of(number, ua.RequestHeader(TimeoutHint=hint), [])


async def refuses(_subscription: int, _request: PublishRequest) -> bool:
    return False


async def test_requests_are_answered_in_the_order_they_came() -> None:
    answers = Answers()
    for number in (1, 2):
        await answers.publishing.take(request(number), 1, refuses)
    first = answers.publishing.get_publish_request(77)
    assert first is not None
    result = ua.PublishResult()
    result.NotificationMessage.NotificationData.append(
        ua.DataChangeNotification(MonitoredItems=[ua.MonitoredItemNotification()] * 3)
    )
    await answers.publishing.forward_publish_response(result, first)
    assert [number for number, _ in answers.sent] == [1]
    assert answers.tally.notifications == 3


async def test_a_hungry_subscription_is_served_by_the_next_request() -> None:
    answers = Answers()
    fed: list[tuple[int, int]] = []

    async def feed(subscription: int, given: PublishRequest) -> bool:
        fed.append((subscription, given.id))
        return subscription == 78

    assert answers.publishing.get_publish_request(77) is None
    assert answers.publishing.get_publish_request(78) is None
    await answers.publishing.take(request(1), 2, feed)
    assert fed == [(77, 1), (78, 1)]
    assert answers.publishing.get_publish_request(79) is None


async def test_of_too_many_requests_the_oldest_are_refused() -> None:
    answers = Answers()
    for number in range(13):
        await answers.publishing.take(request(number), 1, refuses)
    assert answers.sent == [
        (0, StatusCodes.BadTooManyPublishRequests),
        (1, StatusCodes.BadTooManyPublishRequests),
    ]


async def test_a_request_that_waited_too_long_is_told_so() -> None:
    answers = Answers()
    await answers.publishing.take(request(1)._replace(expires=time.monotonic() - 1), 1, refuses)
    await answers.publishing.take(request(2, hint=60_000), 1, refuses)
    found = answers.publishing.get_publish_request(77)
    assert found is not None
    assert found.id == 2
    assert answers.sent == [(1, StatusCodes.BadTimeout)]


async def test_a_session_whose_client_is_gone_makes_room() -> None:
    closed: list[Session] = []

    async def note(session: Session) -> None:
        closed.append(session)

    sessions = Sessions(2, note)
    first, second = (sessions.create(object(), KEY, 60_000) for _ in range(2))
    await sessions.make_room()
    assert closed == [], "both clients are there"
    first.owner = second.owner = None
    second.touch()
    await sessions.make_room()
    assert closed == [first], "the one that was silent longest"
    sessions.create(object(), KEY, 60_000)
    await sessions.make_room()
    assert closed == [first, second]
