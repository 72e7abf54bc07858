"""OpenSecureChannel: what is granted, what is refused and how (OPC 10000-6 §6.7.4, §6.7.7)."""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import channels, pki
from support.channels import ENCRYPT, NONE, POLICIES, SIGN, Peer, peer

from certs.errors import CertificateError
from certs.validate import validate
from server.opcua.channels import gate as gates
from server.opcua.channels.channel import SecureChannel
from server.opcua.channels.gate import Gatekeeper
from server.opcua.channels.policies import Policy
from server.opcua.sessions.pool import Busy, Pool
from server.opcua.transport.framing import TransportError
from server.opcua.transport.limits import Negotiated
from server.opcua.types import StatusCodes

ISSUE, RENEW = ua.SecurityTokenRequestType.Issue, ua.SecurityTokenRequestType.Renew


@pytest.fixture
def gate(tmp_path: Path) -> Gatekeeper:
    return channels.gatekeeper(tmp_path, channels.client_certificate())


async def refused(channel: SecureChannel, chunk: bytes, code: int) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await channel.open(chunk)
    assert caught.value.code == code, str(caught.value)
    return caught.value


async def pair(gate: Gatekeeper, name: str = "Basic256Sha256") -> tuple[SecureChannel, Peer]:
    channel, client = channels.channel(gate), peer(name)
    client.opened((await channel.open(client.opening()))[0])
    return channel, client


# --- What is granted


@pytest.mark.parametrize("ours", [2048, 3072, 4096])
@pytest.mark.parametrize("theirs", [2048, 3072, 4096])
@pytest.mark.parametrize("name", list(POLICIES))
async def test_keys_of_2048_to_4096_bits_go_together(
    tmp_path: Path, ours: int, theirs: int, name: str
) -> None:
    own, certificate = channels.identity(ours), channels.client_certificate(theirs)
    gate = channels.gatekeeper(tmp_path, certificate, own=own)
    client = peer(name, own=own, private=pki.key(channels.CLIENT_KEY, theirs))
    channel = channels.channel(gate)
    client.opened((await channel.open(client.opening()))[0])
    message = channel.receive(client.seal(b"hello"), early=True)
    assert message is not None
    assert client.text(channel.encode(1, b"welcome")) == b"welcome"
    client.opened((await channel.open(client.opening()))[0])


async def test_an_answer_has_nonce_token_and_channel(gate: Gatekeeper) -> None:
    channel, client = channels.channel(gate), peer()
    granted = client.opened((await channel.open(client.opening()))[0])
    token = granted.SecurityToken
    assert (token.ChannelId, token.TokenId, token.RevisedLifetime) == (channel.id, 1, 60_000)
    assert len(granted.ServerNonce or b"") == 32
    again = client.opened((await channel.open(client.opening()))[0])
    assert again.ServerNonce != granted.ServerNonce
    assert (again.SecurityToken.ChannelId, again.SecurityToken.TokenId) == (channel.id, 2)


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(0, 3_600_000), (1, 10_000), (9_999, 10_000), (60_000, 60_000), (2**32 - 1, 3_600_000)],
)
async def test_a_lifetime_is_kept_within_bounds(gate: Gatekeeper, asked: int, granted: int) -> None:
    channel, client = channels.channel(gate), peer()
    found = client.opened((await channel.open(client.opening(RequestedLifetime=asked)))[0])
    assert found.SecurityToken.RevisedLifetime == granted


def test_channels_have_numbers_that_begin_anywhere_and_are_never_0(tmp_path: Path) -> None:
    first, second = (channels.gatekeeper(tmp_path) for _ in range(2))
    numbers = [first.next_id() for _ in range(3)]
    assert numbers[1:] == [numbers[0] + 1, numbers[0] + 2]
    assert abs(second.next_id() - numbers[0]) > 3
    first._ids = iter([2**32 - 1, 2**32, 2**32 + 1])  # type: ignore[assignment]
    assert [first.next_id(), first.next_id()] == [2**32 - 1, 1]


