from __future__ import annotations

import errno
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support import pki

from certs import folder, store
from certs.errors import CertificateError
from certs.files import file_name, thumbprint
from certs.folder import MAX_FILE, Look
from certs.hosts import default_application_uri
from certs.own import load_or_make
from certs.rejected import MAX_BYTES, MAX_ONE, MAX_REJECTED
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


@pytest.mark.parametrize("name", ["a.crt", "a.cer", "a.der", "a.pem", "a", "a.crl"])
@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_what_a_file_is_its_bytes_say_not_its_ending(
    trust: TrustList, tmp_path: Path, name: str, form: Encoding
) -> None:
    ca = pki.authority()
    (tmp_path / "trusted/certs" / name).write_bytes(ca.certificate.public_bytes(form))
    (tmp_path / "trusted/crl" / name).write_bytes(ca.revoke().public_bytes(form))
    snapshot = trust.snapshot()
    assert snapshot.trusted == (ca.certificate,)
    assert len(snapshot.crls) == 1
    assert not trust.problems


def test_a_list_may_lie_beside_the_certificates_but_no_certificate_among_the_lists(
    trust: TrustList, tmp_path: Path
) -> None:
    ca = pki.authority()
    bundle = pki.pem(ca.certificate) + ca.revoke().public_bytes(Encoding.PEM)
    (tmp_path / "trusted/certs/bundle.pem").write_bytes(bundle)
    (tmp_path / "trusted/crl/client.der").write_bytes(pki.der(CLIENT))
    snapshot = trust.snapshot()
    assert snapshot.trusted == (ca.certificate,)
    assert len(snapshot.crls) == 1
    (problem,) = trust.problems
    assert "client.der is a certificate among the revocation lists" in problem


@pytest.mark.parametrize(
    "name", [".hidden.der", "client.der~", ".client.der.swp", "client.der.bak", "#c.der#"]
)
def test_what_an_editor_leaves_is_not_read(trust: TrustList, tmp_path: Path, name: str) -> None:
    (tmp_path / "trusted/certs" / name).write_bytes(pki.der(CLIENT))
    assert trust.snapshot().trusted == ()
    assert not trust.problems


def test_bad_files_of_every_kind_are_passed_over(trust: TrustList, tmp_path: Path) -> None:
    place = tmp_path / "trusted/certs"
    good = pki.der(CLIENT)
    (place / "good.der").write_bytes(good)
    (place / "key.pem").write_bytes(pki.key_pem(pki.key()))
    (place / "half.der").write_bytes(good[:200])
    (place / "empty.der").touch()
    with (place / "huge.der").open("wb") as huge:
        huge.truncate(MAX_FILE + 1)
    # A name of bytes that are no text: to be found out when it is read, not when somebody connects.
    broken = good.replace(b"SCADA client", b"SCADA \xff\xfe\xfd\xfcnt")
    assert broken != good
    (place / "name.der").write_bytes(broken)
    limits = x509.NameConstraints([x509.DNSName("plant.example")], None)
    (place / "limits.der").write_bytes(pki.der(pki.authority(extra=[(limits, True)]).certificate))
    (place / "folder.der").mkdir()
    (place / "loop.der").symlink_to("loop.der")
    (place / "nowhere.der").symlink_to("nothing")
    assert trust.snapshot().trusted == (CLIENT,)
    bad = {Path(problem.split(" is ")[0]).name for problem in trust.problems}
    assert bad == {
        *("key.pem", "half.der", "empty.der", "huge.der", "name.der", "limits.der"),
        *("folder.der", "loop.der", "nowhere.der"),
    }


