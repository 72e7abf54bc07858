from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError
from support import pki
from support.net import free_port, until

from server.observe.http import MetricsError, MetricsServer
from server.observe.settings import MetricsSettings
from sources.settings import SecretError


@asynccontextmanager
async def served(settings: MetricsSettings, base: Path = Path()) -> AsyncIterator[MetricsServer]:
    server = MetricsServer(settings, lambda: b"up 1\n", base)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def get(
    server: MetricsServer,
    request: str = "GET /metrics HTTP/1.1\r\n\r\n",
    context: ssl.SSLContext | None = None,
) -> tuple[int, str]:
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(request.encode())
        answer = (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()
    if not answer:
        return 0, ""
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


async def test_metrics_are_served_at_one_place_by_get() -> None:
    async with served(MetricsSettings(port=0)) as server:
        assert await get(server) == (200, "up 1\n")
        assert (await get(server, "GET /metrics?x=1 HTTP/1.0\r\nHost: h\r\n\r\n"))[0] == 200
        assert (await get(server, "GET / HTTP/1.1\r\n\r\n"))[0] == 404
        assert (await get(server, "POST /metrics HTTP/1.1\r\n\r\n"))[0] == 405


@pytest.mark.parametrize("garbage", ["", "\0\xff\x01", "GET\r\n\r\n", "x" * 100_000 + "\r\n\r\n"])
async def test_garbage_is_answered_or_hung_up_on_and_others_are_served(garbage: str) -> None:
    async with served(MetricsSettings(port=0)) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage.encode("latin-1"))
        assert (await get(server))[0] == 200
        writer.close()


async def test_a_token_is_asked_where_one_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRAPE_TOKEN", "open sesame")
    async with served(MetricsSettings(port=0, token="env:SCRAPE_TOKEN")) as server:
        assert (await get(server))[0] == 401
        wrong = "GET /metrics HTTP/1.1\r\nAuthorization: Bearer open\r\n\r\n"
        assert (await get(server, wrong))[0] == 401
        right = "GET /metrics HTTP/1.1\r\nauthorization: bearer open sesame\r\n\r\n"
        assert (await get(server, right))[0] == 200


def test_a_token_that_is_not_there_is_told() -> None:
    with pytest.raises(SecretError, match="NO_SUCH_VARIABLE"):
        MetricsServer(MetricsSettings(token="env:NO_SUCH_VARIABLE"), bytes, Path())


def test_beyond_loopback_a_token_is_needed() -> None:
    with pytest.raises(ValidationError, match="token is needed"):
        MetricsSettings(host="0.0.0.0")
    assert MetricsSettings(host="0.0.0.0", token="env:X").host == "0.0.0.0"


async def test_tls(tmp_path: Path) -> None:
    key = pki.key()
    certificate = pki.application(private=key)
    paths = pki.write(tmp_path, certificate, key)
    settings = MetricsSettings(port=0, certificate=paths[0], key=paths[1])
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with served(settings, tmp_path) as server:
        assert server.url.startswith("https://")
        assert (await get(server, context=context))[0] == 200


async def test_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("nothing", encoding="ascii")
    settings = MetricsSettings(port=0, certificate=Path("c.pem"), key=Path("c.pem"))
    with pytest.raises(MetricsError, match=r"c\.pem"):
        await MetricsServer(settings, bytes, tmp_path).start()


async def test_a_port_in_use_is_told() -> None:
    port = free_port()
    async with served(MetricsSettings(port=port)):
        with pytest.raises(MetricsError, match=str(port)):
            await MetricsServer(MetricsSettings(port=port), bytes, Path()).start()


@pytest.mark.parametrize("handshake", [True, False])
async def test_clients_that_say_nothing_do_not_hold_up_the_end(
    tmp_path: Path, handshake: bool, caplog: pytest.LogCaptureFixture
) -> None:
    key = pki.key()
    paths = pki.write(tmp_path, pki.application(private=key), key)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    settings = MetricsSettings(port=0, certificate=paths[0], key=paths[1])
    async with served(settings, tmp_path) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context if handshake else None)
        assert (await get(server, context=context))[0] == 200
        async with asyncio.timeout(4):
            await server.stop()
        writer.transport.abort()
        # asyncio's own task of the handshake ends with its connection.
        await until(lambda: len(asyncio.all_tasks()) == 1, what="no task left")
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []
