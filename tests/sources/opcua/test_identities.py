"""In whose name what users ask for goes to a downstream server: sessions beside the own one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from support import pki
from support.downstream import OPERATING, PLANT, lend_password, named, protected, settings, source
from support.line import MACHINE
from support.net import until
from support.opcua import OBSERVER, OBSERVER_PASSWORD, OPERATOR, OPERATOR_PASSWORD, Running, serving
from support.proxy import proxy_to
from support.scanning import scanning

from server.opcua.sessions.registry import Ending
from sources.asking import Asker
from sources.errors import ConnectionLost, Denied, Refused, Unreachable
from sources.opcua import acting
from sources.opcua.address import UA_URI, parse_address
from sources.opcua.channel import FORWARDED
from sources.opcua.driver import OpcUaSource
from sources.opcua.identity import Credentials
from sources.opcua.importing import Importing
from sources.opcua.mapping import Unmappable
from sources.opcua.tokens import _pair
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_IDENTITY_TOKEN_REJECTED,
    BAD_NOT_CONNECTED,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    BAD_USER_ACCESS_DENIED,
    GOOD,
    Quality,
)

SET_POINT = named("SpeedSP", writable=True)
ANNA = Asker("anna", frozenset({"AuthenticatedUser", "Operator"}))
BERT = Asker("bert", frozenset({"AuthenticatedUser", "Engineer"}))
CARL = Asker("carl", frozenset({"AuthenticatedUser", "Supervisor"}))

AS_OPERATOR = {"user": OPERATOR, "password": "env:DOWNSTREAM_PASSWORD"}
AS_OBSERVER = {"user": OBSERVER, "password": "env:OBSERVING"}
AS_ANYBODY = {"users": ["nobody-here"], **AS_OPERATOR}
OBSERVING = OPERATING | AS_OBSERVER
"""The source itself may only look."""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The operator may write there, the observer may not."""
    with serving(tmp_path_factory.mktemp("there"), writable=True) as running:
        running.bench.device.held.update({"SpeedSP": 1.0})
        yield running


