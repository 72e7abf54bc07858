"""Imports that come, go and change while a server runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.importing import DATA, METADATA, PLANT_URI, Rig, first, rig, stanza
from support.isthmus import isthmus
from support.machine_server import URI
from support.net import free_port, until
from support.uaclient import ua

from server.change.imports import Asked, import_change
from server.plant.model import Equipment, EquipmentLevel, Import, Plant, Role
from sources.tag import ScanClass, Stale

FAST = ScanClass("fast", 0.2)
BOUND = (
    "  Acme/Bound: {level: WorkUnit, source: F2, properties: {Speed: {}}, "
    f"map: {{Speed: 'nsu={URI};s=Filler.Speed'}}}}\n"
)


def plant(*equipment: Equipment) -> Plant:
    return Plant("urn:p", "urn:t", equipment)


def holding(path: str, source: str = "F", **more: Any) -> Equipment:
    return Equipment(path, EquipmentLevel.WorkUnit, imported=Import(source, "below", FAST, **more))


def test_what_is_another_import_and_what_is_the_same() -> None:
    roles = frozenset({Role.Operator})
    one, other = holding("A"), holding("B")
    same = import_change(plant(one, other), plant(one, other))
    assert (bool(same), same.untouched) == (False, 2)
    found = import_change(
        plant(one, other), plant(holding("B", callers=roles, mqtt=False), holding("C", "G"))
    )
    assert (found.added, found.removed) == ({"C": "G"}, {"A": "F"})
    assert (found.changed, found.untouched) == ({"B": "other roles, mqtt"}, 0)
    for new, what in (
        (holding("A", "G"), "from G, not from F"),
        (replace(one, pinned_id="pinned"), "held by another node"),
        (replace(one, imported=Import("F", "elsewhere", FAST)), "carried out anew"),
    ):
        assert import_change(plant(one), plant(new)).changed == {"A": what}


def test_a_source_s_own_rule_says_when_imported_values_are_stale() -> None:
    class Entry:
        name, stale = "F", Stale(bad_after=9)

    asked = Asked(plant(holding("A"), holding("B", "G")), [Entry()])  # type: ignore[list-item]
    assert [(one.holder, one.scan.stale.bad_after) for one in (*asked.of("F"), *asked.of("G"))] == [
        ("A", 9),
        ("B", 3),
    ]


class Heard:
    """What one subscription brings."""

    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.values: list[Any] = []
        self.changes: list[tuple[Any, int]] = []

    def datachange_notification(self, _node: Any, value: Any, data: Any) -> None:
        self.values.append(value)
        self.statuses.append(data.monitored_item.Value.StatusCode.name)

    def event_notification(self, event: Any) -> None:
        self.changes += [(one.Affected.Identifier, one.Verb) for one in event.Changes]


class Statuses:
    """Of each node what its monitored item was told, by the node's name."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = {}

    def datachange_notification(self, node: Any, _value: Any, data: Any) -> None:
        told = self.of.setdefault(str(node.nodeid.Identifier), [])
        status = data.monitored_item.Value.StatusCode.name
        if told[-1:] != [status]:
            told.append(status)


async def connects(it: Rig) -> tuple[int, int]:
    return (await it.told("F1"))["connects"], (await it.told("F2"))["connects"]