async def test_over_none_a_channel_is_for_discovery_only_where_none_is_not_offered(gate: Gatekeeper) -> None:
    channel, client = channels.channel(gate), peer("None")
    granted = client.opened((await channel.open(client.opening()))[0])
    assert not granted.ServerNonce
    assert channel.discovery_only
    assert (channel.mode, channel.certificate) == (1, b"")
    secure, _ = await pair(gate)
    assert not secure.discovery_only


async def test_over_none_a_certificate_means_nothing(gate: Gatekeeper) -> None:
    channel, client = channels.channel(gate), peer("None")
    plain = client.opening()
    at = plain.index(b"\xff" * 8, 8)
    chunk = plain[:at] + struct.pack("<i", 3) + b"abc" + plain[at + 4 :]
    chunk = chunk[:4] + struct.pack("<I", len(chunk)) + chunk[8:]
    assert await channel.open(chunk)
    assert channel.certificate == b""


async def test_a_chain_is_taken_and_kept_as_it_was_sent(tmp_path: Path) -> None:
    ca = pki.authority()
    certificate = pki.application(issuer=ca, private=pki.key(channels.CLIENT_KEY))
    gate = channels.gatekeeper(tmp_path, ca.certificate)
    crl = tmp_path / "pki" / "trusted" / "crl" / "ca.crl"
    crl.write_bytes(ca.revoke().public_bytes(Encoding.DER))
    client = peer(certificate=certificate)
    client.policy.host_certificate_chain = [pki.der(ca.certificate)]
    channel = channels.channel(gate)
    client.opened((await channel.open(client.opening()))[0])
    assert channel.certificate == pki.der(certificate)
    assert channel.chain == pki.der(certificate) + pki.der(ca.certificate)


async def test_our_issuers_are_sent_where_the_client_can_take_them(tmp_path: Path) -> None:
    issuers = tuple(pki.authority(f"CA {number}").certificate for number in range(12))
    own = channels.identity(issuers=issuers)
    gate = channels.gatekeeper(tmp_path, channels.client_certificate(), own=own)
    for size, expected in ((65535, gate.chain), (8192, gate.certificate)):
        client = peer(own=own)
        (chunk,) = await channels.channel(gate, Negotiated(65535, size)).open(client.opening())
        assert len(chunk) <= size
        client.opened(chunk)
        (length,) = struct.unpack_from("<i", chunk, 16 + len(client.policy.URI))
        assert length == len(expected)


# --- What is refused, before anything is decrypted


@pytest.mark.parametrize("uri", ["", "nonsense", "http://opcfoundation.org/UA/SecurityPolicy#Basic128Rsa15"])
async def test_a_policy_that_is_not_offered_is_refused(gate: Gatekeeper, uri: str) -> None:
    client = peer()
    client.policy.URI = uri
    await refused(channels.channel(gate), client.opening(), StatusCodes.BadSecurityPolicyRejected)


async def test_a_policy_we_know_and_do_not_offer_is_refused(tmp_path: Path) -> None:
    offers = [offer for offer in channels.all_offers() if offer.name == "Aes256_Sha256_RsaPss"]
    gate = channels.gatekeeper(tmp_path, channels.client_certificate(), offers=offers)
    await refused(channels.channel(gate), peer().opening(), StatusCodes.BadSecurityPolicyRejected)


async def test_a_request_for_another_servers_certificate_is_refused(gate: Gatekeeper) -> None:
    client = peer()
    client.policy.peer_certificate = pki.der(channels.client_certificate())
    await refused(channels.channel(gate), client.opening(), StatusCodes.BadCertificateInvalid)
    client.policy.peer_certificate = b""
    await refused(channels.channel(gate), client.opening(), StatusCodes.BadCertificateInvalid)