@pytest.fixture
def make(there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    lend_password(monkeypatch)
    monkeypatch.setenv("OBSERVING", OBSERVER_PASSWORD)
    monkeypatch.setattr("sources.opcua.identities._LOOK", 0.05)
    for user in (OPERATOR, OBSERVER):  # what the test before did not close in time
        there.do(partial(end_sessions_of, there, user))

    def make(
        *rules: dict[str, Any],
        others: str = "refuse",
        port: int | None = None,
        timeout: str = "4s",
        **more: Any,
    ) -> OpcUaSource:
        identity = {"map": list(rules), "others": others} | more
        made = source(port or there, [SET_POINT], **OBSERVING, identity=identity, timeout=timeout)
        made.settle(protected(there, tmp_path))
        return made

    return make


async def write(device: OpcUaSource, asker: Asker, value: float) -> tuple[str, Quality]:
    way = device.acting(asker)
    await way.ready()
    (quality,) = await way.write([(SET_POINT, value)])
    return way.acts_as, quality


def sessions(there: Running) -> list[str]:
    """Whose they are."""
    return sorted(
        session.identity.user
        for session in there.do(lambda: list(there.server._sessions))
        if session.identity is not None
    )


def end_sessions_of(there: Running, user: str) -> None:
    for session in list(there.server._sessions):
        if session.identity is not None and session.identity.user == user:
            there.server._sessions.close(session, Ending.Timeout)


def seen(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Who wrote, and what he was told, as the server downstream has it in its audit log."""
    found = [record.__dict__ for record in caplog.records if getattr(record, "event", "") == "write"]
    return [(record["user"], record["status"]) for record in found]


def refused_logins(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Who was not let in there, once for each attempt."""
    found = [record.__dict__ for record in caplog.records if getattr(record, "event", "") == "login"]
    return [record["user"] for record in found if "reason" in record]


@asynccontextmanager
async def connected(device: OpcUaSource) -> AsyncIterator[None]:
    async with device.connect():
        yield


async def test_each_goes_in_the_name_that_is_configured(
    there: Running, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "isthmus.audit")
    device = make(
        {"users": ["anna"], **AS_OPERATOR}, {"roles": ["Engineer"], **AS_OBSERVER}, others="service"
    )
    async with connected(device):
        assert sessions(there) == [OBSERVER]  # the source's own; the others are opened when they are needed
        assert await write(device, ANNA, 420.5) == (f"user:{OPERATOR}", GOOD)
        assert sessions(there) == [OBSERVER, OPERATOR]
        assert await write(device, BERT, 1.5) == (f"user:{OBSERVER}", BAD_USER_ACCESS_DENIED)
        assert await write(device, CARL, 2.5) == (f"service:{OBSERVER}", BAD_USER_ACCESS_DENIED)
        assert await write(device, ANNA, 421.5) == (f"user:{OPERATOR}", GOOD)
        assert sessions(there) == [OBSERVER, OBSERVER, OPERATOR]
    assert there.bench.device.held["SpeedSP"] == 421.5
    assert seen(caplog) == [
        (OPERATOR, "Good"),
        (OBSERVER, "BadUserAccessDenied"),
        (OBSERVER, "BadUserAccessDenied"),
        (OPERATOR, "Good"),
    ]
    await until(lambda: sessions(there) == [], what="closed with the source's own")


async def test_whom_no_rule_fits_is_refused(make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR})
    for stranger in (BERT, Asker("Anna", frozenset({"Operator"})), Asker("anna "), Asker("anonymous")):
        with pytest.raises(Denied, match="no rule fits") as denied:
            device.acting(stranger)
        assert denied.value.quality == BAD_USER_ACCESS_DENIED


async def test_a_name_that_is_not_let_in_is_told_and_not_tried_at_once_again(
    make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WRONG", "a guess that is wrong")
    device = make(
        {"users": ["anna"], "user": OPERATOR, "password": "env:WRONG"}, {"users": ["bert"], **AS_OPERATOR}
    )
    async with connected(device):
        with pytest.raises(Denied) as denied:
            await write(device, ANNA, 1.0)
        assert denied.value.quality == BAD_USER_ACCESS_DENIED  # what the server downstream said
        for part in ("There", f"user:{OPERATOR}", "ActivateSession: BadUserAccessDenied", "the users there"):
            assert part in str(denied.value)
        with pytest.raises(Denied, match="tried again in") as again:
            await write(device, ANNA, 1.0)
        assert again.value.quality == BAD_USER_ACCESS_DENIED
        assert refused_logins(caplog) == [OPERATOR]
        assert await write(device, BERT, 2.0) == (f"user:{OPERATOR}", GOOD)  # others are not concerned
    assert "a guess" not in caplog.text
    assert OPERATOR_PASSWORD not in caplog.text


async def test_each_name_can_be_tried_without_a_write(make: Any) -> None:
    wrong = {"users": ["bert"], "user": "nobody", "password": "env:OBSERVING"}
    device = make({"users": ["anna"], **AS_OPERATOR}, wrong, {"users": ["carl"], **AS_OBSERVER}, sessions=1)
    async with connected(device):
        (kept_out,) = await device.try_names()
        assert "as user:nobody: the session was refused: ActivateSession: BadUserAccessDenied" in kept_out
    device = make({"users": ["anna"], **AS_OPERATOR})
    async with connected(device):
        assert await device.try_names() == []


async def test_a_secret_that_is_not_there_is_named(make: Any) -> None:
    device = make({"users": ["anna"], "user": OPERATOR, "password": "env:UNSET_ANYWHERE"})
    async with connected(device):
        with pytest.raises(Denied, match="UNSET_ANYWHERE is not set") as denied:
            await write(device, ANNA, 1.0)
        assert denied.value.quality == BAD_CONFIGURATION_ERROR


async def test_sessions_are_bounded_and_idle_ones_make_room(there: Running, make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR}, {"users": ["bert"], **AS_OBSERVER}, sessions=1)
    async with connected(device):
        await write(device, ANNA, 1.0)
        assert await write(device, BERT, 1.0) == (f"user:{OBSERVER}", BAD_USER_ACCESS_DENIED)
        assert sessions(there) == [OBSERVER, OBSERVER]
        busy = Credentials(OBSERVER, "env:OBSERVING")
        with device._identities.session(busy), pytest.raises(Denied, match="in use already") as denied:
            await write(device, ANNA, 1.0)
        assert denied.value.quality == BAD_RESOURCE_UNAVAILABLE
        assert (await write(device, ANNA, 3.0))[1] == GOOD


async def test_a_session_nobody_needs_is_closed_and_opened_again(there: Running, make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR}, idle="100ms")
    async with connected(device):
        await write(device, ANNA, 1.0)
        await until(lambda: sessions(there) == [OBSERVER], what="closed")
        assert (await write(device, ANNA, 2.0))[1] == GOOD


