"""Browse paths that do not lead to one node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.downstream import named, source
from support.large import URI, Large, serving_large
from support.mirrored import Mirrored
from support.net import until
from support.nodes import ANYBODY
from support.scanning import FAST, scanning

from server.opcua.space import encode
from server.opcua.space.permissions import Permission, RolePermissions
from server.opcua.types import AttributeIds, ObjectIds
from server.opcua.wire.nodeid import key
from sources.opcua.address import parse_address
from sources.opcua.connection import connect
from sources.opcua.importing import Importing
from sources.opcua.imports import Wanted
from sources.opcua.security import Surroundings
from sources.quality import BAD_CONFIGURATION_ERROR
from sources.tag import ValueType

NUMBER = b"\x06\x07\x00\x00\x00"


def twins(there: Large) -> None:
    """Two variables of one BrowseName, and one that two references lead to."""
    space = there.space
    root = space.nodes[key("Large", 1)]
    there.variable(root, "Second", NUMBER, "Twin")
    there.variable(root, "First", NUMBER, "Twin")
    once = there.variable(root, "Once", NUMBER)
    space.link(root, space.number(ObjectIds.Organizes), once)


async def test_one_that_leads_to_several_nodes_is_refused_and_names_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/Objects/nsu={URI};Large/nsu={URI}"
    twin = named("Twin", ValueType.Int32, address=f"{path};Twin")
    once = named("Once", ValueType.Int32, address=f"{path};Once")
    with serving_large(tmp_path, {}) as there:
        there.running.do(lambda: twins(there))
        device = source(there.running, [twin, once], recheck=0.1)
        async with scanning(device) as its:
            await its.good(once)
            await its.bad(BAD_CONFIGURATION_ERROR, twin)
            assert its.listener.value(twin) is None
            await until(lambda: device.bad_points() == ["There.Twin"])
            await asyncio.sleep(0.5)  # and is told once, however often it is looked at again
    (told,) = [r.getMessage() for r in caplog.records if "check the addresses" in r.getMessage()]
    names = f"nsu={URI};s=Large.First, nsu={URI};s=Large.Second"
    assert f"the path leads to 2 nodes, {names}; take the NodeId of the right one" in told


def shared(there: Large) -> None:
    """One method that two objects have, as servers with one method node for all instances of a type do."""
    space = there.space
    root = space.nodes[key("Large", 1)]
    method = there.node("Start", 4, {int(AttributeIds.Executable): encode.TRUE})
    method.role_permissions = RolePermissions(
        {ANYBODY: Permission.Browse | Permission.Read | Permission.Call}
    )
    for name in ("One", "Two"):
        made = there.node(name, 1, {int(AttributeIds.EventNotifier): encode.byte(0)})
        space.link(root, space.number(ObjectIds.HasComponent), made)
        space.link(made, space.number(ObjectIds.HasTypeDefinition), space.number(ObjectIds.BaseObjectType))
        space.link(made, space.number(ObjectIds.HasComponent), method)


@pytest.mark.parametrize(
    ("chosen", "executable", "its"),
    [
        (f"nsu={URI};s=Start", b"\x01\x00", None),
        (f"/Objects/nsu={URI};Large/nsu={URI};Two/nsu={URI};Start", b"\x01\x01", "Two"),
    ],
)
async def test_a_chosen_method_of_several_objects_is_called_on_that_of_its_path_or_not_at_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, chosen: str, executable: bytes, its: str | None
) -> None:
    with serving_large(tmp_path, {}) as there:
        there.running.do(lambda: shared(there))
        device, mirror = source(there.running, []), Mirrored()
        importing = Importing(device, device.device.settings, mirror)
        importing.connection = await connect(device.device.settings, Surroundings())
        try:
            await importing.run(Wanted("Acme", None, FAST, (parse_address(chosen),)))
        finally:
            await importing.connection.end()
        (method,) = mirror.models["Acme"].nodes.values()
        assert method.attributes[int(AttributeIds.Executable)] == executable
        index = mirror.uris.index(f"{URI}#There")
        assert list(importing._objects.values()) == ([key(its, index)] if its else [])
    told = "cannot be called: it is a method of 2 objects: name it by a browse path"
    assert (told in caplog.text) is (its is None)
