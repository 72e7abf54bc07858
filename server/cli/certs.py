"""``isthmus certs``: our own certificate, and whose are trusted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from certs.store import StoredCertificate, StoredList, TrustList
from server.cli.errors import told
from server.cli.output import console, table
from server.cli.run import DEFAULT_DATA, DataOption
from server.datadir import DataDirectory

app = typer.Typer(help="Our own certificate, and whose are trusted.", no_args_is_help=True)

CertificateArgument = Annotated[
    str, typer.Argument(help="A thumbprint of a rejected certificate (its start will do), or a file.")
]


def _trust(data: Path) -> TrustList:
    directory = DataDirectory(data)
    directory.prepare()
    trust = TrustList(directory.pki)
    trust.prepare()
    return trust


def _print(title: str, entries: Sequence[StoredCertificate]) -> None:
    rows = table("Name", "Thumbprint", "Valid until", "Application URI", "File", title=title)
    for entry in entries:
        until = f"{entry.certificate.not_valid_after_utc:%Y-%m-%d}"
        what = "(CA)" if entry.is_authority else entry.application_uri or ""
        rows.add_row(entry.name, entry.thumbprint, until, what, str(entry.path))
    console().print(rows if entries else f"{title}: none")


def _print_lists(entries: Sequence[StoredList]) -> None:
    rows = table("CA", "Revoked", "Issued", "Good until", "File", title="Revocation lists")
    for entry in entries:
        end = entry.crl.next_update_utc
        rows.add_row(
            entry.issuer_name,
            str(len(entry.crl)),
            f"{entry.crl.last_update_utc:%Y-%m-%d %H:%M}",
            f"{end:%Y-%m-%d %H:%M}" if end is not None else "",
            str(entry.path),
        )
    console().print(rows if entries else "Revocation lists: none")


def _tell(findings: Sequence[str]) -> None:
    for finding in findings:
        typer.echo(f"note: {finding}", err=True)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the trust list's complaints out of the log where the findings have them too."""
    logger = logging.getLogger(TrustList.__module__)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@app.command()
def show(data: DataOption = DEFAULT_DATA) -> None:
    """Print our own certificate, every trusted one, and what is wrong or missing."""
    with told(), _unlogged():
        trust = _trust(data)
        _print("Own", trust.own())
        _print("Trusted", trust.trusted())
        _print("Issuers", trust.issuers())
        _print_lists(trust.lists())
        _tell(trust.findings())


@app.command()
def rejected(data: DataOption = DEFAULT_DATA) -> None:
    """Print the certificates that were turned away."""
    with told():
        _print("Rejected", _trust(data).rejected())


@app.command()
def trust(certificate: CertificateArgument, data: DataOption = DEFAULT_DATA) -> None:
    """Trust a certificate, with a CA's all it issues; a running server takes it up at once."""
    with told():
        store = _trust(data)
        entry = store.trust(certificate)
        typer.echo(f"trusted: {entry.name} {entry.thumbprint}")
        _tell(store.missing_for(entry))


@app.command()
def issuer(certificate: CertificateArgument, data: DataOption = DEFAULT_DATA) -> None:
    """Add a CA that others' certificates lead to, without trusting all it issues."""
    with told():
        store = _trust(data)
        entry = store.add_issuer(certificate)
        typer.echo(f"added: {entry.name} {entry.thumbprint}")
        _tell(store.missing_for(entry))


@app.command()
def crl(
    file: Annotated[Path, typer.Argument(help="A file with the revocation list of a CA that is here.")],
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Put a CA's new revocation list in place of its old one; a running server takes it up at once."""
    with told():
        for entry in _trust(data).add_list(file):
            typer.echo(f"added: the revocation list of {entry.issuer_name}, {len(entry.crl)} revoked")


@app.command()
def distrust(
    thumbprint: Annotated[str, typer.Argument(help="How the thumbprint of a trusted certificate begins.")],
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Trust a certificate no longer; a running server closes the sessions that rest on it."""
    with told():
        entry = _trust(data).distrust(thumbprint)
        typer.echo(f"no longer trusted: {entry.name} {entry.thumbprint}")
