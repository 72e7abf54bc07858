"""The symmetric keys of one security token: what secures MSG and CLO chunks (OPC 10000-6 §6.7.2, §6.7.5)."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from server.opcua.channels.policies import MODE_SIGN_AND_ENCRYPT, Policy

SIGNATURE: Final = 32
"""Bytes of an HMAC-SHA2-256, and of the key it is made with."""
BLOCK: Final = 16
CLEAR: Final = 16
"""Bytes before the encrypted part: message header, channel, token."""
SEQUENCE_HEADER: Final = 8

_HEADER: Final = struct.Struct("<4sIII")
_HMAC_BLOCK: Final = 64
_INNER: Final = bytes(0x36 ^ i for i in range(256))
_OUTER: Final = bytes(0x5C ^ i for i in range(256))
_PADDINGS: Final = tuple(bytes([size]) * (size + 1) for size in range(BLOCK))
"""By PaddingSize: that byte, and as many like it."""


class Forged(Exception):
    """A chunk was not secured with these keys. The peer learns nothing of why."""


def derive(secret: bytes, seed: bytes, size: int) -> bytes:
    """P-SHA2-256: so many bytes of keys from two nonces (OPC 10000-6 §6.7.5, RFC 5246 §5)."""
    found, link = b"", seed
    while len(found) < size:
        link = hmac.digest(secret, link, "sha256")
        found += hmac.digest(secret, link + seed, "sha256")
    return found[:size]


class Keys:
    """The keys one side sends with: made of the receiver's nonce as secret and the sender's as seed."""

    __slots__ = ("_cipher", "_inner", "_outer")

    def __init__(self, policy: Policy, mode: int, secret: bytes, seed: bytes) -> None:
        size = policy.encryption_key
        material = derive(secret, seed, SIGNATURE + size + BLOCK)
        signing = material[:SIGNATURE].ljust(_HMAC_BLOCK, b"\0")
        # Half of an HMAC over a short message is hashing its key: done once here.
        self._inner = hashlib.sha256(signing.translate(_INNER))
        self._outer = hashlib.sha256(signing.translate(_OUTER))
        self._cipher: Cipher[modes.CBC] | None = None
        if mode == MODE_SIGN_AND_ENCRYPT:
            key = algorithms.AES(material[SIGNATURE : SIGNATURE + size])
            self._cipher = Cipher(key, modes.CBC(material[SIGNATURE + size :]))

    def capacity(self, chunk: int) -> int:
        """How many bytes of a body fit into a chunk of that size."""
        if self._cipher is None:
            return chunk - CLEAR - SEQUENCE_HEADER - SIGNATURE
        return (chunk - CLEAR) // BLOCK * BLOCK - SEQUENCE_HEADER - 1 - SIGNATURE

    def seal(
        self, kind: bytes, channel: int, token: int, sequence: bytes, body: Sequence[bytes | memoryview]
    ) -> bytes:
        """A secured chunk; ``sequence`` is its sequence header."""
        size = CLEAR + SEQUENCE_HEADER + sum(map(len, body)) + SIGNATURE
        cipher = self._cipher
        if cipher is None:
            signed = b"".join((_HEADER.pack(kind, size, channel, token), sequence, *body))
            return signed + self._sign(signed)
        padding = -(size + 1) % BLOCK
        header = _HEADER.pack(kind, size + 1 + padding, channel, token)
        plain = b"".join((sequence, *body, _PADDINGS[padding]))
        encryptor = cipher.encryptor()
        return b"".join((header, encryptor.update(plain), encryptor.update(self._sign(header, plain))))

    def open(self, chunk: bytes) -> bytes:
        """Sequence header and body of a secured chunk. Raises Forged."""
        cipher = self._cipher
        if cipher is None:
            if len(chunk) < CLEAR + SEQUENCE_HEADER + SIGNATURE:
                raise Forged
            if not hmac.compare_digest(self._sign(memoryview(chunk)[:-SIGNATURE]), chunk[-SIGNATURE:]):
                raise Forged
            return chunk[CLEAR:-SIGNATURE]
        if len(chunk) % BLOCK or len(chunk) < CLEAR + SEQUENCE_HEADER + 1 + SIGNATURE:
            raise Forged
        plain = cipher.decryptor().update(memoryview(chunk)[CLEAR:])
        view = memoryview(plain)
        if not hmac.compare_digest(self._sign(chunk[:CLEAR], view[:-SIGNATURE]), plain[-SIGNATURE:]):
            raise Forged
        end = len(plain) - SIGNATURE - 1 - plain[-SIGNATURE - 1]
        if end < SEQUENCE_HEADER:
            raise Forged
        return plain[:end]

    def _sign(self, *parts: bytes | memoryview) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        for part in parts:
            inner.update(part)
        outer.update(inner.digest())
        return outer.digest()
