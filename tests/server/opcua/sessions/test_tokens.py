"""User identity tokens, and how often they may be tried."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.crypto import security_policies as policies
from support import pki
from support.clock import Clock

from server.opcua import users as users_module
from server.opcua.channels.policies import POLICIES as CHANNEL_POLICIES
from server.opcua.sessions.backoff import PER_ADDRESS
from server.opcua.sessions.pool import MOST_EACH
from server.opcua.space.permissions import ROLE_IDS
from server.opcua.tokens import Authenticator, Identity, Proof
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.users import UserRecord, UserStore
from server.plant.model import Role

KEY = pki.key(10)
NONCE = bytes(range(32))
ANN, PASSWORD = "ann", "correct horse"
HASH = "$argon2id$x"
POLICIES = [
    policies.SecurityPolicyBasic256Sha256.URI,
    policies.SecurityPolicyAes128Sha256RsaOaep.URI,
    policies.SecurityPolicyAes256Sha256RsaPss.URI,
]


class Hashes:
    """Stands in for argon2: counts what is hashed, and takes a moment."""

    def __init__(self) -> None:
        self.checked: list[tuple[str, str]] = []

    def __call__(self, password_hash: str, password: str) -> bool:
        self.checked.append((password_hash, password))
        return password_hash == HASH and password == PASSWORD


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    found = Hashes()
    monkeypatch.setattr(users_module, "_fits", found)
    monkeypatch.setattr(users_module, "_no_ones_hash", lambda: "nobody's")
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def users(tmp_path: Path, clock: Clock, hashes: Hashes) -> UserStore:
    assert not hashes.checked
    names = [ANN, *(f"user{number}" for number in range(20))]
    lines = [f"- {{name: {name}, hash: {HASH}, roles: [Operator]}}\n" for name in names]
    (tmp_path / "users.yaml").write_text("version: 1\nusers:\n" + "".join(lines))
    (tmp_path / "users.yaml").chmod(0o600)
    found = UserStore(tmp_path / "users.yaml", clock=clock)
    found.load()
    return found


@pytest.fixture
def authenticator(users: UserStore) -> Authenticator:
    return Authenticator(users, KEY, anonymous=False)


def token(
    name: str | None = ANN, password: str = PASSWORD, nonce: bytes = NONCE, policy: str = POLICIES[0]
) -> Any:
    plain = password.encode() + nonce
    secret, algorithm = cast("Any", policies).encrypt_asymmetric(
        KEY.public_key(), struct.pack("<I", len(plain)) + plain, policy
    )
    return ua.UserNameIdentityToken(
        PolicyId="username", UserName=name, Password=secret, EncryptionAlgorithm=algorithm
    )


def proof(made: object, address: str = "10.0.0.1") -> Proof:
    return Proof(made, NONCE, address)


async def refusal(authenticator: Authenticator, made: object, address: str = "10.0.0.1") -> int:
    with pytest.raises(ServiceFault) as fault:
        await authenticator.authenticate(proof(made, address))
    return fault.value.code


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_user_with_the_right_password_under_every_policy(
    authenticator: Authenticator, policy: str
) -> None:
    found = await authenticator.authenticate(proof(token(policy=policy)))
    assert found.user == ANN
    assert found.roles == {Role.Anonymous, Role.AuthenticatedUser, Role.Operator}
    assert not found.anonymous
    access = found.access(signed=True, encrypted=False)
    assert access.roles == {ROLE_IDS[role] for role in found.roles}
    assert (access.signed, access.encrypted) == (True, False)


async def test_the_longest_password_takes_several_blocks(
    authenticator: Authenticator, hashes: Hashes
) -> None:
    long = "𝄞" * 128
    plain = long.encode() + NONCE
    made = token()
    made.Password = CHANNEL_POLICIES[POLICIES[0]].encrypt(
        KEY.public_key(), struct.pack("<I", len(plain)) + plain
    )
    assert len(made.Password) == 3 * 256
    assert await refusal(authenticator, made) == StatusCodes.BadUserAccessDenied
    assert hashes.checked[-1][1] == long


@pytest.mark.parametrize(("name", "password"), [(ANN, "wrong"), (ANN, ""), ("nobody", PASSWORD)])
async def test_a_wrong_name_or_password_is_refused_alike(
    authenticator: Authenticator, hashes: Hashes, name: str, password: str
) -> None:
    code = await refusal(authenticator, token(name, password))
    assert code == StatusCodes.BadUserAccessDenied
    assert len(hashes.checked) == 1, "it takes as long for a name nobody has"


def changed(**fields: Any) -> Any:
    made = token()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


MALFORMED: dict[str, Any] = {
    "plain": changed(Password=PASSWORD.encode(), EncryptionAlgorithm=None),
    "plain, with an empty algorithm": changed(Password=PASSWORD.encode(), EncryptionAlgorithm=""),
    "rsa-1_5": changed(EncryptionAlgorithm="http://www.w3.org/2001/04/xmlenc#rsa-1_5"),
    "another padding": changed(EncryptionAlgorithm=token(policy=POLICIES[2]).EncryptionAlgorithm),
    "another nonce": token(nonce=b"n" * 32),
    "no nonce": token(nonce=b""),
    "nothing": changed(Password=None),
    "not whole": changed(Password=token().Password[:-1]),
    "too much": changed(Password=token().Password * 5),
    "garbage": changed(Password=b"\x01" * 256),
    "no name": token(name=None),
    "an empty name": token(name=""),
    "another policy": changed(PolicyId="anonymous"),
    "no policy": changed(PolicyId=None),
}


@pytest.mark.parametrize("how", MALFORMED)
async def test_a_token_that_makes_no_sense_is_invalid(
    authenticator: Authenticator, hashes: Hashes, how: str
) -> None:
    assert await refusal(authenticator, MALFORMED[how]) == StatusCodes.BadIdentityTokenInvalid
    assert not hashes.checked


async def test_a_password_that_is_no_text_is_invalid(authenticator: Authenticator) -> None:
    plain = b"\xff\xfe" + NONCE
    made = token()
    made.Password, _ = cast("Any", policies).encrypt_asymmetric(
        KEY.public_key(), struct.pack("<I", len(plain)) + plain, POLICIES[0]
    )
    assert await refusal(authenticator, made) == StatusCodes.BadIdentityTokenInvalid


@pytest.mark.parametrize(
    "made", [None, ua.ExtensionObject(), ua.AnonymousIdentityToken(), ua.AnonymousIdentityToken("anonymous")]
)
async def test_nobody_in_particular_needs_its_line(users: UserStore, made: object) -> None:
    strict, open_ = (Authenticator(users, KEY, anonymous=anonymous) for anonymous in (False, True))
    assert await refusal(strict, made) == StatusCodes.BadIdentityTokenRejected
    found = await open_.authenticate(proof(made))
    assert found == Identity("anonymous", frozenset({Role.Anonymous}))
    assert found.anonymous
    assert (
        await refusal(open_, ua.AnonymousIdentityToken("another policy"))
        == StatusCodes.BadIdentityTokenInvalid
    )


@pytest.mark.parametrize(
    "made",
    [
        ua.X509IdentityToken(CertificateData=b"x"),
        ua.IssuedIdentityToken(TokenData=b"x"),
        ua.UserIdentityToken(),
    ],
)
async def test_other_kinds_are_refused_until_somebody_verifies_them(users: UserStore, made: object) -> None:
    authenticator = Authenticator(users, KEY, anonymous=True)
    assert await refusal(authenticator, made) == StatusCodes.BadIdentityTokenRejected
    seen: list[Proof] = []

    async def verify(given: object, evidence: Proof) -> Identity:
        assert given is made
        seen.append(evidence)
        return Identity("by another way", frozenset({Role.Engineer}))

    authenticator.add(type(made), verify)
    wanted = proof(made)
    assert (await authenticator.authenticate(wanted)).user == "by another way"
    assert seen == [wanted]


def test_a_user_called_anonymous_is_not_nobody() -> None:
    nobody = Identity("anonymous", frozenset())
    somebody = Identity("anonymous", frozenset(), UserRecord(name="anonymous", hash=HASH))
    assert not nobody.is_same(somebody)
    assert nobody.is_same(Identity("anonymous", frozenset({Role.Anonymous})))
    assert (nobody.mechanism, somebody.mechanism) == ("Anonymous", "UserName")


async def test_an_identity_of_today(users: UserStore, authenticator: Authenticator, tmp_path: Path) -> None:
    ann = await authenticator.authenticate(proof(token()))
    assert authenticator.refreshed(ann) == ann
    file = tmp_path / "users.yaml"
    users.set_roles(ANN, [Role.Observer])
    assert await users.refresh()
    today = authenticator.refreshed(ann)
    assert today is not None
    assert today.roles == {Role.Anonymous, Role.AuthenticatedUser, Role.Observer}
    file.write_text(f"version: 1\nusers: [{{name: {ANN}, hash: $argon2id$another}}]")
    assert await users.refresh()
    assert authenticator.refreshed(ann) is None, "another password"
    file.write_text("version: 1\nusers: []")
    assert await users.refresh()
    assert authenticator.refreshed(ann) is None
    nobody = Identity("anonymous", frozenset({Role.Anonymous}))
    assert authenticator.refreshed(nobody) is nobody


# --- How often


async def test_guesses_beyond_the_free_ones_are_not_even_hashed(
    authenticator: Authenticator, hashes: Hashes
) -> None:
    for _ in range(10):
        await refusal(authenticator, token(password="wrong"))
    assert len(hashes.checked) == 3
    assert await refusal(authenticator, token()) == StatusCodes.BadUserAccessDenied


async def test_guesses_made_at_once_count_like_those_made_in_turn(
    authenticator: Authenticator, hashes: Hashes
) -> None:
    guesses = [authenticator.authenticate(proof(token(password=f"wrong{n}"))) for n in range(20)]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    assert all(isinstance(answer, ServiceFault) for answer in answers)
    assert len(hashes.checked) == 3


async def test_right_passwords_at_once_are_all_let_in(authenticator: Authenticator) -> None:
    logins = [authenticator.authenticate(proof(token())) for _ in range(20)]
    assert {found.user for found in await asyncio.gather(*logins)} == {ANN}


async def test_one_password_tried_with_many_names(
    authenticator: Authenticator, hashes: Hashes, clock: Clock
) -> None:
    assert (await authenticator.authenticate(proof(token()))).user == ANN
    for number in range(20):
        await refusal(authenticator, token(f"user{number}", "summer2026"))
    assert len(hashes.checked) == 1 + PER_ADDRESS.free
    assert (await authenticator.authenticate(proof(token()))).user == ANN, "she has been here before"
    assert (await authenticator.authenticate(proof(token("user1"), "10.0.0.2"))).user == "user1"
    assert await refusal(authenticator, token("user19")) == StatusCodes.BadUserAccessDenied
    clock.now += PER_ADDRESS.seconds
    assert (await authenticator.authenticate(proof(token("user19")))).user == "user19"


async def test_whoever_waits_for_too_many_checks_is_told_to_come_back(users: UserStore) -> None:
    logins = [users.verify(ANN, PASSWORD, "10.0.0.1") for _ in range(MOST_EACH + 10)]
    answers = await asyncio.gather(*logins, return_exceptions=True)
    busy = [answer for answer in answers if isinstance(answer, ServiceFault)]
    assert {fault.code for fault in busy} == {StatusCodes.BadTooManyOperations}
    assert len(busy) == 9, "one runs, so many wait"
    assert await users.verify(ANN, PASSWORD, "10.0.0.1") is not None


async def test_a_flood_of_logins_from_one_address_does_not_hold_up_another(
    users: UserStore, hashes: Hashes
) -> None:
    flood = [asyncio.create_task(users.verify(f"user{n}", "wrong", "10.6.6.6")) for n in range(9)]
    await asyncio.sleep(0)
    assert await users.verify(ANN, PASSWORD, "10.0.0.1") is not None
    place = [password for _, password in hashes.checked].index(PASSWORD)
    assert place <= 3
    await asyncio.gather(*flood)
