"""OpenSecureChannel chunks: secured with the applications' certificates (OPC 10000-6 §6.7.2.3, §6.7.4)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from server.opcua.channels.keys import SEQUENCE_HEADER, Forged
from server.opcua.channels.policies import Policy
from server.opcua.wire.reader import DecodingError, Reader
from server.opcua.wire.writer import NULL_STRING, byte_string

_HEADER: Final = struct.Struct("<4sII")
_MAX_URI: Final = 255
_THUMBPRINT: Final = 20
_MAX_BLOCKS: Final = 16
"""RSA blocks of a request: a few times what one has. Each costs the time of a decryption."""
_EXTRA: Final = 256
"""Bytes of a key above which the size of the padding takes two bytes."""


class AsymmetricHeader(NamedTuple):
    """What an OpenSecureChannel chunk says in the clear."""

    channel: int
    policy_uri: str
    certificates: bytes
    """The sender's chain, its own certificate first."""
    thumbprint: bytes
    """Of the receiver's certificate."""
    end: int
    """Where the secured part begins."""


def read_header(chunk: bytes) -> AsymmetricHeader:
    """The headers of a chunk. Raises DecodingError."""
    reader = Reader(chunk, 8)
    channel = reader.uint32()
    uri = reader.string() or ""
    if len(uri) > _MAX_URI:
        raise DecodingError(f"a SecurityPolicyUri of {len(uri)} characters")
    certificates = reader.byte_string() or b""
    thumbprint = reader.byte_string() or b""
    if len(thumbprint) not in {0, _THUMBPRINT}:
        raise DecodingError(f"a thumbprint of {len(thumbprint)} bytes")
    return AsymmetricHeader(channel, uri, certificates, thumbprint, reader.at)


def unseal(
    policy: Policy, own: rsa.RSAPrivateKey, theirs: rsa.RSAPublicKey, chunk: bytes, start: int
) -> bytes:
    """Sequence header and body of a chunk that was secured for us. Raises Forged.

    Decrypts first, then verifies; what was wrong is nobody's business (OPC 10000-6 §6.7.7).
    """
    secured = chunk[start:]
    block = own.key_size // 8
    if not secured or len(secured) % block or len(secured) > _MAX_BLOCKS * block:
        raise Forged
    try:
        plain = policy.decrypt(own, secured)
        size = theirs.key_size // 8
        policy.verify(theirs, chunk[:start] + plain[:-size], plain[-size:])
    except (ValueError, InvalidSignature) as error:
        raise Forged from error
    last = len(plain) - size - 1
    if last < SEQUENCE_HEADER:
        raise Forged
    end = last - plain[last]
    if block > _EXTRA:
        end = last - 1 - (plain[last - 1] | plain[last] << 8)
    if end < SEQUENCE_HEADER:
        raise Forged
    return plain[:end]


def seal(
    policy: Policy,
    own: rsa.RSAPrivateKey,
    theirs: rsa.RSAPublicKey,
    head: bytes,
    channel: int,
    plain: bytes,
) -> bytes:
    """A chunk secured for the other side.

    ``head`` is the security header, see `security_header`; ``plain`` the sequence header and the body.
    """
    key = theirs.key_size // 8
    block = key - policy.overhead
    extra = 1 if key > _EXTRA else 0
    signature = own.key_size // 8
    padding = -(len(plain) + 1 + extra + signature) % block
    plain += bytes([padding & 0xFF]) * (padding + 1) + (bytes([padding >> 8]) if extra else b"")
    size = _HEADER.size + len(head) + (len(plain) + signature) // block * key
    clear = _HEADER.pack(b"OPNF", size, channel) + head
    return clear + policy.encrypt(theirs, plain + policy.sign(own, clear + plain))


def security_header(uri: str, certificates: bytes | None = None, thumbprint: bytes | None = None) -> bytes:
    """The security header of an OpenSecureChannel chunk."""
    if certificates is None:
        return byte_string(uri.encode()) + NULL_STRING + NULL_STRING
    return byte_string(uri.encode()) + byte_string(certificates) + byte_string(thumbprint)


def plain_chunk(head: bytes, channel: int, plain: bytes) -> bytes:
    """An OpenSecureChannel chunk over SecurityPolicy None."""
    return _HEADER.pack(b"OPNF", _HEADER.size + len(head) + len(plain), channel) + head + plain


def sealed_size(
    policy: Policy, own: rsa.RSAPrivateKey, theirs: rsa.RSAPublicKey, head: bytes, plain: bytes
) -> int:
    """At most how large a chunk `seal` makes of them."""
    key = theirs.key_size // 8
    block = key - policy.overhead
    blocks = -(-(len(plain) + 2 + own.key_size // 8) // block)
    return _HEADER.size + len(head) + blocks * key
