from __future__ import annotations

import pytest
from support.clock import Clock

from server.opcua.sessions.backoff import MAX_DELAY, PER_ADDRESS, PER_USER, Backoff, delay, network


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backoff(clock: Clock) -> Backoff:
    return Backoff(clock)


def attempt(backoff: Backoff, user: str, address: str, *, right: bool = False, known: bool = True) -> bool:
    """Whether the password was looked at."""
    if backoff.refuses(user, address, known=known):
        return False
    if right:
        backoff.succeeded(user, address)
    else:
        backoff.failed(user, address, known=known)
    return True


def test_the_wait_doubles_up_to_a_limit() -> None:
    assert [delay(failures) for failures in range(10)] == [0, 0, 0, 1, 2, 4, 8, 16, 30, 30]
    assert delay(1_000_000) == MAX_DELAY


def test_one_user_from_one_address_waits_and_a_success_ends_it(backoff: Backoff, clock: Clock) -> None:
    assert [attempt(backoff, "ann", "10.0.0.1") for _ in range(4)] == [True, True, True, False]
    assert attempt(backoff, "ann", "10.0.0.2", right=True), "elsewhere she is not held up"
    clock.now += 1
    assert attempt(backoff, "ann", "10.0.0.1", right=True)
    assert [attempt(backoff, "ann", "10.0.0.1") for _ in range(4)] == [True, True, True, False]


def test_the_log_never_says_to_wait_for_nothing(backoff: Backoff, clock: Clock) -> None:
    for _ in range(3):
        backoff.failed("ann", "10.0.0.1", known=True)
    clock.now += 0.9
    assert backoff.refuses("ann", "10.0.0.1", known=True) == "wait 1 s after 3 failures"


def test_an_address_that_tries_many_names_is_slowed_down(backoff: Backoff, clock: Clock) -> None:
    tried = [attempt(backoff, f"user{number}", "10.6.6.6", known=number % 2 == 0) for number in range(100)]
    assert sum(tried) == PER_ADDRESS.free
    clock.now += 3600
    tried = []
    for number in range(3600):
        clock.now += 1
        tried.append(attempt(backoff, f"another{number}", "10.6.6.6"))
    assert sum(tried) <= PER_ADDRESS.free + 3600 / PER_ADDRESS.seconds + 1


def test_an_address_is_slowed_down_even_if_one_login_succeeds_now_and_then(backoff: Backoff) -> None:
    tried = 0
    for number in range(100):
        tried += attempt(backoff, f"user{number}", "10.6.6.6")
        attempt(backoff, "mallory", "10.6.6.6", right=True)
    assert tried == PER_ADDRESS.free


def test_whoever_sprays_does_not_keep_out_who_logged_in_beside_him_before(backoff: Backoff) -> None:
    assert attempt(backoff, "ann", "10.0.0.1", right=True)
    for number in range(100):
        attempt(backoff, f"user{number}", "10.0.0.1")
    assert not attempt(backoff, "bob", "10.0.0.1", right=True)
    assert attempt(backoff, "ann", "10.0.0.1", right=True)


def test_many_addresses_guess_no_faster_together(backoff: Backoff, clock: Clock) -> None:
    addresses = [f"10.6.{number // 250}.{number % 250}" for number in range(500)]
    first = sum(attempt(backoff, "ann", address) for address in addresses)
    assert first == len(addresses), "an address where nothing failed yet has one attempt"
    clock.now += 3600
    tried = 0
    for _ in range(60):
        clock.now += 60
        tried += sum(attempt(backoff, "ann", address) for address in addresses)
    assert tried <= PER_USER.free + 3600 / PER_USER.seconds + 1


def test_whoever_guesses_from_elsewhere_does_not_keep_the_user_out(backoff: Backoff) -> None:
    assert attempt(backoff, "ann", "10.0.0.1", right=True)
    for number in range(250):
        for _ in range(3):
            attempt(backoff, "ann", f"10.6.6.{number}")
    assert attempt(backoff, "ann", "10.0.0.1", right=True), "where she logged in before"
    assert attempt(backoff, "ann", "10.0.0.2", right=True), "where nothing failed yet"
    assert not attempt(backoff, "ann", "10.6.6.1", right=True)


def test_memory_is_bounded_and_invented_names_push_no_user_out(clock: Clock) -> None:
    backoff = Backoff(clock, most=50)
    for number in range(60):
        attempt(backoff, "ann", f"10.6.6.{number}")
    for number in range(500):
        attempt(backoff, f"nobody{number}", f"10.7.{number // 200}.{number % 200}", known=False)
    assert all(len(kept) <= 50 for kept in (backoff._pairs, backoff._addresses, backoff._strangers))
    attempt(backoff, "bob", "10.8.0.1")  # a failure there, so that the rule of users holds there
    assert backoff.refuses("ann", "10.8.0.1", known=True)


def test_long_names_take_no_more_room_than_short_ones(backoff: Backoff) -> None:
    attempt(backoff, "x" * 1_000_000, "10.0.0.1", known=False)
    assert max(len(user) for user, _ in backoff._pairs._entries) == 64


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("?", "?"),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str) -> None:
    assert network(address) == counted
