"""Messages of a channel that is open, the stack's client at the other end."""

from __future__ import annotations

import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from cryptography.exceptions import InvalidSignature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import channels, pki
from support.channels import ENCRYPT, NONE, POLICIES, SIGN, Peer, peer, sequence_number

from server.opcua.channels.channel import SecureChannel
from server.opcua.channels.gate import Gatekeeper
from server.opcua.transport.framing import TransportError
from server.opcua.transport.limits import LIMITS, Limits, Negotiated
from server.opcua.types import ServiceFault, StatusCodes

OFFERS = [(name, mode) for name in POLICIES for mode in (SIGN, ENCRYPT)]
EVERY = [*OFFERS, ("None", NONE)]


@pytest.fixture
def gate(tmp_path: Path) -> Gatekeeper:
    return channels.gatekeeper(tmp_path, channels.client_certificate(), offers=channels.all_offers(none=True))


async def pair(
    gate: Gatekeeper,
    name: str = "None",
    mode: ua.MessageSecurityMode = ENCRYPT,
    *,
    negotiated: Negotiated | None = None,
    limits: Limits = LIMITS,
    lifetime: int = 60_000,
) -> tuple[SecureChannel, Peer]:
    """An open channel and its client."""
    channel, client = channels.channel(gate, negotiated, limits), peer(name, mode)
    client.opened((await channel.open(client.opening(RequestedLifetime=lifetime)))[0])
    return channel, client


def refused(channel: SecureChannel, chunk: bytes, code: int, *, early: bool = False) -> str:
    with pytest.raises(TransportError) as caught:
        channel.receive(chunk, early)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "mode"), EVERY)
