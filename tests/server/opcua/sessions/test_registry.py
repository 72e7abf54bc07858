from __future__ import annotations

import logging
import math

import pytest
from support.clock import Clock
from support.sessions import FakePeer

from server.opcua.sessions import registry
from server.opcua.sessions.registry import Ending, Limits, Sessions, revised_timeout
from server.opcua.sessions.session import OfAccess, Session
from server.opcua.space.permissions import ROLE_IDS, Access
from server.opcua.tokens import Identity
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.users import UserRecord
from server.opcua.wire.nodeid import key
from server.plant.model import Role

NOBODY = Identity("anonymous", frozenset({Role.Anonymous}))
ACCESS = NOBODY.access(signed=True, encrypted=True)


def user(name: str, *roles: Role) -> Identity:
    granted = frozenset({Role.Anonymous, Role.AuthenticatedUser, *roles})
    return Identity(name, granted, UserRecord(name=name, hash="$argon2id$x", roles=frozenset(roles)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("server.opcua.sessions.session.monotonic", clock)
    return clock


def made(
    sessions: Sessions,
    peer: FakePeer | None = None,
    identity: Identity | None = NOBODY,
    timeout: float = 60_000,
) -> Session:
    """A session, activated for that identity if there is one."""
    peer = peer or FakePeer()
    found = sessions.create(peer, peer.channel.key, timeout)
    if identity is not None:
        sessions.activate(found, peer, identity, ACCESS)
    return found


def fails(*_: object) -> None:
    raise ZeroDivisionError


def closed(*sessions: Session) -> list[bool]:
    return [session.closed for session in sessions]


def code(fault: pytest.ExceptionInfo[ServiceFault]) -> int:
    return fault.value.code


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (0, 60.0),
        (-5, 60.0),
        (math.nan, 60.0),
        (math.inf, 60.0),
        (-math.inf, 60.0),
        (1, 10.0),
        (30_000, 30.0),
        (1e12, 3600.0),
    ],
)
def test_a_timeout_is_brought_within_bounds(asked: float, given: float) -> None:
    assert revised_timeout(asked) == given


def test_tokens_nonces_and_ids_are_random_and_never_repeat() -> None:
    sessions = Sessions(Limits(1000, 1000))
    peers = [FakePeer(address=f"10.0.0.{number}") for number in range(200)]
    all_made = [made(sessions, peer) for peer in peers]
    assert len({s.token for s in all_made}) == len({s.id for s in all_made}) == 200
    assert len({s.nonce for s in all_made} | {s.renew_nonce() for s in all_made}) == 400
    assert {len(s.token) - len(key(b"")) for s in all_made} == {32}
    assert {len(s.nonce) for s in all_made} == {32}
    with pytest.raises(ServiceFault) as fault:
        sessions.find(key(b"guessed"))
    assert code(fault) == StatusCodes.BadSessionIdInvalid


def test_a_request_is_served_on_the_sessions_own_connection_only() -> None:
    sessions = Sessions(Limits(10, 10))
    own, other = FakePeer(), FakePeer()
    found = made(sessions, own)
    assert sessions.served(own, found.token) is found
    with pytest.raises(ServiceFault) as fault:
        sessions.served(other, found.token)
    assert code(fault) == StatusCodes.BadSecureChannelIdInvalid
    with pytest.raises(ServiceFault) as fault:
        sessions.served(own, key(b"guessed"))
    assert code(fault) == StatusCodes.BadSessionIdInvalid


def test_a_session_used_before_it_is_activated_is_closed() -> None:
    sessions = Sessions(Limits(10, 10))
    peer = FakePeer()
    found = made(sessions, peer, None)
    with pytest.raises(ServiceFault) as fault:
        sessions.served(peer, found.token)
    assert code(fault) == StatusCodes.BadSessionNotActivated
    assert closed(found) == [True]
    with pytest.raises(ServiceFault) as fault:
        sessions.served(peer, found.token)
    assert code(fault) == StatusCodes.BadSessionIdInvalid
    assert sessions.counts.aborts == 1


