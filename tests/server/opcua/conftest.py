"""Servers for the tests of a module, and clients of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua.client.client import Client
from support.opcua import Connect, Running, prepared, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that lets anybody look and users write."""
    data = tmp_path_factory.mktemp("served")
    with serving(data, allow_none=True, anonymous=True, writable=True, sign_only=True) as running:
        yield running


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server as it is without any line: encrypted, named users, nothing written."""
    with serving(tmp_path_factory.mktemp("strict")) as running:
        yield running


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """Connects a client, see `prepared`; it is gone when the block ends."""

    @asynccontextmanager
    async def connected(running: Running, **wishes: Any) -> AsyncIterator[Client]:
        client = await prepared(running, tmp_path, **wishes)
        async with client:
            yield client

    return connected
