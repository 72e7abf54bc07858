"""A server that runs takes another plant, seen by its clients, its PLCs and whoever gave the order."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import typer
from support.contract.opcua import OpcUaCase
from support.contract.proxy import frame_proxy
from support.isthmus import isthmus
from support.net import until
from support.proxy import proxy_to
from support.twoplcs import Rig, rig
from support.uaclient import ua

from server.change.report import Outcome, Report
from server.cli import apply as command
from server.config import ConfigurationError, Problem, format_problems, load
from server.observe.control import ask

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


async def apply(plant: Rig, *arguments: str) -> CompletedProcess[str]:
    return await asyncio.to_thread(isthmus, "apply", plant.file, "--data", plant.data, *arguments)


async def ordered(plant: Rig, text: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Write the file and give the order the command gives; the report."""
    plant.file.write_text(text, encoding="utf-8")
    found: dict[str, Any] = await ask(plant.data, "apply", within=60, file=str(plant.file), dry_run=dry_run)
    return found


async def applied(plant: Rig, text: str) -> dict[str, Any]:
    """As `ordered`; it has to succeed."""
    found = await ordered(plant, text)
    assert found["outcome"] == "applied", found
    return found


async def status(plant: Rig) -> dict[str, Any]:
    found: dict[str, Any] = await ask(plant.data, "status")
    return found


async def connects(plant: Rig) -> dict[str, int]:
    """How often each source was connected."""
    return {source["name"]: source["connects"] for source in (await status(plant))["sources"]}


