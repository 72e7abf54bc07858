"""Every transport against a simulator in a process of its own, whose frames are pymodbus's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support import pki
from support.modbus_lines import TRANSPORTS, Certificates, simulator_on
from support.modbus_tags import settings, tag
from support.net import free_port, until
from support.scanning import NORMAL, Listener, scanning

from sources.errors import Refused, Unreachable
from sources.modbus.config import ModbusSettings
from sources.modbus.driver import ModbusSource
from sources.modbus.identify import identify
from sources.quality import BAD_CONFIGURATION_ERROR, BAD_DEVICE_FAILURE, BAD_TIMEOUT, GOOD
from sources.tag import Value


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport_reads_writes_and_meets_faults(transport: str, tmp_path: Path) -> None:
    set_point = tag("holding:2", "float32", NORMAL, writable=True)
    mode, reset = tag("holding:10", "int16"), tag("holding:26.3", writable=True)
    recipe, pump = tag("holding:30", "string(16)", writable=True), tag("coil:3", writable=True)
    lacking = tag("input:40", "int32")
    tags = [set_point, mode, reset, recipe, pump, lacking]
    async with simulator_on(transport, tmp_path, timeout="5s") as (simulator, its):
        assert (await identify(its))["ModelName"] == "FillerPLC"
        async with scanning(ModbusSource("PLC", its, tags)) as scan:
            await scan.good(set_point, mode, reset, recipe, pump)
            await scan.bad(BAD_CONFIGURATION_ERROR, lacking)
            assert scan.listener.value(recipe) == "Recipe 1"
            pairs: list[tuple[Any, Value]] = [
                (set_point, 432.5),
                (reset, True),
                (recipe, "Cola"),
                (pump, True),
            ]
            assert await scan.session.write(pairs) == [GOOD] * 4
            assert await simulator.get("SpeedSP") == 432.5
            assert await simulator.get("Pump") is True
            await until(lambda: scan.listener.value(recipe) == "Cola")
            await simulator.control(exception={"table": "holding", "offset": 10, "code": 4})
            await until(lambda: scan.listener.quality(mode) == BAD_DEVICE_FAILURE)
            await simulator.control(exception=None)
            await scan.good(mode)


@pytest.mark.parametrize("transport", ["udp", "rtu"])
async def test_a_device_that_falls_silent_is_lost_and_found(transport: str, tmp_path: Path) -> None:
    its = tag("holding:10", "int16")
    async with simulator_on(transport, tmp_path, timeout="200ms") as (simulator, where):
        source = ModbusSource("PLC", where, [its])
        async with scanning(source) as scan:
            await scan.good(its)
            await simulator.control(mute=True)
            assert (await scan.lost()).quality == BAD_TIMEOUT
        await simulator.control(mute=False)
        async with scanning(source) as scan:
            await scan.good(its)


def _failed_since(listener: Listener, count: int) -> bool:
    return any(batch.values is None for batch in listener.batches[count:])


async def test_a_late_reply_on_a_serial_line_is_nobody_else_s(tmp_path: Path) -> None:
    """Two blocks whose replies look the same: only time tells them apart."""
    one, other = tag("holding:10", "int16", NORMAL), tag("holding:20", "int16", NORMAL)
    async with simulator_on("ascii", tmp_path, timeout="300ms", max_gap=0) as (simulator, where):
        await simulator.set("Mode", 2)
        await simulator.set("InCount", 7 << 16)
        async with scanning(ModbusSource("PLC", where, [one, other])) as scan:
            await scan.good(one, other)
            for _ in range(3):
                count = len(scan.listener.batches)
                await simulator.control(delay_once=0.45)
                await until(partial(_failed_since, scan.listener, count), every=0.01)
                await scan.good(one, other)
            for batch in scan.listener.batches:
                if batch.values is not None:
                    assert list(batch.values) == [2 if batch.tags == (one,) else 7]


async def test_nobody_at_a_udp_port_is_noticed() -> None:
    its = tag("holding:0")
    async with scanning(ModbusSource("PLC", settings(free_port(), transport="udp"), [its])) as scan:
        assert "refused" in str(await scan.lost())


async def test_a_port_that_is_not_there_is_told() -> None:
    where = ModbusSettings.model_validate({"driver": "modbus", "transport": "rtu", "device": "/dev/ttyNone"})
    with pytest.raises(Unreachable, match=r"^no such file"):
        async with ModbusSource("PLC", where, []).connect():
            pass


async def test_a_port_is_for_one_setting_at_a_time(tmp_path: Path) -> None:
    async with simulator_on("rtu", tmp_path) as (_, where):
        other = where.model_copy(update={"baud": 9600})
        async with ModbusSource("PLC", where, []).connect():
            with pytest.raises(Unreachable, match="other settings of the line"):
                async with ModbusSource("PLC2", other, []).connect():
                    pass
        async with ModbusSource("PLC2", other, []).connect():
            pass


def _tls(port: int, **files: Any) -> ModbusSettings:
    given = {"driver": "modbus", "transport": "tls", "host": "127.0.0.1", "port": port, "timeout": "5s"}
    return ModbusSettings.model_validate(given | {name: str(path) for name, path in files.items()})


async def _refusal(where: ModbusSettings) -> str:
    with pytest.raises(Refused) as caught:
        async with ModbusSource("PLC", where, []).connect():
            pass
    return str(caught.value)


async def test_tls_refuses_whom_it_does_not_trust_and_says_why(tmp_path: Path) -> None:
    files = Certificates(tmp_path / "own")
    ours = {"certificate": files.ours[0], "key": files.ours[1]}
    async with simulator_on("tls", tmp_path / "plc") as (simulator, where):
        stranger = pki.authority("Stranger", private=pki.key(2))
        (tmp_path / "stranger.pem").write_bytes(pki.pem(stranger.certificate))
        untrusted = _tls(simulator.port, ca=tmp_path / "stranger.pem", **ours)
        assert "certificate is not trusted" in await _refusal(untrusted)
        named = where.model_copy(update={"server_name": "other.plc"})
        assert "not trusted: Hostname mismatch" in await _refusal(named)
        # Without a certificate of ours the device hangs up, by TLS 1.3 after the handshake only.
        anonymous = where.model_copy(update={"certificate": None, "key": None})
        its = tag("holding:10", "int16")
        async with scanning(ModbusSource("PLC", anonymous, [its])) as scan:
            await scan.lost()


async def test_tls_files_that_are_no_use_are_named(tmp_path: Path) -> None:
    files = Certificates(tmp_path)
    port = free_port()
    assert "ca: " in await _refusal(_tls(port, ca=tmp_path / "none.pem"))
    (tmp_path / "empty.pem").write_text("nothing")
    assert "holds no certificate in PEM" in await _refusal(_tls(port, ca=tmp_path / "empty.pem"))
    pair = {"ca": files.ca, "certificate": files.ours[0]}
    assert "key: " in await _refusal(_tls(port, **pair, key=tmp_path / "none.pem"))
    _, other = pki.write(tmp_path / "other", pki.application(private=pki.key(2)), pki.key(2))
    assert "do not fit" in await _refusal(_tls(port, **pair, key=other))


async def test_an_encrypted_key_is_opened_by_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    files = Certificates(tmp_path)
    secret = tmp_path / "secret.pem"
    cipher = BestAvailableEncryption(b"sesame")
    secret.write_bytes(pki.key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, cipher))
    where = _tls(free_port(), ca=files.ca, certificate=files.ours[0], key=secret)
    assert "is encrypted; add key_password" in await _refusal(where)
    where = where.model_copy(update={"key_password": "env:ISTHMUS_TEST_KEY"})
    assert "ISTHMUS_TEST_KEY is not set" in await _refusal(where)
    monkeypatch.setenv("ISTHMUS_TEST_KEY", "sesame")
    with pytest.raises(Unreachable, match="refused"):
        async with ModbusSource("PLC", where, []).connect():
            pass
