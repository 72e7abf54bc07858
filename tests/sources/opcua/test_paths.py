"""Browse paths that do not lead to one node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.downstream import named, source
from support.large import URI, Large, serving_large
from support.net import until
from support.scanning import scanning

from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import key
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
