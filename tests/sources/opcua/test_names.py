"""Host names of downstream servers: looked up where it holds nobody else, each address called in turn."""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from support.downstream import named, source
from support.names import is_alone_in_it
from support.net import free_port
from support.opcua import serving
from support.scanning import scanning

from sources.errors import Unreachable
from sources.opcua.driver import OpcUaSession


async def test_a_name_whose_server_is_dead_takes_no_thread_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    device = source("opc.tcp://filler.example:4840", [named("Speed")], timeout="100ms")

    def connect() -> AbstractAsyncContextManager[OpcUaSession]:
        device.retag([named("Speed")])
        return device.connect()

    await is_alone_in_it(monkeypatch, "filler.example", connect)


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
