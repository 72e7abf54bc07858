"""Applications nobody let in: the peer learns what it may, the audit trail names the check that failed."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from support import channels, pki
from support.attack import Flood, unharmed
from support.net import until
from support.prober import probing
from support.rawclient import raw
from support.victim import Victim
from support.wire import error_code

from certs.errors import Step
from server.opcua.types import StatusCodes, status_name

PLANT = pki.authority("Plant CA", private=pki.key(30))
SILENT = pki.authority("A CA without a list", private=pki.key(31))
UNKNOWN = pki.authority("Unknown CA", private=pki.key(32))
INTERMEDIATE = pki.authority("Revoked intermediate CA", private=pki.key(33), issuer=PLANT)
KEY = pki.key(34)
WEAK = pki.key(35, 1024)
URI = b"http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
DAY = timedelta(days=1)

REVOKED = pki.application("Revoked", private=KEY, issuer=PLANT)
ISSUED_BY_REVOKED = pki.application("Of a revoked issuer", private=KEY, issuer=INTERMEDIATE)
GOOD = pki.application("Good", private=KEY, issuer=PLANT)

TRUSTED: dict[str, x509.Certificate] = {
    "expired": pki.application("Expired", private=KEY, start=-10 * DAY, end=-DAY),
    "not valid yet": pki.application("Early", private=KEY, start=DAY),
    "for servers only": pki.application("Server", private=KEY, extended=ExtendedKeyUsageOID.SERVER_AUTH),
    "not for signing": pki.application("Mute", private=KEY, key_usage=pki.usage(sign=False)),
    "weak": pki.application("Weak", private=WEAK),
}
"""On the trust list themselves, and still not to be let in."""

REFUSED: list[tuple[str, x509.Certificate, Step, str, str]] = [
    ("expired", TRUSTED["expired"], Step.Validity, "BadCertificateTimeInvalid", ""),
    ("not valid yet", TRUSTED["not valid yet"], Step.Validity, "BadCertificateTimeInvalid", ""),
    ("for servers only", TRUSTED["for servers only"], Step.Usage, "BadCertificateUseNotAllowed", ""),
    ("not for signing", TRUSTED["not for signing"], Step.Usage, "BadCertificateUseNotAllowed", ""),
    ("weak", TRUSTED["weak"], Step.Policy, "BadCertificatePolicyCheckFailed", "BadSecurityChecksFailed"),
    ("self-signed", pki.application("Nobody", private=KEY), Step.Trust, "BadCertificateUntrusted",
     "BadSecurityChecksFailed"),
    ("unknown issuer", pki.application("Foreign", private=KEY, issuer=UNKNOWN), Step.Chain,
     "BadCertificateChainIncomplete", "BadSecurityChecksFailed"),
    ("forged issuer", pki.application("Forged", private=KEY,
                                      issuer=pki.Ca(PLANT.certificate, pki.key(36))), Step.Signature,
     "BadCertificateInvalid", "BadSecurityChecksFailed"),
    ("revoked", REVOKED, Step.Revoked, "BadCertificateRevoked", "BadSecurityChecksFailed"),
    ("issuer revoked", ISSUED_BY_REVOKED, Step.IssuerRevoked, "BadCertificateIssuerRevoked",
     "BadSecurityChecksFailed"),
    ("no revocation list", pki.application("Unlisted", private=KEY, issuer=SILENT), Step.RevocationList,
     "BadCertificateRevocationUnknown", "BadSecurityChecksFailed"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(strict: Victim) -> Victim:
    """A server that trusts a CA with a revocation list, one without, and some broken applications."""
    for certificate in (*TRUSTED.values(), PLANT.certificate, SILENT.certificate):
        strict.trust(certificate)
    strict.trust(INTERMEDIATE.certificate, "issuers/certs")
    put(strict, "plant.crl", PLANT.revoke(REVOKED, INTERMEDIATE.certificate))
    put(strict, "intermediate.crl", INTERMEDIATE.revoke())
    return strict


def put(server: Victim, name: str, crl: x509.CertificateRevocationList) -> None:
    folder = server.data / "pki/trusted/crl"
    part: Path = folder / f"{name}.part"
    part.write_bytes(pki.crl_der(crl))
    part.rename(folder / name)


async def refused(server: Victim, peer: channels.Peer) -> int:
    """The code a client is told instead of being let in."""
    async with raw(server.port, peer=peer) as client:
        await client.wire.greet()
        client.wire.send(peer.opening())
        return error_code(await client.wire.end())


async def test_a_certificate_without_a_flaw_is_let_in(server: Victim) -> None:
    async with raw(server.port, peer=server.peer(GOOD, KEY)) as client:
        await client.ready(("operator", "line-one-runs"))
        assert (await client.read(("i=2259", 13)))[0].Value is not None


@pytest.mark.parametrize(
    ("certificate", "step", "audited", "told"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_a_certificate_that_fails_a_check(
    server: Victim, certificate: x509.Certificate, step: Step, audited: str, told: str
) -> None:
    before = len(server.entries())
    private = WEAK if step is Step.Policy else KEY
    code = await refused(server, server.peer(certificate, private))
    assert status_name(code) == (told or audited)

    def entries() -> list[dict[str, Any]]:
        return [e for e in server.entries()[before:] if e.get("event") == "channel"]

    await until(entries)
    (found,) = entries()
    assert (found["logger"], found["step"], found["status"]) == ("isthmus.audit", step.value, audited)
    assert found["certificate"] == hashlib.sha1(pki.der(certificate)).hexdigest().upper()


async def test_who_is_revoked_while_connected_is_sent_away(server: Victim) -> None:
    late = pki.application("Late", private=KEY, issuer=PLANT)
    async with raw(server.port, peer=server.peer(late, KEY)) as client:
        await client.ready(("operator", "line-one-runs"))
        put(server, "plant.crl", PLANT.revoke(REVOKED, INTERMEDIATE.certificate, late))
        said = await client.wire.end()
        assert error_code(said) == StatusCodes.BadSecurityChecksFailed
    assert await refused(server, server.peer(late, KEY)) == StatusCodes.BadSecurityChecksFailed


async def test_a_trusted_certificate_without_its_key_is_of_no_use(server: Victim) -> None:
    peer = server.peer(channels.client_certificate(), KEY)
    assert await refused(server, peer) == StatusCodes.BadSecurityChecksFailed


@pytest.mark.parametrize(
    ("certificate", "secured"),
    [
        (b"x", b""),
        (b"", b""),
        (None, b"\0" * 256),
        (b"\x30\x82\xff\xff" + b"\0" * 300, b"\0" * 256),
        (pki.der(channels.client_certificate()), b"\0" * 256),
        (pki.der(channels.client_certificate()), b"\xff" * 257),
        (pki.der(channels.client_certificate()), b""),
        (pki.der(channels.client_certificate()) * 20, b"\0" * 256),
    ],
)
async def test_what_is_no_certificate_or_no_secret_tells_nobody_why(
    server: Victim, certificate: bytes | None, secured: bytes
) -> None:
    async with raw(server.port) as client:
        await client.wire.greet()
        client.wire.send(client.opening(URI, certificate, thumbprint(server), secured))
        assert error_code(await client.wire.end()) == StatusCodes.BadSecurityChecksFailed


@pytest.mark.parametrize("policy", [b"Basic128Rsa15", b"Basic256", b"", b"Aes128_Sha256_RsaOaep\0"])
async def test_a_policy_that_is_not_offered_is_refused(server: Victim, policy: bytes) -> None:
    async with raw(server.port) as client:
        await client.wire.greet()
        client.wire.send(client.opening(b"http://opcfoundation.org/UA/SecurityPolicy#" + policy))
        assert error_code(await client.wire.end()) == StatusCodes.BadSecurityPolicyRejected


async def test_a_request_for_another_server_is_refused(server: Victim) -> None:
    async with raw(server.port) as client:
        await client.wire.greet()
        certificate = pki.der(channels.client_certificate())
        client.wire.send(client.opening(URI, certificate, b"\0" * 20, b"\0" * 256))
        assert error_code(await client.wire.end()) == StatusCodes.BadCertificateInvalid


def thumbprint(server: Victim) -> bytes:
    return channels.thumbprint(server.certificate)


async def test_a_flood_of_openings_slows_nobody_who_is_inside(server: Victim) -> None:
    """Each costs the server certificates to check and a signature, and comes to nothing."""
    strangers = [
        pki.der(pki.application(f"Stranger {i}", private=KEY, issuer=PLANT if i % 2 else UNKNOWN))
        for i in range(8)
    ]

    async def knock(flood: Flood, number: int) -> None:
        async with raw(server.port, source=f"127.0.1.{number + 1}") as client:
            await client.wire.greet()
            certificate = strangers[number % len(strangers)]
            client.wire.send(client.opening(URI, certificate, thumbprint(server), b"\1" * 256))
            await client.wire.end()
            flood.done += 1

    async with probing(server) as prober:
        flood = await unharmed(server, prober, knock, 16)
    assert flood.done > 20
    rejected = list((server.data / "pki/rejected").rglob("*.*"))
    assert len(rejected) < 1000