async def test_a_session_outlives_its_security_token(there: Running, make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR})
    now = asyncio.get_running_loop().time
    async with connected(device):
        await write(device, ANNA, 1.0)
        with device._identities.session(Credentials(OPERATOR, "env:DOWNSTREAM_PASSWORD")) as session:
            channel = session.channel
        channel.renew_at = 0.0
        await until(lambda: channel.renew_at > now(), what="renewed though nobody used it")
        channel.renew_at = 0.0
        assert (await write(device, ANNA, 2.0))[1] == GOOD
        assert channel.renew_at > now()
        assert sessions(there) == [OBSERVER, OPERATOR]


async def test_a_lost_connection_is_noticed_and_costs_the_next_write_nothing(
    there: Running, make: Any
) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR})
    async with connected(device):
        await write(device, ANNA, 1.0)
        with device._identities.session(Credentials(OPERATOR, "env:DOWNSTREAM_PASSWORD")) as session:
            assert session.channel._transport is not None
            session.channel._transport.abort()
        await until(session.channel.lost.done)
        assert (await write(device, ANNA, 2.0))[1] == GOOD
    there.do(lambda: end_sessions_of(there, OPERATOR))  # the one that was cut off
    assert there.bench.device.held["SpeedSP"] == 2.0


async def test_a_write_without_an_answer_is_told_so_and_not_repeated(there: Running, make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR}, timeout="1s")
    async with connected(device):
        await write(device, ANNA, 1.0)
        there.bench.device.delay = 2.0
        try:
            with pytest.raises(ConnectionLost, match="may have been carried out") as lost:
                await write(device, ANNA, 2.0)
        finally:
            there.bench.device.delay = 0.0
        assert lost.value.quality == BAD_TIMEOUT
        await until(lambda: there.bench.device.held["SpeedSP"] == 2.0)  # it was, and later
        assert (await write(device, ANNA, 3.0))[1] == GOOD


async def test_a_server_that_lets_nobody_in_or_takes_too_long_is_given_up_and_tried_again(
    there: Running, make: Any
) -> None:
    async with proxy_to(there.port) as proxy:
        device = make({"users": ["anna"], **AS_OPERATOR}, port=proxy.port, timeout="1s")
        async with connected(device):
            proxy.delay = 0.3  # each answer comes in time, the session as a whole does not
            with pytest.raises(Unreachable, match=r"no session with There .*within [12] s"):
                await write(device, ANNA, 1.0)
            proxy.delay = 0.0
            with pytest.raises(Unreachable, match="tried again in"):
                await write(device, ANNA, 1.0)
            await until(lambda: tried_again(device), what="let in again")
            assert there.bench.device.held["SpeedSP"] != 77.0
            assert (await write(device, ANNA, 77.0))[1] == GOOD


async def tried_again(device: OpcUaSource) -> bool:
    try:
        await device.acting(ANNA).ready()
    except Unreachable:
        return False
    return True


async def test_who_waits_for_a_session_may_go_and_the_next_has_it(there: Running, make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR})
    async with connected(device):
        first, second = (asyncio.create_task(device.acting(ANNA).ready()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert sessions(there) == [OBSERVER, OPERATOR]  # one for both


async def test_no_more_wait_for_a_session_than_it_carries(there: Running, make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR})
    async with connected(device):
        waiting = [asyncio.create_task(device.acting(ANNA).ready()) for _ in range(FORWARDED + 5)]
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        refused = [error for error in ended if error is not None]
        assert len(refused) == 5
        assert {getattr(error, "quality", None) for error in refused} == {BAD_RESOURCE_UNAVAILABLE}
        assert sessions(there) == [OBSERVER, OPERATOR]


async def test_what_is_being_opened_ends_with_the_source_s_own_session(there: Running, make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR})
    async with connected(device):
        waiting = asyncio.create_task(device.acting(ANNA).ready())
        await asyncio.sleep(0)
    with pytest.raises(Unreachable):
        await waiting
    with pytest.raises(Unreachable, match="is not connected"):
        await device.acting(ANNA).ready()
    await until(lambda: sessions(there) == [])