def test_several_sessions_share_a_connection_and_end_one_by_one() -> None:
    sessions = Sessions(Limits(10, 10))
    peer = FakePeer()
    first, second = made(sessions, peer), made(sessions, peer)
    assert set(peer.sessions.values()) == {first, second}
    sessions.close(first, Ending.Closed)
    assert list(peer.sessions.values()) == [second]
    assert sessions.served(peer, second.token) is second


def test_a_session_ends_once_and_all_that_hangs_on_it_goes(caplog: pytest.LogCaptureFixture) -> None:
    sessions = Sessions(Limits(10, 10))
    told: list[str] = []
    sessions.on_open.append(lambda s: told.append(f"opened {s.name}"))
    sessions.on_close.append(lambda s: told.append(f"closed {s.name}"))
    peer = FakePeer()
    found = made(sessions, peer)
    found.at_end(fails)
    found.at_end(lambda: told.append("ended"))
    with caplog.at_level(logging.INFO, "isthmus.audit"):
        sessions.close(found, Ending.Closed)
        sessions.close(found, Ending.Closed)
    assert told == ["opened Session 1", "ended", "closed Session 1"], "a fault of one does not keep the rest"
    assert closed(found) == [True]
    assert found.peer is None
    assert not found.active
    assert not peer.sessions
    assert len(sessions) == 0
    assert [r.__dict__["event"] for r in caplog.records if r.name == "isthmus.audit"] == ["logout"]


def test_listeners_hear_of_activated_sessions_only() -> None:
    sessions = Sessions(Limits(10, 10))
    told: list[Session] = []
    sessions.on_open.append(told.append)
    sessions.on_close.append(told.append)
    sessions.close(made(sessions, identity=None), Ending.Lost)
    assert told == []
    assert sessions.counts.cumulated == 0


@pytest.mark.parametrize(
    ("why", "asked", "kept"),
    [
        (Ending.Closed, True, True),
        (Ending.Closed, False, False),
        (Ending.Timeout, None, True),
        (Ending.Room, None, True),
        (Ending.User, None, False),
        (Ending.Certificate, None, False),
    ],
)
def test_whether_subscriptions_outlive_it(why: Ending, asked: bool | None, kept: bool) -> None:
    sessions = Sessions(Limits(10, 10))
    found = made(sessions)
    seen: list[bool] = []
    found.at_end(lambda: seen.append(found.keeps_subscriptions))
    sessions.close(found, why, keep_subscriptions=asked)
    assert seen == [kept]


def test_a_listener_that_fails_keeps_nobody_out() -> None:
    sessions = Sessions(Limits(10, 10))
    sessions.on_open.append(fails)
    assert made(sessions).active


# --- Limits


def test_no_more_sessions_than_allowed_and_one_that_ended_makes_room() -> None:
    sessions = Sessions(Limits(2, 10))
    first, _ = made(sessions, identity=user("ann")), made(sessions, identity=user("bob"))
    with pytest.raises(ServiceFault) as fault:
        made(sessions, identity=user("carl"))
    assert code(fault) == StatusCodes.BadTooManySessions
    sessions.close(first, Ending.Closed)
    made(sessions, identity=user("carl"))


def test_of_those_created_in_time_only_as_many_are_activated_as_allowed() -> None:
    sessions = Sessions(Limits(1, 10))
    peers = FakePeer(), FakePeer()
    first, second = (sessions.create(peer, peer.channel.key, 0) for peer in peers)
    sessions.activate(first, peers[0], user("ann"), ACCESS)
    nonce = second.nonce
    with pytest.raises(ServiceFault) as fault:
        sessions.activate(second, peers[1], user("bob"), ACCESS)
    assert code(fault) == StatusCodes.BadTooManySessions
    assert second.nonce == nonce
    assert not second.active


