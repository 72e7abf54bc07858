from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from support.clock import Clock

from server.opcua.errors import UserStoreError
from server.opcua.users import UserStore
from server.plant.model import Role

PASSWORD = "correct horse"


async def roles(store: UserStore, name: str, password: str) -> frozenset[Role] | None:
    user = await store.verify(name, password)
    return None if user is None else user.roles


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> UserStore:
    return UserStore(tmp_path / "users.yaml", clock=clock)


async def test_a_user_is_known_by_name_and_password_only(store: UserStore) -> None:
    await store.add("ann", PASSWORD, [Role.Operator, Role.Engineer])
    assert await roles(store, "ann", PASSWORD) == frozenset({Role.Operator, Role.Engineer})
    assert await roles(store, "ann", "wrong horse") is None
    assert await roles(store, "bob", PASSWORD) is None
    assert await roles(store, "ann", "") is None
    assert await roles(store, "ann", PASSWORD + "\0") is None
    assert await roles(store, "ann", "x" * 10_000_000) is None


async def test_without_a_file_nobody_gets_in(store: UserStore) -> None:
    store.load()
    assert store.list() == {}
    assert await roles(store, "ann", PASSWORD) is None


async def test_the_file_holds_no_password_and_is_for_the_owner_only(store: UserStore, tmp_path: Path) -> None:
    await store.add("ann", PASSWORD, [Role.Operator])
    path = tmp_path / "users.yaml"
    assert PASSWORD not in path.read_text()
    assert "$argon2id$" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_changes_on_disk_count_at_the_next_login(store: UserStore, tmp_path: Path) -> None:
    other = UserStore(tmp_path / "users.yaml")
    await other.add("ann", PASSWORD, [Role.Operator])
    assert await roles(store, "ann", PASSWORD) == frozenset({Role.Operator})
    other.set_roles("ann", [])
    assert await roles(store, "ann", PASSWORD) == frozenset()
    await other.add("ann", "another horse", [])
    assert await store.refresh()
    assert not await store.refresh()
    assert await roles(store, "ann", PASSWORD) is None
    assert await roles(store, "ann", "another horse") == frozenset()
    other.remove("ann")
    assert await roles(store, "ann", "another horse") is None
    assert store.current("ann") is None


async def test_a_change_is_told_even_if_a_login_saw_it_first(store: UserStore) -> None:
    """Whoever is told sees to the sessions of those whose roles changed."""
    await store.add("ann", PASSWORD, [Role.Operator])
    assert await store.refresh()
    store.set_roles("ann", [])
    assert await roles(store, "mallory", "anything") is None
    assert await store.refresh()
    assert not await store.refresh()


async def test_while_the_file_is_read_nobody_is_gone(store: UserStore, tmp_path: Path) -> None:
    await store.add("ann", PASSWORD, [])
    store.load()
    path = tmp_path / "users.yaml"
    text = path.read_text()
    path.unlink()
    os.mkfifo(path)  # a file that takes its time
    reading = threading.Thread(target=store.load)
    reading.start()
    with path.open("w") as slow:
        assert store.current("ann") is not None
        slow.write(text)
    reading.join(10)
    assert store.known() == {"ann": frozenset()}


async def test_after_some_failures_a_name_has_to_wait_even_with_the_right_password(
    store: UserStore, clock: Clock
) -> None:
    await store.add("ann", PASSWORD, [])
    for _ in range(3):
        assert await roles(store, "ann", "wrong horse") is None
    assert await roles(store, "ann", PASSWORD) is None
    clock.now += 1.0
    assert await roles(store, "ann", "wrong horse") is None  # the fourth: now two seconds
    clock.now += 1.0
    assert await roles(store, "ann", PASSWORD) is None
    clock.now += 1.0
    assert await roles(store, "ann", PASSWORD) == frozenset()
    assert await roles(store, "ann", "wrong horse") is None
    assert await roles(store, "ann", PASSWORD) == frozenset()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("users: [", r"line 1: not YAML"),
        ("{}", r"version: Field required"),
        ("version: 2", r"version"),
        ("version: 1\nusers: [{name: ann, hash: secret}]", r"users\.0\.hash"),
        ("version: 1\nusers: [{name: ann, hash: $argon2id$x, roles: [King]}]", r"users\.0\.roles"),
        (
            "version: 1\nusers: [{name: ann, hash: $argon2id$x, roles: [Anonymous]}]",
            r"Anonymous cannot be given",
        ),
        (
            "version: 1\nusers: [{name: ann, hash: $argon2id$x}, {name: ann, hash: $argon2id$y}]",
            r"stands there twice",
        ),
        ("just text", r"the whole file"),
    ],
)
async def test_a_broken_file_says_where_and_lets_nobody_in(
    store: UserStore, tmp_path: Path, text: str, complaint: str
) -> None:
    await store.add("ann", PASSWORD, [])
    assert await roles(store, "ann", PASSWORD) == frozenset()
    (tmp_path / "users.yaml").write_text(text)
    with pytest.raises(UserStoreError, match=complaint):
        store.list()
    assert await roles(store, "ann", PASSWORD) is None


async def test_a_broken_hash_is_a_failed_login(store: UserStore, tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("version: 1\nusers: [{name: ann, hash: $argon2id$x}]")
    assert await roles(store, "ann", PASSWORD) is None


@pytest.mark.parametrize(
    ("name", "password", "roles", "complaint"),
    [
        ("", PASSWORD, [], "no user name"),
        ("two words", PASSWORD, [], "no user name"),
        ("bob", "short", [], "8 to 128 characters"),
        ("bob", "x" * 129, [], "8 to 128 characters"),
        ("bob", PASSWORD, [Role.Anonymous], "cannot be given"),
    ],
)
async def test_senseless_users_are_refused(
    store: UserStore, name: str, password: str, roles: list[Role], complaint: str
) -> None:
    await store.add("ann", PASSWORD, [])
    with pytest.raises(UserStoreError, match=complaint):
        await store.add(name, password, roles)
    assert store.list() == {"ann": frozenset()}


def test_changing_who_is_not_there_is_refused(store: UserStore) -> None:
    with pytest.raises(UserStoreError, match="no user bob"):
        store.remove("bob")
    with pytest.raises(UserStoreError, match="no user bob"):
        store.set_roles("bob", [])
