from __future__ import annotations

import hmac
import struct
from typing import Any, cast

import pytest
from asyncua.crypto import uacrypto
from hypothesis import given
from hypothesis import strategies as st

from server.opcua.channels.keys import Forged, Keys, derive
from server.opcua.channels.policies import MODE_SIGN, MODE_SIGN_AND_ENCRYPT, POLICIES

POLICY = {policy.name: policy for policy in POLICIES.values()}


@given(st.binary(min_size=1, max_size=64), st.binary(max_size=64), st.integers(0, 200))
def test_keys_are_derived_as_the_stack_does(secret: bytes, seed: bytes, size: int) -> None:
    (expected,) = cast("Any", uacrypto).p_sha256(secret, seed, (size,))
    assert derive(secret, seed, size) == expected


@pytest.mark.parametrize("name", list(POLICY))
@pytest.mark.parametrize("mode", [MODE_SIGN, MODE_SIGN_AND_ENCRYPT])
def test_what_is_sealed_opens_with_the_same_keys_and_no_others(name: str, mode: int) -> None:
    keys, others = (Keys(POLICY[name], mode, bytes([n]) * 32, b"seed" * 8) for n in (1, 2))
    for size in range(70):
        sequence, body = struct.pack("<II", 5, 6), bytes(range(size))
        chunk = keys.seal(b"MSGF", 1, 2, sequence, [body[: size // 2], memoryview(body)[size // 2 :]])
        assert struct.unpack_from("<III", chunk, 4) == (len(chunk), 1, 2)
        assert keys.open(chunk) == sequence + body
        with pytest.raises(Forged):
            others.open(chunk)


@pytest.mark.parametrize("mode", [MODE_SIGN, MODE_SIGN_AND_ENCRYPT])
@pytest.mark.parametrize("chunk", [8192, 8193, 8200, 65535])
def test_the_capacity_is_what_fits_and_not_a_byte_less(mode: int, chunk: int) -> None:
    keys = Keys(POLICY["Basic256Sha256"], mode, bytes(32), bytes(32))
    room = keys.capacity(chunk)
    assert len(keys.seal(b"MSGF", 1, 2, bytes(8), [bytes(room)])) <= chunk
    assert len(keys.seal(b"MSGF", 1, 2, bytes(8), [bytes(room + 1)])) > chunk


def test_a_signature_is_an_hmac_of_the_whole_chunk() -> None:
    policy = POLICY["Basic256Sha256"]
    keys = Keys(policy, MODE_SIGN, b"s" * 32, b"t" * 32)
    chunk = keys.seal(b"MSGF", 1, 2, bytes(8), [b"body"])
    key = derive(b"s" * 32, b"t" * 32, 32)
    assert chunk[-32:] == hmac.digest(key, chunk[:-32], "sha256")


@given(st.binary(max_size=200))
def test_any_bytes_are_opened_or_forged(data: bytes) -> None:
    for mode in (MODE_SIGN, MODE_SIGN_AND_ENCRYPT):
        with pytest.raises(Forged):
            Keys(POLICY["Aes128_Sha256_RsaOaep"], mode, bytes(32), bytes(32)).open(data)
