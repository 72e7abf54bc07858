"""The address space as a client sees it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from support.line import MACHINE
from support.opcua import Connect, Running

from server import __version__
from server.opcua.types import AttributeIds, ObjectIds, StatusCodes, node_id
from server.opcua.wire.nodeid import numeric, split
from server.plant.build import build_nodes
from server.plant.build.sources import source_nodes, source_types


def nid(text: str) -> ua.NodeId:
    return ua.NodeId.from_string(text)


async def names(client: Client, node: str, reference: int = ObjectIds.HierarchicalReferences) -> list[str]:
    found = await client.get_node(nid(node)).get_referenced_nodes(
        refs=reference, direction=ua.BrowseDirection.Forward
    )
    return [(await n.read_browse_name()).Name for n in found]


async def type_name(client: Client, node: ua.NodeId) -> str | None:
    kind = await client.get_node(node).read_type_definition()
    assert kind is not None
    return (await client.get_node(kind).read_browse_name()).Name


async def test_the_namespace_array_is_in_the_order_given(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        assert await client.get_namespace_array() == list(served.bench.namespace_array)
        assert await client.get_node(node_id(2254)).read_value() == ["urn:test:isthmus"]


async def test_the_server_says_what_it_is(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        status = await client.get_node(node_id(2256)).read_value()
        assert status.State == ua.ServerState.Running
        assert (status.BuildInfo.ProductName, status.BuildInfo.SoftwareVersion) == ("Isthmus", __version__)
        assert await client.get_node(node_id(2259)).read_value() == 0
        limit = await client.get_node(
            node_id(ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead)
        ).read_value()
        assert limit == 10_000


async def test_every_record_is_a_node_and_nothing_is_invented(served: Running) -> None:
    plant, source = served.bench.plant, served.bench.source
    records = [*served.bench.records(), *build_nodes(plant), *source_types(plant.types_uri, plant.plant_uri)]
    records += source_nodes(plant.types_uri, plant.plant_uri, source.name, source.scans)
    space = served.server._space
    assert space is not None
    found = Counter(split(node.key)[0] for node in space)
    uris = served.bench.namespace_array
    wanted = Counter(uris.index(r.node_id.namespace) for r in records)
    assert {index: found[index] for index in (2, 3, 4)} == {index: wanted[index] for index in (2, 3, 4)}


async def test_references_lead_both_ways(served: Running) -> None:
    space = served.server._space
    assert space is not None
    one_way = {numeric(ObjectIds.HasTypeDefinition), numeric(ObjectIds.HasModellingRule)}
    ways = [(node.key, r.type.key, r.target.key, r.forward) for node in space for r in node.references()]
    known = set(ways)
    alone = [
        (source, kind, target)
        for source, kind, target, forward in ways
        if kind not in one_way and (target, kind, source, not forward) not in known
    ]
    assert alone == []
    assert len(known) == len(ways)


async def test_a_property_has_its_unit_range_and_type(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        speed = client.get_node(nid(served.bench.node("Speed")))
        units = await (await speed.get_child("0:EngineeringUnits")).read_value()
        assert units == ua.EUInformation(
            "urn:acme:units", -1, ua.LocalizedText("bottle/min"), ua.LocalizedText("bottles per minute")
        )
        assert await (await speed.get_child("0:EURange")).read_value() == ua.Range(0.0, 900.0)
        assert await speed.read_data_type() == node_id(11)
        assert await speed.read_value_rank() == -1
        assert (await speed.read_description()).Text == "Current speed"
        interval: Any = await speed.read_attribute(AttributeIds.MinimumSamplingInterval)
        assert interval.Value.Value == 200.0
        assert await type_name(client, speed.nodeid) == "EquipmentPropertyType"


async def test_an_enumeration_has_its_strings_and_its_definition(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        state = client.get_node(nid(served.bench.node("State")))
        data_type = client.get_node(await state.read_data_type())
        definition: Any = await data_type.read_data_type_definition()
        assert [(f.Value, f.Name) for f in definition.Fields] == [
            (0, "Undefined"),
            (1, "Clearing"),
            (2, "Stopped"),
        ]
        (strings,) = await data_type.get_properties()
        assert [text.Text for text in await strings.read_value()] == ["Undefined", "Clearing", "Stopped"]


async def test_a_structure_of_the_nodeset_has_its_definition(connect: Connect, served: Running) -> None:
    index = 2
    async with connect(served) as client:
        definition = await client.get_node(node_id(4873, index)).read_data_type_definition()
        assert isinstance(definition, ua.StructureDefinition)
        assert definition.BaseDataType == node_id(ObjectIds.Structure)
        assert definition.Fields
        encoding = client.get_node(definition.DefaultEncodingId)
        assert (await encoding.read_browse_name()).Name == "Default Binary"


async def test_a_path_is_translated(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        plant, types = served.bench.namespace_array.index("urn:acme:plant"), 3
        node = await client.nodes.objects.get_child(
            [f"{plant}:Acme", f"{plant}:Line1", f"{plant}:Filler", f"{types}:Speed"]
        )
        assert node.nodeid == nid(served.bench.node("Speed"))
        with pytest.raises(ua.uaerrors.BadNoMatch):
            await client.nodes.objects.get_child([f"{plant}:Acme", f"{plant}:Elsewhere"])


async def test_browsing_stops_where_the_client_asked_and_goes_on(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        description = ua.BrowseDescription(
            NodeId=nid("i=2253"),
            BrowseDirection=ua.BrowseDirection.Forward,
            ReferenceTypeId=node_id(ObjectIds.References),
            IncludeSubtypes=True,
            ResultMask=63,
        )
        whole = await browse(client, description, 0)
        first = await browse(client, description, 3)
        pages, point = [*first.References], first.ContinuationPoint
        assert len(pages) == 3
        while point:
            request = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=[point])
            (page,) = await client.uaclient.browse_next(request)
            assert 0 < len(page.References) <= 3
            pages += page.References
            point = page.ContinuationPoint
        assert pages == whole.References
        request = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=[b"unknown"])
        (page,) = await client.uaclient.browse_next(request)
        assert page.StatusCode.value == StatusCodes.BadContinuationPointInvalid


async def browse(client: Client, description: ua.BrowseDescription, limit: int) -> ua.BrowseResult:
    request = ua.BrowseParameters(RequestedMaxReferencesPerNode=limit, NodesToBrowse=[description])
    (result,) = await client.uaclient.browse(request)
    assert isinstance(result, ua.BrowseResult)
    return result


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"NodeId": node_id("nowhere", 4)}, StatusCodes.BadNodeIdUnknown),
        ({"ReferenceTypeId": node_id(85)}, StatusCodes.BadReferenceTypeIdInvalid),
        ({"ReferenceTypeId": node_id(999_999)}, StatusCodes.BadReferenceTypeIdInvalid),
        ({"BrowseDirection": ua.BrowseDirection.Invalid}, StatusCodes.BadBrowseDirectionInvalid),
    ],
)
async def test_senseless_browsing_says_why(
    connect: Connect, served: Running, changes: dict[str, object], code: int
) -> None:
    async with connect(served) as client:
        description = ua.BrowseDescription(NodeId=node_id(85))
        for name, value in changes.items():
            setattr(description, name, value)
        assert (await browse(client, description, 0)).StatusCode.value == code


async def test_class_objects_and_assets_have_their_folders(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        top = await names(client, "i=85")
        assert {"Acme", "EquipmentClasses", "PhysicalAssets"} <= set(top)
        machine = f"ns={served.bench.namespace_array.index('urn:acme:plant')};s={MACHINE}"
        assert await names(client, machine, ObjectIds.NonHierarchicalReferences)
        assert await type_name(client, nid(machine)) == "FillerType"


async def test_nodes_are_neither_added_nor_deleted(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        item = ua.AddNodesItem(
            ParentNodeId=node_id(85),
            ReferenceTypeId=node_id(35),
            RequestedNewNodeId=node_id("new", 4),
            BrowseName=ua.QualifiedName("new", 4),
            NodeClass=ua.NodeClass.Object,
            NodeAttributes=ua.ObjectAttributes(),
            TypeDefinition=node_id(58),
        )
        with pytest.raises(ua.uaerrors.BadServiceUnsupported):
            await client.uaclient.add_nodes([item])
        request = ua.DeleteNodesParameters(NodesToDelete=[ua.DeleteNodesItem(NodeId=node_id(85))])
        with pytest.raises(ua.uaerrors.BadServiceUnsupported):
            await client.uaclient.delete_nodes(request)


async def test_methods_of_the_server_are_called(connect: Connect, served: Running) -> None:
    async with connect(served) as client:
        subscription = await client.create_subscription(1000, None)
        number = ua.Variant(subscription.subscription_id, ua.VariantType.UInt32)
        assert await client.nodes.server.call_method(node_id(11492), number) == [[], []]
        with pytest.raises(ua.uaerrors.BadSubscriptionIdInvalid):
            await client.nodes.server.call_method(node_id(11492), ua.Variant(0, ua.VariantType.UInt32))
        with pytest.raises(ua.uaerrors.BadInvalidArgument):
            await client.nodes.server.call_method(node_id(11492), 1)
        with pytest.raises(ua.uaerrors.BadMethodInvalid):
            await client.nodes.server.call_method(node_id("nothing", 4), 1)
        with pytest.raises(ua.uaerrors.BadNodeIdUnknown):
            await client.get_node(node_id("nothing", 4)).call_method(node_id(11492), 1)
