from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiomqtt import ProtocolVersion
from cryptography.hazmat.primitives import serialization
from support.mosquitto import Mosquitto, Pki, make_pki
from support.mqtt_observer import observe
from support.net import free_port, until
from support.publishing import FILLER_DATA, FILLER_METADATA, STATUS, publishing, settings

from server.mqtt.connection import Client, Dialler, Will, keep_alive
from server.mqtt.errors import BrokerError, BrokerRefused, BrokerUnreachable

WILL = Will("t/will", b"gone")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def secure(tmp_path: Path, pki: Pki) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker", pki=pki) as running:
        yield running


def tls(pki: Pki) -> dict[str, Path]:
    return {"ca": pki.ca, "certificate": pki.client, "key": pki.client_key}


def dialler(url: str, base: Path, **changes: Any) -> Dialler:
    return Dialler(settings(url, **changes), url=url, base=base, will=lambda: WILL)


async def refusal(which: Dialler) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        async with which.connect():
            pytest.fail("it connected")
    return caught.value


@pytest.fixture
async def version_4_broker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A broker that speaks MQTT 3.1.1 only, and does not answer a 5.0 with a will at all; its port."""
    monkeypatch.setattr("server.mqtt.connection._GREETING", 1.0)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server.mqtt.broker_process",
        "--port",
        "0",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    yield int(line.removeprefix(b"ready "))
    process.terminate()
    await asyncio.wait_for(process.wait(), 10)


@pytest.mark.interop
async def test_tls_with_a_client_certificate(secure: Mosquitto, tmp_path: Path, pki: Pki) -> None:
    context = ssl.create_default_context(cafile=pki.ca)
    context.load_cert_chain(pki.client, pki.client_key)
    async with (
        observe(secure.port, context=context) as observer,
        publishing(settings(secure.url, **tls(pki)), tmp_path),
    ):
        await observer.first("ua-keyframe", FILLER_DATA)


@pytest.mark.interop
async def test_relative_paths_start_at_the_folder_of_the_plant_file(secure: Mosquitto, pki: Pki) -> None:
    names = {key: Path(path.name) for key, path in tls(pki).items()}
    async with dialler(secure.url, pki.ca.parent, **names).connect() as client:
        await client.publish("t", b"x", qos=1)


@pytest.mark.interop
async def test_a_broker_of_another_authority_is_refused(secure: Mosquitto, tmp_path: Path, pki: Pki) -> None:
    other = make_pki(tmp_path / "other")
    error = await refusal(dialler(secure.url, tmp_path, **{**tls(pki), "ca": other.ca}))
    assert isinstance(error, BrokerRefused)
    assert "its certificate is not accepted" in str(error)
    assert "set ca" in str(error)


@pytest.mark.interop
async def test_a_broker_of_another_name_is_refused(secure: Mosquitto, tmp_path: Path, pki: Pki) -> None:
    error = await refusal(dialler(f"mqtts://localhost:{secure.port}", tmp_path, **tls(pki)))
    assert isinstance(error, BrokerRefused)
    assert "write the broker's host as its certificate does" in str(error)


@pytest.mark.interop
async def test_a_missing_client_certificate_is_named(secure: Mosquitto, tmp_path: Path, pki: Pki) -> None:
    started = time.monotonic()
    error = await refusal(dialler(secure.url, tmp_path, ca=pki.ca))
    assert isinstance(error, BrokerRefused)
    assert "look at ca, certificate and key" in str(error)
    assert time.monotonic() - started < 8, "it waited for an answer that cannot come"


@pytest.mark.interop
async def test_tls_at_a_plain_port_is_named(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as plain:
        error = await refusal(dialler(f"mqtts://127.0.0.1:{plain.port}", tmp_path))
    assert isinstance(error, BrokerError)
    assert "TLS" in str(error) or "hung up" in str(error) or "reset" in str(error).lower()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ca": Path("none.pem")}, "ca: {base}/none.pem cannot be read: No such file or directory"),
        ({"ca": Path("nonsense.pem")}, "ca: {base}/nonsense.pem holds no certificate in PEM"),
        ({"certificate": Path("none.pem")}, "certificate: {base}/none.pem cannot be read"),
        ({"key": Path("none.pem")}, "key: {base}/none.pem cannot be read"),
        ({"key": Path("other.key")}, "are no pair in PEM"),
        ({"key": Path("secret.key")}, "is encrypted; give a key without a passphrase"),
    ],
)
async def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, pki: Pki, change: dict[str, Path], words: str
) -> None:
    (tmp_path / "nonsense.pem").write_text("nonsense")
    (tmp_path / "other.key").write_bytes(pki.broker_key.read_bytes())
    key = serialization.load_pem_private_key(pki.client_key.read_bytes(), None)
    (tmp_path / "secret.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    error = await refusal(dialler("mqtts://127.0.0.1:1", tmp_path, **{**tls(pki), **change}))
    assert isinstance(error, BrokerRefused)
    assert words.format(base=tmp_path) in str(error)


@pytest.mark.interop
async def test_user_and_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "bottle")
    with Mosquitto(tmp_path / "broker", users={"isthmus": "bottle"}) as guarded:
        wanted = settings(guarded.url, user="isthmus", password="env:BROKER_PASSWORD")
        async with (
            observe(guarded.port, user="isthmus", password="bottle") as observer,
            publishing(wanted, tmp_path),
        ):
            await observer.first("ua-keyframe", FILLER_DATA)


@pytest.mark.interop
async def test_a_wrong_password_is_told_once_and_tried_again_slowly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "password").write_text("can\n")
    caplog.set_level(logging.WARNING, "server.mqtt")
    with Mosquitto(tmp_path / "broker", users={"isthmus": "bottle"}) as guarded:
        wanted = settings(guarded.url, user="isthmus", password="file:password")
        async with publishing(wanted, tmp_path) as rig:
            await until(lambda: guarded.log.lower().count("not authorised") >= 3)
            assert not rig.publisher.status.connected
            assert "correct user and password" in rig.publisher.status.last_error
            (tmp_path / "password").write_text("bottle\n")
            await until(lambda: rig.publisher.status.connected)
    told = [record.getMessage() for record in caplog.records]
    unencrypted, refused, *more = told
    assert "unencrypted" in unencrypted
    assert f"MQTT: {guarded.url}: refused: not authorised" in refused
    assert "trying again in 0.2 s" in refused
    assert not more
    assert not [line for line in told if "bottle" in line]


async def test_a_missing_secret_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BROKER_PASSWORD", raising=False)
    error = await refusal(dialler("mqtt://127.0.0.1:1", tmp_path, user="u", password="env:BROKER_PASSWORD"))
    assert isinstance(error, BrokerRefused)
    assert "BROKER_PASSWORD is not set" in str(error)


async def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    error = await refusal(dialler(f"mqtt://127.0.0.1:{free_port()}", tmp_path))
    assert isinstance(error, BrokerUnreachable)
    assert str(error) == "Connection refused"


@pytest.mark.interop
async def test_mqtt_5_where_the_broker_speaks_it(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        async with dialler(broker.url, tmp_path).connect() as client:
            assert client.version is ProtocolVersion.V5


async def test_3_1_1_where_the_broker_speaks_nothing_newer(version_4_broker: int, tmp_path: Path) -> None:
    url = f"mqtt://127.0.0.1:{version_4_broker}"
    which = dialler(url, tmp_path)
    for _ in range(2):
        async with which.connect() as client:
            assert client.version is ProtocolVersion.V311
            await client.publish("t", b"x", qos=1)


async def test_in_3_1_1_a_clean_end_clears_what_is_retained_but_the_status(
    version_4_broker: int, tmp_path: Path
) -> None:
    url = f"mqtt://127.0.0.1:{version_4_broker}"
    version = ProtocolVersion.V311
    async with (
        observe(version_4_broker, protocol=version) as observer,
        publishing(settings(url), tmp_path) as rig,
    ):
        await observer.first("ua-keyframe", FILLER_DATA)
        await observer.first("ua-metadata", FILLER_METADATA)
        await rig.stop()
        await observer.first("ua-status", where=lambda s: s.body["Status"] == 0)
    async with observe(version_4_broker, protocol=version) as late:
        await late.first("ua-status", where=lambda s: s.body["Status"] == 0)
        await asyncio.sleep(0.2)
        assert {s.topic for s in late.seen} == {STATUS}


@contextlib.asynccontextmanager
async def mute_listener(*, hang_up: bool) -> AsyncIterator[str]:
    """Something that accepts connections and never answers, or hangs up at the first word."""
    writers: set[asyncio.StreamWriter] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        while not hang_up and await reader.read(1024):
            pass
        writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with listener:
        yield f"mqtt://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.close()


async def test_a_broker_that_hangs_up_is_not_waited_for(tmp_path: Path) -> None:
    async with mute_listener(hang_up=True) as url:
        started = time.monotonic()
        error = await refusal(dialler(url, tmp_path))
        assert isinstance(error, BrokerUnreachable)
        assert str(error) == "it hung up instead of answering"
        assert time.monotonic() - started < 8


async def test_a_broker_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.mqtt.connection._GREETING", 0.3)
    async with mute_listener(hang_up=False) as url:
        error = await refusal(dialler(url, tmp_path))
        assert isinstance(error, BrokerUnreachable)
        assert str(error) == "it does not answer"


async def test_a_cancelled_dial_ends_soon_and_leaves_nothing(tmp_path: Path) -> None:
    async with mute_listener(hang_up=False) as url, publishing(settings(url), tmp_path) as rig:
        await asyncio.sleep(0.3)
        started = time.monotonic()
        await rig.stop()
        assert time.monotonic() - started < 3


@pytest.mark.interop
async def test_a_frozen_broker_is_noticed_and_left_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.mqtt.connection._ANSWER", 1.0)
    with Mosquitto(tmp_path / "broker") as broker:
        async with publishing(settings(broker.url, key_frame_every=1), tmp_path) as rig:
            await until(lambda: rig.publisher.status.connected)
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                await until(lambda: not rig.publisher.status.connected)
                started = time.monotonic()
                await rig.stop()
                assert time.monotonic() - started < 4
            finally:
                os.kill(broker.pid, signal.SIGCONT)


@pytest.mark.interop
async def test_an_end_while_the_broker_is_frozen_takes_no_longer_than_the_farewell(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        async with publishing(settings(broker.url, key_frame_every=1), tmp_path) as rig:
            await until(lambda: rig.publisher.status.published > 5)
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                started = time.monotonic()
                await rig.stop()
                assert time.monotonic() - started < 3
            finally:
                os.kill(broker.pid, signal.SIGCONT)


async def test_another_client_with_our_id_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Brokers differ in whether they say it before they hang up; this one does."""
    caplog.set_level(logging.WARNING, "server.mqtt")

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(bytes.fromhex("20 03 00 00 00"))  # CONNACK, success
        writer.write(bytes.fromhex("e0 01 8e"))  # DISCONNECT, session taken over
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener:
        url = f"mqtt://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with publishing(settings(url), tmp_path) as rig:
            await until(lambda: "publisher_id must be unique" in rig.publisher.status.last_error)


@pytest.mark.interop
async def test_a_broker_that_forbids_subscribing_still_gets_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("user isthmus\ntopic write opcua/#\nuser watcher\ntopic read #\n")
    users = {"isthmus": "bottle", "watcher": "can"}
    (tmp_path / "password").write_text("bottle")
    with Mosquitto(tmp_path / "broker", users=users, options=(f"acl_file {acl}",)) as strict:
        wanted = settings(strict.url, user="isthmus", password="file:password")
        async with (
            observe(strict.port, user="watcher", password="can") as observer,
            publishing(wanted, tmp_path),
        ):
            await observer.first("ua-keyframe", FILLER_DATA)
    assert any(
        "may not let this user" in r.getMessage() or "does not let us" in r.getMessage()
        for r in caplog.records
    )


async def test_a_cancellation_that_meets_an_answer_is_not_lost() -> None:
    client = Client("127.0.0.1", 1, protocol=ProtocolVersion.V5)
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(client._wait_for(answer, None))
    await asyncio.sleep(0)
    answer.set_result(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_the_keep_alive_is_slightly_above_the_keep_alive_time() -> None:
    assert keep_alive(settings("mqtt://h")) == 25
    assert keep_alive(settings("mqtt://h", keep_alive="24h")) == 65_535
