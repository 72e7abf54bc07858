"""Who gets in, over what, and who does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClientState
from asyncua.crypto import security_policies as policies
from support import pki
from support.opcua import (
    BASIC256SHA256,
    CLIENT_URI,
    OBSERVER,
    OBSERVER_PASSWORD,
    OPERATOR,
    OPERATOR_PASSWORD,
    Connect,
    Running,
    client_files,
    prepared,
    serving,
    trusted_client,
)

from server.opcua.endpoints import PolicyClass
from server.opcua.types import opaque_id
from server.plant.model import Role

MODES = [ua.MessageSecurityMode.Sign, ua.MessageSecurityMode.SignAndEncrypt]
POLICIES: list[PolicyClass] = [
    policies.SecurityPolicyBasic256Sha256,
    policies.SecurityPolicyAes128Sha256RsaOaep,
    policies.SecurityPolicyAes256Sha256RsaPss,
]
ENDED = (ConnectionError, ua.uaerrors.UaError, asyncio.TimeoutError, TimeoutError)


async def refusal(client: Client) -> str:
    """What a client that must not get in is told."""
    with pytest.raises(ENDED) as caught:
        async with client:
            pytest.fail("it got in")
    return repr(caught.value)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", POLICIES)
async def test_every_policy_in_every_mode(
    connect: Connect, served: Running, policy: PolicyClass, mode: ua.MessageSecurityMode
) -> None:
    async with connect(served, policy=policy, mode=mode, user=OPERATOR) as client:
        assert await client.get_node("i=2259").read_value() == 0


async def test_the_sign_mode_needs_its_line(strict: Running, tmp_path: Path) -> None:
    client = await prepared(
        strict, tmp_path, policy=BASIC256SHA256, mode=ua.MessageSecurityMode.Sign, user=OPERATOR
    )
    await client.connect_socket()
    await client.send_hello()
    # What was secured as it should be is answered as a service is (OPC 10000-6 §6.7.4); asyncua's
    # client expects no ServiceFault there.
    with pytest.raises((AssertionError, ua.uaerrors.UaError)):
        await client.open_secure_channel()
    client.disconnect_socket()
    assert strict.server.sessions == 0


async def test_over_none_discovery_is_all_there_is_without_its_line(strict: Running) -> None:
    client = Client(strict.url, timeout=20)
    endpoints = await client.connect_and_get_server_endpoints()
    assert {e.SecurityMode for e in endpoints} == {ua.MessageSecurityMode.SignAndEncrypt}
    assert {t.TokenType for e in endpoints for t in e.UserIdentityTokens} == {ua.UserTokenType.UserName}
    (server,) = await client.connect_and_find_servers()
    assert server.ApplicationUri == "urn:test:isthmus"


async def opened(running: Running) -> Client:
    """A client with an open channel over None and nothing more."""
    client = Client(running.url, timeout=20)
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    return client


@pytest.mark.parametrize("service", ["create_session", "read", "browse", "add_nodes"])
async def test_over_none_nothing_else_is_served(strict: Running, service: str) -> None:
    client = await opened(strict)
    try:
        with pytest.raises(ua.uaerrors.BadSecurityPolicyRejected):
            await SERVICES[service](client)
    finally:
        client.disconnect_socket()


SERVICES: dict[str, Callable[[Client], Awaitable[object]]] = {
    "create_session": lambda client: client.uaclient.create_session(ua.CreateSessionParameters()),
    "read": lambda client: client.get_node("i=2259").read_value(),
    "browse": lambda client: client.uaclient.browse(ua.BrowseParameters()),
    "add_nodes": lambda client: client.uaclient.add_nodes([]),
}


async def test_without_its_line_nobody_is_anonymous(strict: Running, tmp_path: Path) -> None:
    nameless = await prepared(strict, tmp_path, policy=BASIC256SHA256, user="x")
    vars(nameless)["_add_user_auth"] = anonymously
    assert "BadIdentityTokenRejected" in await refusal(nameless)


def anonymously(params: ua.ActivateSessionParameters, *_: object) -> None:
    params.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId="anonymous")


@pytest.mark.parametrize(
    ("user", "password"), [(OPERATOR, "not this"), ("nobody", OPERATOR_PASSWORD), (OPERATOR, "")]
)
async def test_a_wrong_name_or_password_is_refused(
    strict: Running, tmp_path: Path, user: str, password: str
) -> None:
    client = await prepared(strict, tmp_path, policy=BASIC256SHA256, user=user, password=password)
    assert "BadUserAccessDenied" in await refusal(client) or not password


async def test_a_plain_password_is_refused_even_on_an_encrypted_channel(
    strict: Running, tmp_path: Path
) -> None:
    client = await prepared(strict, tmp_path, policy=BASIC256SHA256, user=OPERATOR)

    def plainly(params: ua.ActivateSessionParameters, *_: object) -> None:
        params.UserIdentityToken = ua.UserNameIdentityToken(
            PolicyId="username", UserName=OPERATOR, Password=OPERATOR_PASSWORD.encode()
        )

    vars(client)["_add_user_auth"] = plainly
    assert "BadIdentityTokenInvalid" in await refusal(client)


async def test_a_recorded_password_is_of_no_use(served: Running, tmp_path: Path) -> None:
    """The encrypted password holds the server's nonce: it cannot be sent again."""
    recorded: list[object] = []
    first = await prepared(served, tmp_path, user=OPERATOR)
    add = first._add_user_auth

    def recording(params: ua.ActivateSessionParameters, *rest: str | None) -> None:
        add(params, *rest)
        recorded.append(params.UserIdentityToken)

    vars(first)["_add_user_auth"] = recording
    async with first:
        pass
    second = await prepared(served, tmp_path, user=OPERATOR)

    def replaying(params: ua.ActivateSessionParameters, *_: object) -> None:
        params.UserIdentityToken = recorded[0]

    vars(second)["_add_user_auth"] = replaying
    assert "BadIdentityTokenInvalid" in await refusal(second)


