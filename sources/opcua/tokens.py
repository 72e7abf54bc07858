"""Proving there as whom a session is: the UserIdentityToken (OPC 10000-4 §7.40)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certs.errors import CertificateError
from certs.files import der, read_certificates
from sources.errors import Refused
from sources.opcua.config import DownstreamSettings
from sources.opcua.identity import Credentials
from sources.opcua.security import Surroundings, Way, validated
from sources.opcua.stack import NONE_URI, POLICIES, POLICY_URI, encrypt_asymmetric, sign_asymmetric, ua
from sources.quality import BAD_CONFIGURATION_ERROR, BAD_IDENTITY_TOKEN_REJECTED
from sources.settings import SecretError, read_secret


class Token(NamedTuple):
    """A UserIdentityToken, and the signature that goes with one that has a key."""

    token: Any
    signature: Any = None


async def user_token(
    who: Credentials, settings: DownstreamSettings, surroundings: Surroundings, way: Way, nonce: bytes
) -> Token:
    """What ActivateSession takes for that user. Raises Refused. Secrets are read anew each time."""
    if who.certificate is not None and who.key is not None:
        return await _certificate(who, settings, surroundings, way, nonce)
    if who.user is None or who.password is None:
        policy = _policy(way, ua.UserTokenType.Anonymous, "anonymous users")
        return Token(ua.AnonymousIdentityToken(PolicyId=policy.PolicyId))
    policy = _policy(way, ua.UserTokenType.UserName, "users with a password")
    password = await asyncio.to_thread(_secret, who.password, surroundings.base)
    uri = policy.SecurityPolicyUri or way.endpoint.SecurityPolicyUri
    token = ua.UserNameIdentityToken(PolicyId=policy.PolicyId, UserName=who.user)
    if uri == NONE_URI:
        if settings.security != "sign_and_encrypt":
            raise Refused("it wants the password in the clear over a connection that is not encrypted")
        token.Password = password.encode()
        token.EncryptionAlgorithm = None
        return Token(token)
    if uri.removeprefix(POLICY_URI) not in POLICIES:
        raise Refused(f"it wants the password encrypted by {uri}, which is no longer safe")
    certificate = await _server(settings, surroundings, way)
    secret = password.encode() + nonce
    plain = len(secret).to_bytes(4, "little") + secret
    token.Password, token.EncryptionAlgorithm = encrypt_asymmetric(certificate.public_key(), plain, uri)
    return Token(token)


async def _certificate(
    who: Credentials, settings: DownstreamSettings, surroundings: Surroundings, way: Way, nonce: bytes
) -> Token:
    policy = _policy(way, ua.UserTokenType.Certificate, "users with a certificate")
    uri = policy.SecurityPolicyUri or way.endpoint.SecurityPolicyUri
    if uri.removeprefix(POLICY_URI) not in POLICIES:
        raise Refused(f"it wants a signature by {uri}, which proves nothing")
    certificate, key = await asyncio.to_thread(_pair, who, surroundings.base)
    server = await _server(settings, surroundings, way)
    signature, algorithm = sign_asymmetric(key, der(server) + nonce, uri)
    return Token(
        ua.X509IdentityToken(PolicyId=policy.PolicyId, CertificateData=der(certificate)),
        ua.SignatureData(Algorithm=algorithm, Signature=signature),
    )


def _policy(way: Way, kind: Any, who: str) -> Any:
    for policy in way.endpoint.UserIdentityTokens or []:
        if policy.TokenType == kind:
            return policy
    raise Refused(f"it lets no {who} in at this endpoint", BAD_IDENTITY_TOKEN_REJECTED)


async def _server(settings: DownstreamSettings, surroundings: Surroundings, way: Way) -> x509.Certificate:
    """Its certificate. Where none took part yet, nobody has proved to be the server: it has to be trusted."""
    if settings.security == "none":
        return await asyncio.to_thread(validated, settings, surroundings, way.endpoint)
    return x509.load_der_x509_certificate(way.certificate)


def _secret(reference: str, base: Path) -> str:
    try:
        return read_secret(reference, base)
    except SecretError as error:
        raise Refused(str(error), BAD_CONFIGURATION_ERROR) from None


def _pair(who: Credentials, base: Path) -> tuple[x509.Certificate, RSAPrivateKey]:
    """A user's certificate and key, read anew: they may be renewed while we run. Touches the disk."""
    certificate_file, key_file = base / (who.certificate or ""), base / (who.key or "")
    try:
        certificate = read_certificates(certificate_file.read_bytes())[0]
        content = key_file.read_bytes()
    except OSError as error:
        raise Refused(f"{error.filename} cannot be read: {error.strerror}", BAD_CONFIGURATION_ERROR) from None
    except CertificateError as error:
        raise Refused(f"{certificate_file}: {error}", BAD_CONFIGURATION_ERROR) from None
    password = _secret(who.key_password, base).encode() if who.key_password is not None else None
    try:
        key = load_pem_private_key(content, password)
    except (ValueError, TypeError):
        # What the library says of it may have parts of the file in it.
        advice = "is key_password the one that opens it?" if password is not None else "is it encrypted?"
        raise Refused(
            f"{key_file} holds no private key that can be read; {advice}", BAD_CONFIGURATION_ERROR
        ) from None
    public = certificate.public_key()
    if not isinstance(key, RSAPrivateKey) or public != key.public_key():
        raise Refused(f"{key_file} is not the RSA key of {certificate_file}", BAD_CONFIGURATION_ERROR)
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise Refused(
            f"{certificate_file} expired on {certificate.not_valid_after_utc:%Y-%m-%d}",
            BAD_CONFIGURATION_ERROR,
        )
    return certificate, key
