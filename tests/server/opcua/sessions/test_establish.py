"""The Session service set, without a network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from support import pki
from support.sessions import NONE, FakeChannel, FakePeer, request, result, secure_peer, sign

from certs.own import ApplicationIdentity
from server.opcua.requests import LATER, Needs
from server.opcua.sessions.establish import MAX_AT_WORK, MAX_REFUSALS, Establishment
from server.opcua.sessions.pool import Pool
from server.opcua.sessions.registry import Ending, Limits, Sessions
from server.opcua.sessions.session import OfAccess, Session
from server.opcua.space.permissions import ROLE_IDS
from server.opcua.tokens import Authenticator, Identity, LoginRefused, Proof
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.users import UserRecord, UserStore
from server.opcua.wire import structs, writer
from server.opcua.wire.nodeid import Key, key, key_of
from server.opcua.wire.reader import DecodingError
from server.plant.model import Role

SERVER_KEY, CLIENT_KEY, OTHER_KEY = pki.key(10), pki.key(11), pki.key(12)
SERVER = pki.application("Server", uri="urn:test:server", private=SERVER_KEY)
CLIENT = pki.application("Client", uri="urn:test:client", private=CLIENT_KEY)
OTHER = pki.application("Other", uri="urn:test:client", private=OTHER_KEY)
NONCE = bytes(range(32))
MAX_REQUEST = 4_000_000
URL = "opc.tcp://localhost:4840/isthmus"


class Tokens(Authenticator):
    """Takes a user name for what it is. ``checking``: a token is looked at; it is until ``go_on``."""

    def __init__(self) -> None:
        super().__init__(UserStore(Path("no such file")), SERVER_KEY, anonymous=True)
        self.checking = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.proofs: list[Proof] = []
        self.add(ua.UserNameIdentityToken, self._named)

    async def authenticate(self, proof: Proof) -> Identity:
        self.proofs.append(proof)
        self.checking.set()
        await self.go_on.wait()
        return await super().authenticate(proof)

    async def _named(self, token: Any, _proof: Proof) -> Identity:
        if token.UserName == "mallory":
            raise LoginRefused(token.UserName)
        roles = frozenset({Role.Operator})
        return Identity(
            token.UserName, roles, UserRecord(name=token.UserName, hash="$argon2id$x", roles=roles)
        )


class Endpoints:
    asked: str | None = None

    def encoded(self, asked: str | None = None) -> bytes:
        self.asked = asked
        return writer.array([structs.encode(ua.EndpointDescription(EndpointUrl=asked))] * 2)


class Bench:
    def __init__(self, issuers: tuple[x509.Certificate, ...] = (), most: int = 20) -> None:
        self.sessions = Sessions(Limits(most, 10))
        self.tokens = Tokens()
        self.endpoints = Endpoints()
        identity = ApplicationIdentity("urn:test:server", SERVER, SERVER_KEY, issuers)
        self.services = Establishment(
            self.sessions, self.endpoints, identity, self.tokens, Pool(2), MAX_REQUEST
        )

    async def create(self, peer: FakePeer, **changes: Any) -> Session:
        answer = await self.services.create(peer, request(peer, asked(**changes)))
        created = result(ua.CreateSessionResult, answer)
        return self.sessions.find(key_of(created.AuthenticationToken))

    async def activate(
        self, peer: FakePeer, session: Session, user: str = "", *, nonce: bytes | None = None, **changes: Any
    ) -> bytes:
        wanted = activation(session.nonce if nonce is None else nonce, user, **changes)
        answer = await self.services.activate(peer, request(peer, wanted, session.token))
        return bytes(result(ua.ActivateSessionResult, answer).ServerNonce)

    async def activated(self, peer: FakePeer, user: str = "", **changes: Any) -> Session:
        session = await self.create(peer, **changes)
        await self.activate(peer, session, user)
        return session


def asked(**changes: Any) -> ua.CreateSessionParameters:
    found = ua.CreateSessionParameters(
        EndpointUrl=URL,
        SessionName="Test",
        ClientNonce=NONCE,
        ClientCertificate=pki.der(CLIENT),
        RequestedSessionTimeout=60_000.0,
    )
    found.ClientDescription.ApplicationUri = "urn:test:client"
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def activation(
    nonce: bytes,
    user: str = "",
    *,
    over: bytes = pki.der(SERVER),
    private: Any = CLIENT_KEY,
    locales: list[str] | None = None,
    **signature: Any,
) -> ua.ActivateSessionParameters:
    found = ua.ActivateSessionParameters(LocaleIds=locales or [])
    found.ClientSignature = sign(private, over + nonce, **signature)
    found.UserIdentityToken = ua.UserNameIdentityToken(UserName=user) if user else ua.AnonymousIdentityToken()
    return found


def insecure(address: str = "10.0.0.1") -> FakePeer:
    return FakePeer(FakeChannel(), address)


def secure(certificate: x509.Certificate = CLIENT, **wishes: Any) -> FakePeer:
    return secure_peer(certificate, SERVER_KEY, **wishes)


async def refusal(awaitable: Any) -> int:
    with pytest.raises(ServiceFault) as fault:
        await awaitable
    return fault.value.code


def test_the_services_and_what_they_need() -> None:
    services = {s.name: s for s in Bench().services.services()}
    assert {name: s.needs for name, s in services.items()} == {
        "CreateSession": Needs.Channel,
        "ActivateSession": Needs.Channel,
        "CloseSession": Needs.Channel,
        "Cancel": Needs.Session,
    }
    assert services["CreateSession"].request == key(461)
    assert services["ActivateSession"].response == key(470)


# --- CreateSession


async def test_a_session_over_none() -> None:
    bench, peer = Bench(), insecure()
    answer = await bench.services.create(peer, request(peer, asked(ClientNonce=None, ClientCertificate=None)))
    created = result(ua.CreateSessionResult, answer)
    session = bench.sessions.find(key_of(created.AuthenticationToken))
    assert peer.sessions == {session.token: session}
    assert key_of(created.SessionId) == session.id
    assert [e.EndpointUrl for e in created.ServerEndpoints] == [URL, URL]
    assert created.ServerNonce == session.nonce
    assert len(created.ServerNonce) == 32
    assert created.RevisedSessionTimeout == 60_000.0
    assert created.MaxRequestMessageSize == MAX_REQUEST
    assert not created.ServerSignature.Signature
    assert session.access is None
    await bench.activate(peer, session)
    assert session.active
    assert bench.sessions.served(peer, session.token) is session


@pytest.mark.parametrize("chain", [b"", pki.der(pki.authority().certificate)])
async def test_the_server_signs_the_clients_own_certificate_and_nonce(chain: bytes) -> None:
    bench, peer = Bench(), secure()
    wanted = asked(ClientCertificate=pki.der(CLIENT) + chain)
    created = result(ua.CreateSessionResult, await bench.services.create(peer, request(peer, wanted)))
    signature = created.ServerSignature.Signature
    public: Any = SERVER.public_key()
    public.verify(signature, pki.der(CLIENT) + NONCE, padding.PKCS1v15(), hashes.SHA256())
    assert created.ServerCertificate == pki.der(SERVER)


@pytest.mark.parametrize(
    "claimed", [pki.der(OTHER), b"", None, pki.der(CLIENT)[:-1], pki.der(OTHER) + pki.der(CLIENT)]
)
async def test_a_borrowed_certificate_is_refused(claimed: bytes | None) -> None:
    bench, peer = Bench(), secure()
    assert await refusal(bench.create(peer, ClientCertificate=claimed)) == StatusCodes.BadSecurityChecksFailed
    assert not peer.sessions


async def test_a_client_that_calls_itself_something_else_is_refused() -> None:
    description = ua.ApplicationDescription(ApplicationUri="urn:somebody:else")
    code = await refusal(Bench().create(secure(), ClientDescription=description))
    assert code == StatusCodes.BadCertificateUriInvalid


@pytest.mark.parametrize("nonce", [None, b"", b"n" * 31])
async def test_a_short_nonce_is_refused_on_a_secure_channel(nonce: bytes | None) -> None:
    assert await refusal(Bench().create(secure(), ClientNonce=nonce)) == StatusCodes.BadNonceInvalid
    await Bench().create(insecure(), ClientNonce=nonce)


async def test_a_nonce_serves_once_on_a_channel() -> None:
    bench, peer = Bench(), secure()
    await bench.create(peer)
    assert await refusal(bench.create(peer)) == StatusCodes.BadNonceInvalid
    await bench.create(peer, ClientNonce=b"n" * 32)
    await bench.create(secure())


async def test_what_the_client_tells_of_itself_is_kept() -> None:
    bench, peer = Bench(), insecure()
    session = await bench.create(
        peer, SessionName="x" * 1000, MaxResponseMessageSize=65_536, ServerUri="urn:test:server"
    )
    assert session.name == "x" * 256
    assert session.about.max_response == 65_536
    assert session.about.server_uri == "urn:test:server"
    assert session.about.endpoint_url == bench.endpoints.asked == URL
    assert session.about.description.ApplicationUri == "urn:test:client"  # type: ignore[union-attr]
    assert (session.client, session.address) == (peer.name, peer.address)
    assert (await bench.create(peer, SessionName=None)).name == "Session 2"


@pytest.mark.parametrize(
    ("url", "noted"),
    [
        (URL, False),
        ("opc.tcp://LOCALHOST:1", False),
        ("opc.tcp://127.0.0.1:4840", False),
        (None, False),
        ("opc.tcp://elsewhere:4840", True),
        ("opc.tcp://[broken", True),
    ],
)
async def test_a_url_that_is_not_ours_is_told_and_no_reason_to_refuse(
    caplog: pytest.LogCaptureFixture, url: str | None, noted: bool
) -> None:
    with caplog.at_level(logging.INFO, "isthmus.audit"):
        await Bench().create(insecure(), EndpointUrl=url)
    assert [r.__dict__["event"] for r in caplog.records] == ["url_mismatch"] * noted


async def test_a_url_that_is_not_ours_is_noted_once_for_each_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench, peers = Bench(), [insecure(), insecure()]
    with caplog.at_level(logging.INFO, "isthmus.audit"):
        for number in range(10):
            await bench.create(peers[number % 2], EndpointUrl=f"opc.tcp://other{number}:4840")
    assert len(caplog.records) == 2


async def test_a_session_nobody_waits_for_is_not_made() -> None:
    bench, peer = Bench(), secure()
    wanted = request(peer, asked())
    wanted.answered = True
    assert await refusal(bench.services.create(peer, wanted)) == StatusCodes.BadTimeout
    assert not peer.sessions
    assert bench.sessions.unused == 0


async def test_a_request_that_makes_no_sense_is_told_so() -> None:
    bench, peer = Bench(), secure()
    for service in (bench.services.create, bench.services.activate):
        with pytest.raises(DecodingError):
            await service(peer, request(peer, b"\x01\x02"))
    assert peer.refusals == 0


# --- ActivateSession


async def test_a_session_of_a_client_with_its_certificates_key() -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    before = session.nonce
    given = await bench.activate(peer, session, "ann", locales=["de", "", "en" * 50, "en"])
    assert given == session.nonce != before
    assert session.access is not None
    assert session.access.roles == {ROLE_IDS[Role.Operator]}
    assert (session.access.signed, session.access.encrypted) == (True, True)
    assert session.locales == ("de", "en")
    assert session.caller().user == "ann"
    await bench.activate(peer, session, "ann")
    assert session.locales == ("de", "en"), "none given means none changed"
    proof = bench.tokens.proofs[0]
    assert (proof.nonce, proof.address, proof.certificates) == (before, "10.0.0.1", (pki.der(SERVER),))


WRONG: dict[str, Callable[[Session], dict[str, Any]]] = {
    "another key": lambda _: {"private": OTHER_KEY},
    "another algorithm": lambda _: {"algorithm": "http://www.w3.org/2000/09/xmldsig#rsa-sha1"},
    "no algorithm": lambda _: {"algorithm": None},
    "another nonce": lambda _: {"nonce": NONCE},
    "another certificate": lambda _: {"over": pki.der(OTHER)},
    "no certificate": lambda _: {"over": b""},
    "a chain that was not sent": lambda _: {"over": pki.der(SERVER) + pki.der(OTHER)},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_signature_changes_nothing(wrong: str) -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    await bench.activate(peer, session, "ann")
    before = (session.nonce, session.identity, session.access, session.peer)
    code = await refusal(bench.activate(peer, session, "bob", **WRONG[wrong](session)))
    assert code == StatusCodes.BadApplicationSignatureInvalid
    assert (session.nonce, session.identity, session.access, session.peer) == before
    assert len(bench.tokens.proofs) == 1, "no token is looked at"
    await bench.activate(peer, session, "ann")


async def test_a_missing_signature_is_a_wrong_one() -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    wanted = activation(session.nonce)
    wanted.ClientSignature = ua.SignatureData()
    code = await refusal(bench.services.activate(peer, request(peer, wanted, session.token)))
    assert code == StatusCodes.BadApplicationSignatureInvalid


async def test_the_whole_chain_may_be_signed_where_we_have_one() -> None:
    issuer = pki.authority().certificate
    bench, peer = Bench(issuers=(issuer,)), secure()
    session = await bench.create(peer)
    await bench.activate(peer, session, over=pki.der(SERVER) + pki.der(issuer))
    await bench.activate(peer, session)
    assert bench.tokens.proofs[0].certificates == (pki.der(SERVER), pki.der(SERVER) + pki.der(issuer))


async def test_a_recorded_activation_is_of_no_use() -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    recorded = activation(session.nonce, "ann")
    await bench.services.activate(peer, request(peer, recorded, session.token))
    for where in (peer, secure()):
        code = await refusal(bench.services.activate(where, request(where, recorded, session.token)))
        assert code == StatusCodes.BadApplicationSignatureInvalid
    assert session.peer is peer


async def test_a_refused_user_changes_nothing() -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    nonce = session.nonce
    assert await refusal(bench.activate(peer, session, "mallory")) == StatusCodes.BadUserAccessDenied
    assert session.access is None
    assert session.nonce == nonce
    await bench.activate(peer, session, "ann")
    nonce = session.nonce
    assert await refusal(bench.activate(peer, session, "mallory")) == StatusCodes.BadUserAccessDenied
    assert session.identity is not None
    assert (session.identity.user, session.nonce) == ("ann", nonce)


async def test_the_audit_of_a_refused_login_says_whose_it_was(caplog: pytest.LogCaptureFixture) -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    with caplog.at_level("WARNING", "isthmus.audit"):
        await refusal(bench.activate(peer, session, "mallory"))
    (told,) = [record for record in caplog.records if record.name == "isthmus.audit"]
    assert (told.__dict__["user"], told.__dict__["reason"]) == ("mallory", "BadUserAccessDenied")


@pytest.mark.parametrize(
    "changes",
    [
        {"EndpointUrl": "opc.tcp://" + "a" * 5000},
        {"ServerUri": "urn:" + "a" * 5000},
        {"ClientNonce": bytes(2000)},
        {
            "ClientDescription": ua.ApplicationDescription(
                ApplicationUri="urn:test:client", DiscoveryUrls=["a" * 9000]
            )
        },
    ],
)
async def test_a_client_that_tells_of_itself_without_end_is_refused(changes: dict[str, Any]) -> None:
    bench = Bench()
    assert await refusal(bench.create(secure(), **changes)) == StatusCodes.BadEncodingLimitsExceeded
    assert bench.sessions.unused == 0


async def test_an_unknown_session_cannot_be_activated() -> None:
    bench, peer = Bench(), secure()
    code = await refusal(bench.services.activate(peer, request(peer, activation(NONCE), key(b"guessed"))))
    assert code == StatusCodes.BadSessionIdInvalid


class Planned(OfAccess):
    pass


async def test_on_its_own_channel_a_session_may_change_its_user() -> None:
    bench, peer = Bench(), secure()
    session = await bench.activated(peer)
    planned = session.part(Planned)
    await bench.activate(peer, session)
    assert session.part(Planned) is planned
    await bench.activate(peer, session, "ann")
    assert session.part(Planned) is not planned, "nothing is left that was made for another"
    assert session.users == ["anonymous", "ann"]
    assert len(bench.sessions) == 1


# --- Moving to another channel


async def test_a_session_moves_with_its_client() -> None:
    bench, old, new = Bench(), secure(), secure(address="10.0.0.2")
    session = await bench.activated(old, "ann")
    moves: list[object] = []
    session.at_move(lambda: moves.append(session.peer))
    await bench.activate(new, session, "ann")
    assert moves == [new]
    assert session.peer is new
    assert (old.sessions, list(new.sessions)) == ({}, [session.token])
    assert session.client == new.name
    with pytest.raises(ServiceFault) as fault:
        bench.sessions.served(old, session.token)
    assert fault.value.code == StatusCodes.BadSecureChannelIdInvalid
    bench.sessions.lost(old)
    assert bench.sessions.served(new, session.token) is session


async def test_a_session_waits_for_its_client_to_come_back() -> None:
    bench, old, new = Bench(), secure(), secure()
    session = await bench.activated(old, "ann")
    kept = session.part(Planned)
    bench.sessions.lost(old)
    assert not old.sessions
    await bench.activate(new, session, "ann")
    assert session.peer is new
    assert session.part(Planned) is kept


TAKEOVERS: dict[str, tuple[Callable[[], FakePeer], dict[str, Any], int]] = {
    "another certificate": (
        lambda: secure(OTHER),
        {"private": OTHER_KEY},
        StatusCodes.BadSecurityChecksFailed,
    ),
    "without a certificate": (insecure, {}, StatusCodes.BadSecurityChecksFailed),
    "a weaker mode": (lambda: secure(mode=2), {}, StatusCodes.BadSecurityChecksFailed),
    "another policy": (
        lambda: secure(policy="http://opcfoundation.org/UA/SecurityPolicy#Aes128_Sha256_RsaOaep"),
        {},
        StatusCodes.BadSecurityChecksFailed,
    ),
    "the wrong key": (secure, {"private": OTHER_KEY}, StatusCodes.BadApplicationSignatureInvalid),
    "another user": (secure, {"user": "bob"}, StatusCodes.BadIdentityChangeNotSupported),
    "nobody": (secure, {"user": ""}, StatusCodes.BadIdentityChangeNotSupported),
    "a wrong password": (secure, {"user": "mallory"}, StatusCodes.BadUserAccessDenied),
}


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("how", TAKEOVERS)
async def test_a_session_is_not_taken_over(how: str, gone: bool) -> None:
    make, changes, code = TAKEOVERS[how]
    bench, victim, attacker = Bench(), secure(), make()
    session = await bench.activated(victim, "ann")
    if gone:
        bench.sessions.lost(victim)
    before = (session.nonce, session.identity, session.access, session.peer, session.client)
    assert await refusal(bench.activate(attacker, session, **({"user": "ann"} | changes))) == code
    if code in {StatusCodes.BadSecurityChecksFailed, StatusCodes.BadApplicationSignatureInvalid}:
        assert len(bench.tokens.proofs) == 1, "whoever is not the client tries no passwords"
    assert (session.nonce, session.identity, session.access, session.peer, session.client) == before
    assert not attacker.sessions
    with pytest.raises(ServiceFault):
        bench.sessions.served(attacker, session.token)
    if not gone:
        assert bench.sessions.served(victim, session.token) is session


async def test_a_session_may_move_to_where_it_is_protected_better() -> None:
    bench, signed, encrypted = Bench(), secure(mode=2), secure(mode=3)
    session = await bench.activated(signed, "ann")
    await bench.activate(encrypted, session, "ann")
    assert session.access is not None
    assert session.access.encrypted
    assert session.channel.mode == 3
    code = await refusal(bench.activate(secure(mode=2), session, "ann"))
    assert code == StatusCodes.BadSecurityChecksFailed


async def test_a_session_is_first_activated_where_it_was_created() -> None:
    bench, own, other = Bench(), secure(), secure()
    session = await bench.create(own)
    assert await refusal(bench.activate(other, session)) == StatusCodes.BadSecureChannelIdInvalid
    assert not other.sessions
    await bench.activate(own, session)


async def test_over_none_a_session_stays_with_its_host() -> None:
    bench, own = Bench(), insecure()
    session = await bench.activated(own)
    code = await refusal(bench.activate(insecure("10.6.6.6"), session))
    assert code == StatusCodes.BadSecurityChecksFailed
    await bench.activate(insecure(), session)
    assert session.channel == (b"", NONE, 1)


# --- Others at work meanwhile


async def during_the_check(bench: Bench, activation: Any, happening: Callable[[], None]) -> int:
    """What an activation is told when something happens while its token is looked at."""
    bench.tokens.checking.clear()
    bench.tokens.go_on.clear()
    task = asyncio.create_task(activation)
    await bench.tokens.checking.wait()
    happening()
    bench.tokens.go_on.set()
    return await refusal(task)


async def test_a_session_closed_while_the_password_is_checked_stays_closed() -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    code = await during_the_check(
        bench, bench.activate(peer, session), lambda: bench.sessions.close(session, Ending.Closed)
    )
    assert code == StatusCodes.BadSessionClosed
    assert not session.active
    assert len(bench.sessions) == bench.sessions.unused == 0


async def test_a_client_that_left_while_the_password_is_checked_has_no_session() -> None:
    bench, old, new = Bench(), secure(), secure()
    session = await bench.activated(old, "ann")
    wanted = request(new, activation(session.nonce, "ann"), session.token)

    def leave() -> None:
        wanted.answered = True
        bench.sessions.lost(new)

    code = await during_the_check(bench, bench.services.activate(new, wanted), leave)
    assert code == StatusCodes.BadTimeout
    assert session.peer is old
    assert not new.sessions


async def test_of_two_activations_at_once_the_second_needs_the_new_nonce() -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    wanted = [request(peer, activation(session.nonce, user), session.token) for user in ("ann", "bob")]
    outcomes = await asyncio.gather(
        *(bench.services.activate(peer, one) for one in wanted), return_exceptions=True
    )
    assert isinstance(outcomes[0], bytes)
    assert isinstance(outcomes[1], ServiceFault)
    assert session.caller().user == "ann"


async def test_so_many_at_a_time_for_one_connection() -> None:
    bench, peer, other = Bench(), secure(), secure()
    sessions = [await bench.create(peer, ClientNonce=bytes([n]) * 32) for n in range(MAX_AT_WORK)]
    bench.tokens.go_on.clear()
    busy = [asyncio.create_task(bench.activate(peer, session)) for session in sessions]
    await asyncio.sleep(0)
    assert await refusal(bench.create(peer, ClientNonce=b"n" * 32)) == StatusCodes.BadTooManyOperations
    await bench.create(other)
    bench.tokens.go_on.set()
    await asyncio.gather(*busy)
    await bench.create(peer, ClientNonce=b"n" * 32)
    assert not bench.services._at_work


# --- Refusals


async def test_who_is_refused_too_often_is_hung_up_on() -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    for _ in range(MAX_REFUSALS - 1):
        assert await refusal(bench.activate(peer, session, "mallory")) == StatusCodes.BadUserAccessDenied
    assert peer.ended is None
    wanted = request(peer, activation(session.nonce, "mallory"), session.token)
    assert await bench.services.activate(peer, wanted) is LATER
    assert peer.refused == [StatusCodes.BadUserAccessDenied], "told first"
    assert peer.ended == StatusCodes.BadSecurityChecksFailed


async def test_a_success_makes_refusals_forgotten() -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    for _ in range(2):
        for _ in range(MAX_REFUSALS - 1):
            await refusal(bench.activate(peer, session, "mallory"))
        await bench.activate(peer, session, "ann")
    assert peer.ended is None


async def test_refusals_are_counted_and_audited(caplog: pytest.LogCaptureFixture) -> None:
    bench, peer = Bench(most=1), secure()
    with caplog.at_level(logging.INFO, "isthmus.audit"):
        session = await bench.activated(peer, "ann")
        await refusal(bench.activate(peer, session, "mallory"))
        await refusal(bench.create(peer, ClientCertificate=b"", ClientNonce=b"n" * 32))
        full = await refusal(bench.create(peer, ClientNonce=b"n" * 32))
    assert full == StatusCodes.BadTooManySessions
    counts = bench.sessions.counts
    assert (counts.cumulated, counts.rejected, counts.security_rejected) == (1, 3, 2)
    lines = [
        (r.levelname, r.__dict__.get("user"), r.__dict__.get("service"), r.__dict__.get("reason"))
        for r in caplog.records
        if r.name == "isthmus.audit" and r.__dict__["event"] == "login"
    ]
    assert lines == [
        ("INFO", "ann", None, None),
        ("WARNING", "mallory", "Test", "BadUserAccessDenied"),
        ("WARNING", None, "Test", "BadSecurityChecksFailed"),
    ]


# --- CloseSession, Cancel


def close(bench: Bench, peer: FakePeer, token: Key, *, delete: bool = True) -> bytes:
    return bench.services.close(peer, request(peer, bytes([delete]), token))


@pytest.mark.parametrize("delete", [True, False])
async def test_a_client_closes_its_session_with_or_without_its_subscriptions(delete: bool) -> None:
    bench, peer = Bench(), secure()
    session = await bench.activated(peer)
    assert close(bench, peer, session.token, delete=delete) == b""
    assert session.closed
    assert session.keeps_subscriptions is not delete
    with pytest.raises(ServiceFault) as fault:
        close(bench, peer, session.token)
    assert fault.value.code == StatusCodes.BadSessionIdInvalid


async def test_a_session_that_was_not_activated_can_be_closed() -> None:
    bench, peer = Bench(), secure()
    session = await bench.create(peer)
    close(bench, peer, session.token)
    assert session.closed


@pytest.mark.parametrize("active", [True, False])
async def test_a_session_is_closed_on_its_own_channel_only(active: bool) -> None:
    bench, peer = Bench(), secure()
    session = await (bench.activated(peer) if active else bench.create(peer))
    with pytest.raises(ServiceFault) as fault:
        close(bench, secure(), session.token)
    assert fault.value.code == StatusCodes.BadSecureChannelIdInvalid
    assert not session.closed


async def test_cancel_says_how_many_it_found() -> None:
    bench, peer = Bench(), secure()
    session = await bench.activated(peer)
    answer = bench.services.cancel(session, request(peer, (77).to_bytes(4, "little"), session.token))
    assert answer == (3).to_bytes(4, "little")
    assert peer.cancelled == [(session, 77)]


def test_the_fake_channel_verifies() -> None:
    peer = secure()
    made = sign(CLIENT_KEY, b"data")
    peer.channel.verify(b"data", made.Algorithm, made.Signature)
    with pytest.raises(InvalidSignature):
        peer.channel.verify(b"other data", made.Algorithm, made.Signature)