async def test_a_session_the_server_has_ended_is_not_the_client_s(there: Running, make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR})
    async with connected(device):
        await write(device, ANNA, 1.0)
        there.do(lambda: end_sessions_of(there, OPERATOR))
        way = device.acting(ANNA)
        with pytest.raises(Unreachable):  # of the looking: nothing was sent
            await way.write([(SET_POINT, 9.0)])
        assert there.bench.device.held["SpeedSP"] == 1.0
        assert (await write(device, ANNA, 2.0))[1] == GOOD


async def test_nor_is_the_source_s_own(make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR}, others="service")
    async with device.connect() as session:
        code = await device.acting(CARL)._judged(session._connection, 0x80250000)  # BadSessionIdInvalid
        assert code == BAD_NOT_CONNECTED


async def test_other_rules_hold_at_once_and_leave_the_source_connected(there: Running, make: Any) -> None:
    device = make({"users": ["anna"], **AS_OPERATOR}, {"users": ["bert"], **AS_OBSERVER})
    async with connected(device):
        assert await write(device, ANNA, 1.0) == (f"user:{OPERATOR}", GOOD)
        old = device.acting(ANNA)
        other = make({"users": ["anna", "bert"], **AS_OBSERVER}).device.settings
        assert device.fits(other)
        assert not device.fits(other.model_copy(update={"user": "another"}))
        device.adapt(other)
        for use in (old.ready, lambda: old.write([(SET_POINT, 2.0)])):
            with pytest.raises(Denied, match="another identity at There since"):
                await use()
        assert await write(device, ANNA, 3.0) == (f"user:{OBSERVER}", BAD_USER_ACCESS_DENIED)
        await until(lambda: sessions(there) == [OBSERVER, OBSERVER], what="the operator's session closed")
        device.adapt(make(AS_ANYBODY).device.settings)
        with pytest.raises(Denied, match="no rule fits"):
            device.acting(ANNA)
        await until(lambda: not device._identities._seats, what="all names of before forgotten")
    assert there.bench.device.held["SpeedSP"] == 1.0


