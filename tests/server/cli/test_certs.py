"""``isthmus certs`` as a person uses it: from a stranger's certificate to a plant with a CA of its own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from support import pki
from support.isthmus import isthmus
from typer.testing import CliRunner

from certs.files import thumbprint
from certs.store import TrustList
from server.cli.certs import app

ROOT = pki.authority("Root CA")
LINE = pki.authority("Line CA", private=pki.key(2), issuer=ROOT)
CLIENT = pki.application("SCADA", private=pki.key(3))


class Shell:
    """The command in one data directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.trust = TrustList(self.data / "pki")

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, [*map(str, arguments), "--data", str(self.data)])
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.exit_code, done.stdout, done.stderr

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


@pytest.fixture
def certs(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_stranger_is_listed_trusted_and_distrusted_again(certs: Shell) -> None:
    certs.trust.prepare()
    certs.trust.reject(CLIENT)
    name = thumbprint(CLIENT)
    code, out, _ = certs("rejected")
    assert code == 0
    assert name in out
    code, out, err = certs("trust", name[:8])
    assert (code, out, err) == (0, f"trusted: SCADA {name}\n", "")
    code, out, err = certs("show")
    assert code == 0
    assert name in out.partition("Issuers")[0]
    assert "urn:test:client" in out
    assert "Revocation lists: none" in out
    assert err == "", "a self-signed certificate needs no list"
    code, out, _ = certs("distrust", name[:8])
    assert (code, out) == (0, f"no longer trusted: SCADA {name}\n")
    assert certs.trust.snapshot().trusted == ()


def test_a_ca_is_trusted_with_its_issuer_and_their_lists(certs: Shell) -> None:
    code, out, err = certs("trust", certs.file("line.crt", pki.der(LINE.certificate)))
    assert code == 0
    assert out.startswith("trusted: Line CA")
    assert "note: the revocation list of Line CA" in err
    assert "trusted/crl (isthmus certs crl FILE)" in err
    code, out, err = certs("issuer", certs.file("root.pem", pki.pem(ROOT.certificate)))
    assert (code, out) == (0, f"added: Root CA {thumbprint(ROOT.certificate)}\n")
    assert "issuers/crl" in err
    client = pki.application("Issued", issuer=LINE)
    for name, crl in (("root.crl", ROOT.revoke()), ("line.crl", LINE.revoke(client))):
        code, out, err = certs("crl", certs.file(name, pki.crl_der(crl)))
        assert (code, err) == (0, "")
    assert out == "added: the revocation list of Line CA, 1 revoked\n"
    code, out, err = certs("show")
    assert (code, err) == (0, "")
    lists = out.partition("Revocation lists")[2]
    assert "Line CA" in lists
    assert "Root CA" in lists


def test_what_is_wrong_with_the_store_is_told(certs: Shell) -> None:
    certs.trust.prepare()
    certs.trust.trust(certs.file("line.crt", pki.der(LINE.certificate)))
    late = LINE.revoke(start=timedelta(days=-9), end=timedelta(days=-1))
    certs.trust.add_list(certs.file("late.crl", pki.crl_der(late)))
    (certs.data / "pki/trusted/certs/notes.txt").write_text("call Anna", encoding="utf-8")
    code, _, err = certs("show")
    assert code == 0
    bad, missing = err.splitlines()
    assert "notes.txt is neither a certificate nor a revocation list" in bad
    assert "Line CA" in missing
    assert "was good until" in missing


@pytest.mark.parametrize(
    ("command", "name", "complaint"),
    [
        ("crl", "root.crl", "add the certificate of CN=Root CA first"),
        ("crl", "client.der", "holds no revocation list"),
        ("crl", "none.crl", "cannot be read"),
        ("issuer", "client.der", "is not a CA's certificate"),
        ("trust", "root.crl", "holds 0 certificates"),
        ("distrust", "0123456789", "no certificate has the thumbprint"),
    ],
)
def test_what_cannot_be_done_is_told(certs: Shell, command: str, name: str, complaint: str) -> None:
    certs.file("client.der", pki.der(CLIENT))
    certs.file("root.crl", pki.crl_der(ROOT.revoke()))
    code, out, err = certs(command, certs.folder / name if "." in name else name)
    assert (code, out) == (1, "")
    assert complaint in err


def test_as_a_process_of_its_own_it_says_the_same(certs: Shell) -> None:
    bad = certs.data / "pki/trusted/certs/notes.txt"
    certs.trust.prepare()
    bad.write_text("call Anna", encoding="utf-8")
    done = isthmus("certs", "show", "--data", certs.data)
    assert done.returncode == 0
    assert done.stderr.count(str(bad)) == 1
    assert done.stderr.startswith("note: ")
    done = isthmus("certs", "crl", bad, "--data", certs.data)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_list_that_is_made_optional_is_among_the_lines_that_weaken(tmp_path: Path) -> None:
    plant = tmp_path / "plant.yaml"
    plant.write_text(
        'model: 1\nnamespaces: {plant: "urn:a:plant", types: "urn:a:types"}\nopcua: {crl_optional: true}\n'
        "equipment:\n  Acme: {level: Enterprise}\n",
        encoding="utf-8",
    )
    done = isthmus("check", plant)
    assert done.returncode == 0, done.stderr
    assert "allowed: opcua.crl_optional" in done.stderr