async def test_a_certificate_nobody_trusts_is_refused_and_kept_for_a_person(
    gate: Gatekeeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = pki.application("Stranger", private=pki.key(12))
    client = peer(certificate=stranger, private=pki.key(12))
    with caplog.at_level(logging.INFO, "isthmus.audit"):
        error = await refused(channels.channel(gate), client.opening(), StatusCodes.BadSecurityChecksFailed)
    assert "isthmus certs trust" in str(error)
    assert not error.answer
    (kept,) = (tmp_path / "pki" / "rejected").iterdir()
    assert kept.read_bytes() == pki.der(stranger)
    (record,) = [record.__dict__ for record in caplog.records if record.name == "isthmus.audit"]
    assert record["step"] == "trust"
    assert record["status"] == "BadCertificateUntrusted"
    assert record["client"] == "10.1.2.3:50000"


async def test_an_expired_certificate_is_refused_as_such(tmp_path: Path) -> None:
    private = pki.key(channels.CLIENT_KEY)
    old = pki.application(private=private, end=timedelta(hours=-1))
    gate = channels.gatekeeper(tmp_path, old)
    await refused(
        channels.channel(gate), peer(certificate=old).opening(), StatusCodes.BadCertificateTimeInvalid
    )


async def test_a_key_that_is_too_small_is_refused(tmp_path: Path) -> None:
    weak = pki.application(private=pki.key(13, 1024))
    gate = channels.gatekeeper(tmp_path, weak)
    client = peer(certificate=weak, private=pki.key(13, 1024))
    await refused(channels.channel(gate), client.opening(), StatusCodes.BadSecurityChecksFailed)


def swapped(chunk: bytes, part: bytes, by: bytes) -> bytes:
    """A chunk with one of its byte strings replaced, lengths set right."""
    at = chunk.index(part) - 4
    made = chunk[:at] + struct.pack("<i", len(by)) + by + chunk[at + 4 + len(part) :]
    return made[:4] + struct.pack("<I", len(made)) + made[8:]


@pytest.mark.parametrize("data", [b"", b"x", b"\x30\x82\xff\xff" + bytes(100), bytes(60_000)])
async def test_what_is_no_certificate_is_refused(gate: Gatekeeper, data: bytes) -> None:
    chunk = swapped(peer().opening(), pki.der(channels.client_certificate()), data)
    await refused(channels.channel(gate), chunk, StatusCodes.BadSecurityChecksFailed)


async def test_a_name_cannot_forge_a_line_of_the_log(
    gate: Gatekeeper, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = pki.application("Mallory\n12:00:00 INFO all is well", private=pki.key(12))
    client = peer(certificate=stranger, private=pki.key(12))
    error = await refused(channels.channel(gate), client.opening(), StatusCodes.BadSecurityChecksFailed)
    assert "Mallory\\u000a12:00:00 INFO" in str(error)
    assert "Mallory\\u000a12:00:00 INFO" in caplog.text
    assert "Mallory\n" not in caplog.text


async def test_where_certificates_cannot_be_checked_nobody_comes_in(
    gate: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CertificateError("the disk is gone")

    monkeypatch.setattr(gates, "validate", fail)
    error = await refused(channels.channel(gate), peer().opening(), StatusCodes.BadTcpInternalError)
    assert "the disk is gone" in str(error)


async def test_a_fault_of_ours_is_logged_and_refuses(
    gate: Gatekeeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gates, "validate", lambda *_, **__: 1 / 0)
    await refused(channels.channel(gate), peer().opening(), StatusCodes.BadTcpInternalError)
    assert "ZeroDivisionError" in caplog.text


# --- What is refused, for it is not the sender's


def secured(chunk: bytes) -> int:
    """Where the part begins that is encrypted."""
    return chunk.index(channels.thumbprint(channels.identity().certificate)) + 20


def tamper_anywhere(chunk: bytes) -> list[bytes]:
    start = secured(chunk)
    return [chunk[:at] + bytes([chunk[at] ^ 1]) + chunk[at + 1 :] for at in range(start, len(chunk), 37)]


async def test_a_request_that_was_changed_is_refused_the_same_way_wherever(gate: Gatekeeper) -> None:
    for bad in tamper_anywhere(peer().opening()):
        error = await refused(channels.channel(gate), bad, StatusCodes.BadSecurityChecksFailed)
        assert str(error) == "an OpenSecureChannel request that is not its sender's"
        assert not error.answer


async def test_a_trusted_certificate_without_its_key_is_of_no_use(gate: Gatekeeper) -> None:
    client = peer(private=pki.key(12), certificate=channels.client_certificate())
    error = await refused(channels.channel(gate), client.opening(), StatusCodes.BadSecurityChecksFailed)
    assert not error.answer


@pytest.mark.parametrize("size", [0, 1, 255, 257, 17 * 256, 200 * 256])
async def test_a_request_of_a_size_that_cannot_be_is_refused_before_it_is_decrypted(
    gate: Gatekeeper, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError

    chunk = peer().opening()
    head = secured(chunk)
    monkeypatch.setattr("server.opcua.channels.policies.Policy.decrypt", never)
    await refused(channels.channel(gate), chunk[:head] + bytes(size), StatusCodes.BadSecurityChecksFailed)


@pytest.mark.parametrize("padding", [b"\xff\xff", b"\xff\x00"])
async def test_a_padding_larger_than_the_request_is_refused(tmp_path: Path, padding: bytes) -> None:
    own = channels.identity(4096)
    gate = channels.gatekeeper(tmp_path, channels.client_certificate(), own=own)
    client = peer(own=own)
    crypto = client.policy.asymmetric_cryptography
    crypto.padding = lambda size: bytes(-(size + 2 + 256) % (512 - 42)) + padding
    error = await refused(channels.channel(gate), client.opening(), StatusCodes.BadSecurityChecksFailed)
    assert str(error) == "an OpenSecureChannel request that is not its sender's"


# --- What is refused in the service: the client is told with a ServiceFault first


async def faulted(channel: SecureChannel, client: Peer, code: int, **changed: Any) -> None:
    error = await refused(channel, client.opening(**changed), code)
    fault = struct_from_binary(ua.ServiceFault, client.read(*error.answer))
    assert fault.ResponseHeader.ServiceResult.value == code
    assert fault.ResponseHeader.RequestHandle == 4711


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"RequestType": RENEW}, StatusCodes.BadRequestTypeInvalid),
        ({"SecurityMode": NONE}, StatusCodes.BadSecurityModeRejected),
        ({"SecurityMode": ua.MessageSecurityMode.Invalid}, StatusCodes.BadSecurityModeRejected),
        ({"ClientNonce": b""}, StatusCodes.BadNonceInvalid),
        ({"ClientNonce": None}, StatusCodes.BadNonceInvalid),
        ({"ClientNonce": bytes(31)}, StatusCodes.BadNonceInvalid),
        ({"ClientNonce": bytes(33)}, StatusCodes.BadNonceInvalid),
        ({"ClientProtocolVersion": 1}, StatusCodes.BadProtocolVersionUnsupported),
    ],
)
@pytest.mark.parametrize("name", ["Basic256Sha256", "Aes256_Sha256_RsaPss"])
async def test_parameters_that_do_not_fit_are_refused_with_a_fault(
    gate: Gatekeeper, name: str, changed: dict[str, Any], code: int
) -> None:
    channel = channels.channel(gate)
    await faulted(channel, peer(name), code, **changed)
    assert not channel.opened


