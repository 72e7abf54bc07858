from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support import pki

from certs.errors import CertificateError
from certs.files import file_name, thumbprint
from certs.hosts import default_application_uri
from certs.own import load_or_make
from certs.rejected import MAX_REJECTED
from certs.store import TrustList

CLIENT = pki.application("SCADA client")
OTHER = pki.application("Other", private=pki.key(1))


@pytest.fixture
def trust(tmp_path: Path) -> TrustList:
    made = TrustList(tmp_path)
    made.prepare()
    return made


def test_a_refused_certificate_is_kept_and_can_be_trusted_by_its_thumbprint(
    trust: TrustList, tmp_path: Path
) -> None:
    path = trust.reject(CLIENT)
    assert path == tmp_path / "rejected" / f"SCADA_client [{thumbprint(CLIENT)}].der"
    assert [e.thumbprint for e in trust.rejected()] == [thumbprint(CLIENT)]
    assert trust.snapshot().trusted == ()

    entry = trust.trust(thumbprint(CLIENT)[:10].lower())

    assert entry.path == tmp_path / "trusted" / "certs" / file_name(CLIENT)
    assert entry.name == "SCADA client"
    assert entry.application_uri == "urn:test:client"
    assert trust.rejected() == []
    assert trust.snapshot().trusted == (CLIENT,)


def test_a_certificate_can_be_trusted_from_a_file_and_distrusted_again(
    trust: TrustList, tmp_path: Path
) -> None:
    file = tmp_path / "client.pem"
    file.write_bytes(pki.pem(CLIENT))
    trust.trust(str(file))
    assert trust.snapshot().trusted == (CLIENT,)
    trust.distrust(thumbprint(CLIENT))
    assert trust.snapshot().trusted == ()
    assert [e.certificate for e in trust.rejected()] == [CLIENT]


def test_what_is_put_into_the_folders_by_hand_counts_at_once_in_pem_and_der(
    trust: TrustList, tmp_path: Path
) -> None:
    ca = pki.authority(private=pki.key(2))
    assert trust.snapshot().trusted == ()
    (tmp_path / "trusted/certs/a.crt").write_bytes(pki.pem(CLIENT) + pki.pem(OTHER))
    (tmp_path / "issuers/certs/ca.cer").write_bytes(pki.der(ca.certificate))
    crl = ca.revoke(OTHER)
    (tmp_path / "issuers/crl/ca.crl").write_bytes(crl.public_bytes(Encoding.DER))
    (tmp_path / "trusted/crl/ca.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    snapshot = trust.snapshot()
    assert snapshot.trusted == (CLIENT, OTHER)
    assert snapshot.issuers == (ca.certificate,)
    assert snapshot.crls == (crl, crl)
    assert trust.snapshot() is snapshot  # nothing changed: nothing is read again
    (tmp_path / "trusted/certs/a.crt").unlink()
    assert trust.snapshot().trusted == ()


def test_one_bad_file_is_told_once_and_passed_over(
    trust: TrustList, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "trusted/certs/good.der").write_bytes(pki.der(CLIENT))
    bad = tmp_path / "trusted/certs/bad.der"
    bad.write_bytes(b"this is no certificate")
    with caplog.at_level(logging.ERROR):
        assert trust.snapshot().trusted == (CLIENT,)
        (tmp_path / "trusted/certs/more.der").write_bytes(pki.der(OTHER))
        assert set(trust.snapshot().trusted) == {CLIENT, OTHER}
    assert [str(bad) in r.message for r in caplog.records] == [True]
    assert len(trust.problems) == 1
    bad.unlink()
    trust.snapshot()
    assert not trust.problems


def test_only_the_newest_refused_certificates_are_kept(trust: TrustList, tmp_path: Path) -> None:
    folder = tmp_path / "rejected"
    past = time.time() - 1000
    for index in range(MAX_REJECTED):
        old = folder / f"old {index}.der"
        old.write_bytes(b"x")
        os.utime(old, (past + index, past + index))
    trust.reject(CLIENT)
    assert len(list(folder.iterdir())) == MAX_REJECTED
    assert not (folder / "old 0.der").exists()
    assert (folder / "old 1.der").exists()
    assert (folder / file_name(CLIENT)).exists()


@pytest.mark.parametrize(
    ("what", "complaint"),
    [("AB", "too short"), ("0" * 40, "no certificate has"), (Path("/nonexistent.der"), "cannot be read")],
)
def test_trusting_what_is_not_there_says_so(trust: TrustList, what: str | Path, complaint: str) -> None:
    with pytest.raises(CertificateError, match=complaint):
        trust.trust(what)


def test_a_name_from_a_certificate_cannot_leave_the_folder(trust: TrustList, tmp_path: Path) -> None:
    path = trust.reject(pki.application("../../etc/passwd\n"))
    assert path is not None
    assert path.parent == tmp_path / "rejected"
    assert "/" not in path.name
    assert "\n" not in path.name


def test_our_own_certificate_is_listed_and_the_key_beside_it_is_not(trust: TrustList, tmp_path: Path) -> None:
    identity = load_or_make(tmp_path, key_size=2048)
    assert [entry.certificate for entry in trust.own()] == [identity.certificate]
    assert identity.application_uri == default_application_uri()
