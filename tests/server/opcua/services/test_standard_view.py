"""The view and method services over the standard address space."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from support.nodes import request, session
from support.world import answered, decoded

from server.opcua.ids import Namespaces
from server.opcua.services.browse import Browsing
from server.opcua.services.method import Methods
from server.opcua.services.paths import Paths
from server.opcua.sessions.session import Session
from server.opcua.space.assemble import build_space
from server.opcua.space.node import Node
from server.opcua.space.space import Space
from server.opcua.types import ObjectIds, node_id
from server.opcua.wire import structs
from server.opcua.wire.nodeid import numeric, to_ua
from server.opcua.wire.writer import array, int32, qualified_name
from server.plant.model import Role

GET_MONITORED_ITEMS = ObjectIds.Server_GetMonitoredItems


@pytest.fixture(scope="module")
def space() -> Space:
    names, methods = Namespaces("urn:test:isthmus", ()), (numeric(GET_MONITORED_ITEMS),)
    return build_space((), names, None, {}, writable=False, methods=methods)


def wanted(node: Node) -> Any:
    make: Any = ua.BrowseDescription
    return make(
        NodeId=to_ua(node.key),
        BrowseDirection=ua.BrowseDirection.Both,
        ReferenceTypeId=ua.NodeId(),
        NodeClassMask=0,
        ResultMask=0x3F,
    )


async def test_every_node_is_browsed_and_every_reference_leads_to_a_node(space: Space) -> None:
    service, whose = Browsing(space), session(*Role)  # some nodes are the administrators'
    nodes = list(space)
    for start in range(0, len(nodes), 1000):
        asked = ua.BrowseParameters(
            View=ua.ViewDescription(), NodesToBrowse=[wanted(node) for node in nodes[start : start + 1000]]
        )
        results = decoded(
            ua.BrowseResult, await answered(service.browse(whose, request(structs.encode(asked))))
        )
        assert {result.StatusCode.name for result in results} == {"Good"}
        for node, result in zip(nodes[start:], results, strict=False):
            assert len(result.References) == len(list(node.references()))
            assert not result.ContinuationPoint


async def test_the_clock_is_found_by_its_path(space: Space) -> None:
    steps = [
        numeric(ObjectIds.HierarchicalReferences) + b"\x00\x01" + qualified_name(name)
        for name in ("Server", "ServerStatus", "CurrentTime")
    ]
    body = array([numeric(ObjectIds.ObjectsFolder) + array(steps)])
    answer = Paths(space).translate(session(), request(body))
    (result,) = decoded(ua.BrowsePathResult, await answered(answer))
    (target,) = result.Targets
    assert target.TargetId.Identifier == ObjectIds.Server_ServerStatus_CurrentTime


async def test_a_method_of_the_server_object_is_called(space: Space) -> None:
    async def items(_session: Session, found: Node, inputs: list[ua.Variant]) -> list[ua.Variant]:
        assert found is space.number(ObjectIds.Server)
        return [ua.Variant([inputs[0].Value], ua.VariantType.UInt32)] * 2

    methods = Methods(space)
    methods.add(numeric(GET_MONITORED_ITEMS), items)
    make: Any = ua.CallMethodRequest

    async def call(*inputs: ua.Variant) -> ua.CallMethodResult:
        asked = make(
            ObjectId=node_id(ObjectIds.Server),
            MethodId=node_id(GET_MONITORED_ITEMS),
            InputArguments=list(inputs),
        )
        answer = methods.call(session(), request(int32(1) + structs.encode(asked)))
        (result,) = decoded(ua.CallMethodResult, await answered(answer))
        return result

    result = await call(ua.Variant(7, ua.VariantType.UInt32))
    assert result.StatusCode.name == "Good"
    assert [output.Value for output in result.OutputArguments] == [[7], [7]]
    assert (await call()).StatusCode.name == "BadArgumentsMissing"
    assert (await call(ua.Variant(7, ua.VariantType.Int32))).StatusCode.name == "BadInvalidArgument"
