"""Registering with a discovery server that is asyncua's, over real sockets (OPC 10000-4 §5.5.5, §5.5.6)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.crypto import security_policies as policies
from support import pki
from support.discovery_server import certificate, discovery_server
from support.net import free_port, until

from certs.own import ApplicationIdentity
from certs.store import TrustList
from server.opcua.endpoints import Endpoints
from server.opcua.services.registration import Registration
from server.opcua.settings import OpcUaSettings
from server.opcua.types import StatusCodes

LOGGER = "server.opcua.services.registration"
BASIC, BEST = policies.SecurityPolicyBasic256Sha256, policies.SecurityPolicyAes256Sha256RsaPss
SAFE = ua.MessageSecurityMode.SignAndEncrypt


class Own:
    """This server, as far as it registers itself."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        uri = "urn:test:isthmus"
        own = pki.application("Isthmus", uri=uri, private=pki.key(10))
        self.identity = ApplicationIdentity(uri, own, pki.key(10))
        self.trust = TrustList(folder / "pki")
        self.trust.prepare()
        self.folder = folder
        self.endpoints = Endpoints(
            OpcUaSettings(hostnames=("gate",), **settings), self.identity, 4840, listen=("0.0.0.0",)
        )

    def trusting(self) -> Own:
        path, _ = pki.write(self.folder / "lds", certificate(), pki.key(20))
        self.trust.trust(path)
        return self

    def registration(self, url: str, interval: float = 60.0, wait: float = 0.02) -> Registration:
        def delays() -> Iterator[float]:
            return itertools.repeat(wait)

        return Registration(
            url,
            name="Line 1",
            endpoints=self.endpoints,
            identity=self.identity,
            trust=self.trust,
            interval=interval,
            delays=delays,
        )


@contextlib.asynccontextmanager
async def running(registration: Registration) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(registration.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def told(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == LOGGER and r.levelno >= level]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)


async def test_it_registers_by_the_best_policy_and_takes_it_back_at_the_end(tmp_path: Path) -> None:
    async with discovery_server() as lds:
        registration = Own(tmp_path).trusting().registration(lds.url)
        async with running(registration):
            (heard,) = await lds.registrations(1)
            await until(lambda: registration.registered)
        _, last = await lds.registrations(2)
    assert (heard.service, heard.policy) == ("RegisterServer2", BEST.URI)
    assert heard.server.ServerUri == "urn:test:isthmus"
    assert heard.server.ProductUri == "urn:isthmus"
    assert [name.Text for name in heard.server.ServerNames] == ["Line 1"]
    assert heard.server.ServerType == ua.ApplicationType.Server
    assert heard.server.DiscoveryUrls == ["opc.tcp://gate:4840/isthmus"]
    assert heard.server.IsOnline
    (announcement,) = heard.announcement
    assert (announcement.MdnsServerName, announcement.ServerCapabilities) == ("Line 1", ["DA"])
    assert (last.service, last.policy, last.server.IsOnline) == ("RegisterServer2", BEST.URI, False)
    assert not registration.registered


async def test_an_older_discovery_server_gets_the_older_service(tmp_path: Path) -> None:
    async with discovery_server() as lds:
        lds.second = False
        async with running(Own(tmp_path).trusting().registration(lds.url, interval=0.02)):
            await lds.registrations(2)
        heard = await lds.registrations(3)
    assert {one.service for one in heard} == {"RegisterServer"}
    assert {one.policy for one in heard} == {BEST.URI}
    assert [one.server.IsOnline for one in heard][-1] is False


async def test_it_registers_again_and_again_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with discovery_server() as lds:
        async with running(Own(tmp_path).trusting().registration(lds.url, interval=0.02)):
            await lds.registrations(4)
        assert told(caplog) == [f"registered with the discovery server {lds.url}"]


async def test_an_absent_discovery_server_is_told_once_and_found_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    registration = Own(tmp_path).trusting().registration(f"opc.tcp://127.0.0.1:{port}", interval=0.02)
    async with running(registration):
        await until(lambda: len(told(caplog, logging.DEBUG)) > 3)
        assert len(told(caplog)) == 1
        assert "Connect call failed" in told(caplog)[0]
        async with discovery_server(port=port) as lds:
            await lds.registrations(2)
            await until(lambda: registration.registered)
        await until(lambda: not registration.registered)
    said = [text.partition(" with")[0] for text in told(caplog)]
    assert said == ["not registered", "registered", "not registered"]


