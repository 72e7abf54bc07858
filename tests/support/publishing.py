"""A publisher of the small plant, in this process or, run as a script, in one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.small_plant import FILLER_VALUES, NAMESPACES, feed, node_of, small_plant

from server.mqtt.publisher import MqttPublisher, Retry
from server.mqtt.settings import MqttSettings
from server.plant.model import Plant
from server.plant.values import ValueStore

PUBLISHER = "acme-lyon"
GROUP = "plant"
STATUS = f"opcua/json/status/{PUBLISHER}"
CONNECTION = f"opcua/json/connection/{PUBLISHER}"
FILLER_DATA = f"opcua/json/data/{PUBLISHER}/{GROUP}/Acme__Lyon__Line1__Filler"
FILLER_METADATA = f"opcua/json/metadata/{PUBLISHER}/{GROUP}/Acme__Lyon__Line1__Filler"
LINE_DATA = f"opcua/json/data/{PUBLISHER}/{GROUP}/Acme__Lyon__Line1"
LINE_METADATA = f"opcua/json/metadata/{PUBLISHER}/{GROUP}/Acme__Lyon__Line1"


def settings(broker: str, **changes: Any) -> MqttSettings:
    """Quick ones: a tenth of a second between messages, a key frame every tenth one."""
    return MqttSettings.model_validate(
        {
            "broker": broker,
            "publisher_id": PUBLISHER,
            "publishing_interval": "100ms",
            "key_frame_every": 10,
            "keep_alive": "20s",
            **changes,
        }
    )


def make(wanted: MqttSettings, plant: Plant, store: ValueStore, state: Path, **more: Any) -> MqttPublisher:
    """A publisher that loses no time when it has to dial again."""
    publisher = MqttPublisher(
        wanted, plant, store, state=state, base=state, node_of=node_of(plant), namespaces=NAMESPACES, **more
    )
    publisher.retry = Retry(delays=lambda: itertools.repeat(0.1), refused=0.2)
    return publisher


@dataclass(frozen=True)
class Rig:
    """A publisher at work, and the store that feeds it."""

    publisher: MqttPublisher
    store: ValueStore
    task: asyncio.Task[Any]

    async def stop(self) -> None:
        """As a server does that is told to end."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@asynccontextmanager
async def publishing(
    wanted: MqttSettings, state: Path, plant: Plant | None = None, **more: Any
) -> AsyncIterator[Rig]:
    """Publish the small plant, or another one, while the context lasts."""
    plant = plant or small_plant()
    store = ValueStore(plant)
    publisher = make(wanted, plant, store, state, **more)
    rig = Rig(publisher, store, asyncio.create_task(publisher.run(), name="publisher"))
    try:
        yield rig
    finally:
        await rig.stop()


async def _main(url: str, state: Path) -> None:
    async with publishing(settings(url), state) as rig:
        feed(rig.store, FILLER_VALUES)
        await rig.task


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2])))
