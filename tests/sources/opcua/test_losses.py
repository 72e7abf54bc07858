"""Imports while connections are lost: what is told of it, and what is carried out again, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from support.downstream import PLANT, SAFE, protected, source
from support.line import MACHINE
from support.net import until
from support.opcua import Running, serving
from support.proxy import proxy_to
from support.scanning import FAST, scanning

from sources.errors import ConnectionLost
from sources.opcua.address import parse_address
from sources.opcua.imports import Device, Model, Wanted
from sources.opcua.wire import Raw
from sources.quality import (
    BAD_CONNECTION_CLOSED,
    BAD_INTERNAL_ERROR,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    Quality,
)


class Shown:
    """A Mirror that notes what is shown and lost; for a holder that is ``held`` it takes for ever."""

    def __init__(self) -> None:
        self.lost: list[Quality] = []
        self.shown: list[str] = []
        self.held: str | None = None
        self.values: dict[bytes, Raw] = {}

    def index(self, _uri: str) -> int:
        return 7

    async def show(self, _device: Device, model: Model, _values: Mapping[bytes, Raw]) -> None:
        self.shown.append(model.holder)
        if model.holder == self.held:
            await asyncio.Event().wait()

    def take(self, _device: Device, values: Sequence[tuple[bytes, Raw]]) -> None:
        self.values.update(values)

    def lose(self, _device: Device, quality: Quality) -> None:
        self.lost.append(quality)

    def miss(self, _device: Device) -> None:
        pass


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("there")
    with serving(folder, allow_none=True, anonymous=True) as running:
        yield running


@pytest.mark.parametrize(
    ("error", "quality"),
    [
        (ConnectionLost("gone", BAD_CONNECTION_CLOSED), UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE),
        (RuntimeError("a fault of ours"), BAD_INTERNAL_ERROR),
    ],
)
async def test_a_fault_of_ours_is_no_loss_of_the_connection(
    there: Running, error: Exception, quality: Quality
) -> None:
    shown, device = Shown(), source(there, [])
    device.mirror(shown, ())
    with pytest.raises(type(error)):
        async with device.connect():
            raise error
    assert shown.lost == [quality]


async def test_what_was_cut_off_is_carried_out_over_the_next_connection_and_the_rest_is_not(
    there: Running, tmp_path: Path
) -> None:
    there.feed("Speed", 1.5)
    shown = Shown()
    one, two = (Wanted(holder, parse_address(f"nsu={PLANT};s={MACHINE}"), FAST) for holder in ("One", "Two"))
    async with proxy_to(there.port) as proxy:
        # Only who can prove to be the same is handed over what was subscribed to.
        device = source(proxy.port, [], **SAFE)
        device.settle(protected(there, tmp_path))
        device.mirror(shown, [one])

        async def first() -> None:
            async with device.connect() as session:
                scan = asyncio.create_task(session.scan(lambda _: None))
                await until(lambda: shown.values and device.device.plan is not None)
                # Another import comes while the first is watched, and the connection is lost meanwhile.
                shown.held = "Two"
                device.mirror(shown, [one, two])
                await until(lambda: shown.shown == ["One", "Two"])
                proxy.cut()
                await scan

        with pytest.raises(ConnectionLost):
            await first()
        assert device.imports[1].error == "it was not carried out to its end"
        shown.held = None
        async with scanning(device):
            await until(lambda: shown.shown == ["One", "Two", "Two"])
            await until(lambda: device.device.plan is not None and device.device.plan.imports == (one, two))
            assert device.device.transferred == 1
            assert [figures.error for figures in device.imports] == ["", ""]
            # And one that is wanted no more is watched no more.
            before = len(device.plan())
            device.mirror(shown, [two])
            await until(lambda: len(device.plan()) == before - 1)
        assert shown.shown == ["One", "Two", "Two"]


async def test_an_import_that_comes_to_nothing_says_so_and_is_looked_for_until_it_is_wanted_no_more(
    there: Running,
) -> None:
    shown, device = Shown(), source(there, [], recheck=0.2)
    nowhere = Wanted("Nowhere", parse_address(f"nsu={PLANT};s=Nowhere"), FAST)
    device.mirror(shown, ())
    async with scanning(device):
        await until(lambda: device.device.plan is not None)
        device.mirror(shown, [nowhere])
        await until(lambda: device.imports[0].walked and "nothing there" in device.imports[0].error)
        importing = device.device.importing
        assert importing is not None
        assert importing.lacks
        device.mirror(shown, ())
        await until(lambda: not importing.lacks)
