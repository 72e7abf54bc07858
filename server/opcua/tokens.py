"""Who a client says it is: user identity tokens and the roles they bring (OPC 10000-4 §7.40)."""

from __future__ import annotations

import hmac
import logging
import struct
from dataclasses import dataclass
from typing import Any, Final

from asyncua import ua
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from server.opcua.endpoints import ANONYMOUS_POLICY, USER_NAME_POLICY
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.users import TooManyLogins, UserRecord, UserStore
from server.plant.model import Role

log = logging.getLogger(__name__)

ANONYMOUS_NAME: Final = "anonymous"

_BASIC: Final = frozenset({Role.Anonymous})
_NAMED: Final = frozenset({Role.Anonymous, Role.AuthenticatedUser})
_MAX_PASSWORD_BYTES: Final = 4096


def _oaep(algorithm: hashes.HashAlgorithm) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(algorithm=algorithm), algorithm=algorithm, label=None)


_PADDINGS: Final = {
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep": _oaep(hashes.SHA1()),  # noqa: S303  # as the policies prescribe
    "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256": _oaep(hashes.SHA256()),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a session speaks for. ``record`` is the user as read from the file, None for Anonymous."""

    user: str
    roles: frozenset[Role]
    record: UserRecord | None = None


class Authenticator:
    """Turns a token into an identity, or refuses."""

    def __init__(self, users: UserStore, private_key: rsa.RSAPrivateKey, *, anonymous: bool) -> None:
        self._users = users
        self._key = private_key
        self._anonymous = anonymous

    async def identify(self, token: object, nonce: bytes) -> Identity:
        """The identity of a token; ``nonce`` is the session's last server nonce.

        Raises ServiceFault: BadIdentityTokenInvalid, BadIdentityTokenRejected,
        BadUserAccessDenied, BadTooManyOperations.
        """
        match token:
            case ua.UserNameIdentityToken():
                return await self._user(token, nonce)
            case ua.AnonymousIdentityToken():
                return self._anybody(token.PolicyId)
            case None:
                return self._anybody(None)
            case ua.ExtensionObject() if token.TypeId.is_null():
                return self._anybody(None)  # a null token means Anonymous (OPC 10000-4 §5.7.3)
            case _:
                raise ServiceFault(
                    StatusCodes.BadIdentityTokenRejected, "a token of a kind that is not offered"
                )

    def refreshed(self, identity: Identity) -> Identity | None:
        """The identity with the roles of today; None where the user is gone or has another password."""
        if identity.record is None:
            return identity
        record = self._users.current(identity.user)
        if record is None or record.hash != identity.record.hash:
            return None
        return Identity(identity.user, _NAMED | record.roles, record)

    def _anybody(self, policy_id: str | None) -> Identity:
        if not self._anonymous:
            raise ServiceFault(StatusCodes.BadIdentityTokenRejected, "anonymous users are not let in")
        if policy_id not in {None, "", ANONYMOUS_POLICY}:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid, f"no user token policy is called {policy_id!r}"
            )
        return Identity(ANONYMOUS_NAME, _BASIC)

    async def _user(self, token: Any, nonce: bytes) -> Identity:
        if token.PolicyId != USER_NAME_POLICY or not token.UserName:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid, "no such user token policy, or no user name"
            )
        password = self._decrypt(token, nonce)
        try:
            roles = await self._users.verify(token.UserName, password)
        except TooManyLogins as error:
            raise ServiceFault(StatusCodes.BadTooManyOperations, str(error)) from error
        record = self._users.current(token.UserName)
        if roles is None or record is None:
            raise ServiceFault(
                StatusCodes.BadUserAccessDenied, f"wrong user name or password for {token.UserName!r}"
            )
        return Identity(token.UserName, _NAMED | roles, record)

    def _decrypt(self, token: Any, nonce: bytes) -> str:
        """The password of OPC 10000-4 §7.40.2.2: length, password, server nonce, all encrypted."""
        scheme = _PADDINGS.get(token.EncryptionAlgorithm or "")
        if scheme is None:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid,
                f"a password encrypted with {token.EncryptionAlgorithm or 'nothing'!r}",
            )
        secret = token.Password or b""
        block = self._key.key_size // 8
        if not secret or len(secret) % block or len(secret) > _MAX_PASSWORD_BYTES:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid, "an encrypted password of the wrong length"
            )
        try:
            plain = b"".join(
                self._key.decrypt(secret[i : i + block], scheme) for i in range(0, len(secret), block)
            )
            (length,) = struct.unpack_from("<I", plain)
            content = plain[4:]
            if length != len(content) or not hmac.compare_digest(content[-len(nonce) :], nonce):
                raise ServiceFault(StatusCodes.BadIdentityTokenInvalid, "a password for another nonce")
            return content[: -len(nonce)].decode("utf-8")
        except (ValueError, struct.error) as error:
            raise ServiceFault(
                StatusCodes.BadIdentityTokenInvalid, "a password that cannot be decrypted"
            ) from error
