"""Servers in processes of their own, one for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.victim import Victim, victim


def _needs_proc() -> None:
    """Memory and loopback addresses are looked at as Linux has them."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A server as it is without any line: signed and encrypted, named users, nothing written."""
    _needs_proc()
    with victim(tmp_path_factory.mktemp("strict")) as found:
        yield found


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A server that lets anybody look, over None too, and users write."""
    _needs_proc()
    data = tmp_path_factory.mktemp("lenient")
    with victim(data, allow_none=True, anonymous=True, writable=True, sign_only=True) as found:
        yield found
