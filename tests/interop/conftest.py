"""node-opcua, the servers it talks to, and its ways in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.memory import Memory, serving_memory
from support.node import NodeClient, Speaker, node_client
from support.opcua import CLIENT_URI, OPERATOR, OPERATOR_PASSWORD, Running, client_files, serving

SAFE = {"policy": "Aes256_Sha256_RsaPss", "mode": "SignAndEncrypt"}
OPEN = {"allow_none": True, "anonymous": True, "writable": True, "sign_only": True}


@pytest.fixture(autouse=True)
def _nothing_is_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client does, right or wrong, no part of the server fails over it."""
    yield
    faults = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert not [fault for fault in faults if "fault of ours" in fault]


@pytest.fixture(scope="session")
def node() -> Iterator[NodeClient]:
    with node_client() as client:
        yield client


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that lets anybody look and users write."""
    with serving(tmp_path_factory.mktemp("served"), **OPEN) as running:
        yield running


@pytest.fixture(scope="module")
def order(served: Running, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every connection of a trusted client needs."""
    return trusted(served, tmp_path_factory.mktemp("node client"))


@pytest.fixture(scope="module")
def anybody(node: NodeClient, order: dict[str, Any]) -> Iterator[str]:
    node("connect", **{"as": "anybody"}, **order)
    yield "anybody"
    node("disconnect", **{"as": "anybody"})


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Memory]]:
    """A server with the nodes of `support.memory`."""
    with serving_memory(tmp_path_factory.mktemp("remembering"), **OPEN) as both:
        yield both


@pytest.fixture(scope="module")
def memory(remembering: tuple[Running, Memory]) -> Memory:
    return remembering[1]


Speak = Callable[..., AbstractContextManager[Speaker]]


@pytest.fixture(scope="module")
def speak(
    node: NodeClient, remembering: tuple[Running, Memory], tmp_path_factory: pytest.TempPathFactory
) -> Speak:
    """Has node-opcua connect to the server that remembers; gone when the block ends."""
    way = trusted(remembering[0], tmp_path_factory.mktemp("speaker"))

    @contextmanager
    def connected(name: str, **wishes: Any) -> Iterator[Speaker]:
        session = wishes.pop("session", True)
        node("connect" if session else "open", **{"as": name}, **way | wishes)
        yield Speaker(node, name)
        node("disconnect" if session else "shut", **{"as": name})

    return connected


@pytest.fixture(scope="module")
def operator(speak: Speak) -> Iterator[Speaker]:
    with speak("operator", **SAFE, user=OPERATOR, password=OPERATOR_PASSWORD) as speaker:
        yield speaker


@pytest.fixture(scope="module")
def looker(speak: Speak) -> Iterator[Speaker]:
    """Anonymous, over None."""
    with speak("looker") as speaker:
        yield speaker


def trusted(running: Running, folder: Path) -> dict[str, Any]:
    """What a connection of a client needs that the server trusts."""
    certificate, key = client_files(folder)
    running.bench.trust.trust(certificate)
    return {
        "url": running.url,
        "pki": str(folder / "pki"),
        "certificate": str(certificate),
        "key": str(key),
        "applicationUri": CLIENT_URI,
    }