async def test_a_mode_that_is_not_offered_is_refused(tmp_path: Path) -> None:
    offers = [offer for offer in channels.all_offers() if offer.mode == ENCRYPT]
    gate = channels.gatekeeper(tmp_path, channels.client_certificate(), offers=offers)
    await faulted(channels.channel(gate), peer(mode=SIGN), StatusCodes.BadSecurityModeRejected)


@pytest.mark.parametrize("mode", [SIGN, ENCRYPT])
async def test_over_none_there_is_no_mode_but_none(gate: Gatekeeper, mode: ua.MessageSecurityMode) -> None:
    await faulted(
        channels.channel(gate), peer("None"), StatusCodes.BadSecurityModeRejected, SecurityMode=mode
    )


async def test_the_version_is_that_of_the_hello(gate: Gatekeeper) -> None:
    channel, client = channels.channel(gate, Negotiated(65535, 65535, version=7)), peer()
    client.opened((await channel.open(client.opening(ClientProtocolVersion=7)))[0])
    assert channel.opened


async def test_an_open_channel_is_not_opened_again(gate: Gatekeeper) -> None:
    channel, client = await pair(gate)
    await faulted(channel, client, StatusCodes.BadRequestTypeInvalid, RequestType=ISSUE)


# --- Renewal


async def test_a_channel_is_renewed_in_its_own_mode(gate: Gatekeeper) -> None:
    channel, client = await pair(gate)
    await faulted(channel, client, StatusCodes.BadSecurityModeRejected, SecurityMode=SIGN)