async def test_an_unknown_application_is_refused_until_it_is_trusted(strict: Running, tmp_path: Path) -> None:
    files = client_files(tmp_path, number=15)
    wishes: dict[str, Any] = {"policy": BASIC256SHA256, "user": OPERATOR, "files": files}
    assert "BadSecurityChecksFailed" in await refusal(await prepared(strict, tmp_path, **wishes))
    (rejected,) = [r for r in strict.bench.trust.rejected() if r.name == "Client 15"]
    strict.bench.trust.trust(rejected.thumbprint)
    async with await prepared(strict, tmp_path, **wishes) as client:
        assert await client.get_node("i=2259").read_value() == 0
    strict.bench.trust.distrust(rejected.thumbprint)
    assert "BadSecurityChecksFailed" in await refusal(await prepared(strict, tmp_path, **wishes))


async def test_an_application_that_calls_itself_something_else_is_refused(
    strict: Running, tmp_path: Path
) -> None:
    client = await prepared(strict, tmp_path, policy=BASIC256SHA256, user=OPERATOR)
    client.application_uri = "urn:somebody:else"
    assert "BadCertificateUriInvalid" in await refusal(client)


async def test_the_session_is_bound_to_the_certificate_of_the_channel(
    strict: Running, tmp_path: Path
) -> None:
    """A session claims the certificate its channel was opened with, not another one that is trusted too."""
    client = await prepared(strict, tmp_path, policy=BASIC256SHA256, user=OPERATOR)
    other = pki.application("Another", uri=CLIENT_URI, private=pki.key(16))
    await client.connect_socket()
    try:
        await client.send_hello()
        await client.open_secure_channel()
        for claimed in (pki.der(other), b""):
            request = ua.CreateSessionParameters(ClientCertificate=claimed, ClientNonce=b"n" * 32)
            request.ClientDescription.ApplicationUri = CLIENT_URI
            with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
                await client.uaclient.create_session(request)
    finally:
        client.disconnect_socket()


async def test_tokens_are_random_and_long(connect: Connect, served: Running) -> None:
    async with connect(served) as one, connect(served) as other:
        tokens = [token_of(client) for client in (one, other)]
    assert all(isinstance(t.Identifier, bytes) and len(t.Identifier) == 32 for t in tokens)
    assert tokens[0] != tokens[1]


