"""Host names of downstream servers: looked up where it holds nobody else, each address called in turn."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.downstream import named, source
from support.net import free_port, until
from support.opcua import serving
from support.scanning import scanning

from sources.errors import Unreachable


async def test_a_name_whose_server_is_dead_takes_no_thread_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        release.wait()
        return []

    def resolving() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("resolver filler")]

    # The loop's own look-ups would wait in this executor's one thread, and so would logins.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    device = source("opc.tcp://filler.example:4840", [named("Speed")], timeout="100ms")
    try:
        for _ in range(2):
            device.retag([named("Speed")])
            with pytest.raises(Unreachable, match=r"the host name is not resolved within 0\.1 s"):
                async with device.connect():
                    pass
        assert resolving() == ["resolver filler.example"], "it is asked once and waited for"
        async with asyncio.timeout(20):
            await asyncio.to_thread(int)
    finally:
        monkeypatch.undo()
        release.set()
    await until(lambda: not resolving())


async def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("sources.resolve.socket.getaddrinfo", unknown)
    device = source("opc.tcp://filler.invalid:4840", [named("Speed")])
    with pytest.raises(Unreachable, match="host name cannot be resolved: Name or service not known"):
        async with device.connect():
            pass


async def test_each_address_of_a_name_is_called_in_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = named("Speed")
    with serving(tmp_path, allow_none=True, anonymous=True) as there:
        there.feed("Speed", 7.0)
        ports = [free_port(), there.port]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr("sources.resolve.socket.getaddrinfo", lambda *_, **__: found)
        device = source("opc.tcp://filler.example:4840", [speed])
        async with scanning(device) as its:
            await its.good(speed)
        found[1:] = []
        with pytest.raises(Unreachable, match=r"^connection refused$"):
            async with device.connect():
                pass
