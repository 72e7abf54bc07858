"""Imported variables on MQTT, from a machine's own server through ours to Mosquitto."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from support.importing import DATA, METADATA, Rig, first, rig, stanza
from support.isthmus import isthmus
from support.machine_server import URI
from support.metrics import metrics_url, scraped
from support.mqtt_observer import Seen
from support.net import until
from support.pubsub_schema import validate, validate_data

pytestmark = pytest.mark.interop

FILLER = "Acme__F1__Filler"
OWN = f"nsu={URI}#F1;"


async def test_a_machine_s_values_are_published_as_clients_read_them(tmp_path: Path) -> None:
    async with rig(tmp_path, stanza("Acme/F1", "F1", more=", scan: slow")) as plant:
        observer = plant.observer
        described = (await first(observer, "ua-metadata", METADATA + FILLER)).body
        frame = await first(observer, "ua-keyframe", DATA + FILLER)
        validate(described)
        validate_data(frame.body, described)
        meta = described["MetaData"]
        assert meta["Name"] == "Acme/F1/Filler"
        assert meta["Namespaces"] == ["http://opcfoundation.org/UA/", f"{URI}#F1"]
        fields = {one["Name"]: one for one in meta["Fields"]}
        assert set(fields) == {"Speed", "SpeedSP", "State", "Self", "Names", "Setup"}
        assert fields["State"]["DataType"] == f"{OWN}s=State"
        assert fields["Speed"]["Properties"][0]["Value"]["Value"] == f"{OWN}s=Filler.Speed"
        payload = frame.part["Payload"]
        assert {name: one["Value"] for name, one in payload.items()} == {
            "Speed": 412.5,
            "SpeedSP": 1.0,
            "State": "Running_1",
            "Self": f"{OWN}s=Filler",
            "Names": [f"{OWN}Cap", f"{OWN}Label"],
            "Setup": {"UaTypeId": f"{OWN}s=Setup", "Target": f"{OWN}s=Filler", "Rate": 2.5},
        }
        assert not [one for one in payload.values() if "Status" in one]

        # A change comes with the device's time, and alone.
        (machine,) = plant.machines
        await machine("write", "Speed", 99.5)
        delta = await first(observer, "ua-deltaframe", DATA + FILLER)
        validate_data(delta.body, described)
        assert {name: one["Value"] for name, one in delta.part["Payload"].items()} == {"Speed": 99.5}
        _, changed = await machine("read", "Speed")
        assert delta.part["Payload"]["Speed"]["SourceTimestamp"] == f"{changed}Z".replace("+00:00Z", "Z")

        # However often it changes, what is told of it is one value an interval, the last one in the end.
        seen, began = len(observer.seen), time.monotonic()
        await machine("flood", "Speed", 2000)
        await first(
            observer, "ua-deltaframe", DATA + FILLER, after=seen, where=lambda one: speed_of(one) == 1999.0
        )
        told = len(observer.of("ua-deltaframe", DATA + FILLER)) - 1
        assert told <= (time.monotonic() - began) / 0.1 + 2
        assert (await plant.value("F1", "Speed")).Value.Value == 1999.0

        # It says nothing for longer than values last that nobody reads: it is alive all the same.
        began_at = (await plant.told("F1"))["last_success"]
        await until(lambda: later(plant, began_at + 10_000_000), what="a second of keep-alives")
        assert await plant.status("F1", "Speed") == "Good"
        await check_what_is_told(plant)

        # The link is dead: first Uncertain with the last value, then, after the scans of its class, Bad.
        seen = len(observer.seen)
        plant.lose(0)
        restarted = asyncio.create_task(machine.restart())
        doubtful = await first(observer, "ua-deltaframe", DATA + FILLER, after=seen)
        assert set(doubtful.part["Payload"]) == set(fields)
        assert {one["Status"]["Symbol"] for one in doubtful.part["Payload"].values()} == {
            "UncertainNoCommunicationLastUsableValue"
        }
        assert speed_of(doubtful) == 1999.0
        bad = await first(
            observer,
            "ua-deltaframe",
            DATA + FILLER,
            after=seen,
            where=lambda one: "Speed" in one.part["Payload"] and speed_of(one) is None,
        )
        assert bad.part["Payload"]["Speed"]["Status"]["Symbol"] == "BadNoCommunication"
        value = await plant.value("F1", "Speed")
        assert (value.StatusCode.name, value.Value.Value) == ("BadNoCommunication", None)

        # And back after a restart, with what changed meanwhile: another variable, another version.
        await restarted
        await machine("write", "Speed", 7.5)
        await machine("add", "Extra")
        plant.proxies[0].open = True
        back = await first(
            observer,
            "ua-metadata",
            METADATA + FILLER,
            where=lambda one: "Extra" in {field["Name"] for field in one.body["MetaData"]["Fields"]},
        )
        assert back.body["DataSetWriterId"] == described["DataSetWriterId"]
        version = back.body["MetaData"]["ConfigurationVersion"]
        assert version["MinorVersion"] > meta["ConfigurationVersion"]["MinorVersion"]
        now = observer.seen.index(back)
        frame = await first(observer, "ua-keyframe", DATA + FILLER, after=now)
        validate_data(frame.body, back.body)
        assert frame.part["Payload"]["Speed"]["Value"] == 7.5
        assert frame.part["Payload"]["Extra"]["Value"] == "7"


def speed_of(seen: Seen) -> object:
    return seen.part["Payload"].get("Speed", {}).get("Value")


async def later(plant: Rig, ticks: int) -> bool:
    return bool((await plant.told("F1"))["last_success"] > ticks)


async def check_what_is_told(plant: Rig) -> None:
    """Of a source that has no tags, in the address space, by the metrics and by the command."""
    state, success, nodes, variables, refused, walked, errors, blocks = await plant.shown(
        "F1",
        "State",
        "LastSuccess",
        "ImportedNodes",
        "ImportedVariables",
        "RefusedVariables",
        "LastWalk",
        "ImportErrors",
        "ScanClasses/slow/Blocks",
    )
    assert (state, refused, errors, blocks) == (2, 0, [], 1)
    assert nodes > variables > 6  # those of methods among them
    assert walked < success
    (imported,) = (await plant.told("F1"))["imports"]
    assert (imported["holder"], imported["nodes"], imported["error"]) == ("Acme/F1", nodes, "")
    assert 0 < imported["seconds"] < 20
    metrics = await scraped(await metrics_url(plant.process))
    assert metrics["isthmus_source_imported_variables", "F1"] == variables
    assert metrics["isthmus_source_values_total", "F1"] >= variables
    assert metrics["isthmus_source_last_success_timestamp_seconds", "F1"] > 0
    published = int(metrics["isthmus_mqtt_imported",])
    assert 6 <= published <= variables
    assert metrics["isthmus_mqtt_left_out",] == 0
    told = await plant.told("F1")
    assert told["rates"]["requests"] > 0
    assert told["rates"]["bytes_in"] > 0
    printed = await asyncio.to_thread(isthmus, "status", "--data", plant.data)
    assert f"{published} imported variables" in " ".join(printed.stdout.split())