def test_a_session_whose_client_is_gone_makes_room(clock: Clock) -> None:
    sessions = Sessions(Limits(2, 10), clock)
    peers = FakePeer(), FakePeer()
    first, second = (made(sessions, peer, user("ann")) for peer in peers)
    sessions.lost(peers[0])
    clock.now += 1
    sessions.lost(peers[1])
    made(sessions, identity=user("bob"))
    assert closed(first) == [True], "the one that was silent longest"
    assert closed(second) == [False]
    made(sessions, identity=user("bob"))
    assert closed(second) == [True]
    with pytest.raises(ServiceFault):
        made(sessions, identity=user("bob"))


def test_one_user_has_so_many_sessions_and_his_own_make_room(clock: Clock) -> None:
    sessions = Sessions(Limits(100, 2), clock)
    gone = FakePeer()
    bobs = made(sessions, gone, user("bob"))
    anns = made(sessions, gone, user("ann"))
    made(sessions, identity=user("ann"))
    with pytest.raises(ServiceFault) as fault:
        made(sessions, identity=user("ann"))
    assert code(fault) == StatusCodes.BadTooManySessions
    sessions.lost(gone)
    made(sessions, identity=user("ann"))
    assert closed(anns) == [True]
    assert closed(bobs) == [False]


def test_sessions_without_a_user_leave_room_for_those_with_one() -> None:
    sessions = Sessions(Limits(8, 2))
    for _ in range(6):
        made(sessions)
    with pytest.raises(ServiceFault) as fault:
        made(sessions)
    assert code(fault) == StatusCodes.BadTooManySessions
    made(sessions, identity=user("anonymous"))
    made(sessions, identity=user("ann"))
    assert Limits(1, 1).anonymous == 1


def test_the_same_user_once_more_counts_once() -> None:
    sessions = Sessions(Limits(10, 1))
    peer = FakePeer()
    found = made(sessions, peer, user("ann"))
    sessions.activate(found, peer, user("ann", Role.Operator), ACCESS)
    made(sessions, identity=user("bob"))
    with pytest.raises(ServiceFault):
        sessions.activate(found, peer, user("bob"), ACCESS)
    assert found.identity == user("ann", Role.Operator)


def test_sessions_never_activated_keep_nobody_out() -> None:
    sessions = Sessions(Limits(10, 10))
    most = sessions.limits.unused
    floods = [
        made(sessions, FakePeer(address=f"10.6.{address}.1"), None)
        for _ in range(30)
        for address in range(20)
    ]
    assert sessions.unused == most
    assert sum(not s.closed for s in floods) == most
    peer = FakePeer()
    honest = made(sessions, peer, None)
    for address in range(20):
        made(sessions, FakePeer(address=f"10.6.{address}.1"), None)
    sessions.activate(honest, peer, NOBODY, ACCESS)
    assert sessions.unused < most
    assert len(sessions) == 1


def test_one_address_has_half_of_the_unused_sessions_at_most() -> None:
    sessions = Sessions(Limits(10, 10))
    other = made(sessions, FakePeer(address="10.0.0.2"), None)
    peer = FakePeer()
    flood = [made(sessions, peer, None) for _ in range(200)]
    assert sum(not s.closed for s in flood) == sessions.limits.unused // 2 == len(peer.sessions)
    assert not flood[-1].closed
    assert closed(other) == [False]


# --- Time


def test_what_is_not_activated_in_time_is_closed(clock: Clock) -> None:
    sessions = Sessions(Limits(10, 10), clock)
    found = made(sessions, identity=None, timeout=3_600_000)
    clock.now += registry.MAX_UNUSED
    sessions.sweep()
    assert closed(found) == [False]
    clock.now += 1
    sessions.sweep()
    assert closed(found) == [True]
    assert sessions.unused == 0
    assert sessions.counts.timeouts == 1


def test_what_is_idle_for_too_long_is_closed(clock: Clock) -> None:
    sessions = Sessions(Limits(10, 10), clock)
    peer = FakePeer()
    found = made(sessions, peer, timeout=20_000)
    clock.now += 19
    sessions.served(peer, found.token)
    clock.now += 19
    sessions.sweep()
    assert closed(found) == [False]
    clock.now += 2
    sessions.sweep()
    assert closed(found) == [True]
    assert sessions.counts.timeouts == 1


