"""The metrics' HTTP server: one resource, GET /metrics, with a bearer token and TLS where configured."""

from __future__ import annotations

import asyncio
import hmac
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from server.observe.listener import Listener
from server.observe.settings import MetricsSettings
from sources.address import host_and_port
from sources.settings import read_secret

log = logging.getLogger(__name__)

_MAX_REQUEST: Final = 16_384
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
        self._listener = Listener("metrics", self._client, longest=_MAX_REQUEST)

    @property
    def url(self) -> str:
        """Where it listens. Raises MetricsError before `start`."""
        address = self._listener.address
        if address is None:
            raise MetricsError("the metrics are not served yet")
        host, port = address
        scheme = "https" if self._settings.certificate else "http"
        return f"{scheme}://{host_and_port(host, port)}/metrics"

    async def start(self) -> None:
        """Open the port. Raises MetricsError."""
        settings = self._settings
        try:
            await self._listener.start(settings.host, settings.port, self._tls())
        except OSError as error:
            raise MetricsError(
                f"metrics: port {settings.port} of {settings.host} cannot be opened: "
                f"{error.strerror or error}; choose another with `port` in the metrics section"
            ) from error
        log.info("metrics at %s", self.url)

    async def stop(self) -> None:
        """Close the port and what is open."""
        await self._listener.stop()

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
        writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))

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
