"""Imported nodes in the address space: shared, given up, never in the place of another's."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.opcua import Bench
from support.scanning import FAST

from server.opcua.imported.nodes import ImportedNodes
from server.opcua.server import OpcUaServer
from server.opcua.space import encode
from server.opcua.types import AttributeIds
from server.opcua.wire.nodeid import key
from server.opcua.wire.writer import localized_text, qualified_name
from server.plant.model import Equipment, EquipmentLevel, Import
from sources.opcua.imports import CallResult, ImportedNode, Model
from sources.opcua.wire import Raw

ORGANIZES, HAS_TYPE, FOLDER, VARIABLE_TYPE = key(35), key(40), key(61), key(63)


class There:
    """A device that is nothing but a name."""

    acts_as = "service:anonymous"

    def __init__(self, name: str) -> None:
        self.name = name

    async def write_node(self, node: bytes, variant: bytes) -> int:
        raise AssertionError(node, variant)

    async def call_method(self, holder: bytes, method: bytes, inputs: Sequence[bytes]) -> CallResult:
        raise AssertionError(holder, method, inputs)


def holder(name: str) -> Equipment:
    return Equipment(f"Acme/{name}", EquipmentLevel.ProductionLine, imported=Import("F", None, FAST))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[OpcUaServer]:
    bench = Bench(tmp_path, allow_none=True, anonymous=True)
    bench.plant = replace(bench.plant, equipment=(*bench.plant.equipment, holder("A"), holder("B")))
    made = bench.server()
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


def variable(its_key: bytes, name: str, *references: tuple[bytes, bytes]) -> ImportedNode:
    attributes = {
        int(AttributeIds.AccessLevel): encode.byte(1),
        int(AttributeIds.DataType): encode.node_id(key(11)),
        int(AttributeIds.ValueRank): encode.int32(-1),
    }
    own = (HAS_TYPE, VARIABLE_TYPE)
    return ImportedNode(
        its_key, 2, qualified_name(name), localized_text(name), attributes, (own, *references), its_key
    )


def model(place: str, *nodes: ImportedNode) -> Model:
    return Model(f"Acme/{place}", {node.key: node for node in nodes}, (nodes[0].key,) if nodes else ())


def there(imported: ImportedNodes, its_key: bytes) -> bool:
    return imported._space.find(its_key) is not None


async def test_what_two_imports_share_stays_until_both_have_given_it_up(server: OpcUaServer) -> None:
    imported, device = server.imported, There("F")
    index = imported.index("urn:x#F")
    shared, only = (key(name, index) for name in ("Shared", "Only"))
    value = {shared: Raw(encode.double(1.5), 0, 5)}
    await imported.show(device, model("A", variable(shared, "Shared"), variable(only, "Only")), value)
    await imported.show(device, model("B", variable(shared, "Shared")), value)
    await imported.show(device, model("A"), {})
    assert (there(imported, shared), there(imported, only)) == (True, False)
    await imported.show(device, model("B"), {})
    assert not there(imported, shared)


async def test_a_node_that_changes_is_another_and_the_others_are_the_same(server: OpcUaServer) -> None:
    imported, device = server.imported, There("F")
    index = imported.index("urn:x#F")
    one, two = key("One", index), key("Two", index)
    await imported.show(device, model("A", variable(one, "One"), variable(two, "Two")), {})
    before = imported._space.find(one), imported._space.find(two)
    await imported.show(device, model("A", variable(one, "One"), variable(two, "Renamed")), {})
    after = imported._space.find(one), imported._space.find(two)
    assert after[0] is before[0]
    assert after[1] is not before[1]
    assert after[1] is not None
    assert after[1].browse_name == qualified_name("Renamed")


async def test_no_import_takes_the_place_of_another_s_node(
    server: OpcUaServer, caplog: pytest.LogCaptureFixture
) -> None:
    imported, first, second = server.imported, There("F"), There("G")
    index = imported.index("urn:same")
    mine, own = key("Mine", index), key("Own", index)
    plant = key("Acme", server.namespace_index("urn:acme:plant"))
    await imported.show(first, model("A", variable(mine, "Mine")), {})
    held = imported._space.find(mine), imported._space.find(plant)
    caplog.set_level(logging.ERROR)
    stolen = model("B", variable(own, "Own"), variable(mine, "Other"), variable(plant, "Acme"))
    await imported.show(second, stolen, {})
    assert "2 of the nodes" in caplog.text
    await imported.show(second, model("B", variable(own, "Own"), variable(mine, "Again")), {})
    await imported.show(second, model("B"), {})
    assert (imported._space.find(mine), imported._space.find(plant)) == held
    assert not there(imported, own)


async def test_values_of_a_device_that_is_gone_end_by_themselves(server: OpcUaServer) -> None:
    imported, device = server.imported, There("F")
    index = imported.index("urn:x#F")
    one = key("One", index)
    await imported.show(
        device, replace(model("A", variable(one, "One")), period=0.01), {one: Raw(encode.double(1.5), 0, 5)}
    )
    value = imported._values["F"][one]
    assert value.variant == encode.double(1.5)
    imported.lose(device, 0x408F0000)
    assert (value.variant, "F" in imported._timers) == (encode.double(1.5), True)
    imported._expire("F")
    assert value.variant == b""
    imported.take(device, [(one, Raw(encode.double(2.5), 0, 6))])
    assert value.variant == encode.double(2.5)
    imported.lose(device, 0x408F0000)
    imported.take(device, [(one, Raw(encode.double(3.5), 0, 7))])
    assert imported._timers == {}