async def test_other_rules_hold_for_a_write_whose_node_is_being_looked_for(
    there: Running, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, real = make({"users": ["anna"], **AS_OPERATOR}), acting._kind
    async with connected(device):
        assert (await write(device, ANNA, 1.0))[1] == GOOD

        async def meanwhile(*given: Any) -> int:
            device.adapt(make({"users": ["anna"], **AS_OBSERVER}).device.settings)
            return await real(*given)

        monkeypatch.setattr(acting, "_kind", meanwhile)
        with pytest.raises(Denied, match="another identity at There since"):
            await write(device, ANNA, 9.0)
    assert there.bench.device.held["SpeedSP"] == 1.0


async def test_what_was_refused_may_be_tried_again_with_other_rules(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANGING", "a guess that is wrong")
    rule = {"users": ["anna"], "user": OPERATOR, "password": "env:CHANGING"}
    device = make(rule)
    async with connected(device):
        for _ in range(2):
            with pytest.raises(Denied):
                await write(device, ANNA, 1.0)
        monkeypatch.setenv("CHANGING", OPERATOR_PASSWORD)
        device.adapt(make(rule, others="service").device.settings)
        assert (await write(device, ANNA, 4.0))[1] == GOOD


async def test_nor_is_one_that_ends_between_two_writes(there: Running, make: Any) -> None:
    """Nothing is looked up before this write: the server's word on the session is its answer to the write."""
    there.feed("SpeedSP", 1.0)
    device = make({"users": ["anna"], **AS_OPERATOR})
    async with scanning(device) as its:
        await its.good(SET_POINT)
        assert (await write(device, ANNA, 1.0))[1] == GOOD
        there.do(lambda: end_sessions_of(there, OPERATOR))
        assert await write(device, ANNA, 9.0) == (f"user:{OPERATOR}", BAD_NOT_CONNECTED)
        assert there.bench.device.held["SpeedSP"] == 1.0
        assert (await write(device, ANNA, 2.0))[1] == GOOD


async def test_namespaces_are_those_the_session_itself_has_read(there: Running, make: Any) -> None:
    """The index that a namespace had in another session is nothing to go by."""
    device = make({"users": ["anna"], **AS_OPERATOR})
    async with connected(device):
        way = device.acting(ANNA)
        await way.ready()
        own = device._identities.own()
        names = own.namespaces
        own.namespaces = (*names[:1], "urn:gone", *names[1:])
        try:
            assert await write(device, ANNA, 33.0) == (f"user:{OPERATOR}", GOOD)
        finally:
            own.namespaces = names
        with device._identities.session(Credentials(OPERATOR, "env:DOWNSTREAM_PASSWORD")) as session:
            assert session.namespaces == names
            found = await session.resolve([parse_address(f"nsu={PLANT};s={MACHINE}.SpeedSP")])
        assert found[0].NamespaceIndex == names.index(PLANT)
    assert there.bench.device.held["SpeedSP"] == 33.0


async def test_a_server_without_certificates_of_users_is_told(make: Any, tmp_path: Path) -> None:
    own = pki.key(13)
    file, key = pki.write(tmp_path, pki.application("Anna", uri="urn:anna", private=own), own)
    device = make({"users": ["anna"], "certificate": file, "key": key})
    async with connected(device):
        with pytest.raises(Denied, match="lets no users with a certificate in") as denied:
            await write(device, ANNA, 1.0)
        assert denied.value.quality == BAD_IDENTITY_TOKEN_REJECTED


def test_a_certificate_and_key_that_prove_nothing_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = pki.key(13), pki.key(12)
    file, key = pki.write(tmp_path, pki.application("Anna", uri="urn:anna", private=own), own)

    def told(**changed: Any) -> str:
        who = replace(Credentials(certificate=file, key=key), **changed)
        with pytest.raises(Refused) as refused:
            _pair(who, tmp_path)
        assert refused.value.quality == BAD_CONFIGURATION_ERROR
        return str(refused.value)

    assert _pair(Credentials(certificate=file, key=key), Path())[1].private_numbers() == own.private_numbers()
    (tmp_path / "other.key").write_bytes(pki.key_pem(other))
    assert "is not the RSA key of" in told(key=tmp_path / "other.key")
    assert "No such file" in told(key=tmp_path / "none.key")
    assert "not a certificate" in told(certificate=key)
    assert "no private key that can be read; is it encrypted?" in told(key=file)
    locked = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    (tmp_path / "locked.key").write_bytes(locked)
    monkeypatch.setenv("KEY", "a wrong one")
    assert "is it encrypted?" in told(key=tmp_path / "locked.key")
    assert "is key_password the one" in told(key=tmp_path / "locked.key", key_password="env:KEY")
    monkeypatch.setenv("KEY", "open sesame")
    who = Credentials(certificate=file, key=tmp_path / "locked.key", key_password="env:KEY")
    assert _pair(who, Path())[1].private_numbers() == own.private_numbers()
    ago = timedelta(days=-1)
    old = pki.application("Old", uri="urn:old", private=own, start=2 * ago, end=ago)
    (tmp_path / "old.crt").write_bytes(pki.pem(old))
    assert "old.crt expired on" in told(certificate=tmp_path / "old.crt")


class Here:
    """Our namespaces."""

    uris: tuple[str, ...] = (UA_URI, "urn:here")

    def index(self, uri: str) -> int:
        if uri not in self.uris:
            self.uris += (uri,)
        return self.uris.index(uri)


class Session:
    """A session with the namespaces it has read."""

    name = "F"

    def __init__(self, *uris: str) -> None:
        self.namespaces = (UA_URI, *uris)

    def index(self, uri: str) -> int | None:
        return self.namespaces.index(uri) if uri in self.namespaces else None


def test_imported_names_are_moved_to_the_namespaces_the_session_itself_has_read() -> None:
    own, other = Session("urn:one", "urn:two"), Session("urn:new", "urn:two", "urn:one")
    made: Any = Importing(own, settings(1), Here())  # type: ignore[arg-type]  # all that names take
    made.connection = own
    here = made._mapper.node_id(numeric(2))
    assert made._names_of(own) == (made._mapper, made._back)
    mapper, back = made._names_of(other)
    assert (back.node_id(here), mapper.node_id(numeric(2))) == (
        numeric(2),
        here,
    )
    one = made._mapper.node_id(numeric(1))
    assert (back.node_id(one), mapper.node_id(numeric(3))) == (numeric(3), one)
    assert made._back.node_id(one) == numeric(1)
    with pytest.raises(Unmappable):
        mapper.node_id(numeric(1))  # urn:new: nothing of it was imported
    with pytest.raises(Unmappable):
        made._names_of(Session("urn:two"))[1].node_id(one)


def numeric(index: int) -> bytes:
    """``ns=…;i=5``."""
    return bytes([1, index, 5, 0])
