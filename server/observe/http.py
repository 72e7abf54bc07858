"""The metrics' HTTP server: one resource, GET /metrics, with a bearer token and TLS where configured."""

from __future__ import annotations

import asyncio
import hmac
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from server.observe.settings import MetricsSettings
from sources.settings import read_secret

log = logging.getLogger(__name__)

_MAX_REQUEST: Final = 16_384
_WITHIN: Final = 10.0
_CONNECTIONS: Final = 20
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class MetricsError(Exception):
    """The metrics cannot be served; the text says why and what to do."""


class MetricsServer:
    """Serves what ``render`` returns."""

    def __init__(self, settings: MetricsSettings, render: Callable[[], bytes], base: Path) -> None:
        """``base`` is the folder that relative paths start from. Raises SecretError."""
        self._settings = settings
        self._render = render
        self._base = base
        self._token = None if settings.token is None else read_secret(settings.token, base)
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens. Raises MetricsError before `start`."""
        if self._server is None:
            raise MetricsError("the metrics are not served yet")
        host, port = self._server.sockets[0].getsockname()[:2]
        scheme = "https" if self._settings.certificate else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/metrics"

    async def start(self) -> None:
        """Open the port. Raises MetricsError."""
        settings = self._settings
        try:
            self._server = await asyncio.start_server(
                self._client, settings.host, settings.port, ssl=self._tls(), limit=_MAX_REQUEST
            )
        except OSError as error:
            raise MetricsError(
                f"metrics: port {settings.port} of {settings.host} cannot be opened: "
                f"{error.strerror or error}; choose another with `port` in the metrics section"
            ) from error
        log.info("metrics at %s", self.url)

    async def stop(self) -> None:
        """Close the port and what is open."""
        if self._server is None:
            return
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def _tls(self) -> ssl.SSLContext | None:
        settings = self._settings
        if settings.certificate is None or settings.key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._base / settings.certificate, self._base / settings.key)
        except (OSError, ssl.SSLError) as error:
            raise MetricsError(
                f"metrics: certificate {settings.certificate} or key {settings.key} cannot be used: {error}"
            ) from error
        return context

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= _CONNECTIONS:
            writer.close()
            return
        self._clients.add(task)
        try:
            async with asyncio.timeout(_WITHIN):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("metrics: a scraper went wrong: %r", error)
        finally:
            self._clients.discard(task)
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        request, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = request.partition(" ")
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (li.partition(":") for li in lines)
        }
        if not self._may(fields.get("authorization", "")):
            return _response(401, "Unauthorized", b"a bearer token is needed\n", "WWW-Authenticate: Bearer")
        if rest.split(" ")[0].partition("?")[0] != "/metrics":
            return _response(404, "Not Found", b"only /metrics is here\n")
        if method != "GET":
            return _response(405, "Method Not Allowed", b"GET only\n", "Allow: GET")
        return _response(200, "OK", self._render())

    def _may(self, authorization: str) -> bool:
        if self._token is None:
            return True
        kind, _, given = authorization.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode())


def _response(code: int, reason: str, body: bytes, *more: str) -> bytes:
    head = [
        f"HTTP/1.1 {code} {reason}",
        f"Content-Type: {_TEXT}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *more,
    ]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
