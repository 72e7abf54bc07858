"""One change at a time, whoever orders it; what cannot be prepared touches nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from support.auditing import last
from support.net import until

from server import app
from server.change import changer
from server.config import load
from server.datadir import DataDirectory
from server.observe.control import ask
from server.observe.observer import Running

PLANT = """\
model: 1
namespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}
opcua: {port: 0, listen: [127.0.0.1], writable: true}
equipment:
  Acme:
    level: Enterprise
    properties:
      Target: {type: UInt16, value: 500, access: rw}
"""


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Path, Running]]:
    """A server in this process; its plant file."""
    file, data = folder / "plant.yaml", DataDirectory(folder / "data")
    file.write_text(PLANT, encoding="utf-8")
    data.prepare()
    up: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(app.run(load(file), data, up.set_result))
    try:
        await asyncio.wait((task, up), return_when=asyncio.FIRST_COMPLETED)
        if not up.done():
            await task
        yield file, up.result()
    finally:
        task.cancel()
        await asyncio.wait((task,))


def order(file: Path, **more: Any) -> Any:
    return ask(file.parent / "data", "apply", within=60, file=str(file), **more)


class Gate:
    """Holds the reading of a file until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        self.files: list[Path] = []

    def load(self, path: Path) -> Any:
        self.files.append(path)
        self.reached.set()
        assert self.go.wait(60)
        return load(path)


@contextmanager
def held() -> Iterator[Gate]:
    gate = Gate()
    with patch.object(changer, "load", gate.load):
        try:
            yield gate
        finally:
            gate.go.set()


async def test_a_second_order_is_refused_and_a_hangup_waits_its_turn(tmp_path: Path) -> None:
    async with running(tmp_path) as (file, server):
        with held() as gate:
            file.write_text(PLANT.replace("500", "600"), encoding="utf-8")
            first = asyncio.create_task(order(file))
            await asyncio.to_thread(gate.reached.wait, 60)
            second = await order(file)
            assert (second["outcome"], second["failure"]) == (
                "busy",
                "another change is under way; try again",
            )
            server.reload()
            server.reload()
            assert server.store.points["Acme.Target"].value == 500
            gate.go.set()
            assert (await first)["outcome"] == "applied"
            assert server.store.points["Acme.Target"].value == 600
            await until(lambda: server.configuration().applied == 2, what="the file once more")
        assert gate.files == [file, file]


async def test_what_is_applied_is_audited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "isthmus.audit")
    async with running(tmp_path) as (file, server):
        file.write_text(PLANT.replace("500", "600"), encoding="utf-8")
        await order(file)
        digest = server.configuration().digest
    found = [
        record for record in last(tmp_path / "data" / "audit", 10, {}) if record["event"] == "configuration"
    ]
    assert [(record["file"], record["digest"]) for record in found] == [(str(file), digest)]


async def test_who_stops_waiting_stops_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as (file, server):
        with held() as gate:
            file.write_text(PLANT.replace("500", "600"), encoding="utf-8")
            first = asyncio.create_task(order(file))
            await asyncio.to_thread(gate.reached.wait, 60)
            first.cancel()
            await asyncio.wait((first,))
        await until(lambda: server.configuration().applied == 1, what="the change")
        assert server.store.points["Acme.Target"].value == 600


async def test_a_fault_of_ours_in_preparation_changes_nothing_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as (file, server):
        file.write_text(PLANT.replace("500", "600"), encoding="utf-8")
        with patch.object(server.server, "prepare", side_effect=ZeroDivisionError("oops")):
            found = await order(file)
        assert (found["outcome"], "oops" in found["failure"]) == ("rejected", True)
        assert "could not be prepared: a fault of ours" in caplog.text
        assert server.store.points["Acme.Target"].value == 500
        assert (await order(file))["outcome"] == "applied"


async def test_what_a_client_wrote_outlives_another_default(tmp_path: Path) -> None:
    state = tmp_path / "data" / "state"
    state.mkdir(parents=True)
    (state / "constants.json").write_text('{"values": {"Acme.Target": 550}}', encoding="utf-8")
    async with running(tmp_path) as (file, server):
        target = server.store.points["Acme.Target"]
        assert target.value == 550
        told: list[object] = []
        server.store.listen(lambda points: told.extend(point.value for point in points))
        file.write_text(PLANT.replace("500", "600"), encoding="utf-8")
        await order(file)  # as after a restart: what was written counts
        assert (target.value, target.property.constant, told) == (550, 600, [])
        file.write_text(PLANT.replace("value: 500, access: rw", "value: 600"), encoding="utf-8")
        await order(file)
        assert server.store.points["Acme.Target"].value == 600


async def test_two_nodes_of_one_id_are_refused_with_the_reason(tmp_path: Path) -> None:
    async with running(tmp_path) as (file, server):
        file.write_text(
            PLANT + "  Acme/A: {level: WorkUnit, id: same}\n  Acme/B: {level: WorkUnit, id: same}\n",
            encoding="utf-8",
        )
        found = await order(file)
        assert found["outcome"] == "rejected"
        assert "same" in (found["failure"] or str(found["problems"]))
        assert server.configuration().rejected == 1
