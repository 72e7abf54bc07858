from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest
from aiomqtt import ProtocolVersion
from support.mqtt_observer import observe
from support.net import until
from support.publishing import (
    CONNECTION,
    FILLER_DATA,
    FILLER_METADATA,
    LINE_METADATA,
    STATUS,
    publishing,
    settings,
)
from support.pubsub_schema import validate
from support.small_plant import FILLER_VALUES, feed

from server.mqtt.embedded import EmbeddedBroker
from server.mqtt.errors import EmbeddedBrokerError
from server.process import ProcessError

pytest.importorskip("amqtt", reason="needs amqtt")


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    running = EmbeddedBroker(0, delays=lambda: itertools.repeat(0.1))
    await running.start()
    yield running
    await running.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_serves_the_publisher_as_any_broker_does(broker: EmbeddedBroker, tmp_path: Path) -> None:
    async with (
        observe(broker.port, protocol=ProtocolVersion.V311) as observer,
        publishing(settings("embedded"), tmp_path, broker=broker.url) as rig,
    ):
        await observer.first("ua-keyframe", FILLER_DATA)
        feed(rig.store, FILLER_VALUES)
        await observer.first("ua-deltaframe", FILLER_DATA)
        for seen in observer.seen:
            validate(seen.body)
        order = [seen.topic for seen in observer.seen]
        first_data = next(i for i, topic in enumerate(order) if "/data/" in topic)
        assert {FILLER_METADATA, LINE_METADATA, CONNECTION, STATUS} == set(order[:first_data])
        await rig.stop()
        await observer.first("ua-status", where=lambda s: s.body["Status"] == 0)


async def test_a_late_subscriber_finds_metadata_and_status(broker: EmbeddedBroker, tmp_path: Path) -> None:
    async with publishing(settings("embedded"), tmp_path, broker=broker.url) as rig:
        await until(lambda: rig.publisher.status.connected)
        async with observe(broker.port, protocol=ProtocolVersion.V311) as late:
            await until(lambda: len({s.topic for s in late.seen if s.retain}) == 4)
            assert {s.topic for s in late.seen if s.retain} == {
                FILLER_METADATA,
                LINE_METADATA,
                CONNECTION,
                STATUS,
            }


async def test_what_others_retain_is_left_alone(
    broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.mqtt.connection._GREETING", 1.0)
    version = ProtocolVersion.V311
    others = ("site/alarm", "opcua/json/metadata/another/plant/Capper", "opcua/json/metadata/acme-lyon-2/p/W")
    stray = "opcua/json/metadata/acme-lyon/plant/Gone"
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=version) as client:
        for topic in (*others, stray):
            await client.publish(topic, b"{}", qos=1, retain=True)
    # A client that has subscribed to everything makes amqtt hand all of it to those who connect.
    async with (
        observe(broker.port, protocol=version) as observer,
        # Named by its URL it is a broker like any other, with what others have left there.
        publishing(settings(broker.url), tmp_path) as rig,
    ):
        await observer.first("ua-keyframe", FILLER_DATA)
        assert {s.topic for s in observer.seen if s.body is None} == {stray}
        await rig.stop()
    async with observe(broker.port, protocol=version) as late:
        await until(lambda: len({s.topic for s in late.seen}) >= 4)
        assert {s.topic for s in late.seen} == {*others, STATUS}


async def test_a_broker_that_dies_is_started_again_on_its_port(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    async with publishing(settings("embedded"), tmp_path, broker=broker.url) as rig:
        await until(lambda: rig.publisher.status.connected)
        url, pid = broker.url, broker.pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: broker.pid != pid)
        assert broker.url == url
        async with observe(broker.port, protocol=ProtocolVersion.V311) as observer:
            await observer.first("ua-keyframe", FILLER_DATA)


async def test_it_stops_in_time_and_is_gone(broker: EmbeddedBroker) -> None:
    async with observe(broker.port, protocol=ProtocolVersion.V311):
        started = time.monotonic()
        await broker.stop()
        assert time.monotonic() - started < 4
    assert not alive(broker.pid)
    await broker.stop()


async def test_it_leaves_with_the_process_that_started_it() -> None:
    code = (
        "import asyncio\n"
        "from server.mqtt.embedded import EmbeddedBroker\n"
        "async def main():\n"
        "    broker = EmbeddedBroker(0)\n"
        "    await broker.start()\n"
        "    print(broker.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    try:
        assert parent.stdout is not None
        pid = int(await asyncio.wait_for(parent.stdout.readline(), 30))
        assert alive(pid)
    finally:
        parent.kill()
        await parent.wait()
    await until(lambda: not alive(pid))


async def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedBrokerError) as caught:
            await EmbeddedBroker(port).start()
    assert f"port {port} of 127.0.0.1 is not to be had (Address already in use)" in str(caught.value)
    assert "mqtt.embedded_port" in str(caught.value)


async def test_without_amqtt_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amqtt", None)
    with pytest.raises(EmbeddedBrokerError, match=r"pip install 'isthmus\[demo\]'"):
        await EmbeddedBroker(0).start()


async def test_before_the_start_there_is_nothing_to_stop_and_no_pid() -> None:
    broker = EmbeddedBroker(0)
    await broker.stop()
    with pytest.raises(ProcessError):
        _ = broker.pid