def token_of(client: Client) -> ua.NodeId:
    assert client.uaclient.protocol is not None
    return client.uaclient.protocol.authentication_token


def pretend(client: Client, token: ua.NodeId) -> None:
    assert client.uaclient.protocol is not None
    client.uaclient.protocol.authentication_token = token


async def test_whoever_knows_a_token_has_nothing_on_another_channel(
    connect: Connect, served: Running
) -> None:
    """Not over None, not after a failed activation: the victim's session stays the victim's."""
    async with connect(served, policy=BASIC256SHA256, user=OPERATOR) as victim:
        thief = await opened(served)
        try:
            pretend(thief, token_of(victim))
            with pytest.raises(ua.uaerrors.BadSecureChannelIdInvalid):
                await thief.get_node("i=2259").read_value()
            with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
                await thief.uaclient.activate_session(ua.ActivateSessionParameters())
            with pytest.raises(ua.uaerrors.BadSecureChannelIdInvalid):
                await thief.get_node("i=2259").read_value()
            await thief.uaclient.close_session(True)  # the client does not tell that this fails, too
        finally:
            thief.disconnect_socket()
        assert await victim.get_node("i=2259").read_value() == 0


async def test_a_trusted_application_cannot_take_anothers_session(
    connect: Connect, strict: Running, tmp_path: Path
) -> None:
    files = trusted_client(strict, tmp_path / "thief", number=17)
    async with connect(strict, policy=BASIC256SHA256, user=OPERATOR) as victim:
        thief = await prepared(strict, tmp_path, policy=BASIC256SHA256, user=OPERATOR, files=files)
        await thief.connect_socket()
        try:
            await thief.send_hello()
            await thief.open_secure_channel()
            pretend(thief, token_of(victim))
            with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
                await thief.uaclient.activate_session(ua.ActivateSessionParameters())
            with pytest.raises(ua.uaerrors.BadSecureChannelIdInvalid):
                await thief.get_node("i=2259").read_value()
        finally:
            thief.disconnect_socket()
        assert await victim.get_node("i=2259").read_value() == 0


async def reconnected(strict: Running, folder: Path, session: Client, files: tuple[Path, Path]) -> Client:
    """A second channel of the same application, about to activate the first one's session."""
    client = await prepared(strict, folder, policy=BASIC256SHA256, user=OPERATOR, files=files)
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    pretend(client, token_of(session))
    client._server_nonce = session._server_nonce
    client._policy_ids = session._policy_ids
    return client


async def test_a_session_moves_to_a_new_channel_of_the_same_application_and_user(
    strict: Running, tmp_path: Path
) -> None:
    files = trusted_client(strict, tmp_path)
    first = await prepared(strict, tmp_path, policy=BASIC256SHA256, user=OPERATOR, files=files)
    async with first:
        second = await reconnected(strict, tmp_path, first, files)
        try:
            await second.activate_session(username=OPERATOR, password=OPERATOR_PASSWORD)
            assert await second.get_node("i=2259").read_value() == 0
            with pytest.raises(ua.uaerrors.BadSecureChannelIdInvalid):
                await first.get_node("i=2259").read_value()
        finally:
            second.disconnect_socket()


async def test_a_session_does_not_move_to_another_user(strict: Running, tmp_path: Path) -> None:
    files = trusted_client(strict, tmp_path)
    first = await prepared(strict, tmp_path, policy=BASIC256SHA256, user=OPERATOR, files=files)
    async with first:
        second = await reconnected(strict, tmp_path, first, files)
        try:
            with pytest.raises(ua.uaerrors.BadIdentityChangeNotSupported):
                await second.activate_session(username=OBSERVER, password=OBSERVER_PASSWORD)
            with pytest.raises(ua.uaerrors.BadSecureChannelIdInvalid):
                await second.get_node("i=2259").read_value()
        finally:
            second.disconnect_socket()
        assert await first.get_node("i=2259").read_value() == 0