@pytest.mark.parametrize("name", ["Aes128_Sha256_RsaOaep", "None"])
async def test_a_channel_is_renewed_with_its_own_policy(gate: Gatekeeper, name: str) -> None:
    channel, client = await pair(gate)
    other = peer(name)
    other.kind = RENEW
    other.stack.security_token.ChannelId = channel.id
    other.stack._sequence_number = client.stack._sequence_number
    await refused(channel, other.opening(), StatusCodes.BadSecurityChecksFailed)


async def test_a_channel_is_renewed_with_its_own_certificate(tmp_path: Path) -> None:
    second = pki.application("Second", private=pki.key(12))
    gate = channels.gatekeeper(tmp_path, channels.client_certificate(), second)
    channel, client = await pair(gate)
    thief = peer(certificate=second, private=pki.key(12))
    thief.kind = RENEW
    thief.stack.security_token.ChannelId = channel.id
    thief.stack._sequence_number = client.stack._sequence_number
    await refused(channel, thief.opening(), StatusCodes.BadSecurityChecksFailed)


async def test_a_channel_of_another_number_is_not_renewed(gate: Gatekeeper) -> None:
    channel, client = await pair(gate)
    client.stack.security_token.ChannelId += 1
    await refused(channel, client.opening(), StatusCodes.BadTcpSecureChannelUnknown)
    fresh = peer()
    fresh.stack.security_token.ChannelId = 77
    await refused(channels.channel(gate), fresh.opening(), StatusCodes.BadTcpSecureChannelUnknown)


async def test_a_certificate_that_is_no_longer_trusted_is_not_renewed(
    gate: Gatekeeper, tmp_path: Path
) -> None:
    channel, client = await pair(gate)
    (tmp_path / "pki" / "trusted" / "certs" / "0.der").unlink()
    await refused(channel, client.opening(), StatusCodes.BadSecurityChecksFailed)


async def test_a_repeated_opening_is_refused(gate: Gatekeeper) -> None:
    channel, client = await pair(gate)
    chunk = client.opening()
    await channel.open(chunk)
    await refused(channel, chunk, StatusCodes.BadSecurityChecksFailed)


async def test_numbers_go_on_over_messages_and_openings(gate: Gatekeeper) -> None:
    channel, client = await pair(gate)
    client.seal(b"lost")
    await refused(channel, client.opening(), StatusCodes.BadSecurityChecksFailed)


