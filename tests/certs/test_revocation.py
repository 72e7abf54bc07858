"""Who a CA took back is refused, and whose CA has nothing to say about it too (OPC 10000-4 §6.1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from support import pki

from certs.errors import CertificateRefused, Step
from certs.revocation import missing_lists
from certs.snapshot import TrustSnapshot
from certs.validate import Usage, assess, validate

ROOT = pki.authority("Root CA")
LINE = pki.authority("Line CA", private=pki.key(2), issuer=ROOT)
LEAF = pki.application(issuer=LINE)
DIRECT = pki.application(issuer=ROOT)

Crls = Sequence[x509.CertificateRevocationList]


def trust(*crls: x509.CertificateRevocationList, require_crl: bool = True) -> TrustSnapshot:
    return TrustSnapshot((ROOT.certificate,), (LINE.certificate,), crls, require_crl=require_crl)


def refused(leaf: x509.Certificate, snapshot: TrustSnapshot) -> CertificateRefused:
    with pytest.raises(CertificateRefused) as caught:
        validate([leaf], snapshot, usage=Usage.Client, now=pki.NOW)
    return caught.value


def accept(leaf: x509.Certificate, snapshot: TrustSnapshot) -> None:
    assert validate([leaf], snapshot, usage=Usage.Client, now=pki.NOW) == leaf


def point(  # each one restricts what a list speaks of
    *,
    user: bool = False,
    ca: bool = False,
    indirect: bool = False,
    reasons: frozenset[x509.ReasonFlags] | None = None,
    at: str | None = None,
) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(at)] if at else None,
        relative_name=None,
        only_contains_user_certs=user,
        only_contains_ca_certs=ca,
        only_some_reasons=reasons,
        indirect_crl=indirect,
        only_contains_attribute_certs=False,
    )


def test_every_ca_of_the_chain_needs_a_list() -> None:
    accept(LEAF, trust(ROOT.revoke(), LINE.revoke()))
    assert refused(LEAF, trust()).step is Step.RevocationList
    assert refused(LEAF, trust(ROOT.revoke())).step is Step.RevocationList
    assert refused(LEAF, trust(LINE.revoke())).step is Step.IssuerRevocationList
    accept(DIRECT, trust(ROOT.revoke()))
    assert refused(DIRECT, trust(LINE.revoke())).step is Step.RevocationList


def test_a_self_signed_application_needs_none() -> None:
    own = pki.application()
    accept(own, TrustSnapshot(trusted=(own,)))


def test_the_message_says_which_list_is_missing_and_where_it_belongs() -> None:
    told = str(refused(LEAF, trust(ROOT.revoke())))
    assert "the revocation list of Line CA" in told
    assert "issuers/crl" in told
    assert "isthmus certs crl FILE" in told
    assert "trusted/crl" in str(refused(DIRECT, trust()))


def test_without_the_demand_a_missing_list_is_told_and_passed_over() -> None:
    told: list[CertificateRefused] = []
    lax = trust(require_crl=False)
    validate([LEAF], lax, usage=Usage.Client, now=pki.NOW, tolerated=told.append)
    assert [refusal.step for refusal in told] == [Step.RevocationList, Step.IssuerRevocationList]
    # What a list says still counts, even one out of date.
    late = LINE.revoke(LEAF, start=timedelta(days=-60), end=timedelta(days=-1))
    assert refused(LEAF, trust(late, require_crl=False)).step is Step.Revoked


def test_what_is_passed_over_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    accept(DIRECT, trust(require_crl=False))
    assert "accepted although the check of the revocation list failed" in caplog.text


def test_a_revoked_certificate_is_refused_and_no_other() -> None:
    other = pki.application(issuer=ROOT)
    snapshot = trust(ROOT.revoke(DIRECT))
    assert refused(DIRECT, snapshot).step is Step.Revoked
    accept(other, snapshot)


def test_a_revoked_intermediate_is_refused() -> None:
    assert refused(LEAF, trust(ROOT.revoke(LINE.certificate), LINE.revoke())).step is Step.IssuerRevoked


def test_a_list_counts_only_with_its_cas_signature() -> None:
    """Another CA of the same name, and somebody without its key: neither revokes, neither clears."""
    namesake = pki.authority("Root CA", private=pki.key(3))
    assert namesake.certificate.subject == ROOT.certificate.subject
    accept(DIRECT, trust(ROOT.revoke(), namesake.revoke(DIRECT)))
    assert refused(DIRECT, trust(namesake.revoke())).step is Step.RevocationList
    both = TrustSnapshot(
        (ROOT.certificate, namesake.certificate), crls=(ROOT.revoke(), namesake.revoke(DIRECT))
    )
    accept(DIRECT, both)


def test_a_ca_that_may_not_sign_lists_has_none() -> None:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    mute = pki.authority("Mute", key_usage=usage)
    leaf = pki.application(issuer=mute)
    assert (
        refused(leaf, TrustSnapshot((mute.certificate,), crls=(mute.revoke(),))).step is Step.RevocationList
    )


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (timedelta(days=-9), timedelta(days=-1), "was good until"),
        (timedelta(days=1), timedelta(days=9), "valid only from"),
    ],
)
def test_a_list_outside_its_time_clears_nobody(start: timedelta, end: timedelta, told: str) -> None:
    stale = ROOT.revoke(start=start, end=end)
    error = refused(DIRECT, trust(stale))
    assert error.step is Step.RevocationList
    assert told in str(error)
    accept(DIRECT, trust(stale, ROOT.revoke()))


@pytest.mark.parametrize(
    "extension",
    [
        x509.DeltaCRLIndicator(1),
        point(indirect=True),
        point(ca=True),
        point(reasons=frozenset({x509.ReasonFlags.key_compromise})),
        point(at="http://ca.example/part2.crl"),
    ],
)
def test_a_list_that_speaks_of_some_only_clears_nobody_but_revokes(extension: x509.ExtensionType) -> None:
    assert refused(DIRECT, trust(ROOT.revoke(extra=[extension]))).step is Step.RevocationList
    revoking = ROOT.revoke(DIRECT, extra=[extension])
    assert refused(DIRECT, trust(ROOT.revoke(), revoking)).step is Step.Revoked


def test_a_list_of_its_kind_or_of_its_distribution_point_is_enough() -> None:
    accept(LEAF, trust(LINE.revoke(extra=[point(user=True)]), ROOT.revoke(extra=[point(ca=True)])))
    at = "http://ca.example/part1.crl"
    points = x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(at)], None, None, None)]
    )
    leaf = pki.application(issuer=ROOT, extra=[(points, False)])
    accept(leaf, trust(ROOT.revoke(extra=[point(at=at)])))


def test_a_certificate_that_was_only_on_hold_is_let_in_again() -> None:
    released = ROOT.revoke(DIRECT, extra=[x509.DeltaCRLIndicator(1)], reason=x509.ReasonFlags.remove_from_crl)
    accept(DIRECT, trust(ROOT.revoke(), released))
    held = ROOT.revoke(DIRECT, reason=x509.ReasonFlags.certificate_hold)
    assert refused(DIRECT, trust(held)).step is Step.Revoked


def test_how_long_a_certificate_is_believed_is_told() -> None:
    soon = ROOT.revoke(end=timedelta(days=2))
    later = ROOT.revoke(end=timedelta(days=5))

    def until(*crls: x509.CertificateRevocationList) -> timedelta:
        accepted = assess([DIRECT], trust(*crls), usage=Usage.Client, now=pki.NOW)
        return accepted.until - pki.NOW

    assert until(soon) == timedelta(days=2)
    assert until(soon, later) == timedelta(days=5)
    short = pki.application(end=timedelta(days=1))
    alone = assess([short], TrustSnapshot((short,)), usage=Usage.Client, now=pki.NOW)
    assert alone.until == short.not_valid_after_utc


def test_what_a_trust_list_lacks_is_named() -> None:
    application = pki.application(ca=True)  # of older make: marked as a CA, and none

    def missing(*crls: x509.CertificateRevocationList) -> list[str]:
        trusted = (ROOT.certificate, application)
        return missing_lists(TrustSnapshot(trusted, (LINE.certificate,), crls), pki.NOW)

    assert missing(ROOT.revoke(), LINE.revoke()) == []
    assert [text.split(" (")[0] for text in missing()] == [
        "the revocation list of Root CA",
        "the revocation list of Line CA",
    ]
    (late,) = missing(ROOT.revoke(), LINE.revoke(start=timedelta(days=-9), end=timedelta(days=-1)))
    assert "Line CA" in late
    assert "was good until" in late
    (partial,) = missing(ROOT.revoke(), LINE.revoke(extra=[x509.DeltaCRLIndicator(1)]))
    assert "only a partial one" in partial