def test_while_the_disk_cannot_be_read_what_was_read_before_holds(
    trust: TrustList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever opens connections until no file handle is left must not empty the trust list."""
    (tmp_path / "trusted/certs/client.der").write_bytes(pki.der(CLIENT))
    before = trust.snapshot()
    (tmp_path / "trusted/certs/other.der").write_bytes(pki.der(OTHER))

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    for where, what in ((os, "scandir"), (Path, "read_bytes")):
        with monkeypatch.context() as broken:
            broken.setattr(where, what, none_left)
            assert trust.snapshot() is before
            assert trust.snapshot() is before
    assert caplog.text.count("what was read before holds") == 2, "each trouble is told once"
    assert set(trust.snapshot().trusted) == {CLIENT, OTHER}


def test_an_unchanged_list_is_looked_at_now_and_then_only(
    trust: TrustList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trusted/certs/client.der"
    file.write_bytes(pki.der(CLIENT))
    for place in (tmp_path / name / kind for name in ("trusted", "issuers") for kind in ("certs", "crl")):
        os.utime(place, (time.time() - 60, time.time() - 60))
    snapshot = trust.snapshot()
    looks: list[Path] = []
    look = folder.look

    def counted(path: Path) -> Look:
        looks.append(path)
        return look(path)

    monkeypatch.setattr(folder, "look", counted)
    assert all(trust.snapshot() is snapshot for _ in range(1000))
    assert len(looks) <= 8
    # What shows in the folder counts at once, what does not a moment later.
    file.write_bytes(pki.der(OTHER))
    monkeypatch.setattr(store, "_LOOK_EVERY", 0)
    trust._next_look = 0
    assert trust.snapshot().trusted == (OTHER,)
    (tmp_path / "trusted/certs/more.der").write_bytes(pki.der(CLIENT))
    assert set(trust.snapshot().trusted) == {CLIENT, OTHER}


def test_many_threads_share_one_list(trust: TrustList, tmp_path: Path) -> None:
    strangers = [pki.application(f"Stranger {index}") for index in range(40)]

    def use(stranger: x509.Certificate) -> int:
        trust.reject(stranger)
        (tmp_path / "trusted/certs" / f"{stranger.serial_number}.der").write_bytes(pki.der(stranger))
        return len(trust.snapshot().trusted)

    with ThreadPoolExecutor(8) as pool:
        assert all(count > 0 for count in pool.map(use, strangers))
    assert set(trust.snapshot().trusted) == set(strangers)
    assert {entry.certificate for entry in trust.rejected()} == set(strangers)


def test_a_certificate_refused_again_is_the_newest_and_written_once(trust: TrustList) -> None:
    for certificate in (CLIENT, OTHER):
        trust.reject(certificate)
        time.sleep(0.02)
    path = trust.reject(CLIENT)
    assert [entry.certificate for entry in trust.rejected()] == [CLIENT, OTHER]
    assert path is not None
    path.unlink()
    assert trust.reject(CLIENT) == path
    assert path.stat().st_size > 0


def test_the_bytes_of_refused_certificates_are_bounded(trust: TrustList, tmp_path: Path) -> None:
    padded = pki.application(extra=[(remark(MAX_ONE), False)])
    assert trust.reject(padded) is None, "nobody's certificate is that large"
    big = [pki.application(f"Big {index}", extra=[(remark(MAX_ONE // 2), False)]) for index in range(3)]
    for index in range(80):
        (tmp_path / "rejected" / f"{index}.der").write_bytes(bytes(MAX_ONE // 2))
    for certificate in big:
        trust.reject(certificate)
    kept = list((tmp_path / "rejected").iterdir())
    assert sum(file.stat().st_size for file in kept) <= MAX_BYTES
    assert {entry.certificate for entry in trust.rejected()} == set(big)


def remark(size: int) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), bytes(size))


def test_a_list_is_put_beside_its_ca_and_takes_the_older_ones_place(trust: TrustList, tmp_path: Path) -> None:
    root = pki.authority("Root CA")
    line = pki.authority("Line CA", private=pki.key(2), issuer=root)
    client = pki.application("Issued", issuer=line)
    file = tmp_path / "new.crl"

    def add(crl: x509.CertificateRevocationList) -> list[Path]:
        file.write_bytes(pki.crl_der(crl))
        return [entry.path for entry in trust.add_list(file)]

    with pytest.raises(CertificateError, match="Root CA first"):
        add(root.revoke())
    for name, ca in (("root.pem", root), ("line.pem", line)):
        (tmp_path / name).write_bytes(pki.pem(ca.certificate))
    trust.trust(tmp_path / "root.pem")
    trust.add_issuer(tmp_path / "line.pem")
    assert trust.snapshot().issuers == (line.certificate,)
    assert len(trust.findings()) == 2

    (path,) = add(root.revoke())
    assert path.parent == tmp_path / "trusted/crl"
    (path,) = add(line.revoke(start=timedelta(hours=-2)))
    assert path.parent == tmp_path / "issuers/crl"
    assert trust.findings() == []
    assert add(line.revoke(client)) == [path]
    assert [entry.issuer for entry in trust.lists()] == [root.certificate, line.certificate]
    with pytest.raises(CertificateError, match="that is here is newer"):
        add(line.revoke(start=timedelta(hours=-3)))
    # A delta list does not take the place of the one of everything.
    assert add(line.revoke(extra=[x509.DeltaCRLIndicator(1)])) != [path]
    assert trust.findings() == []

    (tmp_path / "other.crl").write_bytes(pki.crl_der(pki.Ca(line.certificate, pki.key(3)).revoke()))
    with pytest.raises(CertificateError, match="not signed by a CA"):
        trust.add_list(tmp_path / "other.crl")
    with pytest.raises(CertificateError, match="no revocation list"):
        trust.add_list(tmp_path / "root.pem")


def test_only_a_ca_becomes_an_issuer(trust: TrustList, tmp_path: Path) -> None:
    (tmp_path / "client.der").write_bytes(pki.der(CLIENT))
    with pytest.raises(CertificateError, match="not a CA"):
        trust.add_issuer(tmp_path / "client.der")


def test_a_certificate_in_a_file_with_others_is_not_taken_out_of_it(trust: TrustList, tmp_path: Path) -> None:
    file = tmp_path / "trusted/certs/both.pem"
    file.write_bytes(pki.pem(CLIENT) + pki.pem(OTHER))
    with pytest.raises(CertificateError, match="by hand"):
        trust.distrust(thumbprint(CLIENT))
    assert trust.snapshot().trusted == (CLIENT, OTHER)
    assert trust.rejected() == []


def test_an_expired_certificate_is_among_the_findings(trust: TrustList, tmp_path: Path) -> None:
    late = pki.application("Late", end=timedelta(hours=-1))
    (tmp_path / "trusted/certs/late.der").write_bytes(pki.der(late))
    (tmp_path / "trusted/certs/bad.der").write_bytes(b"bad")
    first, second = trust.findings()
    assert "bad.der" in first
    assert "Late" in second
    assert "expired" in second


def test_only_the_newest_refused_certificates_are_kept(trust: TrustList, tmp_path: Path) -> None:
    place = tmp_path / "rejected"
    past = time.time() - 1000
    for index in range(MAX_REJECTED):
        old = place / f"old {index}.der"
        old.write_bytes(b"x")
        os.utime(old, (past + index, past + index))
    trust.reject(CLIENT)
    assert len(list(place.iterdir())) == MAX_REJECTED
    assert not (place / "old 0.der").exists()
    assert (place / "old 1.der").exists()
    assert (place / file_name(CLIENT)).exists()


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