async def test_responses_made_during_a_renewal_follow_its_answer(
    gate: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, client = await pair(gate)
    release, signing = threading.Event(), threading.Event()
    seal = channel._seal

    def slow(*arguments: Any) -> bytes:
        signing.set()
        release.wait(5)
        return seal(*arguments)

    monkeypatch.setattr(channel, "_seal", slow)
    renewing = asyncio.create_task(channel.open(client.opening()))
    assert await asyncio.to_thread(signing.wait, 5)
    assert channel.encode(50, b"meanwhile") == []
    assert channel.encode(51, b"as well") == []
    release.set()
    answer, *behind = await renewing
    client.opened(answer)
    assert [client.text([chunk]) for chunk in behind] == [b"meanwhile", b"as well"]
    assert client.text(channel.encode(52, b"afterwards")) == b"afterwards"


# --- The event loop


async def test_certificates_and_keys_are_worked_with_off_the_loop(
    gate: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, seen = threading.get_ident(), set()

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            seen.add((function.__name__, threading.get_ident() == here))
            return function(*arguments, **named)

        return call

    for name in ("decrypt", "encrypt", "sign", "verify"):
        monkeypatch.setattr(Policy, name, noting(getattr(Policy, name)))
    monkeypatch.setattr(gates, "validate", noting(validate))
    await pair(gate)
    names = {"decrypt", "encrypt", "sign", "verify", "validate"}
    assert seen == {(name, False) for name in names}


async def test_where_too_many_wait_a_client_is_told_to_come_back(gate: Gatekeeper) -> None:
    class Full(Pool):
        async def run(self, *_: Any, **__: Any) -> Any:
            raise Busy("full")

    channel = channels.channel(gate)
    gate.pool = Full(1)  # type: ignore[misc]
    await refused(channel, peer().opening(), StatusCodes.BadTcpServerTooBusy)


async def test_one_opening_at_a_time(gate: Gatekeeper) -> None:
    channel, client = channels.channel(gate), peer()
    first = asyncio.create_task(channel.open(client.opening()))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await channel.open(client.opening())
    client.opened((await first)[0])


# --- Any bytes


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(7),
        struct.pack("<II", 1, 1),
        struct.pack("<II", 1, 1) + struct_to_binary(ua.GetEndpointsRequest()),
        struct.pack("<II", 1, 1) + struct_to_binary(ua.OpenSecureChannelRequest())[:-1],
    ],
    ids=["empty", "no node id", "no type", "another request", "cut short"],
)
async def test_a_request_that_cannot_be_read_is_refused(gate: Gatekeeper, body: bytes) -> None:
    uri = b"http://opcfoundation.org/UA/SecurityPolicy#None"
    head = struct.pack("<Ii", 0, len(uri)) + uri + b"\xff" * 8
    chunk = b"OPNF" + struct.pack("<I", 8 + len(head) + len(body)) + head + body
    await refused(channels.channel(gate), chunk, StatusCodes.BadDecodingError)


@pytest.mark.parametrize(
    "head",
    [
        struct.pack("<I", 0),
        struct.pack("<Ii", 0, -7),
        struct.pack("<Ii", 0, 2**31 - 1),
        struct.pack("<Ii", 0, 256) + b"u" * 256 + b"\xff" * 8,
        struct.pack("<Ii", 0, 1) + b"\xff" * 9,
        struct.pack("<Iii", 0, -1, -1) + struct.pack("<i", 19) + bytes(19),
        struct.pack("<Iii", 0, -1, -2),
    ],
)
async def test_headers_with_lengths_that_cannot_be_are_refused(gate: Gatekeeper, head: bytes) -> None:
    chunk = b"OPNF" + struct.pack("<I", 8 + len(head)) + head
    await refused(channels.channel(gate), chunk, StatusCodes.BadDecodingError)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(data=st.binary(max_size=300), name=st.sampled_from(["None", "Basic256Sha256", ""]))
async def test_any_bytes_give_an_answer_or_an_error(gate: Gatekeeper, data: bytes, name: str) -> None:
    uri = f"http://opcfoundation.org/UA/SecurityPolicy#{name}".encode()
    for head in (b"", struct.pack("<Ii", 0, len(uri)) + uri):
        body = head + data
        try:
            await channels.channel(gate).open(b"OPNF" + struct.pack("<I", 8 + len(body)) + body)
        except TransportError:
            continue
