from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.net import until

from server.observe.control import ControlError, ControlServer, ask


async def echo(request: dict[str, Any]) -> Any:
    return request.get("say")


class Job:
    """A command that takes until it is let go on."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Event()

    async def __call__(self, request: dict[str, Any]) -> Any:
        self.begun += 1
        await self.go.wait()
        return request.get("say")


@asynccontextmanager
async def controlled(data: Path, job: Job | None = None) -> AsyncIterator[None]:
    server = ControlServer(data, {"echo": echo}, slow={"job": job} if job is not None else None)
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


async def test_who_has_shown_the_token_is_evicted_by_nobody(tmp_path: Path) -> None:
    job = Job()
    async with controlled(tmp_path, job):
        port = json.loads((tmp_path / "control.json").read_text(encoding="utf-8"))["port"]
        running = asyncio.create_task(ask(tmp_path, "job", say="done", within=60))
        await until(lambda: job.begun == 1)
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        for _, writer in idle[:20]:
            writer.write(b'{"token": "guess", "command": "echo"}\n')
        await until(lambda: ended(idle) >= 40)
        assert await ask(tmp_path, "echo", say=1) == 1
        assert not running.done()
        job.go.set()
        assert await running == "done"
        for _, writer in idle:
            writer.close()


async def test_those_with_the_token_are_so_many_and_no_more(tmp_path: Path) -> None:
    job = Job()
    async with controlled(tmp_path, job):
        running = [asyncio.create_task(ask(tmp_path, "job", say=1, within=60)) for _ in range(20)]
        await until(lambda: job.begun == 20)
        with pytest.raises(ControlError, match="too many commands are under way"):
            await ask(tmp_path, "echo", say=1)
        job.go.set()
        assert await asyncio.gather(*running) == [1] * 20
        assert await ask(tmp_path, "echo", say=1) == 1


async def test_a_stop_ends_what_is_under_way(tmp_path: Path) -> None:
    job = Job()
    async with controlled(tmp_path, job):
        running = asyncio.create_task(ask(tmp_path, "job", within=60))
        await until(lambda: job.begun == 1)
    with pytest.raises(ControlError):
        await running


def ended(connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> int:
    """How many of these the server has hung up."""
    return sum(reader.at_eof() or reader.exception() is not None for reader, _ in connections)


async def test_those_that_come_at_once_are_no_more_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.observe.control._WITHIN", 60.0)  # none goes of itself
    async with controlled(tmp_path):
        port = json.loads((tmp_path / "control.json").read_text(encoding="utf-8"))["port"]
        crowd: list[socket.socket] = []
        try:
            for _ in range(3):  # each crowd waits to be let in before anybody is
                crowd += [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
                await asyncio.sleep(0.1)
            for one in crowd:
                one.setblocking(False)
            await until(lambda: sum(map(is_open, crowd)) <= 20)
            assert await ask(tmp_path, "echo", say=1) == 1
        finally:
            for one in crowd:
                one.close()


def is_open(one: socket.socket) -> bool:
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
