"""``isthmus certs``: our own certificate, and whose are trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from certs.store import StoredCertificate, TrustList
from server.cli.errors import told
from server.cli.output import console, table
from server.cli.run import DEFAULT_DATA, DataOption
from server.datadir import DataDirectory

app = typer.Typer(help="Our own certificate, and whose are trusted.", no_args_is_help=True)


def _trust(directory: DataDirectory) -> TrustList:
    directory.prepare()
    trust = TrustList(directory.pki)
    trust.prepare()
    return trust


def _print(title: str, entries: Sequence[StoredCertificate]) -> None:
    rows = table("Name", "Thumbprint", "Valid until", "Application URI", "File", title=title)
    for entry in entries:
        until = f"{entry.certificate.not_valid_after_utc:%Y-%m-%d}"
        rows.add_row(entry.name, entry.thumbprint, until, entry.application_uri or "", str(entry.path))
    console().print(rows if entries else f"{title}: none")


@app.command()
def show(data: DataOption = DEFAULT_DATA) -> None:
    """Print our own certificate and every trusted one."""
    with told():
        directory = DataDirectory(data)
        trust = _trust(directory)
        _print("Own", trust.own())
        _print("Trusted", trust.trusted())
        _print("Issuers", trust.issuers())
        for problem in trust.problems:
            typer.echo(f"passed over: {problem}", err=True)


@app.command()
def rejected(data: DataOption = DEFAULT_DATA) -> None:
    """Print the certificates that were turned away."""
    with told():
        _print("Rejected", _trust(DataDirectory(data)).rejected())


@app.command()
def trust(
    certificate: Annotated[
        str, typer.Argument(help="A thumbprint of a rejected certificate (its start will do), or a file.")
    ],
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Trust a certificate; a running server takes it up at once."""
    with told():
        entry = _trust(DataDirectory(data)).trust(certificate)
        typer.echo(f"trusted: {entry.name} {entry.thumbprint}")
