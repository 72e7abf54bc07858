"""A Mosquitto broker for one test: plain, with a password, or with TLS and client certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.net import free_port
from support.programs import need


@dataclass(frozen=True)
class Pki:
    """PEM files of an authority, the broker and a client, each certificate with its key."""

    ca: Path
    broker: Path
    broker_key: Path
    client: Path
    client_key: Path


def make_pki(folder: Path) -> Pki:
    """Issue certificates for a broker on 127.0.0.1 and for a client."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, ca = _issue("Test CA", None, None)
    broker_key, broker = _issue("127.0.0.1", ca_key, ca)
    client_key, client = _issue("isthmus", ca_key, ca)
    paths = Pki(
        *(folder / name for name in ("ca.pem", "broker.pem", "broker.key", "client.pem", "client.key"))
    )
    paths.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for path, key_path, certificate, key in (
        (paths.broker, paths.broker_key, broker, broker_key),
        (paths.client, paths.client_key, client, client_key),
    ):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return paths


def _issue(
    name: str, issuer_key: ec.EllipticCurvePrivateKey | None, issuer: x509.Certificate | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    moment = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - dt.timedelta(hours=1))
        .not_valid_after(moment + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer_key or key).public_key()),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=issuer is None,
                crl_sign=issuer is None,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if issuer is not None:
        san = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(san, critical=False)
    return key, builder.sign(issuer_key or key, hashes.SHA256())


class Mosquitto:
    """One broker process on a free port of 127.0.0.1. Leaving the context ends it."""

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        pki: Pki | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        """Anonymous unless there are ``users``; with ``pki`` TLS that demands a client certificate.

        ``options`` are further lines of the configuration file.
        """
        self.port = free_port()
        self._pki = pki
        self._program = need("mosquitto")
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "mosquitto.log"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            f"allow_anonymous {'false' if users else 'true'}",
            "log_type all",
            *([] if os.geteuid() else ["user root"]),
            *options,
        ]
        if users:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            for name, password in users.items():
                subprocess.run(
                    [need("mosquitto_passwd"), "-b", passwords, name, password],
                    check=True,
                    capture_output=True,
                )
            lines.append(f"password_file {passwords}")
        if pki is not None:
            lines += [
                f"cafile {pki.ca}",
                f"certfile {pki.broker}",
                f"keyfile {pki.broker_key}",
                "require_certificate true",
            ]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def url(self) -> str:
        """As the settings name it."""
        return f"{'mqtts' if self._pki else 'mqtt'}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None, "Mosquitto does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        """What the broker said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start it, and return when it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, f"Mosquitto ended: {self.log}"
            assert time.monotonic() < end, f"Mosquitto does not listen: {self.log}"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it as an administrator would."""
        self._end("terminate")

    def kill(self) -> None:
        """End it without a word."""
        self._end("kill")

    def _end(self, how: str) -> None:
        process, self._process = self._process, None
        if process is not None:
            getattr(process, how)()
            process.wait(20)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