def test_a_session_waits_for_its_client_but_not_for_ever(clock: Clock) -> None:
    sessions = Sessions(Limits(10, 10), clock)
    peer = FakePeer()
    patient, brief, unused = (
        made(sessions, peer, timeout=3_600_000),
        made(sessions, peer, timeout=20_000),
        made(sessions, peer, None),
    )
    moves: list[object] = []
    patient.at_move(lambda: moves.append(patient.peer))
    sessions.lost(peer)
    assert moves == [None]
    assert closed(unused) == [True], "it was never activated"
    assert not peer.sessions
    clock.now += 21
    sessions.sweep()
    assert (brief.closed, patient.closed) == (True, False)
    clock.now += registry.MAX_ABSENCE
    sessions.sweep()
    assert closed(patient) == [True]


def test_a_client_has_its_time_to_come_back_from_when_it_was_lost(clock: Clock) -> None:
    sessions = Sessions(Limits(10, 10), clock)
    peer = FakePeer()
    found = made(sessions, peer, timeout=3_600_000)
    clock.now += 2 * registry.MAX_ABSENCE
    sessions.lost(peer)
    sessions.sweep()
    assert closed(found) == [False]


def test_everything_ends_at_the_end() -> None:
    sessions = Sessions(Limits(10, 10))
    all_made = [made(sessions), made(sessions, identity=None)]
    sessions.close_all()
    assert all(s.closed for s in all_made)
    assert sessions.counts.aborts == sessions.counts.timeouts == 0


# --- Who it is for


class Planned(OfAccess):
    pass


class Lasting:
    pass


def test_new_roles_count_at_once_and_what_was_planned_for_the_old_ones_goes() -> None:
    sessions = Sessions(Limits(10, 10))
    ann, bob = made(sessions, identity=user("ann", Role.Operator)), made(sessions, identity=user("bob"))
    planned, lasting = ann.part(Planned), ann.part(Lasting)
    bobs = bob.part(Planned)
    today = {"ann": user("ann", Role.Observer), "bob": user("bob")}
    sessions.refresh(lambda identity: today[identity.user])
    assert ann.identity == today["ann"]
    assert ann.access == Access(
        frozenset(ROLE_IDS[r] for r in (Role.Anonymous, Role.AuthenticatedUser, Role.Observer)),
        signed=True,
        encrypted=True,
    )
    assert ann.part(Planned) is not planned
    assert ann.part(Lasting) is lasting
    assert bob.part(Planned) is bobs, "nothing changed for him"


def test_a_user_who_may_no_longer_log_in_is_logged_out() -> None:
    sessions = Sessions(Limits(10, 10))
    ann, nobody = made(sessions, identity=user("ann")), made(sessions)
    sessions.refresh(lambda identity: None if identity.user == "ann" else identity)
    assert (ann.closed, nobody.closed) == (True, False)
    assert sessions.counts.aborts == 1


def test_sessions_of_a_certificate_that_is_no_longer_trusted_are_closed() -> None:
    sessions = Sessions(Limits(10, 10))
    good, bad, gone = FakePeer(), FakePeer(), FakePeer()
    good.channel.certificate, bad.channel.certificate, gone.channel.certificate = b"good", b"bad", b"bad"
    kept, connected, absent = (made(sessions, peer) for peer in (good, bad, gone))
    unused = made(sessions, bad, None)
    sessions.lost(gone)
    sessions.distrust(b"bad")
    assert closed(kept, connected, absent, unused) == [False, True, True, True]


def test_whom_it_was_for_is_remembered_within_bounds() -> None:
    sessions = Sessions(Limits(10, 10))
    peer = FakePeer()
    found = made(sessions, peer, user("user0"))
    for number in range(1, 20):
        sessions.activate(found, peer, user(f"user{number}"), ACCESS)
        sessions.activate(found, peer, user(f"user{number}"), ACCESS)
    assert found.users == [f"user{number}" for number in range(10, 20)]
