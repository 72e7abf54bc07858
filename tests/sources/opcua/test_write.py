"""Writes to a downstream server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.downstream import OPERATING, lend_password, named, protected, source
from support.net import until
from support.opcua import Running, serving
from support.proxy import proxy_to
from support.scanning import scanning

from sources.asking import Asker
from sources.errors import ConnectionLost, Unreachable
from sources.opcua import acting
from sources.opcua.driver import OpcUaSource
from sources.opcua.fit import to_device
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
)
from sources.tag import ValueType

SET_POINT = named("SpeedSP", writable=True)
LEVEL = named("Level", writable=True)
RECIPE = named("Recipe", ValueType.String, writable=True)
TARGET = named("Target", ValueType.Int32, writable=True)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("there"), writable=True) as running:
        running.bench.device.held.update({"SpeedSP": 1.0, "Recipe": "Orange", "Level": 10})
        yield running


@pytest.fixture
def device(there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpcUaSource:
    lend_password(monkeypatch)
    made = source(there, [SET_POINT, RECIPE, LEVEL, TARGET, named("Speed")], **OPERATING)
    made.settle(protected(there, tmp_path))
    return made


async def test_what_is_written_arrives_as_the_source_s_user(
    there: Running, device: OpcUaSource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "isthmus.audit")
    async with device.connect() as session:
        assert await session.write([(SET_POINT, 420.5), (RECIPE, "Lemon"), (LEVEL, 20.0)]) == [GOOD] * 3
        # TARGET is an Int32 here and a UInt16 there.
        assert await session.write([(TARGET, 600), (TARGET, 70_000)]) == [GOOD, BAD_TYPE_MISMATCH]
    assert there.bench.device.held == {"SpeedSP": 420.5, "Recipe": "Lemon", "Level": 200}
    assert there.bench.store.points["Acme/Line1/Filler.Target"].value == 600
    written = [r for r in caplog.records if getattr(r, "event", "") == "write"]
    assert {getattr(r, "user", "") for r in written} == {"operator"}


async def test_the_device_s_own_refusals_pass(device: OpcUaSource) -> None:
    nowhere = named("Nowhere", address="nsu=urn:acme:plant;s=Nowhere", writable=True)
    locked = named("Speed", writable=True)
    async with device.connect() as session:
        assert await session.write([(SET_POINT, 900.0)]) == [BAD_OUT_OF_RANGE]  # its limit is 800
        assert await session.write([(locked, 1.0)]) == [BAD_NOT_WRITABLE]
        assert await session.write([(named("Speed"), 1.0)]) == [BAD_NOT_WRITABLE]
        assert await session.write([(SET_POINT, "fast")]) == [BAD_TYPE_MISMATCH]
        (gone,) = await session.write([(nowhere, 1.0)])
        assert gone in {BAD_CONFIGURATION_ERROR, 0x80340000}


async def test_a_write_without_an_answer_is_not_repeated(
    there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend_password(monkeypatch)
    there.feed("SpeedSP", 1.0)
    async with proxy_to(there.port) as proxy:
        made = source(proxy.port, [SET_POINT], timeout="500ms", **OPERATING)
        made.settle(protected(there, tmp_path))
        async with scanning(made) as its:
            await its.good(SET_POINT)
            there.bench.device.delay = 1.5
            try:
                with pytest.raises(ConnectionLost, match="may have been carried out"):
                    await its.session.write([(SET_POINT, 500.0)])
                assert there.bench.device.held["SpeedSP"] != 500.0
                await until(lambda: there.bench.device.held["SpeedSP"] == 500.0)
                await asyncio.sleep(0.2)
            finally:
                there.bench.device.delay = 0.0


async def test_a_node_whose_names_change_while_it_is_looked_for_is_not_written(
    there: Running, device: OpcUaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = acting._kind
    async with device.connect() as session:
        connection, held = session._connection, there.bench.device.held["SpeedSP"]

        async def renamed(*given: Any) -> int:
            connection.rename([*connection.namespaces, "urn:another"])
            return await real(*given)

        monkeypatch.setattr(acting, "_kind", renamed)
        way = device.acting(Asker("anna"))
        with pytest.raises(Unreachable, match="its namespaces"):
            await way.write([(SET_POINT, 77.0)])
        assert await session.write([(SET_POINT, 77.0)]) == [BAD_NOT_CONNECTED]
        assert there.bench.device.held["SpeedSP"] == held


async def test_what_is_not_sent_is_not_called_refused_by_the_device(
    device: OpcUaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session there ends at the very moment."""
    async with device.connect() as session:

        def lost(*given: Any) -> Any:
            session._connection.channel._end("cut")
            return to_device(*given)

        monkeypatch.setattr(acting, "to_device", lost)
        with pytest.raises(Unreachable):
            await device.acting(Asker("anna")).write([(SET_POINT, 77.0)])
