"""``isthmus users``: who may sign in with a name and a password."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from server.cli.errors import BAD_CONFIGURATION, fail, told
from server.cli.run import DEFAULT_DATA, DataOption
from server.datadir import DataDirectory
from server.opcua.users import UserStore
from server.plant.model import Role

app = typer.Typer(help="Who may sign in with a name and a password.", no_args_is_help=True)

_GRANTABLE = [role for role in Role if role not in {Role.Anonymous, Role.AuthenticatedUser}]
Roles = Annotated[
    list[str],
    typer.Option("--role", help=f"May be given several times: {', '.join(r.value for r in _GRANTABLE)}."),
]


def _store(directory: DataDirectory) -> UserStore:
    directory.prepare()
    return UserStore(directory.users)


def _roles(names: list[str]) -> frozenset[Role]:
    known = {role.value.lower(): role for role in _GRANTABLE}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        fail(
            f"no such role: {', '.join(unknown)}; there are {', '.join(r.value for r in _GRANTABLE)}",
            BAD_CONFIGURATION,
        )
    return frozenset(known[name.lower()] for name in names)


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("nobody is there to type a password; say --password-stdin and send it", BAD_CONFIGURATION)
    answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return answer


@app.command()
def add(
    name: str,
    role: Roles,
    data: DataOption = DEFAULT_DATA,
    *,
    password_stdin: Annotated[bool, typer.Option(help="Read the password from standard input.")] = False,
) -> None:
    """Add a user, or give one a new password and roles."""
    with told():
        roles = _roles(role)
        store = _store(DataDirectory(data))
        asyncio.run(store.add(name, _password(from_stdin=password_stdin), roles))
        typer.echo(f"{name}: {', '.join(sorted(r.value for r in roles))}")


@app.command("list")
def list_users(data: DataOption = DEFAULT_DATA) -> None:
    """Print every user and the roles."""
    with told():
        for name, roles in sorted(_store(DataDirectory(data)).list().items()):
            typer.echo(f"{name}: {', '.join(sorted(r.value for r in roles))}")


@app.command()
def remove(name: str, data: DataOption = DEFAULT_DATA) -> None:
    """Remove a user; a running server ends the sessions within seconds."""
    with told():
        _store(DataDirectory(data)).remove(name)
