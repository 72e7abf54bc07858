from __future__ import annotations

import logging
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from support import pki

from certs.errors import CertificateFileError
from certs.hosts import own_hosts
from certs.issue import VALIDITY
from certs.own import ApplicationIdentity, load_or_make
from certs.snapshot import TrustSnapshot
from certs.validate import Usage, validate

URI = "urn:test:isthmus"


def load(pki_folder: Path, **changes: object) -> ApplicationIdentity:
    arguments: dict[str, object] = {"application_uri": URI, "key_size": 2048, "now": pki.NOW}
    return load_or_make(pki_folder, **(arguments | changes))  # type: ignore[arg-type]  # given by name


def test_the_certificate_is_what_opc_10000_6_wants(tmp_path: Path) -> None:
    identity = load(tmp_path, hosts=("gateway.acme.example", "10.1.2.3"))
    certificate = identity.certificate
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert isinstance(names[0], x509.UniformResourceIdentifier)
    assert names[0].value == URI
    dns = set(names.get_values_for_type(x509.DNSName))
    addresses = {str(a) for a in names.get_values_for_type(x509.IPAddress)}
    assert {"localhost", "gateway.acme.example"} <= dns
    assert {"127.0.0.1", "10.1.2.3"} <= addresses
    assert set(own_hosts()) <= dns | addresses
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert usage.key_encipherment
    assert usage.data_encipherment
    assert usage.key_cert_sign
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc == pki.NOW + VALIDITY
    trust = TrustSnapshot(trusted=(certificate,))
    validate([certificate], trust, usage=Usage.Server, now=pki.NOW)
    validate([certificate], trust, usage=Usage.Client, now=pki.NOW)


def test_the_key_is_for_the_owners_eyes_only(tmp_path: Path) -> None:
    load(tmp_path)
    assert stat.S_IMODE((tmp_path / "own/private-key.pem").stat().st_mode) == 0o600


def test_the_same_identity_comes_back(tmp_path: Path) -> None:
    first = load(tmp_path)
    again = load(tmp_path, now=pki.NOW + timedelta(days=1000))
    assert again.thumbprint == first.thumbprint
    assert again.private_key.private_numbers() == first.private_key.private_numbers()


@pytest.mark.parametrize(
    "changes",
    [
        {"application_uri": "urn:test:renamed"},
        {"hosts": ("new.acme.example",)},
        {"now": pki.NOW + VALIDITY + timedelta(days=1)},
    ],
)
def test_a_self_made_certificate_that_no_longer_serves_is_replaced_with_a_warning(
    tmp_path: Path, changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    first = load(tmp_path)
    with caplog.at_level(logging.WARNING):
        second = load(tmp_path, **changes)
    assert second.thumbprint != first.thumbprint
    assert second.certificate.public_key() == first.certificate.public_key()
    assert "every client has to trust again" in caplog.text
    assert load(tmp_path, **changes).thumbprint == second.thumbprint


def test_a_certificate_that_expires_soon_is_kept_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = load(tmp_path)
    with caplog.at_level(logging.WARNING):
        second = load(tmp_path, now=pki.NOW + VALIDITY - timedelta(days=30))
    assert second.thumbprint == first.thumbprint
    assert "expires on" in caplog.text


def users_own(folder: Path, certificate: x509.Certificate, *, number: int = 0) -> None:
    (folder / "own").mkdir(parents=True)
    (folder / "own/certificate.pem").write_bytes(pki.pem(certificate))
    (folder / "own/private-key.pem").write_bytes(pki.key_pem(pki.key(number)))


def test_a_users_certificate_with_its_issuers_is_taken_as_it_is(tmp_path: Path) -> None:
    ca = pki.authority()
    leaf = pki.application(uri=URI, issuer=ca, extended=ExtendedKeyUsageOID.SERVER_AUTH)
    users_own(tmp_path, leaf)
    with (tmp_path / "own/certificate.pem").open("ab") as file:
        file.write(pki.pem(ca.certificate))
    identity = load(tmp_path)
    assert identity.certificate == leaf
    assert identity.issuers == (ca.certificate,)
    assert not identity.self_made


def test_a_users_certificate_is_never_replaced(tmp_path: Path) -> None:
    users_own(tmp_path, pki.application(uri="urn:somebody:else"))
    before = (tmp_path / "own/certificate.pem").read_bytes()
    with pytest.raises(CertificateFileError, match=r"urn:somebody:else.*left alone"):
        load(tmp_path)
    assert (tmp_path / "own/certificate.pem").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("certificate.der", b"rubbish", r"certificate\.der is broken.*remove it to have a new one made"),
        ("private-key.pem", b"rubbish", r"private-key\.pem cannot be used.*have both made"),
        ("private-key.pem", pki.key_pem(pki.key(1)), r"is not the key of"),
        ("private-key.pem", None, r"private-key\.pem is missing"),
        ("certificate.pem", b"", r"holds both"),
    ],
)
def test_a_broken_file_gives_one_error_that_says_what_to_do(
    tmp_path: Path, file: str, content: bytes | None, complaint: str
) -> None:
    load(tmp_path)
    path = tmp_path / "own" / file
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertificateFileError, match=complaint):
        load(tmp_path)


def test_a_key_without_certificate_gets_one(tmp_path: Path) -> None:
    first = load(tmp_path)
    (tmp_path / "own/certificate.der").unlink()
    second = load(tmp_path)
    assert second.certificate.public_key() == first.certificate.public_key()


def test_a_name_that_no_certificate_can_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(CertificateFileError, match="plain ASCII"):
        load(tmp_path, hosts=("füller",))


def test_a_key_that_others_can_read_is_taken_from_them_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(tmp_path)
    key = tmp_path / "own/private-key.pem"
    key.chmod(0o644)
    load(tmp_path)
    assert key.stat().st_mode & 0o077 == 0
    assert "could be read by other users" in caplog.text
