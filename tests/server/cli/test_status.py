"""What a running server tells of itself, seen from outside."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

from support.isthmus import isthmus
from support.metrics import scraped
from support.net import until
from support.twoplcs import Rig, rig
from support.uaclient import ua


async def status(plant: Rig, *arguments: str) -> str:
    done = await asyncio.to_thread(isthmus, "status", "--data", plant.data, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def shown(plant: Rig, *names: str) -> list[Any]:
    """What an operator reads of source A in the address space."""
    nodes = [await plant.node(f"@sources/A/{name}") for name in names]
    async with await plant.as_operator() as client:
        return [await client.get_node(node.nodeid).read_value() for node in nodes]


async def check_a_source_that_answers(plant: Rig, metrics: dict[tuple[str, ...], float]) -> None:
    assert 0 < metrics["isthmus_scan_p99_seconds", "normal", "A"] < 10
    assert metrics["isthmus_scan_blocks", "normal", "A"] == 1
    for counted in ("requests_total", "received_bytes_total", "sent_bytes_total", "tags"):
        assert metrics[f"isthmus_source_{counted}", "A"] > 0, counted
    assert metrics["isthmus_source_bad_points", "A"] == 0
    assert ("isthmus_source_stale_points", "A") in metrics
    connected = metrics["isthmus_source_connected_since_timestamp_seconds", "A"]
    assert 0 < connected <= metrics["isthmus_source_last_success_timestamp_seconds", "A"] <= time.time()
    state, error, plan, requests, since = await shown(
        plant, "State", "LastError", "Plan", "RequestsPerSecond", "ConnectedSince"
    )
    assert state == 2
    assert bool(error) >= bool(metrics["isthmus_source_last_error_timestamp_seconds", "A"])
    assert plan == ["normal: holding:0 to 21, 22 registers for 3 points; ends: last of its class"]
    assert 0 < requests < 50
    assert abs(since.timestamp() - connected) < 0.001


async def check_a_source_that_is_gone(
    plant: Rig, before: dict[tuple[str, ...], float], after: dict[tuple[str, ...], float]
) -> None:
    assert after["isthmus_source_connected_since_timestamp_seconds", "A"] == 0
    connected = before["isthmus_source_connected_since_timestamp_seconds", "A"]
    assert after["isthmus_source_last_error_timestamp_seconds", "A"] >= connected

    async def noticed() -> bool:
        return await shown(plant, "State") != [2]

    await until(noticed, what="the state to be told")  # one status serves all who read within a moment
    state, cause, error, last, since = await shown(
        plant, "State", "LastErrorCause", "LastError", "LastSuccess", "ConnectedSince"
    )
    assert (state, cause.name) in {(3, "BadNotConnected"), (3, "BadConnectionClosed")}, error
    assert error
    assert abs(last.timestamp() - after["isthmus_source_last_success_timestamp_seconds", "A"]) < 0.001
    assert since.year == 1601


async def check_a_write_is_counted(plant: Rig, url: str, before: dict[tuple[str, ...], float]) -> None:
    async with await plant.as_operator() as operator:
        target = operator.get_node((await plant.node("Acme.Target")).nodeid)
        await target.write_value(7, ua.VariantType.UInt16)
    written = await scraped(url)
    assert written["isthmus_writes_total", "done"] == 1
    assert written["isthmus_audit_records_total",] > before["isthmus_audit_records_total",]


def configuration_is_told(
    plant: Rig, configuration: dict[str, Any], text: str, metrics: dict[tuple[str, ...], float]
) -> None:
    assert configuration["file"] == str(plant.file)
    assert f"sha256 {configuration['digest'][:12]}; 0 changes applied, 0 rejected\n" in text
    assert metrics["isthmus_configuration_applied_time_seconds",] > 1_700_000_000
    assert metrics["isthmus_configuration_changes_total", "applied"] == 0
    assert metrics["isthmus_configuration_changes_total", "rejected"] == 0


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
            ready = found["opcua"]["notifications"] > 2 and all(
                s["rates"]["values"] > 0 for s in found["sources"]
            )
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
        configuration_is_told(plant, found["configuration"], text, before)
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
        assert before["isthmus_event_loop_tasks",] > len(found["sources"])
        assert before["isthmus_audit_records_total",] == found["audit"]["seq"]
        assert f"{int(before['isthmus_audit_head',]):012x}" == found["audit"]["head"][:12]
        assert (before["isthmus_audit_failing",], before["isthmus_audit_unrecorded_total",]) == (0, 0)

        await check_a_write_is_counted(plant, match[1], before)
        await check_a_source_that_answers(plant, before)

        await plant.a.kill()
        await plant.are("A", "BadNoCommunication", "BadNotConnected")
        after = await scraped(match[1])
        assert after["isthmus_source_state", "A", "disconnected"] == 1
        assert after["isthmus_points_not_good",] == 3
        assert after["isthmus_source_points_not_good", "A"] == 3
        assert after["isthmus_source_points_not_good", "B"] == 0
        success = "isthmus_source_last_success_timestamp_seconds"
        values = "isthmus_source_values_total", "B"
        while after[success, "B"] <= after[success, "A"] or after[values] <= before[values]:
            await asyncio.sleep(0.1)  # its next scan is on its way
            after = await scraped(match[1])
        causes = {key[1] for key in after if (key[0], key[-1]) == ("isthmus_source_errors_total", "A")}
        assert causes, "a lost connection is an error with a cause"
        await check_a_source_that_is_gone(plant, before, after)


def test_status_without_a_server_says_so(tmp_path: Path) -> None:
    done = isthmus("status", "--data", tmp_path)
    assert done.returncode == 1
    assert "no server runs" in done.stderr
    assert "Traceback" not in done.stderr