async def test_a_discovery_server_that_is_not_trusted_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = Own(tmp_path)
    async with discovery_server() as lds:
        async with running(own.registration(lds.url)):
            await until(lambda: told(caplog))
        assert lds.heard == []
    (text,) = told(caplog)
    (rejected,) = own.trust.rejected()
    assert f"isthmus certs trust {rejected.thumbprint}" in text
    assert rejected.certificate == lds.certificate


async def test_a_certificate_for_another_application_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = certificate("urn:test:other")
    own = Own(tmp_path)
    path, _ = pki.write(tmp_path / "other", other, pki.key(20))
    own.trust.trust(path)
    async with discovery_server(own=other) as lds:
        async with running(own.registration(lds.url)):
            await until(lambda: told(caplog))
        assert lds.heard == []
    assert "urn:test:other" in told(caplog)[0]


async def test_a_certificate_for_another_host_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.opcua.services.registration.is_loopback", lambda _: False)
    own = Own(tmp_path).trusting()
    async with discovery_server() as lds:
        url = f"opc.tcp://127.1:{lds.port}"
        async with running(own.registration(url)):
            await until(lambda: told(caplog))
        assert lds.heard == []
        assert "does not name the host 127.1" in told(caplog)[0]
        async with running(own.registration(lds.url)):
            await lds.registrations(1)


async def test_nothing_is_registered_without_protection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    none = ((policies.SecurityPolicyNone, ua.MessageSecurityMode.None_),)
    async with discovery_server(offers=none) as lds:
        async with running(Own(tmp_path, allow_none=True).trusting().registration(lds.url)):
            await until(lambda: told(caplog))
        assert lds.heard == []
    assert "offers no security policy and mode" in told(caplog)[0]


async def test_it_ends_even_if_its_end_and_an_answer_come_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for the answer may then take no notice of the end."""
    registration = Own(tmp_path).trusting().registration("opc.tcp://127.0.0.1:1")

    async def register(*, online: bool) -> None:
        assert online
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(10)

    monkeypatch.setattr(registration, "_register", register)
    task = asyncio.create_task(registration.run())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task}, timeout=2)
    ended = task.done()
    task.cancel()
    await asyncio.wait({task})
    assert ended


async def test_the_policies_of_the_configuration_are_used_and_no_others(tmp_path: Path) -> None:
    async with discovery_server() as lds:
        own = Own(tmp_path, policies=("Basic256Sha256",)).trusting()
        async with running(own.registration(lds.url)):
            (heard, *_) = await lds.registrations(1)
    assert heard.policy == BASIC.URI


async def test_a_refusal_is_told_with_its_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with discovery_server() as lds:
        lds.refuse = StatusCodes.BadServerUriInvalid
        registration = Own(tmp_path).trusting().registration(lds.url)
        async with running(registration):
            await until(lambda: told(caplog))
            assert "it answers BadServerUriInvalid" in told(caplog)[0]
            lds.refuse = 0
            (heard, *_) = await lds.registrations(1)
    assert heard.service == "RegisterServer2"


async def test_the_end_does_not_wait_for_a_discovery_server_that_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with discovery_server() as lds:
        port = lds.port
        registration = Own(tmp_path).trusting().registration(lds.url)
        task = asyncio.create_task(registration.run())
        await lds.registrations(1)
        await until(lambda: registration.registered)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", port):
        loop = asyncio.get_running_loop()
        since = loop.time()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert loop.time() - since < 2.5
    assert "was not told of the end" in told(caplog)[-1]


async def test_a_peer_that_floods_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sent = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"MSGF" + (1 << 30).to_bytes(4, "little"))
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(65536))
                sent += 65536
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with running(Own(tmp_path).trusting().registration(f"opc.tcp://127.0.0.1:{port}", wait=60.0)):
            await until(lambda: told(caplog))
    assert sent < 16 << 20
