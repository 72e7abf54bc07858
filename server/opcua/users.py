"""The users who may log in: a file of names, argon2id hashes and roles, changed by the CLI.

``users.yaml`` in the data directory::

    version: 1
    users:
    - name: operator
      hash: $argon2id$…
      roles: [Operator]
"""

from __future__ import annotations

import asyncio
import logging
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, field_validator

from certs.files import write_atomically
from server.opcua.errors import UserStoreError
from server.opcua.sessions.backoff import Backoff
from server.opcua.sessions.pool import Pool
from server.plant.model import Role

log = logging.getLogger(__name__)

ASSIGNABLE: Final = tuple(r for r in Role if r not in {Role.Anonymous, Role.AuthenticatedUser})
"""The roles a user can be given; the other two come with being there (OPC 10000-18 §4.2)."""

MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 128
"""Characters."""

_MAX_FILE: Final = 1 << 20
_WORKERS: Final = 2
"""Passwords hashed at a time; each takes 19 MiB and some 30 ms of one core."""

# OWASP's choice for argon2id: 19 MiB and two passes, bearable for a small gateway.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class _Waits(Exception):
    """Whoever tries has to wait; the text says why."""


class UserRecord(BaseModel):
    """One user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f\x7f]+$", max_length=64)]
    hash: Annotated[str, StringConstraints(pattern=r"^\$argon2id\$", max_length=512)]
    roles: frozenset[Role] = frozenset()

    @field_validator("roles")
    @classmethod
    def _assignable(cls, roles: frozenset[Role]) -> frozenset[Role]:
        for role in roles:
            if role not in ASSIGNABLE:
                raise ValueError(f"{role.value} cannot be given; every user who logs in has it")
        return roles


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    users: tuple[UserRecord, ...] = ()


class UserStore:
    """The users of one file. A missing file has none; a change on disk counts at the next login.

    A file that breaks while the server runs lets nobody in until it is mended.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._backoff = Backoff(clock)
        self._pool = Pool(_WORKERS)
        self._lock = threading.RLock()
        """Held while the file is looked at: logins do that, each in its thread."""
        self._seen: object = None
        self._users: Mapping[str, UserRecord] = {}
        self._changes = self._told = 0

    def load(self) -> None:
        """Read the file now. Raises UserStoreError where it is broken."""
        with self._lock:
            seen = self._look()
            users: Mapping[str, UserRecord] = {}
            try:
                users = self._read()
            finally:
                # Not before: whoever asks meanwhile must not find a user gone who is there.
                self._users, self._seen = users, seen

    def list(self) -> dict[str, frozenset[Role]]:
        """All users and their roles, as the file says now. Raises UserStoreError."""
        return {user.name: user.roles for user in self._read().values()}

    def known(self) -> dict[str, frozenset[Role]]:
        """All users and their roles, as last read; none where the file is broken."""
        return {user.name: user.roles for user in self._users.values()}

    async def add(self, name: str, password: str, roles: Iterable[Role]) -> None:
        """Add a user, or give one another password and other roles. Raises UserStoreError."""
        await asyncio.to_thread(self._add, name, password, roles)

    def _add(self, name: str, password: str, roles: Iterable[Role]) -> None:
        users = self._read()
        users[name] = _record(name, _hash(password), roles)
        self._write(users)

    def set_roles(self, name: str, roles: Iterable[Role]) -> None:
        """Give a user these roles and no others. Raises UserStoreError."""
        users = self._read()
        users[name] = _record(name, self._known(users, name).hash, roles)
        self._write(users)

    def remove(self, name: str) -> None:
        """Remove a user. Raises UserStoreError."""
        users = self._read()
        del users[self._known(users, name).name]
        self._write(users)

    def current(self, name: str) -> UserRecord | None:
        """The user as last read; None where there is none any more."""
        return self._users.get(name)

    async def refresh(self) -> bool:
        """Read the file again if it changed; True if it did since the last call, whoever saw it first."""
        await asyncio.to_thread(self._refresh)
        told, self._told = self._told, self._changes
        return told != self._told

    async def verify(self, name: str, password: str, address: str = "") -> UserRecord | None:
        """The user of that name and password, None where there is no such one.

        ``address`` is the client's host.
        The hash is computed off the loop, and for unknown names too, so that time does not
        tell who exists. Whoever failed too often has to wait (`backoff`), whatever the password.
        Raises Busy.
        """

        def may_try() -> None:
            reason = self._backoff.refuses(name, address, known=name in self._users)
            if reason:
                raise _Waits(reason)

        try:
            may_try()
            # Again when its turn comes: those before it may have failed meanwhile.
            user = await self._pool.run(address, lambda: self._check(name, password), may_try)
        except _Waits as reason:
            log.warning("login of %.64r from %s not tried: %s", name, address or "here", reason)
            return None
        if user is None:
            self._backoff.failed(name, address, known=name in self._users)
        else:
            self._backoff.succeeded(name, address)
        return user

    def _check(self, name: str, password: str) -> UserRecord | None:
        self._refresh()
        nobody = _no_ones_hash()  # made by the first login, whoever it is of
        user = self._users.get(name)
        fits = _fits(user.hash if user else nobody, password)
        return user if fits else None

    def _refresh(self) -> None:
        with self._lock:
            if self._look() == self._seen:
                return
            try:
                self.load()
            except UserStoreError as error:
                log.error("%s; nobody can log in until it is mended", error)  # noqa: TRY400  # the text says all
            self._changes += 1

    def _look(self) -> object:
        try:
            info = self._path.stat()
        except OSError:
            return None
        return info.st_mtime_ns, info.st_size, info.st_ino

    def _read(self) -> dict[str, UserRecord]:
        try:
            if self._path.stat().st_size > _MAX_FILE:
                raise UserStoreError(f"{self._path} is too large to be a users' file")
            text = self._path.read_text(encoding="utf-8")
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise UserStoreError(f"{self._path} cannot be read: {error}") from error
        if mode & 0o077:
            log.warning("%s can be read by other users of this machine; chmod 600 it", self._path)
        try:
            users = _File.model_validate(yaml.safe_load(text)).users
        except yaml.YAMLError as error:
            where = getattr(error, "problem_mark", None)
            line = f", line {where.line + 1}" if where else ""
            raise UserStoreError(
                f"{self._path}{line}: not YAML; mend it, or remove it and add the users anew"
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(str(part) for part in first["loc"]) or "the whole file"
            raise UserStoreError(
                f"{self._path}: {path}: {first['msg']}; mend it, or remove it and add the users anew"
            ) from None
        found = {user.name: user for user in users}
        if len(found) != len(users):
            raise UserStoreError(f"{self._path}: a user stands there twice; remove one of the entries")
        return found

    def _write(self, users: Mapping[str, UserRecord]) -> None:
        entries = [
            {"name": user.name, "hash": user.hash, "roles": sorted(role.value for role in user.roles)}
            for user in users.values()
        ]
        text = yaml.safe_dump({"version": 1, "users": entries}, sort_keys=False, allow_unicode=True)
        try:
            write_atomically(self._path, text.encode("utf-8"), 0o600)
        except OSError as error:
            raise UserStoreError(f"{self._path} cannot be written: {error.strerror}") from error

    @staticmethod
    def _known(users: Mapping[str, UserRecord], name: str) -> UserRecord:
        if name not in users:
            raise UserStoreError(f"there is no user {name}")
        return users[name]


def _record(name: str, password_hash: str, roles: Iterable[Role]) -> UserRecord:
    try:
        return UserRecord(name=name, hash=password_hash, roles=frozenset(roles))
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"][0] == "name":
            raise UserStoreError(f"{name!r} is no user name: 1 to 64 characters without spaces") from None
        raise UserStoreError(str(first["msg"]).removeprefix("Value error, ")) from None


def _hash(password: str) -> str:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UserStoreError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    return _HASHER.hash(password)


@cache
def _no_ones_hash() -> str:
    return _HASHER.hash("the password of nobody")


def _fits(password_hash: str, password: str) -> bool:
    try:
        return len(password) <= MAX_PASSWORD and _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