async def test_messages_go_both_ways_in_every_policy_and_mode(
    gate: Gatekeeper, name: str, mode: ua.MessageSecurityMode
) -> None:
    channel, client = await pair(gate, name, mode)
    for size in (1, 7, 8, 15, 16, 17, 31, 32, 200, 60_000, 65_400, 65_500, 65_535, 200_000):
        body = bytes(size)
        message = None
        data = client.seal(body, request=size)
        for chunk in cut(data):
            assert message is None
            message = channel.receive(chunk, early=False)
        assert message is not None
        assert (message.request_id, message.body, message.closing) == (size, body, False)
        sent = channel.encode(size, [body[: size // 2], b"", body[size // 2 :]])
        assert all(len(chunk) <= 65535 for chunk in sent)
        assert client.text(sent) == body
    assert client.text(channel.encode(3, b"as bytes")) == b"as bytes"


def cut(data: bytes) -> list[bytes]:
    found = []
    while data:
        (size,) = struct.unpack_from("<I", data, 4)
        found.append(data[:size])
        data = data[size:]
    return found


@pytest.mark.parametrize(("name", "mode"), OFFERS)
async def test_chunks_fill_the_clients_buffer(
    gate: Gatekeeper, name: str, mode: ua.MessageSecurityMode
) -> None:
    channel, client = await pair(gate, name, mode, negotiated=Negotiated(8192, 8192))
    sent = channel.encode(1, b"x" * 40_000)
    assert len(sent) == 5
    assert all(8192 - 16 < len(chunk) <= 8192 for chunk in sent[:-1])
    assert client.text(sent) == b"x" * 40_000


async def test_what_a_channel_is(gate: Gatekeeper) -> None:
    channel = channels.channel(gate)
    assert not channel.opened
    assert channel.expires == 0.0
    channel, client = await pair(gate, "Aes256_Sha256_RsaPss", SIGN)
    certificate = pki.der(channels.client_certificate())
    assert channel.opened
    assert channel.policy_uri == client.policy.URI
    assert channel.certificate == channel.chain == certificate
    assert (channel.mode, channel.signed, channel.encrypted) == (2, True, False)
    assert channel.key == (channel.certificate, channel.policy_uri, 2)
    assert not channel.discovery_only
    assert time.monotonic() + 70 < channel.expires < time.monotonic() + 76
    open_one, _ = await pair(gate)
    assert (open_one.mode, open_one.signed, open_one.encrypted) == (1, False, False)
    assert open_one.key == (b"", "http://opcfoundation.org/UA/SecurityPolicy#None", 1)
    assert not open_one.discovery_only


# --- Tampering


@pytest.mark.parametrize(("name", "mode"), OFFERS)
async def test_no_byte_of_a_chunk_may_be_changed(
    gate: Gatekeeper, name: str, mode: ua.MessageSecurityMode
) -> None:
    channel, client = await pair(gate, name, mode)
    good = client.seal(b"a body of some length")
    for at in (*range(16, len(good)), 0, 4):
        bad = bytearray(good)
        bad[at] ^= 0x40
        reason = refused(channel, bytes(bad), StatusCodes.BadSecurityChecksFailed)
        assert reason == "a chunk not secured with the channel's keys"
    assert channel.receive(good, early=True) is not None


@pytest.mark.parametrize(("name", "mode"), OFFERS)
async def test_what_is_cut_or_made_up_is_refused_alike(
    gate: Gatekeeper, name: str, mode: ua.MessageSecurityMode
) -> None:
    channel, client = await pair(gate, name, mode)
    good = client.seal(b"a body of some length")
    for size in range(24, len(good)):
        refused(channel, good[:size], StatusCodes.BadSecurityChecksFailed)
    refused(channel, good + bytes(16), StatusCodes.BadSecurityChecksFailed)
    refused(channel, good[:16] + bytes(len(good) - 16), StatusCodes.BadSecurityChecksFailed)


async def test_padding_is_looked_at_only_behind_the_signature(gate: Gatekeeper) -> None:
    """A padding that claims more than there is, well signed: refused like any other chunk."""
    channel, client = await pair(gate, "Aes128_Sha256_RsaOaep", ENCRYPT)
    crypto = client.policy.symmetric_cryptography
    token = client.stack.security_token
    plain = struct.pack("<II", client.stack._sequence_number + 1, 9) + bytes(7) + b"\xff"
    head = b"MSGF" + struct.pack("<III", 16 + len(plain) + 32, token.ChannelId, token.TokenId)
    sealed = head + crypto.encrypt(plain + crypto.signature(head + plain))
    assert (
        refused(channel, sealed, StatusCodes.BadSecurityChecksFailed)
        == "a chunk not secured with the channel's keys"
    )


async def test_a_chunk_of_another_channel_is_refused(gate: Gatekeeper) -> None:
    channel, client = await pair(gate)
    client.stack.security_token.ChannelId += 1
    refused(channel, client.seal(b"x"), StatusCodes.BadTcpSecureChannelUnknown)


async def test_nothing_is_received_or_sent_before_the_channel_is_open(gate: Gatekeeper) -> None:
    channel = channels.channel(gate)
    chunk = b"MSGF" + struct.pack("<IIIII", 28, channel.id, 0, 1, 1) + b"body"
    refused(channel, chunk, StatusCodes.BadTcpSecureChannelUnknown)
    with pytest.raises(ServiceFault):
        channel.encode(1, b"x")


@pytest.mark.parametrize("size", range(12, 24))
async def test_a_chunk_without_all_its_headers_is_refused(gate: Gatekeeper, size: int) -> None:
    channel, client = await pair(gate)
    refused(channel, client.seal(b"x")[:size], StatusCodes.BadTcpMessageTypeInvalid)


async def test_an_unknown_token_is_refused(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, "Basic256Sha256")
    client.stack.security_token.TokenId += 1
    refused(channel, client.seal(b"x"), StatusCodes.BadSecureChannelTokenUnknown)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.binary(max_size=120), early=st.booleans(), secure=st.booleans())
def test_any_bytes_give_a_message_or_an_error(
    opened: tuple[SecureChannel, SecureChannel], data: bytes, early: bool, secure: bool
) -> None:
    channel = opened[secure]
    head = b"MSGF" + struct.pack("<III", 16 + len(data), channel.id, 1)
    for chunk in (head + data, data):
        try:
            channel.receive(chunk, early)
        except TransportError:
            continue


@pytest.fixture
async def opened(gate: Gatekeeper) -> tuple[SecureChannel, SecureChannel]:
    return (await pair(gate))[0], (await pair(gate, "Aes128_Sha256_RsaOaep"))[0]


# --- Sequence numbers


async def test_a_repeated_chunk_is_refused(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, "Basic256Sha256")
    chunk = client.seal(b"close the valve")
    channel.receive(chunk, early=True)
    assert "BadSequenceNumberInvalid" in refused(channel, chunk, StatusCodes.BadSecurityChecksFailed)


async def test_reordered_and_lost_chunks_are_refused(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, "Basic256Sha256")
    client.seal(b"lost")
    refused(channel, client.seal(b"next"), StatusCodes.BadSecurityChecksFailed)


@pytest.mark.parametrize(
    ("last", "following", "fine"),
    [
        (0xFFFFFFFF, 0, True),
        (0xFFFFFFFF, 1, True),
        (0xFFFFFFFF, 1023, True),
        (0xFFFFFFFF, 1024, False),
        (0xFFFFFBFF, 1, True),
        (0xFFFFFBFE, 1, False),
        (0xFFFFFBFF, 0xFFFFFC00, True),
        (5, 5, False),
        (5, 4, False),
        (5, 7, False),
        (5, 0, False),
    ],
)
async def test_a_clients_numbers_wrap_around_at_the_end_only(
    gate: Gatekeeper, last: int, following: int, fine: bool
) -> None:
    channel, client = await pair(gate)
    channel._incoming._last = last
    client.stack._sequence_number = following - 1
    data = client.seal(b"x")
    data = data[:16] + struct.pack("<I", following) + data[20:]
    if fine:
        assert channel.receive(data, early=True) is not None
    else:
        refused(channel, data, StatusCodes.BadSecurityChecksFailed)


async def test_our_numbers_go_up_by_one_and_wrap_around_at_the_end(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, negotiated=Negotiated(8192, 8192))
    numbers = [sequence_number(chunk) for chunk in channel.encode(1, bytes(20_000)) + channel.encode(2, b"x")]
    assert numbers == [2, 3, 4, 5]
    channel._sent = 0xFFFFFFFD
    client.stack._peer_sequence_number = 0xFFFFFFFD
    sent = channel.encode(3, bytes(30_000))
    assert [sequence_number(chunk) for chunk in sent] == [0xFFFFFFFE, 0xFFFFFFFF, 1, 2]
    assert client.text(sent) == bytes(30_000)


# --- Several chunks


async def test_an_aborted_request_is_forgotten_and_the_next_is_served(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, "Basic256Sha256")
    assert channel.receive(client.chunk(b"half", b"C", 5), early=True) is None
    reason = struct.pack("<Ii", StatusCodes.BadRequestTooLarge, -1)
    assert channel.receive(client.chunk(reason, b"A", 5), early=True) is None
    assert channel.receive(client.chunk(reason, b"A", 6), early=True) is None
    message = channel.receive(client.chunk(b"whole", b"F", 6), early=True)
    assert message is not None
    assert (message.request_id, message.body) == (6, b"whole")


async def test_an_abort_that_is_not_the_clients_is_refused(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, "Basic256Sha256", SIGN)
    channel.receive(client.chunk(b"half", b"C", 5), early=True)
    chunk = bytearray(client.chunk(bytes(8), b"F", 5))
    chunk[3] = ord("A")
    refused(channel, bytes(chunk), StatusCodes.BadSecurityChecksFailed)


async def test_chunks_of_two_requests_do_not_mix(gate: Gatekeeper) -> None:
    channel, client = await pair(gate)
    channel.receive(client.chunk(b"half", b"C", 5), early=True)
    refused(channel, client.chunk(b"other", b"F", 6), StatusCodes.BadSecurityChecksFailed)


async def test_a_request_is_no_larger_than_is_taken(gate: Gatekeeper) -> None:
    limits = replace(LIMITS, message=1000, early_message=100)
    channel, client = await pair(gate, limits=limits)
    assert channel.receive(client.seal(b"x" * 1000), early=False) is not None
    assert channel.receive(client.seal(b"x" * 100), early=True) is not None
    refused(channel, client.seal(b"x" * 1001), StatusCodes.BadTcpMessageTooLarge)
    channel, client = await pair(gate, limits=limits)
    refused(channel, client.seal(b"x" * 101), StatusCodes.BadTcpMessageTooLarge, early=True)
    channel, client = await pair(gate, limits=limits)
    assert channel.receive(client.chunk(b"x" * 60, b"C"), early=True) is None
    refused(channel, client.chunk(b"x" * 60, b"C"), StatusCodes.BadTcpMessageTooLarge, early=True)
    channel, client = await pair(gate, limits=limits)
    assert channel.receive(client.chunk(b"x" * 900, b"C"), early=False) is None
    refused(channel, client.chunk(b"x" * 101, b"F"), StatusCodes.BadTcpMessageTooLarge)


async def test_a_request_has_no_more_chunks_than_are_taken(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, limits=replace(LIMITS, chunks=10))
    for _ in range(10):
        assert channel.receive(client.chunk(b"", b"C"), early=False) is None
    refused(channel, client.chunk(b"", b"C"), StatusCodes.BadTcpMessageTooLarge)


async def test_a_response_is_no_larger_than_the_client_takes(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, negotiated=Negotiated(65535, 8192, max_response=20_000))
    assert client.text(channel.encode(1, bytes(20_000))) == bytes(20_000)
    with pytest.raises(ServiceFault) as caught:
        channel.encode(1, bytes(20_001))
    assert caught.value.code == StatusCodes.BadResponseTooLarge
    channel, client = await pair(gate, negotiated=Negotiated(65535, 8192, max_response=100))
    with pytest.raises(ServiceFault):
        channel.encode(1, bytes(101))
    # Nothing was sent of it: what follows is in order.
    assert client.text(channel.encode(2, b"a fault")) == b"a fault"


async def test_a_response_has_no_more_chunks_than_the_client_takes(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, negotiated=Negotiated(65535, 8192, max_response_chunks=2))
    room = 8192 - 24
    assert client.text(channel.encode(1, bytes(2 * room))) == bytes(2 * room)
    with pytest.raises(ServiceFault):
        channel.encode(1, bytes(2 * room + 1))


async def test_a_response_is_no_larger_than_we_make_them(gate: Gatekeeper) -> None:
    channel, _ = await pair(gate, limits=replace(LIMITS, response=1000))
    with pytest.raises(ServiceFault):
        channel.encode(1, bytes(1001))


# --- The end


@pytest.mark.parametrize(("name", "mode"), [("None", NONE), ("Basic256Sha256", ENCRYPT)])
async def test_close_is_a_message_that_says_so(
    gate: Gatekeeper, name: str, mode: ua.MessageSecurityMode
) -> None:
    channel, client = await pair(gate, name, mode)
    channel.receive(client.chunk(b"half", b"C", 5), early=True)
    message = channel.receive(client.seal(b"bye", ua.MessageType.SecureClose, 6), early=True)
    assert message is not None
    assert message.closing


async def test_a_close_that_is_not_the_clients_is_refused(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, "Basic256Sha256", SIGN)
    chunk = client.seal(b"bye")
    refused(channel, b"CLO" + chunk[3:], StatusCodes.BadSecurityChecksFailed)


# --- Renewal (OPC 10000-4 §5.6.2)


@pytest.mark.parametrize(("name", "mode"), EVERY)
async def test_we_send_under_the_old_token_until_the_client_uses_the_new(
    gate: Gatekeeper, name: str, mode: ua.MessageSecurityMode
) -> None:
    channel, client = await pair(gate, name, mode)
    granted = client.opened((await channel.open(client.opening()))[0])
    assert granted.SecurityToken.TokenId == 2
    assert granted.SecurityToken.ChannelId == channel.id
    assert token_of(channel.encode(1, b"x")[0]) == 1
    client.stack._peer_sequence_number += 1
    old = client.seal(b"still the old")
    message = channel.receive(old, early=True)
    assert message is not None
    assert token_of(old) == 1
    assert client.text(channel.encode(1, b"for the old")) == b"for the old"
    client.stack.revolve_tokens()
    assert channel.receive(client.seal(b"new"), early=True) is not None
    assert token_of(channel.encode(1, b"y")[0]) == 2
    client.stack._peer_sequence_number += 1
    assert client.text(channel.encode(1, b"for the new")) == b"for the new"


def token_of(chunk: bytes) -> int:
    return int(struct.unpack_from("<I", chunk, 12)[0])


async def test_the_old_token_serves_until_it_ends(gate: Gatekeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    channel, client = await pair(gate, "Basic256Sha256", lifetime=20_000)
    early_one = client.seal(b"under way")
    client.stack._sequence_number -= 1
    late_one = client.seal(b"very late")
    client.stack._sequence_number -= 1
    client.opened((await channel.open(client.opening(RequestedLifetime=3_600_000)))[0])
    client.stack.revolve_tokens()
    channel.receive(client.seal(b"new"), early=True)
    clock(monkeypatch, 24.0)
    channel._incoming._last = early_one_number = client.stack._sequence_number - 2
    assert channel.receive(early_one, early=True) is not None
    channel._incoming._last = early_one_number
    clock(monkeypatch, 26.0)
    refused(channel, late_one, StatusCodes.BadSecureChannelTokenUnknown)


def clock(monkeypatch: pytest.MonkeyPatch, later: float) -> None:
    """Let that many seconds pass, counted from now."""
    now = time.monotonic()
    monkeypatch.setattr("server.opcua.channels.tokens.time.monotonic", lambda: now + later)


async def test_an_expired_token_is_refused_after_a_quarter_more(
    gate: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, client = await pair(gate, "Basic256Sha256", lifetime=10_000)
    with monkeypatch.context() as patched:
        clock(patched, 12.0)
        assert channel.receive(client.seal(b"late"), early=True) is not None
    with monkeypatch.context() as patched:
        clock(patched, 12.6)
        refused(channel, client.seal(b"too late"), StatusCodes.BadSecureChannelTokenUnknown)


async def test_when_the_old_token_expires_we_send_under_the_new(
    gate: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, client = await pair(gate, "Basic256Sha256", lifetime=10_000)
    client.opened((await channel.open(client.opening()))[0])
    clock(monkeypatch, 10.5)
    sent = channel.encode(1, b"x")
    assert token_of(sent[0]) == 2
    client.stack.revolve_tokens()
    assert client.text(sent) == b"x"


async def test_a_token_older_than_the_former_is_refused(gate: Gatekeeper) -> None:
    channel, client = await pair(gate, "Basic256Sha256")
    first: Any = client.seal(b"first")
    client.stack._sequence_number -= 1
    for _ in range(2):
        client.opened((await channel.open(client.opening()))[0])
        client.stack.revolve_tokens()
        channel.receive(client.seal(b"x"), early=True)
    refused(channel, first, StatusCodes.BadSecureChannelTokenUnknown)


# --- Signatures of sessions


@pytest.mark.parametrize("name", list(POLICIES))
async def test_signatures_for_sessions_are_the_applications(gate: Gatekeeper, name: str) -> None:
    channel, client = await pair(gate, name)
    made: Any = channel.sign(b"certificate and nonce")
    assert made.Algorithm == client.policy.AsymmetricSignatureURI
    client.policy.asymmetric_cryptography.verify(b"certificate and nonce", made.Signature)
    theirs = client.policy.asymmetric_cryptography.signature(b"our certificate and nonce")
    channel.verify(b"our certificate and nonce", client.policy.AsymmetricSignatureURI, theirs)
    for data, algorithm, signature in (
        (b"another", client.policy.AsymmetricSignatureURI, theirs),
        (b"our certificate and nonce", "http://www.w3.org/2000/09/xmldsig#rsa-sha1", theirs),
        (b"our certificate and nonce", client.policy.AsymmetricSignatureURI, theirs[:-1]),
        (b"our certificate and nonce", client.policy.AsymmetricSignatureURI, b""),
    ):
        with pytest.raises((ValueError, InvalidSignature)):
            channel.verify(data, algorithm, signature)


async def test_over_none_nothing_is_signed(gate: Gatekeeper) -> None:
    channel, _ = await pair(gate)
    made: Any = channel.sign(b"x")
    assert (made.Algorithm, made.Signature) == (None, None)
    with pytest.raises(ValueError, match="nothing is signed"):
        channel.verify(b"x", "", b"")