async def test_a_session_that_is_not_activated_does_nothing(served: Running) -> None:
    client = await opened(served)
    try:
        await client.create_session()
        with pytest.raises(ua.uaerrors.BadSessionNotActivated):
            await client.get_node("i=2259").read_value()
        pretend(client, opaque_id(b"x" * 32))
        with pytest.raises(ua.uaerrors.BadSessionIdInvalid):
            await client.get_node("i=2259").read_value()
    finally:
        client.disconnect_socket()


async def test_a_user_who_is_removed_is_out_and_one_who_loses_a_role_keeps_none(
    connect: Connect, served: Running
) -> None:
    users = served.bench.users
    served.call(users.add("leaver", OPERATOR_PASSWORD, [Role.Operator]))
    async with connect(served, user="leaver", password=OPERATOR_PASSWORD) as client:
        assert await may_write(client, served)
        served.do(lambda: users.set_roles("leaver", []))
        await until_async(lambda: may_write(client, served), wanted=False)
        served.do(lambda: users.remove("leaver"))
        await until_async(lambda: is_out(client), wanted=True)


async def test_who_is_removed_is_out_even_if_somebody_logs_in_at_that_moment(
    connect: Connect, served: Running
) -> None:
    users = served.bench.users
    served.call(users.add("leaver", OPERATOR_PASSWORD, [Role.Operator]))
    async with connect(served, user="leaver", password=OPERATOR_PASSWORD) as client:

        async def remove() -> None:
            users.remove("leaver")
            assert await users.verify("leaver", OPERATOR_PASSWORD) is None  # which reads the file

        served.call(remove())
        await until_async(lambda: is_out(client), wanted=True)


async def test_a_broken_users_file_ends_the_sessions_of_users_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> None:
        with serving(tmp_path / "broken", allow_none=True, anonymous=True) as running:
            asyncio.run(breaking(running))

    async def breaking(running: Running) -> None:
        named = Client(running.url)
        named.set_user(OPERATOR)
        named.set_password(OPERATOR_PASSWORD)
        async with Client(running.url) as anybody:
            await named.connect()
            (running.bench.data / "users.yaml").write_text("users: [")
            await until_async(lambda: is_out(named), wanted=True)
            assert await anybody.get_node("i=2259").read_value() == 0
            named.disconnect_socket()

    await asyncio.to_thread(run)
    assert "nobody can log in until it is mended" in caplog.text
    assert "a fault of ours" not in caplog.text


async def test_a_client_whose_watchdog_hears_of_it_first_leaves_no_socket_to_the_collector(
    connect: Connect, served: Running
) -> None:
    users = served.bench.users
    served.call(users.add("leaver", OPERATOR_PASSWORD, [Role.Operator]))
    async with connect(served, user="leaver", password=OPERATOR_PASSWORD) as client:
        protocol = client.uaclient.protocol
        served.do(lambda: users.remove("leaver"))
        await until_async(lambda: is_disconnected(client), wanted=True)
        assert protocol is not None
        assert protocol.transport is None or protocol.transport.is_closing()


async def is_disconnected(client: Client) -> bool:
    return client.uaclient.state is UaClientState.DISCONNECTED


async def is_out(client: Client) -> bool:
    try:
        await client.get_node("i=2259").read_value()
    except (ua.uaerrors.BadSessionIdInvalid, ConnectionError):  # its own watchdog may have heard of it first
        return True
    return False


async def may_write(client: Client, served: Running) -> bool:
    level = await client.get_node(served.bench.node("SpeedSP")).get_user_access_level()
    return ua.AccessLevel.CurrentWrite in level


async def until_async(probe: Callable[[], Awaitable[bool]], *, wanted: bool) -> None:
    for _ in range(400):
        if await probe() is wanted:
            return
        await asyncio.sleep(0.05)
    pytest.fail("not within 20 s")


async def test_only_so_many_sessions(tmp_path: Path) -> None:
    def run() -> None:
        with serving(tmp_path / "few", allow_none=True, anonymous=True, max_sessions=2) as few:
            asyncio.run(fill(few))

    async def fill(few: Running) -> None:
        async with Client(few.url), Client(few.url):
            assert "BadTooManySessions" in await refusal(Client(few.url))
        async with Client(few.url):
            pass

    await asyncio.to_thread(run)
