"""What a running server tells of itself, seen from outside."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from support.isthmus import isthmus
from support.net import until
from support.twoplcs import Rig, rig
from support.uaclient import ua


async def scraped(url: str) -> dict[tuple[str, ...], float]:
    def fetch() -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(fetch)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def status(plant: Rig, *arguments: str) -> str:
    done = await asyncio.to_thread(isthmus, "status", "--data", plant.data, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_status_and_metrics_tell_the_same(tmp_path: Path) -> None:
    async with rig(tmp_path, "metrics: {port: 0}") as plant:
        match = await until(
            lambda: re.search(r"metrics at ([^\s\"]+)", plant.process.output), what="the metrics' URL"
        )
        assert match is not None

        class Ignore:
            def datachange_notification(self, *_: object) -> None:
                pass

        subscription = await plant.client.create_subscription(100, Ignore())
        await subscription.subscribe_data_change(await plant.node("Acme/A.Speed"))

        async def told() -> dict[str, Any] | None:
            found: dict[str, Any] = json.loads(await status(plant, "--json"))
            ready = found["opcua"]["notifications"] > 2 and all(rate > 0 for rate in found["rates"].values())
            measured = (await scraped(match[1]))["isthmus_scan_measured_seconds", "normal", "A"]
            return found if ready and measured > 0 else None

        found = await until(told, within=60, what="notifications and rates")
        assert found is not None
        assert found["pid"] == plant.process.ready["pid"]
        assert found["opcua"]["sessions"] == 1
        assert (found["opcua"]["subscriptions"], found["opcua"]["monitored_items"]) == (1, 1)
        assert (found["points"], found["not_good"]) == (7, 0)
        assert {s["name"]: s["state"] for s in found["sources"]} == {"A": "connected", "B": "connected"}
        assert found["memory"] > 10_000_000
        assert found["mqtt"] is None
        assert found["writes"] == {}
        assert (found["audit"]["failure"], found["audit"]["unrecorded"]) == ("", 0)
        assert len(found["audit"]["head"]) == 64

        text = await status(plant)
        assert f"record {found['audit']['seq']} has the hash {found['audit']['head']}" in text
        assert re.search(r"^A +127\.0\.0\.1:\d+ +connected +3 +0", text, re.MULTILINE), text

        before = await scraped(match[1])
        assert before["isthmus_source_state", "A", "connected"] == 1
        assert before["isthmus_source_state", "A", "disconnected"] == 0
        assert before["isthmus_points_not_good",] == 0
        assert before["isthmus_opcua_sessions",] == 1
        assert before["isthmus_opcua_connections",] == 1
        assert before["isthmus_opcua_accepted_total",] >= 1
        assert before["isthmus_opcua_ended_total", "failure"] == 0
        assert before["isthmus_opcua_refused_sessions_total",] == 0
        assert before["isthmus_scan_planned_seconds", "normal", "A"] == 0.2
        assert 0 < before["isthmus_scan_measured_seconds", "normal", "A"] < 10
        assert before["isthmus_source_values_total", "A"] > 0
        assert ("isthmus_event_loop_lag_seconds", "0.99") in before
        assert before["isthmus_audit_records_total",] == found["audit"]["seq"]
        assert f"{int(before['isthmus_audit_head',]):012x}" == found["audit"]["head"][:12]
        assert (before["isthmus_audit_failing",], before["isthmus_audit_unrecorded_total",]) == (0, 0)

        async with await plant.as_operator() as operator:
            target = operator.get_node((await plant.node("Acme.Target")).nodeid)
            await target.write_value(7, ua.VariantType.UInt16)
        written = await scraped(match[1])
        assert written["isthmus_writes_total", "done"] == 1
        assert written["isthmus_audit_records_total",] > before["isthmus_audit_records_total",]

        await plant.a.kill()
        await plant.are("A", "BadNoCommunication", "BadNotConnected")
        after = await scraped(match[1])
        assert after["isthmus_source_state", "A", "disconnected"] == 1
        assert after["isthmus_points_not_good",] == 3
        assert after["isthmus_source_points_not_good", "A"] == 3
        assert after["isthmus_source_points_not_good", "B"] == 0
        while after["isthmus_source_values_total", "B"] <= before["isthmus_source_values_total", "B"]:
            await asyncio.sleep(0.1)  # its next scan is on its way
            after = await scraped(match[1])
        causes = {key[1] for key in after if (key[0], key[-1]) == ("isthmus_source_errors_total", "A")}
        assert causes, "a lost connection is an error with a cause"


def test_status_without_a_server_says_so(tmp_path: Path) -> None:
    done = isthmus("status", "--data", tmp_path)
    assert done.returncode == 1
    assert "no server runs" in done.stderr
    assert "Traceback" not in done.stderr
