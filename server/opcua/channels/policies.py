"""The security policies: which algorithms, which keys, which nonces (OPC 10000-7 §6.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

MODE_NONE: Final = 1
MODE_SIGN: Final = 2
MODE_SIGN_AND_ENCRYPT: Final = 3
"""MessageSecurityMode (OPC 10000-4 §7.20)."""

MIN_RSA: Final = 2048
MAX_RSA: Final = 4096
"""Bits of an application's key."""

NONCE: Final = 32
"""Bytes of the nonces that the keys of a channel are made of."""

NONE_URI: Final = "http://opcfoundation.org/UA/SecurityPolicy#None"

_SHA256: Final = hashes.SHA256()
_PKCS1: Final = padding.PKCS1v15()
_PSS: Final = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=32)
_OAEP_SHA1: Final = padding.OAEP(
    mgf=padding.MGF1(hashes.SHA1()),  # noqa: S303  # what the policies prescribe
    algorithm=hashes.SHA1(),  # noqa: S303
    label=None,
)
_OAEP_SHA256: Final = padding.OAEP(mgf=padding.MGF1(_SHA256), algorithm=_SHA256, label=None)


@dataclass(frozen=True, slots=True)
class Policy:
    """One security policy over RSA: HMAC-SHA2-256 and AES-CBC for messages, keys by P-SHA2-256."""

    name: str
    encryption_key: int
    """Bytes of the AES key."""
    signature_algorithm: str
    encryption_algorithm: str
    signature_padding: padding.PKCS1v15 | padding.PSS
    encryption_padding: padding.OAEP
    overhead: int
    """Bytes of an RSA block that the encryption padding takes."""

    @property
    def uri(self) -> str:
        """The SecurityPolicyUri."""
        return f"http://opcfoundation.org/UA/SecurityPolicy#{self.name}"

    def sign(self, key: rsa.RSAPrivateKey, data: bytes) -> bytes:
        """A signature with an application's key."""
        return key.sign(data, self.signature_padding, _SHA256)

    def verify(self, key: rsa.RSAPublicKey, data: bytes, signature: bytes) -> None:
        """Raises cryptography's InvalidSignature."""
        key.verify(signature, data, self.signature_padding, _SHA256)

    def encrypt(self, key: rsa.RSAPublicKey, data: bytes) -> bytes:
        """Encrypt for an application, a block of the key's size for each piece that fits into one."""
        block = key.key_size // 8 - self.overhead
        pieces = (data[at : at + block] for at in range(0, len(data), block))
        return b"".join(key.encrypt(piece, self.encryption_padding) for piece in pieces)

    def decrypt(self, key: rsa.RSAPrivateKey, data: bytes) -> bytes:
        """Decrypt what is for us. Raises ValueError; stops at the first block that makes no sense."""
        block = key.key_size // 8
        pieces = (data[at : at + block] for at in range(0, len(data), block))
        return b"".join(key.decrypt(piece, self.encryption_padding) for piece in pieces)


_POLICIES: Final = (
    Policy(
        "Basic256Sha256",
        32,
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        "http://www.w3.org/2001/04/xmlenc#rsa-oaep",
        _PKCS1,
        _OAEP_SHA1,
        42,
    ),
    Policy(
        "Aes128_Sha256_RsaOaep",
        16,
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        "http://www.w3.org/2001/04/xmlenc#rsa-oaep",
        _PKCS1,
        _OAEP_SHA1,
        42,
    ),
    Policy(
        "Aes256_Sha256_RsaPss",
        32,
        "http://opcfoundation.org/UA/security/rsa-pss-sha2-256",
        "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256",
        _PSS,
        _OAEP_SHA256,
        66,
    ),
)

POLICIES: Final[Mapping[str, Policy]] = {policy.uri: policy for policy in _POLICIES}
"""Every policy but None, by its URI."""
