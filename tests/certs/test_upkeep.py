"""Whoever would not be let in any more is found among those who are in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from support import pki

from certs import upkeep
from certs.errors import Step
from certs.files import thumbprint, write_atomically
from certs.store import TrustList
from certs.upkeep import Revalidation
from certs.validate import assess

ROOT = pki.authority("Root CA")
LINE = pki.authority("Line CA", private=pki.key(2), issuer=ROOT)
OWN = pki.application("Own", private=pki.key(3), end=timedelta(days=3))
ISSUED = pki.application("Issued", issuer=LINE)
SENT = pki.der(ISSUED) + pki.der(LINE.certificate)


class Plant:
    """A trust list on disk, and what is asked about it."""

    def __init__(self, pki_folder: Path) -> None:
        self.folder = pki_folder
        self.trust = TrustList(pki_folder)
        self.trust.prepare()
        self.checks = 0
        self.revalidation = Revalidation(self.trust)
        for certificate in (OWN, ROOT.certificate):
            (pki_folder / "trusted/certs" / f"{thumbprint(certificate)}.der").write_bytes(
                pki.der(certificate)
            )
        self.publish(ROOT.revoke(), LINE.revoke())

    def publish(self, *crls: x509.CertificateRevocationList) -> None:
        for number, crl in enumerate(crls):
            write_atomically(self.folder / "trusted/crl" / f"{number}.crl", pki.crl_der(crl), 0o644)

    def refused(self, chains: Mapping[str, bytes], now: datetime = pki.NOW) -> dict[str, Step]:
        return {peer: error.step for peer, error in self.revalidation.refused(chains, now).items()}


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    made = Plant(tmp_path)

    def counted(*args: object, **named: object) -> object:
        made.checks += 1
        return assess(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(upkeep, "assess", counted)
    return made


BOTH = {"own": pki.der(OWN), "issued": SENT}


def test_nobody_is_refused_while_nothing_changes_and_nothing_is_checked_twice(plant: Plant) -> None:
    for _ in range(5):
        assert plant.refused(BOTH) == {}
    assert plant.checks == 2
    assert plant.refused(BOTH | {"again": SENT}) == {}
    assert plant.checks == 2, "two channels of one application are one check"
    later = pki.application("Later")
    assert plant.refused(BOTH | {"later": pki.der(later)}) == {"later": Step.Trust}
    assert plant.checks == 3, "only the chain that was not seen before"


def test_a_certificate_taken_from_the_trust_list_is_found(plant: Plant) -> None:
    assert plant.refused(BOTH) == {}
    plant.trust.distrust(thumbprint(OWN))
    assert plant.refused(BOTH) == {"own": Step.Trust}
    assert plant.refused(BOTH) == {"own": Step.Trust}, "until it is gone"
    assert plant.refused({"issued": SENT}) == {}


def test_a_certificate_revoked_meanwhile_is_found(plant: Plant) -> None:
    assert plant.refused(BOTH) == {}
    plant.publish(ROOT.revoke(), LINE.revoke(ISSUED))
    assert plant.refused(BOTH) == {"issued": Step.Revoked}
    plant.publish(ROOT.revoke(LINE.certificate), LINE.revoke())
    assert plant.refused(BOTH) == {"issued": Step.IssuerRevoked}


def test_what_runs_out_is_found_when_it_does(plant: Plant) -> None:
    assert plant.refused(BOTH) == {}
    assert plant.refused(BOTH, pki.NOW + timedelta(days=3)) == {}
    assert plant.checks == 2
    assert plant.refused(BOTH, pki.NOW + timedelta(days=3, seconds=1)) == {"own": Step.Validity}
    assert plant.checks == 3
    lists_are_old = pki.NOW + timedelta(days=31)
    assert plant.refused({"issued": SENT}, lists_are_old) == {"issued": Step.RevocationList}
    plant.publish(ROOT.revoke(end=timedelta(days=60)), LINE.revoke(end=timedelta(days=60)))
    assert plant.refused({"issued": SENT}, lists_are_old) == {}


def test_what_nobody_uses_any_more_is_forgotten(plant: Plant) -> None:
    plant.refused(BOTH)
    plant.refused({})
    assert not plant.revalidation._good


def test_without_the_demand_for_lists_nobody_is_asked_about_again(tmp_path: Path) -> None:
    trust = TrustList(tmp_path, require_crl=False)
    trust.prepare()
    (tmp_path / "trusted/certs/root.der").write_bytes(pki.der(ROOT.certificate))
    revalidation = Revalidation(trust)
    assert revalidation.refused({1: SENT}, pki.NOW) == {}
    assert revalidation._good[SENT] == ISSUED.not_valid_after_utc