@pytest.mark.interop
async def test_imports_come_go_and_change_while_clients_look_on(tmp_path: Path) -> None:
    one_of, two_of = BOUND + stanza("Acme/F1", "F1"), stanza("Acme/F2", "F2")
    async with rig(tmp_path, one_of, machines=2) as it:
        one, two = it.machines
        await until(lambda: is_good(it, "F1"))
        await until(lambda: is_connected(it, "F2"))
        heard = Heard()
        subscription = await it.client.create_subscription(50, heard)
        index = await it.index("F1")
        await subscription.subscribe_data_change(it.client.get_node(ua.NodeId("Filler.Speed", index)))
        await subscription.subscribe_events(evtypes=ua.ObjectIds.GeneralModelChangeEventType)
        before = await connects(it)

        # A dry run says what would come, and nothing does.
        tried = await it.order(one_of, two_of, dry_run=True)
        assert (tried["outcome"], tried["imports"]["added"]) == ("possible", ["Acme/F2 from F2"])
        assert f"{URI}#F2" not in await it.client.get_namespace_array()

        # One more: its nodes come, are told of, and published; the other is not touched.
        it.file.write_text(it.head + one_of + two_of, encoding="utf-8")
        done = await asyncio.to_thread(isthmus, "apply", it.file, "--data", it.data)
        assert done.returncode == 0, done.stderr
        assert "Imports  + Acme/F2 from F2\n" in done.stdout
        assert "Imports  1 untouched\n" in done.stdout
        await until(lambda: is_good(it, "F2"))
        await until(lambda: ("Filler.Speed", 1) in heard.changes, what="an event of the model")
        frame = await first(it.observer, "ua-keyframe", f"{DATA}Acme__F2__Filler")
        assert frame.part["Payload"]["Speed"]["Value"] == 412.5
        await one("write", "Speed", 11.0)
        await until(lambda: heard.values[-1] == 11.0)
        assert (await connects(it), heard.statuses) == (before, ["Good", "Good"])

        # Other roles: the nodes stay, and may be written.
        level = it.client.get_node(ua.NodeId("Filler.SP", index))
        assert await level.get_access_level() == {ua.AccessLevel.CurrentRead}
        opened = BOUND + stanza("Acme/F1", "F1", more=", write: {}")
        found = await it.order(opened, two_of)
        assert (found["outcome"], found["imports"]["changed"]) == ("applied", {"Acme/F1": "other roles"})
        assert ua.AccessLevel.CurrentWrite in await level.get_access_level()

        # A part of it only: what that has stays as it is, and the rest goes; not all of it is published.
        smaller = stanza("Acme/F2", "F2", under=f"nsu={URI};s=Filler.Speed")
        chosen = BOUND + stanza("Acme/F1", "F1", more=", write: {}, mqtt: [Filler/Sp*]")
        found = await it.order(chosen, smaller)
        assert found["imports"]["changed"] == {"Acme/F1": "mqtt", "Acme/F2": "carried out anew"}
        await until(lambda: has_status(it, "F2", "State", "BadNodeIdUnknown"))
        await two("write", "Speed", 22.0)
        await until(lambda: has_value(it, "F2", "Speed", 22.0))
        described = await first(
            it.observer,
            "ua-metadata",
            f"{METADATA}Acme__F1__Filler",
            where=lambda seen: len(seen.body["MetaData"]["Fields"]) == 2,
        )
        names = {field["Name"] for field in described.body["MetaData"]["Fields"]}
        assert names == {"Speed", "SpeedSP"}
        alone = await first(it.observer, "ua-metadata", f"{METADATA}Acme__F2___x0040_F2")
        assert [field["Name"] for field in alone.body["MetaData"]["Fields"]] == ["Speed"]

        # What is rejected changes nothing.
        rejected = await it.order(chosen, smaller.replace("from: F2", "from: F3"))
        assert rejected["outcome"] == "rejected"
        assert await is_good(it, "F2")

        # Gone: its nodes are, subscriptions say so, and what the broker retained is cleared.
        topic = f"{METADATA}Acme__F1__Filler"
        found = await it.order(BOUND + smaller)
        assert (found["outcome"], found["imports"]["removed"]) == ("applied", ["Acme/F1 from F1"])
        await until(lambda: heard.statuses[-1] == "BadNodeIdUnknown")
        await until(lambda: any(seen.topic == topic and seen.body is None for seen in it.observer.seen))
        assert await connects(it) == before
        assert await is_good(it, "F2")

        pinned = smaller.replace("{level:", "{id: Pinned, level:")
        await check_another_holder(it, BOUND, pinned)
        await check_the_contract(it, BOUND, pinned)


async def check_another_holder(it: Rig, *stanzas: str) -> None:
    """An equipment with another id is another node: what it imports hangs there, and is not touched."""
    subscription = await it.client.create_subscription(50, heard := Heard())
    node = it.client.get_node(ua.NodeId("Filler.Speed", await it.index("F2")))
    await subscription.subscribe_data_change(node)
    await until(lambda: heard.statuses)
    found = await it.order(*stanzas)
    assert found["imports"]["changed"] == {"Acme/F2": "held by another node"}
    plant = await it.client.get_namespace_index(PLANT_URI)
    assert node in await it.client.get_node(ua.NodeId("Pinned", plant)).get_children()
    assert set(heard.statuses) == {"Good"}
    await subscription.delete()


async def check_the_contract(it: Rig, *stanzas: str) -> None:
    """What is imported is worth what is bound: the same codes for the same cause, one after the other."""
    statuses = Statuses()
    names = (
        ua.NodeId("Acme/Bound.Speed", await it.client.get_namespace_index(PLANT_URI)),
        ua.NodeId("Filler.Speed", await it.index("F2")),
    )
    subscription = await it.client.create_subscription(50, statuses)
    await subscription.subscribe_data_change([it.client.get_node(name) for name in names])
    await until(lambda: len(statuses.of) == 2)
    it.lose(1)
    contract = ["Good", "UncertainNoCommunicationLastUsableValue", "BadNoCommunication"]
    await until(lambda: [*statuses.of.values()] == [contract, contract], what=f"not {statuses.of}")
    it.proxies[1].open = True
    contract.append("Good")
    await until(lambda: [*statuses.of.values()] == [contract, contract], what=f"not {statuses.of}")
    # By the configuration: dialled no more, dialled again, and dialled where nobody is.
    head = it.head
    own = f"127.0.0.1:{it.proxies[1].port}"
    for changed, status in (
        (head.replace("F2: {", "F2: {enabled: false, "), "BadOutOfService"),
        (head, "Good"),
        (head.replace(own, f"127.0.0.1:{free_port()}"), "BadNotConnected"),
    ):
        it.head = changed
        assert (await it.order(*stanzas))["outcome"] == "applied"
        await until(lambda: [told[-1] for told in statuses.of.values()] == [status, status])  # noqa: B023
        contract.append(status)
    told = [[one for one in each if one != "BadWaitingForInitialData"] for each in statuses.of.values()]
    assert told == [contract, contract]


async def is_good(it: Rig, source: str) -> bool:
    return await has_status(it, source, "Speed", "Good")


async def is_connected(it: Rig, source: str) -> bool:
    return bool((await it.told(source))["state"] == "connected")


async def has_status(it: Rig, source: str, name: str, status: str) -> bool:
    return await it.status(source, name) == status


async def has_value(it: Rig, source: str, name: str, value: object) -> bool:
    return bool((await it.value(source, name)).Value.Value == value)
