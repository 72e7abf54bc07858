"""Guessing passwords gets slower and slower, and keeps nobody out who knows his own."""

from __future__ import annotations

import asyncio
import statistics
import time

from support.attack import Flood, flooding, unharmed
from support.prober import probing
from support.rawclient import raw, user_token
from support.victim import Victim
from support.wire import error_code

from server.opcua.types import StatusCodes

OPERATOR = ("operator", "line-one-runs")
OBSERVER = ("observer", "only-looking")


async def guess(server: Victim, user: str, password: str, source: str) -> tuple[int, float]:
    """What a try brings, and how long it takes."""
    async with raw(server.port, source=source) as client:
        await client.open()
        await client.create()
        token = user_token(user, password, client.nonce, server.certificate)
        began = time.monotonic()
        answer = await client.call("ActivateSession", client.activation(token))
        return answer.code, time.monotonic() - began


async def gets_in(server: Victim, user: tuple[str, str], source: str, within: float = 2.0) -> None:
    code, seconds = await guess(server, *user, source)
    assert (code, seconds < within) == (0, True)


def not_tried(server: Victim, since: int) -> int:
    return sum("not tried" in entry["message"] for entry in server.entries()[since:])


async def test_many_names_from_one_address_are_soon_not_even_tried(lenient: Victim) -> None:
    attacker = "127.1.0.1"
    await gets_in(lenient, OBSERVER, attacker)  # who lives where the attacker does
    since, began = len(lenient.entries()), lenient.cpu
    for number in range(60):
        code, _ = await guess(lenient, f"user{number}", "Summer2024", attacker)
        assert code == StatusCodes.BadUserAccessDenied
    assert not_tried(lenient, since) >= 45
    assert lenient.cpu - began < 4
    # A right password is of no use any more to whoever tries it among wrong ones.
    code, _ = await guess(lenient, *OPERATOR, attacker)
    assert code == StatusCodes.BadUserAccessDenied
    await gets_in(lenient, OBSERVER, attacker)
    await gets_in(lenient, OPERATOR, "127.1.0.2")


async def test_one_name_from_many_addresses_is_soon_not_tried_where_it_failed(lenient: Victim) -> None:
    home, since = "127.1.1.250", len(lenient.entries())
    await gets_in(lenient, OPERATOR, home)
    for number in range(80):
        code, _ = await guess(lenient, "operator", f"guess {number}", f"127.1.1.{number % 40 + 1}")
        assert code == StatusCodes.BadUserAccessDenied
    assert not_tried(lenient, since) >= 20
    await gets_in(lenient, OPERATOR, home)
    await gets_in(lenient, OPERATOR, "127.1.1.251")  # where nobody has failed yet


async def test_one_name_from_one_address_has_to_wait_longer_and_longer(lenient: Victim) -> None:
    attacker, since = "127.1.2.1", len(lenient.entries())
    for number in range(20):
        await guess(lenient, "operator", f"guess {number}", attacker)
    assert not_tried(lenient, since) >= 15
    code, _ = await guess(lenient, *OPERATOR, attacker)
    assert code == StatusCodes.BadUserAccessDenied


async def test_time_does_not_tell_who_exists(lenient: Victim) -> None:
    times: dict[str, list[float]] = {"operator": [], "nobody": []}
    for number in range(8):
        for which, name in enumerate(times):
            code, seconds = await guess(lenient, name, "wrong", f"127.1.3.{2 * number + which + 1}")
            assert code == StatusCodes.BadUserAccessDenied
            times[name].append(seconds)
    known, unknown = (statistics.median(taken) for taken in times.values())
    assert 0.5 < known / unknown < 2


async def test_a_connection_is_closed_after_some_failures(lenient: Victim) -> None:
    async with raw(lenient.port, source="127.1.4.1") as client:
        await client.open()
        await client.create()
        token = user_token("operator", "wrong", client.nonce, lenient.certificate)
        for _ in range(5):
            answer = await client.call("ActivateSession", client.activation(token))
            assert answer.fault == StatusCodes.BadUserAccessDenied
        assert error_code(await client.wire.end()) == StatusCodes.BadSecurityChecksFailed


async def test_a_flood_of_guesses_slows_nobody_and_keeps_nobody_out(lenient: Victim) -> None:
    await gets_in(lenient, OPERATOR, "127.1.5.250")

    async def spray(flood: Flood, which: int) -> None:
        await guess(lenient, f"user{flood.done}", "Summer2024", f"127.1.6.{which + 1}")
        flood.done += 1

    async def storm(flood: Flood, which: int) -> None:
        flood.done += 1
        await guess(lenient, "operator", "a guess", f"127.1.{10 + which}.{flood.done % 250 + 1}")

    async with probing(lenient) as prober:
        for attack in (spray, storm):
            flood = await unharmed(lenient, prober, attack, 12, memory=150)
            assert flood.done > 12
            async with flooding(attack, 12):
                await asyncio.sleep(0.3)
                await gets_in(lenient, OPERATOR, "127.1.5.250", within=4)
                await gets_in(lenient, OBSERVER, "127.1.5.251", within=4)
