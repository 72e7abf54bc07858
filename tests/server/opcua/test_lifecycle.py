"""Starting, stopping, and what happens when that is not possible."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from support.net import until
from support.opcua import Bench, serving

from nodesets.records import NodeClass, NodeId, NodeRecord, QualifiedName
from server.opcua.errors import ServerStartError, UserStoreError
from server.opcua.server import OpcUaServer


async def test_a_server_is_up_after_its_start_and_gone_after_its_stop(tmp_path: Path) -> None:
    bench = Bench(tmp_path, allow_none=True, anonymous=True)
    server = bench.server()
    assert not server.endpoints
    await server.start()
    url = server.endpoints[0].url
    assert [(e.policy, e.mode) for e in server.endpoints] == [
        ("Aes256_Sha256_RsaPss", "SignAndEncrypt"),
        ("Aes128_Sha256_RsaOaep", "SignAndEncrypt"),
        ("Basic256Sha256", "SignAndEncrypt"),
        ("None", "None"),
    ]
    assert url.startswith("opc.tcp://127.0.0.1:")
    async with Client(url) as client:
        assert await client.get_node("i=2259").read_value() == 0
        assert server.sessions == 1
    await server.stop()
    await server.stop()
    with pytest.raises(OSError, match=r".*"):
        await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
    bench.feed("Speed", 5.0)  # the store is no longer listened to


async def test_stopping_a_server_that_was_never_started_is_nothing(tmp_path: Path) -> None:
    await Bench(tmp_path).server().stop()


async def test_a_server_stops_within_two_seconds_whoever_is_connected(tmp_path: Path) -> None:
    bench = Bench(tmp_path, allow_none=True, anonymous=True)
    server = bench.server()
    await server.start()
    told: list[Any] = []

    class Notes:
        def datachange_notification(self, _node: Any, value: Any, _data: Any) -> None:
            told.append(value)

    client = Client(server.endpoints[0].url)
    await client.connect()
    subscription = await client.create_subscription(100, Notes())
    await subscription.subscribe_data_change(client.get_node("i=2259"))
    await until(lambda: told == [ua.ServerState.Running])
    port = int(server.endpoints[0].url.split(":")[2].split("/")[0])
    _, idle = await asyncio.open_connection("127.0.0.1", port)
    start = time.monotonic()
    await server.stop()
    assert time.monotonic() - start < 2.0
    await until(lambda: told == [ua.ServerState.Running, ua.ServerState.Shutdown])
    idle.close()
    await client.disconnect()


async def test_a_write_that_hangs_does_not_keep_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, allow_none=True, anonymous=True, writable=True) as running:
        running.bench.device.delay = 60.0
        client = Client(running.url)
        client.set_user("operator")
        client.set_password("line-one-runs")
        await client.connect()
        value = ua.DataValue(ua.Variant(1.0, ua.VariantType.Double))
        pending = asyncio.create_task(client.get_node(running.bench.node("SpeedSP")).write_value(value))
        await asyncio.sleep(0.2)  # the request is on its way
        start = time.monotonic()
        await asyncio.to_thread(running.call, running.server.stop())
        assert time.monotonic() - start < 5.0
        with pytest.raises((ConnectionError, ua.uaerrors.UaError, asyncio.CancelledError)):
            await pending
        await client.disconnect()


async def failed_start(server: OpcUaServer) -> str:
    with pytest.raises(ServerStartError) as caught:
        await server.start()
    await server.stop()
    return str(caught.value)


async def test_a_port_that_is_taken_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = await failed_start(Bench(tmp_path, port=port).server())
    assert f"port {port} of 127.0.0.1" in said
    assert "`port` in the opcua section" in said


async def test_an_address_that_is_not_this_machines_is_said_with_what_to_do(tmp_path: Path) -> None:
    said = await failed_start(Bench(tmp_path, listen=("192.0.2.1",)).server())
    assert "192.0.2.1" in said
    assert "no such address" in said
    assert "`listen` in the opcua section" in said
    assert "Another program" not in said


async def test_a_node_of_an_unknown_namespace_or_one_that_stands_there_twice_is_said(tmp_path: Path) -> None:
    class Odd(Bench):
        extra: NodeRecord

        def records(self) -> list[NodeRecord]:
            return [*super().records(), self.extra]

    odd = Odd(tmp_path)
    odd.extra = NodeRecord(NodeId("urn:nowhere", 1), NodeClass.Object, QualifiedName("urn:nowhere", "X"))
    assert "urn:nowhere" in await failed_start(odd.server())
    odd.extra = Bench.records(odd)[-1]
    assert "two nodes are" in await failed_start(odd.server())


async def test_a_broken_users_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("users: [")
    server = Bench(tmp_path).server()
    with pytest.raises(UserStoreError, match=r"users\.yaml, line 1: not YAML"):
        await server.start()
    await server.stop()


async def test_a_session_nobody_uses_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.opcua.sessions.registry.MIN_TIMEOUT", 1.0)
    with serving(tmp_path, allow_none=True, anonymous=True) as running:
        client = Client(running.url)
        client.session_timeout = 1000
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        await client.activate_session()
        assert running.server.sessions == 1
        await until(lambda: running.server.sessions == 0)
        client.disconnect_socket()
