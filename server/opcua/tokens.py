"""Who a client says it is: user identity tokens and the roles they bring (OPC 10000-4 §7.40)."""

from __future__ import annotations

import hmac
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from asyncua import ua
from cryptography.hazmat.primitives.asymmetric import rsa

from server.opcua.channels.policies import POLICIES, Policy
from server.opcua.endpoints import ANONYMOUS_POLICY, USER_NAME_POLICY
from server.opcua.sessions.pool import Pool
from server.opcua.space.permissions import ROLE_IDS, Access
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.users import UserRecord, UserStore
from server.plant.model import Role

log = logging.getLogger(__name__)

ANONYMOUS_NAME: Final = "anonymous"

_BASIC: Final = frozenset({Role.Anonymous})
_NAMED: Final = frozenset({Role.Anonymous, Role.AuthenticatedUser})
_MAX_SHOWN: Final = 80
_MAX_PASSWORD_BYTES: Final = 1024


_ENCRYPTIONS: Final[Mapping[str, Policy]] = {
    policy.encryption_algorithm: policy for policy in POLICIES.values()
}
"""How a password may be encrypted. That it is encrypted is demanded over every channel."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a session speaks for. ``record`` is the user as read from the file, None for Anonymous."""

    user: str
    roles: frozenset[Role]
    record: UserRecord | None = None

    @property
    def anonymous(self) -> bool:
        """Whether it is nobody in particular."""
        return self.record is None

    @property
    def mechanism(self) -> str:
        """AuthenticationMechanism of the session's diagnostics (OPC 10000-5 §12.12)."""
        return "Anonymous" if self.anonymous else "UserName"

    def is_same(self, other: Identity) -> bool:
        """Whether both are of one user, whatever the roles."""
        return self.user == other.user and self.anonymous == other.anonymous

    def access(self, *, signed: bool, encrypted: bool) -> Access:
        """What it may do over such a channel."""
        return Access(frozenset(ROLE_IDS[role] for role in self.roles), signed=signed, encrypted=encrypted)


class Proof(NamedTuple):
    """What ActivateSession brings to prove who its user is (OPC 10000-4 §5.7.3)."""

    token: object
    """The UserIdentityToken as decoded: one of `ua.…IdentityToken`, None where there is none."""
    nonce: bytes
    """The session's last server nonce."""
    address: str = ""
    """The client's host."""
    signature: ua.SignatureData | None = None
    """The UserTokenSignature, of tokens that have a key."""
    certificates: tuple[bytes, ...] = ()
    """What that may be over, followed by the nonce: our certificate, or our chain."""


Verifier = Callable[[Any, Proof], Awaitable[Identity]]
"""Turns a token of one kind into an identity. Raises ServiceFault."""


class LoginRefused(ServiceFault):
    """A wrong user name or password; ``user`` is what the client said, cut where it is long."""

    def __init__(self, user: str) -> None:
        self.user = user[:_MAX_SHOWN]
        super().__init__(StatusCodes.BadUserAccessDenied, f"wrong user name or password for {self.user!r}")


class Authenticator:
    """Turns a token into an identity, or refuses. Each kind of token has a `Verifier`."""

    def __init__(
        self,
        users: UserStore,
        private_key: rsa.RSAPrivateKey,
        *,
        anonymous: bool,
        pool: Pool | None = None,
    ) -> None:
        """``pool`` decrypts passwords."""
        self._users = users
        self._key = private_key
        self._anonymous = anonymous
        self._pool = pool or Pool(1)
        self._verifiers: dict[type, Verifier] = {
            ua.UserNameIdentityToken: self._user,
            ua.AnonymousIdentityToken: self._anybody,
        }

    def add(self, kind: type, verifier: Verifier) -> None:
        """Accept tokens of another kind; an endpoint has to offer it (`endpoints`)."""
        self._verifiers[kind] = verifier

    async def authenticate(self, proof: Proof) -> Identity:
        """The identity of a token.

        Raises ServiceFault: BadIdentityTokenInvalid, BadIdentityTokenRejected,
        BadUserAccessDenied, BadUserSignatureInvalid, BadTooManyOperations.
        """
        token = proof.token
        if token is None or (isinstance(token, ua.ExtensionObject) and token.TypeId.is_null()):
            token = ua.AnonymousIdentityToken()  # a null token means Anonymous (OPC 10000-4 §5.7.3)
        verifier = self._verifiers.get(type(token))
        if verifier is None:
            raise ServiceFault(StatusCodes.BadIdentityTokenRejected, "a token of a kind that is not offered")
        return await verifier(token, proof)

    def refreshed(self, identity: Identity) -> Identity | None:
        """The identity with the roles of today; None where the user is gone or has another password."""
        if identity.record is None:
            return identity
        record = self._users.current(identity.user)
        if record is None or record.hash != identity.record.hash:
            return None
        return Identity(identity.user, _NAMED | record.roles, record)

    async def _anybody(self, token: Any, _proof: Proof) -> Identity:
        if not self._anonymous:
            raise ServiceFault(StatusCodes.BadIdentityTokenRejected, "anonymous users are not let in")
        if token.PolicyId not in {None, "", ANONYMOUS_POLICY}:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid, f"no user token policy is called {token.PolicyId!r:.80}"
            )
        return Identity(ANONYMOUS_NAME, _BASIC)

    async def _user(self, token: Any, proof: Proof) -> Identity:
        if token.PolicyId != USER_NAME_POLICY or not token.UserName:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid, "no such user token policy, or no user name"
            )
        policy = _ENCRYPTIONS.get(token.EncryptionAlgorithm or "")
        if policy is None:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid,
                f"a password encrypted with {token.EncryptionAlgorithm or 'nothing'!r:.80}",
            )
        secret = token.Password or b""
        block = self._key.key_size // 8
        if not secret or len(secret) % block or len(secret) > _MAX_PASSWORD_BYTES:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid, "an encrypted password of the wrong length"
            )
        password = await self._pool.run(proof.address, lambda: self._decrypt(secret, policy, proof.nonce))
        record = await self._users.verify(token.UserName, password, proof.address)
        if record is None:
            raise LoginRefused(token.UserName)
        return Identity(token.UserName, _NAMED | record.roles, record)

    def _decrypt(self, secret: bytes, policy: Policy, nonce: bytes) -> str:
        """The password of OPC 10000-4 §7.40.2.2: length, password, server nonce, all encrypted.

        Whatever is wrong with it gives the same code: a client must not learn how far it got.
        """
        try:
            plain = policy.decrypt(self._key, secret)
            (length,) = struct.unpack_from("<I", plain)
            content = plain[4:]
            if length != len(content) or not hmac.compare_digest(content[-len(nonce) :], nonce):
                raise ServiceFault(StatusCodes.BadIdentityTokenInvalid, "a password for another nonce")
            return content[: -len(nonce)].decode("utf-8")
        except (ValueError, struct.error) as error:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid, "a password that cannot be decrypted"
            ) from error
