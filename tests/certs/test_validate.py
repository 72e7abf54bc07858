"""Each check of OPC 10000-4 §6.1.3 refuses what it is there for, and nothing else is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from support import pki

from certs.errors import CertificateRefused, Step
from certs.files import read_chain
from certs.snapshot import TrustSnapshot
from certs.validate import KeyRules, Usage, check_application_uri, validate

ROOT = pki.authority("Root CA")
INTERMEDIATE = pki.authority("Line CA", private=pki.key(2), issuer=ROOT)


LISTS = (ROOT.revoke(), INTERMEDIATE.revoke())
"""Nobody is revoked."""


def trusting(*certificates: x509.Certificate) -> TrustSnapshot:
    return TrustSnapshot(trusted=certificates, crls=LISTS)


def storing(trusted: Sequence[x509.Certificate], *issuers: x509.Certificate) -> TrustSnapshot:
    return TrustSnapshot(trusted=tuple(trusted), issuers=issuers, crls=LISTS)


def refusal(sent: Sequence[x509.Certificate], trust: TrustSnapshot, usage: Usage = Usage.Client) -> Step:
    with pytest.raises(CertificateRefused) as caught:
        validate(sent, trust, usage=usage, now=pki.NOW)
    assert str(caught.value)
    return caught.value.step


def accept(sent: Sequence[x509.Certificate], trust: TrustSnapshot, usage: Usage = Usage.Client) -> None:
    assert validate(sent, trust, usage=usage, now=pki.NOW) == sent[0]


def test_a_self_signed_certificate_is_accepted_only_when_it_is_trusted_itself() -> None:
    good = pki.application()
    accept([good], trusting(good))
    assert refusal([good], trusting()) is Step.Trust
    assert refusal([good], TrustSnapshot(issuers=(good,))) is Step.Trust
    assert refusal([good], trusting(pki.application())) is Step.Trust


def test_a_certificate_issued_by_a_trusted_ca_is_accepted() -> None:
    leaf = pki.application(issuer=ROOT)
    accept([leaf], trusting(ROOT.certificate))


def test_a_chain_over_an_intermediate_is_built_from_what_is_sent_and_what_is_stored() -> None:
    leaf = pki.application(issuer=INTERMEDIATE)
    accept([leaf, INTERMEDIATE.certificate], trusting(ROOT.certificate))
    accept([leaf], storing([ROOT.certificate], INTERMEDIATE.certificate))
    accept([leaf], storing([INTERMEDIATE.certificate], ROOT.certificate))
    accept([leaf], storing([leaf], ROOT.certificate, INTERMEDIATE.certificate))


def test_a_chain_with_a_missing_issuer_is_incomplete_even_when_the_leaf_is_trusted() -> None:
    leaf = pki.application(issuer=INTERMEDIATE)
    assert refusal([leaf], trusting(leaf)) is Step.Chain
    assert refusal([leaf], trusting(ROOT.certificate)) is Step.Chain


def test_a_chain_to_a_root_nobody_trusts_is_refused() -> None:
    leaf = pki.application(issuer=ROOT)
    assert refusal([leaf, ROOT.certificate], trusting()) is Step.Trust


def test_a_certificate_that_only_claims_a_trusted_issuer_is_refused() -> None:
    impostor = pki.Ca(ROOT.certificate, pki.key(3))
    leaf = pki.application(issuer=impostor)
    assert refusal([leaf], trusting(ROOT.certificate)) is Step.Signature


def test_a_tampered_certificate_is_refused() -> None:
    good = pki.application()
    data = bytearray(pki.der(good))
    data[-1] ^= 1  # the last byte of the signature
    (bad,) = read_chain(bytes(data))
    assert refusal([bad], trusting(bad)) is Step.Signature


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x03abc", b"\x30\x84\xff\xff\xff\xff", b"garbage" * 9])
def test_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    with pytest.raises(CertificateRefused) as caught:
        read_chain(data)
    assert caught.value.step is Step.Structure


def test_a_chain_of_many_certificates_is_refused() -> None:
    with pytest.raises(CertificateRefused, match="more than 10"):
        read_chain(pki.der(pki.application()) * 11)


def test_a_chain_is_read_in_the_order_it_is_sent() -> None:
    leaf = pki.application(issuer=ROOT)
    assert read_chain(pki.der(leaf) + pki.der(ROOT.certificate)) == [leaf, ROOT.certificate]


def test_small_and_large_keys_and_other_kinds_are_refused() -> None:
    small = pki.application(private=pki.key(size=1024))
    assert refusal([small], trusting(small)) is Step.Policy
    elliptic = ec.generate_private_key(ec.SECP256R1())
    curve = (
        x509.CertificateBuilder()
        .subject_name(pki.name("Curve"))
        .issuer_name(pki.name("Curve"))
        .public_key(elliptic.public_key())
        .serial_number(1)
        .not_valid_before(pki.NOW)
        .not_valid_after(pki.NOW + timedelta(days=1))
        .sign(elliptic, hashes.SHA256())
    )
    assert refusal([curve], trusting(curve)) is Step.Policy


def test_a_weak_signature_algorithm_is_refused() -> None:
    weak = pki.application(algorithm=hashes.SHA224())
    assert refusal([weak], trusting(weak)) is Step.Policy


@pytest.mark.parametrize(
    ("start", "end"), [(timedelta(days=1), timedelta(days=2)), (timedelta(days=-2), timedelta(days=-1))]
)
def test_a_certificate_outside_its_time_is_refused(start: timedelta, end: timedelta) -> None:
    late = pki.application(start=start, end=end)
    assert refusal([late], trusting(late)) is Step.Validity


def test_an_issuer_outside_its_time_is_refused() -> None:
    old = pki.authority(end=timedelta(days=-1))
    assert refusal([pki.application(issuer=old)], trusting(old.certificate)) is Step.IssuerValidity


def test_a_certificate_for_another_use_is_refused() -> None:
    server = pki.application(extended=ExtendedKeyUsageOID.SERVER_AUTH)
    assert refusal([server], trusting(server)) is Step.Usage
    accept([server], trusting(server), Usage.Server)
    mute = pki.application(key_usage=pki.usage(encipher=False))
    assert refusal([mute], trusting(mute)) is Step.Usage
    authority = pki.application(issuer=ROOT, ca=True)
    assert refusal([authority], trusting(ROOT.certificate)) is Step.Usage


def test_a_cas_own_certificate_lets_nobody_in() -> None:
    root = pki.authority("Root", key_usage=pki.usage(certify=True))
    assert refusal([root.certificate], trusting(root.certificate)) is Step.Usage


def test_an_issuer_that_is_no_ca_is_refused() -> None:
    layman = pki.authority("Layman", ca=False)
    assert refusal([pki.application(issuer=layman)], trusting(layman.certificate)) is Step.IssuerUsage
    short = pki.authority("Short", path_length=0)
    below = pki.authority("Below", private=pki.key(2), issuer=short)
    leaf = pki.application(issuer=below)
    assert refusal([leaf, below.certificate], trusting(short.certificate)) is Step.IssuerUsage


def test_a_trusted_application_cannot_issue_certificates_others_would_be_let_in_with() -> None:
    application = pki.application("Old style", private=pki.key(4), ca=True)
    accept([application], trusting(application))
    issued = pki.application("Stowaway", issuer=pki.Ca(application, pki.key(4)))
    assert refusal([issued], trusting(application)) is Step.IssuerUsage


def test_the_application_uri_must_be_the_certificates() -> None:
    certificate = pki.application(uri="urn:acme:scada")
    check_application_uri(certificate, "urn:acme:scada")
    for other in ("urn:acme:mes", "", None):
        with pytest.raises(CertificateRefused) as caught:
            check_application_uri(certificate, other)
        assert caught.value.step is Step.ApplicationUri


def test_the_application_uri_is_checked_in_its_place_where_it_is_known() -> None:
    certificate = pki.application(uri="urn:acme:scada", extended=ExtendedKeyUsageOID.SERVER_AUTH)
    trust = trusting(certificate)
    for uri, step in (("urn:acme:mes", Step.ApplicationUri), ("urn:acme:scada", Step.Usage)):
        with pytest.raises(CertificateRefused) as caught:
            validate([certificate], trust, usage=Usage.Client, now=pki.NOW, application_uri=uri)
        assert caught.value.step is step


def test_a_policy_of_its_own_key_sizes_can_be_asked_for() -> None:
    certificate = pki.application()
    rules = KeyRules(min_bits=3072)
    with pytest.raises(CertificateRefused, match="3072 to 4096") as caught:
        validate([certificate], trusting(certificate), usage=Usage.Client, now=pki.NOW, rules=rules)
    assert caught.value.step is Step.Policy


def test_a_critical_extension_nobody_understands_is_refused() -> None:
    limits = x509.NameConstraints([x509.DNSName("plant.example")], None)
    narrow = pki.authority("Narrow", extra=[(limits, True)])
    leaf = pki.application(issuer=narrow)
    assert refusal([leaf, narrow.certificate], trusting(narrow.certificate)) is Step.Structure
    remark = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    limited = pki.application(extra=[(remark, True)])
    assert refusal([limited], trusting(limited)) is Step.Structure
    remarked = pki.application(extra=[(remark, False)])
    accept([remarked], trusting(remarked))


def test_the_first_failing_check_is_the_one_that_is_told() -> None:
    """One certificate with everything wrong; one thing after the other is put right."""
    old = pki.authority("Old", private=pki.key(5), end=timedelta(days=-1))
    small = pki.application(private=pki.key(size=1024), issuer=old, extended=ExtendedKeyUsageOID.SERVER_AUTH)
    leaf = pki.application(issuer=old, extended=ExtendedKeyUsageOID.SERVER_AUTH, end=timedelta(hours=-1))
    valid = pki.application(issuer=old, extended=ExtendedKeyUsageOID.SERVER_AUTH)
    assert refusal([small], storing([])) is Step.Chain
    assert refusal([small], storing([], old.certificate)) is Step.Policy
    assert refusal([leaf], storing([], old.certificate)) is Step.Trust
    assert refusal([leaf], storing([old.certificate])) is Step.Validity
    assert refusal([valid], storing([old.certificate])) is Step.IssuerValidity
    young = pki.authority("Young", private=pki.key(5), path_length=0)
    middle = pki.authority("Middle", private=pki.key(2), issuer=young)
    wrong = pki.application(issuer=middle, extended=ExtendedKeyUsageOID.SERVER_AUTH)
    right = pki.application(issuer=middle)
    assert refusal([wrong, middle.certificate], storing([young.certificate])) is Step.Usage
    assert refusal([right, middle.certificate], storing([young.certificate])) is Step.IssuerUsage
    direct = pki.application(issuer=young)
    assert refusal([direct], storing([young.certificate])) is Step.RevocationList
    lists = (young.revoke(direct),)
    assert refusal([direct], TrustSnapshot((young.certificate,), crls=lists)) is Step.Revoked
