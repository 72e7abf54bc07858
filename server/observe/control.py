"""The control socket: how a command on this machine speaks with a running server.

A TCP port of the loopback interface, on every platform; ``control.json`` in the data
directory, readable by its owner only, holds the port and a token. A request and its
answer are one line of JSON each.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from server.observe.listener import Listener

_FILE: Final = "control.json"
_HOST: Final = "127.0.0.1"
_LIMIT: Final = 1 << 24
_LONGEST_REQUEST: Final = 65_536
_WITHIN: Final = 10.0
PATIENCE: Final = 600.0
"""Seconds for what is slow: reading and applying the largest plant takes a small part of it."""

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class ControlError(Exception):
    """A running server cannot be spoken with; the text says why and what to do."""


class ControlServer:
    """Answers commands; each handler gets the request and returns what JSON can carry."""

    def __init__(
        self, data: Path, handlers: Mapping[str, Handler], slow: Mapping[str, Handler] | None = None
    ) -> None:
        """``slow`` are handlers that may take minutes rather than seconds."""
        self._path = data / _FILE
        self._handlers = {**handlers, **(slow or {})}
        self._slow = frozenset(slow or ())
        self._token = secrets.token_urlsafe(32)
        self._listener = Listener("control", self._client, longest=_LONGEST_REQUEST, within=PATIENCE)

    async def start(self) -> None:
        """Open a free port and write the file. Raises ControlError."""
        try:
            await self._listener.start(_HOST, 0)
            address = self._listener.address
            port = address[1] if address else 0
            content = json.dumps({"port": port, "token": self._token, "pid": os.getpid()})
            await asyncio.to_thread(_write_private, self._path, content)
        except OSError as error:
            raise ControlError(f"{self._path}: the control socket cannot be opened: {error}") from error

    async def stop(self) -> None:
        """Close it and remove the file."""
        if self._listener.address is not None:
            await self._listener.stop()
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_WITHIN):
            line = await reader.readline()
        writer.write(json.dumps(await self._answer(line)).encode() + b"\n")

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict) or not self._knows(request.get("token")):
            return {"error": "the token is wrong"}
        if not self._listener.prove():
            return {"error": "too many commands are under way; try again"}
        handler = self._handlers.get(str(request.get("command")))
        if handler is None:
            return {"error": f"there is no command {request.get('command')!r}"}
        async with asyncio.timeout(None if request["command"] in self._slow else _WITHIN):
            return {"result": await handler(request)}

    def _knows(self, token: object) -> bool:
        return isinstance(token, str) and hmac.compare_digest(token.encode(), self._token.encode())


async def ask(data: Path, command: str, *, within: float = _WITHIN, **more: Any) -> Any:
    """Have the server that uses this data directory do something in so many seconds. Raises ControlError."""
    path = data / _FILE
    try:
        content = json.loads(await asyncio.to_thread(path.read_text, encoding="utf-8"))
        port, token = int(content["port"]), str(content["token"])
    except FileNotFoundError:
        raise ControlError(f"{data}: no server runs on this data directory; name it with --data") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ControlError(
            f"{path}: cannot be read: {error}; are you the user the server runs as?"
        ) from error
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(_HOST, port, limit=_LIMIT)
            try:
                request = {"token": token, "command": command, **more}
                writer.write(json.dumps(request).encode() + b"\n")
                answer = json.loads(await reader.readline() or b"{}")
            finally:
                writer.close()
    except (TimeoutError, OSError, ValueError) as error:
        raise ControlError(
            f"{data}: the server does not answer ({error!r}): it is too busy, or it was killed; "
            "then start it again"
        ) from error
    if "result" not in answer:
        raise ControlError(f"{data}: the server refused: {answer.get('error', 'no answer')}")
    return answer["result"]


def _write_private(path: Path, content: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