class Listener:
    """Everything one subscription brings, in order."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.values: dict[str, list[Any]] = {}
        self.events: list[Any] = []

    def datachange_notification(self, node: Any, _value: object, data: Any) -> None:
        self.values.setdefault(node.nodeid.Identifier, []).append(data.monitored_item.Value)

    def event_notification(self, event: Any) -> None:
        self.events.append(event)

    def statuses(self, name: str) -> list[str]:
        return [value.StatusCode.name for value in self.values.get(name, ())]

    @classmethod
    async def on(cls, plant: Rig, *names: str) -> Listener:
        made = cls()
        subscription = await plant.client.create_subscription(50, made)
        callbacks = plant.client.uaclient._subscription_callbacks
        inner = callbacks[subscription.subscription_id]

        async def numbered(result: Any) -> None:
            if result.NotificationMessage.NotificationData:
                made.numbers.append(result.NotificationMessage.SequenceNumber)
            await inner(result)

        callbacks[subscription.subscription_id] = numbered
        await subscription.subscribe_data_change([await plant.node(name) for name in names])
        await subscription.subscribe_events(evtypes=ua.ObjectIds.GeneralModelChangeEventType)
        return made


async def test_a_running_server_takes_another_plant(tmp_path: Path) -> None:
    async with rig(tmp_path) as plant, proxy_to(plant.b.port) as other:
        first = plant.file.read_text(encoding="utf-8")
        heard = await Listener.on(plant, "Acme/A.Speed", "Acme/A.Count", "Acme/B.Speed", "Acme.Target")
        await until(lambda: len(heard.values) == 4 and heard.statuses("Acme/B.Speed")[-1] == "Good")
        pieces = plant.proxy.pieces

        # Another name for B: its nodes go, others come, its source reads other tags.
        plant.file.write_text(first.replace("Acme/B:", "Acme/B2:"), encoding="utf-8")
        done = await apply(plant)
        assert done.returncode == 0, done.stderr
        printed = done.stdout
        assert "- Acme/B.Speed\n" in printed
        assert "+ Acme/B2.Speed\n" in printed
        assert "Nodes    7 added, 7 removed, 0 changed\n" in printed
        assert "Sources  ~ B: re-planned, connection kept: 3 tags added, 3 removed\n" in printed
        assert "Sources  1 untouched\n" in printed
        assert f"{plant.file}: applied in" in printed
        await plant.are("B2", "Good")
        assert await plant.status("B") == {"BadNodeIdUnknown"}
        await until(lambda: heard.statuses("Acme/B.Speed")[-1] == "BadNodeIdUnknown", what="the node's end")
        assert heard.statuses("Acme/B.Speed").count("BadNodeIdUnknown") == 1
        await until(lambda: heard.events, what="an event of the model")
        told = {(one.Affected.Identifier, one.Verb) for event in heard.events for one in event.Changes}
        assert {("Acme/B.Speed", 2), ("Acme/B2.Speed", 1), ("Acme/B2", 1)} <= told

        # And back: an item of a node that comes back tells its values again.
        await applied(plant, first)
        await until(lambda: heard.statuses("Acme/B.Speed")[-1] == "Good", what="B's values")

        # A class and a scan class: no source is touched by the first, one by the second.
        await plant.are("B", "Good")
        count = await connects(plant)
        wider = first.replace("[0, 900]", "[0, 1000]")
        found = await applied(plant, wider)
        assert "~ Acme/A.Speed: range" in found["nodes"]["lines"]
        assert found["sources"]["untouched"] == 2
        limits = await (await plant.node("Acme/A.Speed.EURange")).read_value()
        assert (limits.Low, limits.High) == (0, 1000)
        slower = wider.replace("scan: {normal: 200ms}", "scan: {normal: 200ms, slow: 400ms}").replace(
            "Acme/B: {class: Filler, source: B, map: *map}",
            'Acme/B: {class: Filler, source: B, map: {Speed: {addr: "holding:0", as: float32, scan: slow}, '
            'SpeedSP: {addr: "holding:2", as: float32}, Count: {addr: "holding:20", as: uint32}}}',
        )
        assert slower != wider
        assert "~ Acme/B.Speed: scan" in (await applied(plant, slower))["nodes"]["lines"]
        interval = ua.AttributeIds.MinimumSamplingInterval
        read = await (await plant.node("Acme/B.Speed")).read_attribute(interval)
        assert read.Value.Value == 400
        await plant.are("B", "Good")
        assert await connects(plant) == count

        period = await plant.node("@sources/B/ScanClasses/slow/PlannedPeriod")
        async with await plant.as_operator() as operator:
            assert await operator.get_node(period.nodeid).read_value() == 400

        # Another address: what B held is worth nothing until the device there answers.
        other.open = False
        found = await applied(plant, slower.replace(f"port: {plant.b.port}", f"port: {other.port}"))
        assert found["sources"]["changed"] == {"B": "reconnected because port changed"}
        assert "Good" not in await plant.status("B")
        await until(lambda: heard.statuses("Acme/B.Speed")[-1] != "Good", what="B's old values to go")
        await until(lambda: other.accepted, what="B to be dialled at its new address")
        other.open = True
        await plant.are("B", "Good")

        # Meanwhile A knew nothing of all that, and neither did the subscription.
        assert (plant.proxy.accepted, count["A"]) == (1, 1)
        assert plant.proxy.pieces > pieces
        assert set(heard.statuses("Acme/A.Speed") + heard.statuses("Acme/A.Count")) == {"Good"}
        assert heard.statuses("Acme.Target") == ["Good"]
        assert heard.numbers == list(range(1, len(heard.numbers) + 1))
        assert (await status(plant))["opcua"]["sessions"] == 1

        # It costs seconds to have all of this run, so what follows is seen there too.
        await _more_and_other_tags_are_read_over_the_connections_there_are(plant)


async def _more_and_other_tags_are_read_over_the_connections_there_are(plant: Rig) -> None:
    """A PLC's and a downstream server's; what stays notices nothing."""
    case = OpcUaCase()
    there = case.plc()
    await asyncio.to_thread(there.start)
    try:
        async with frame_proxy(lambda: there.port, case.framing) as proxy:
            before = await connects(plant)
            first = plant.file.read_text(encoding="utf-8").replace(
                "classes:\n",
                f"  C: {{driver: opcua, url: 'opc.tcp://127.0.0.1:{proxy.port}/', security: none}}\n"
                "classes:\n",
            )
            prop = '{{addr: "nsu=urn:contract;s={}"{}}}'.format
            plain = {"Moving": prop("C99", ""), "Still": prop("T1", ""), "Other": prop("T2", "")}

            def text(properties: Mapping[str, str], more: str = "") -> str:
                types = ", ".join(f"{name}: {{type: UInt32}}" for name in properties)
                bound = "".join(f"      {name}: {said}\n" for name, said in properties.items())
                whole = f"  Acme/C:\n    level: WorkUnit\n    source: C\n    properties: {{{types}}}\n"
                return f"{first}{whole}    map:\n{bound}{more}"

            found = await applied(plant, text(plain))
            assert found["sources"]["added"] == ["C"]
            stay = ("Acme/A.Speed", "Acme/A.Count", "Acme/C.Moving", "Acme/C.Still")
            await until(partial(_is_good, plant, *stay))
            heard = await Listener.on(plant, *stay, "Acme/C.Other")
            await until(lambda: len(heard.values) == 5)
            dialled = proxy.accepted

            # A tag more of a PLC, one more of a server, and one that leads elsewhere from now on.
            more = (
                "  Acme/A2: {level: WorkUnit, source: A, properties: {Double: {type: UInt32}},\n"
                '    map: {Double: {addr: "holding:20", as: uint32}}}\n'
            )
            wider = plain | {"Added": prop("T3", ""), "Other": prop("T4", "")}
            found = await applied(plant, text(wider, more))
            assert found["sources"]["changed"] == {
                "A": "re-planned, connection kept: 1 tag added",
                "C": "re-planned, connection kept: 1 tag added, 1 changed",
            }
            await until(partial(_is_good, plant, "Acme/A2.Double", "Acme/C.Added", "Acme/C.Other"))
            assert await (await plant.node("Acme/C.Added")).read_value() == there.first("T3")
            await until(lambda: heard.values["Acme/C.Other"][-1].Value.Value == there.first("T4"))

            # Another scaling is another value, though the device has no news of it.
            scaled = wider | {"Added": prop("T3", ", gain: 2")}
            found = await applied(plant, text(scaled))
            assert list(found["sources"]["changed"]) == ["A", "C"]
            await until(partial(_is_good, plant, "Acme/C.Added"))
            assert await (await plant.node("Acme/C.Added")).read_value() == 2 * there.first("T3")

            # And back.
            await applied(plant, text(plain))
            await until(lambda: heard.values["Acme/C.Other"][-1].Value.Value == there.first("T2"))
            count = len(heard.values["Acme/C.Moving"])
            await until(lambda: len(heard.values["Acme/C.Moving"]) > count + 2)
            _changes_only(heard, *stay)
            assert (plant.proxy.accepted, proxy.accepted) == (1, dialled)
            assert await connects(plant) == before | {"C": 1}
    finally:
        await asyncio.to_thread(there.kill)


def _changes_only(heard: Listener, *names: str) -> None:
    """Every notification of these is Good, and of another value than the one before."""
    for name in names:
        assert set(heard.statuses(name)) == {"Good"}, name
        values = [value.Value.Value for value in heard.values[name]]
        assert all(one != other for one, other in pairwise(values)), (name, values)


async def _is_good(plant: Rig, *names: str) -> bool:
    nodes = [await plant.node(name) for name in names]
    values = [await node.read_data_value(raise_on_bad_status=False) for node in nodes]
    return all(value.StatusCode.is_good() for value in values)


@posix
async def test_what_is_rejected_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with rig(tmp_path) as plant:
        first = plant.file.read_text(encoding="utf-8")
        before = (await status(plant))["configuration"]
        assert before["file"] == str(plant.file)

        assert (await ordered(plant, first))["outcome"] == "unchanged"

        plant.file.write_text(first.replace("type: UInt32", "type: UInt33"), encoding="utf-8")
        with pytest.raises(ConfigurationError) as wrong:
            load(plant.file)
        with pytest.raises(typer.Exit) as left:
            await asyncio.to_thread(command.apply, plant.file, plant.data)
        assert left.value.exit_code == 2
        printed = capsys.readouterr().err
        assert format_problems(wrong.value.problems) in printed  # as `isthmus check` tells of it
        assert "did you mean 'UInt32'?" in printed
        assert "Rejected: nothing was changed." in printed

        moved = first.replace("port: 0,", "port: 4841,").replace("urn:acme:plant", "urn:acme:other")
        assert (await ordered(plant, moved))["restart"] == [
            "namespaces.plant: urn:acme:plant -> urn:acme:other",
            "opcua.port: 0 -> 4841",
        ]

        added = first.replace("Acme/A:", "Acme/New: {level: WorkUnit}\n  Acme/A:")
        plant.file.write_text(added, encoding="utf-8")
        await asyncio.to_thread(command.apply, plant.file, plant.data, dry_run=True)
        printed = capsys.readouterr().out
        assert "+ Acme/New\n" in printed
        assert "Nothing was changed." in printed
        node = await plant.node("Acme/New")
        with pytest.raises(ua.UaStatusCodeError):
            await node.read_browse_name()
        assert (await status(plant))["configuration"] == {
            **before,
            "applied": 1,  # the one in which nothing differed
            "rejected": 2,
            "since": (await status(plant))["configuration"]["since"],
        }
        assert await ask(plant.data, "apply", file="plant.yaml") == {
            **(await ask(plant.data, "apply", file=7)),
            "file": "plant.yaml",
        }

        # SIGHUP reads the file of the start, and the log tells what came of it.
        plant.process.process.send_signal(signal.SIGHUP)
        await until(lambda: plant.log_lines("configuration applied"), what="the file applied")
        assert (await node.read_browse_name()).Name == "New"
        plant.file.write_text(first + "nonsense: 1\n", encoding="utf-8")
        plant.process.process.send_signal(signal.SIGHUP)
        await until(lambda: plant.log_lines("rejected, nothing was changed.*nonsense"), what="it rejected")
        assert (await node.read_browse_name()).Name == "New"
        now = (await status(plant))["configuration"]
        assert (now["applied"], now["rejected"]) == (2, 3)
        assert now["digest"] != before["digest"]

        # What never changed went on all the while.
        assert plant.proxy.accepted == 1


def test_without_a_server_the_message_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left:
        command.apply(Path("plant.yaml"), tmp_path)
    assert left.value.exit_code == 1
    assert "no server runs on this data directory" in capsys.readouterr().err


def test_problems_are_told_by_the_way_that_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = Problem(str(tmp_path / "sub" / "more.yaml"), 3, 7, "scan.x", "message", "hint")
    found = Report(Outcome.Rejected, "plant.yaml", problems=(problem,), failure="").as_json()

    async def answer(*_: object, **__: object) -> Any:
        return json.loads(json.dumps(found))

    monkeypatch.setattr(command, "ask", answer)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit):
        command.apply(Path("sub/plant.yaml"), tmp_path)
    assert "sub/more.yaml:3:7: scan.x: message\n    hint\n1 problem\n" in capsys.readouterr().err
