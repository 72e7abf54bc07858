from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.observe.control import ControlError, ControlServer, ask


async def echo(request: dict[str, Any]) -> Any:
    return request.get("say")


@asynccontextmanager
async def controlled(data: Path) -> AsyncIterator[None]:
    server = ControlServer(data, {"echo": echo})
    await server.start()
    try:
        yield
    finally:
        await server.stop()


async def test_a_command_is_answered(tmp_path: Path) -> None:
    async with controlled(tmp_path):
        assert await ask(tmp_path, "echo", say="hello") == "hello"
        with pytest.raises(ControlError, match="no command 'dance'"):
            await ask(tmp_path, "dance")


async def test_the_token_is_private_and_needed(tmp_path: Path) -> None:
    async with controlled(tmp_path):
        file = tmp_path / "control.json"
        assert file.stat().st_mode & 0o077 == 0
        content = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(content | {"token": "guess"}), encoding="utf-8")
        with pytest.raises(ControlError, match="token is wrong"):
            await ask(tmp_path, "echo", say="hello")


async def test_without_a_server_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no server runs"):
        await ask(tmp_path, "echo")
    async with controlled(tmp_path):
        pass
    assert not (tmp_path / "control.json").exists()


async def test_a_server_that_was_killed_is_told(tmp_path: Path) -> None:
    async with controlled(tmp_path):
        content = (tmp_path / "control.json").read_text(encoding="utf-8")
    (tmp_path / "control.json").write_text(content, encoding="utf-8")
    with pytest.raises(ControlError, match="start it again"):
        await ask(tmp_path, "echo")


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"[]\n", b"\xff\n", b"[" * 60_000 + b"\n", b"x" * 3_000_000 + b"\n"]
)
async def test_garbage_does_not_end_it(tmp_path: Path, line: bytes) -> None:
    async with controlled(tmp_path):
        port = json.loads((tmp_path / "control.json").read_text(encoding="utf-8"))["port"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(line)
            writer.write_eof()
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        finally:
            writer.close()
        assert b"result" not in answer
        assert await ask(tmp_path, "echo", say=1) == 1


async def test_whoever_only_holds_connections_keeps_nobody_out(tmp_path: Path) -> None:
    async with controlled(tmp_path):
        port = json.loads((tmp_path / "control.json").read_text(encoding="utf-8"))["port"]
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        assert await ask(tmp_path, "echo", say=1) == 1
        for _, writer in idle:
            writer.close()
