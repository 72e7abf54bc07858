"""Chains are found whatever the CAs are called, and whatever a peer sends along."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from support import pki

from certs.chain import chains
from certs.errors import CertificateRefused, Step
from certs.snapshot import TrustSnapshot
from certs.validate import Usage, assess

OLD, NEW, FOREIGN = pki.key(1), pki.key(2), pki.key(3)


def plant_ca(private: rsa.RSAPrivateKey, *, identified: bool = True) -> pki.Ca:
    return pki.authority(
        "Plant CA", private=private, extra=pki.key_ids(private, private) if identified else []
    )


def issued_by(ca: pki.Ca, *, identified: bool = True) -> x509.Certificate:
    return pki.application(issuer=ca, extra=pki.key_ids(pki.key(), ca.key) if identified else [])


def refusal(sent: Sequence[x509.Certificate], trust: TrustSnapshot) -> Step:
    with pytest.raises(CertificateRefused) as caught:
        chains(sent, trust)
    return caught.value.step


@pytest.mark.parametrize("identified", [True, False])
@pytest.mark.parametrize("newest_first", [True, False])
def test_of_two_cas_with_one_name_the_one_that_signed_is_found(identified: bool, newest_first: bool) -> None:
    old, new = plant_ca(OLD, identified=identified), plant_ca(NEW, identified=identified)
    order = (new, old) if newest_first else (old, new)
    trust = TrustSnapshot(trusted=tuple(ca.certificate for ca in order))
    for ca in (old, new):
        leaf = issued_by(ca, identified=identified)
        assert chains([leaf], trust) == [(leaf, ca.certificate)]


def test_a_ca_with_a_trusted_ones_name_is_not_that_one() -> None:
    trusted, foreign = plant_ca(OLD), plant_ca(FOREIGN)
    trust = TrustSnapshot(trusted=(trusted.certificate,), crls=(trusted.revoke(),))
    leaf = issued_by(foreign)
    assert refusal([leaf], trust) is Step.Chain, "its issuer is another one, and that is not here"
    with pytest.raises(CertificateRefused) as caught:
        assess([leaf, foreign.certificate], trust, usage=Usage.Client, now=pki.NOW)
    assert caught.value.step is Step.Trust


def test_without_key_identifiers_a_foreign_signature_is_simply_wrong() -> None:
    leaf = issued_by(plant_ca(FOREIGN, identified=False), identified=False)
    assert refusal([leaf], TrustSnapshot(trusted=(plant_ca(OLD, identified=False).certificate,))) is (
        Step.Signature
    )


def test_a_wrong_key_identifier_does_not_hide_the_issuer() -> None:
    ca = plant_ca(OLD)
    leaf = pki.application(issuer=ca, extra=pki.key_ids(pki.key(), FOREIGN))
    assert chains([leaf], TrustSnapshot(trusted=(ca.certificate,))) == [(leaf, ca.certificate)]


def test_of_two_ways_to_a_root_the_one_that_is_trusted_counts() -> None:
    """A CA that two roots vouch for: the certificates differ, name and key are the same."""
    ours, theirs = pki.authority("Our root", private=OLD), pki.authority("Their root", private=FOREIGN)
    by_us = pki.authority("Line CA", private=NEW, issuer=ours)
    by_them = pki.authority("Line CA", private=NEW, issuer=theirs)
    leaf = pki.application(issuer=by_us)
    lists = (ours.revoke(), by_us.revoke())
    trust = TrustSnapshot((ours.certificate,), (by_us.certificate,), lists)
    # What is sent along leads to a root nobody here trusts.
    sent = [leaf, by_them.certificate, theirs.certificate]
    for way in (sent, [leaf, theirs.certificate, by_them.certificate]):
        accepted = assess(way, trust, usage=Usage.Client, now=pki.NOW)
        assert accepted.chain == (leaf, by_us.certificate, ours.certificate)
    # Where every way fails, the refusal is that of the one that got furthest.
    unlisted = TrustSnapshot((ours.certificate,), (by_us.certificate,))
    with pytest.raises(CertificateRefused) as caught:
        assess(sent, unlisted, usage=Usage.Client, now=pki.NOW)
    assert caught.value.step is Step.RevocationList


def test_a_ca_that_changed_its_key_is_followed_over_the_old_one() -> None:
    old = plant_ca(OLD)
    rolled = pki.authority("Plant CA", private=NEW, issuer=old, extra=pki.key_ids(NEW, OLD))
    leaf = issued_by(rolled)
    assert chains([leaf, rolled.certificate], TrustSnapshot(trusted=(old.certificate,))) == [
        (leaf, rolled.certificate, old.certificate)
    ]
    assert refusal([leaf, rolled.certificate], TrustSnapshot()) is Step.Chain


def test_cas_that_vouch_for_each_other_end_the_search_soon() -> None:
    """Certificates of two names and one key, each signed by every other: many ways, and none out."""
    one, two = pki.Ca(pki.authority("One").certificate, OLD), pki.Ca(pki.authority("Two").certificate, OLD)
    circle = [
        pki.authority(name, private=OLD, issuer=issuer).certificate
        for name, issuer in [("One", two), ("Two", one)] * 4
    ]
    leaf = pki.application(issuer=one)
    begin = time.perf_counter()
    assert refusal([leaf, *circle], TrustSnapshot()) is Step.Chain
    assert time.perf_counter() - begin < 1
