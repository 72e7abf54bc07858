"""What the official files hold that is easily lost."""

from __future__ import annotations

import time

from support.nodesets import SHARED

from nodesets.reader import read_nodeset
from nodesets.records import BuiltinType, NodeId, NodeRecord, QualifiedName, Structure

RESULT = "http://opcfoundation.org/UA/Machinery/Result/"


def official(name: str) -> dict[NodeId, NodeRecord]:
    return {node.node_id: node for node in read_nodeset(SHARED / "nodesets" / name).nodes}


def test_a_large_file_is_read_quickly() -> None:
    path = SHARED / "nodesets" / "Opc.Ua.MachineTool.NodeSet2.xml"
    times = []
    for _ in range(3):
        start = time.process_time()
        read_nodeset(path)
        times.append(time.process_time() - start)
    assert min(times) < 0.5


def test_a_structure_within_a_structure_keeps_its_type() -> None:
    value = official("Opc.Ua.Machinery.Result.NodeSet2.xml")[NodeId(RESULT, 2001)].value
    assert value is not None
    assert value.value == Structure(
        NodeId(RESULT, 5009),
        {
            "ResultMetaData": Structure(NodeId(RESULT, 5006), {"EncodingMask": "0", "ResultId": None}),
            "ResultContent": None,
        },
    )


def test_names_inside_values_are_of_the_right_namespace() -> None:
    machinery = "http://opcfoundation.org/UA/Machinery/"
    names = {
        node.value.value
        for node in official("Opc.Ua.MachineTool.NodeSet2.xml").values()
        if node.value and node.value.type is BuiltinType.QualifiedName
    }
    assert QualifiedName(machinery, "MachineryOperationMode") in names


def test_node_ids_inside_values_are_of_the_right_namespace() -> None:
    lists = [
        node.value.value
        for node in official("Opc.Ua.PADIM.NodeSet2.xml").values()
        if node.value and node.value.type is BuiltinType.NodeId
    ]
    assert lists
    assert {item.namespace for items in lists for item in items} == {
        "http://opcfoundation.org/UA/Dictionary/IRDI"
    }


def test_an_option_set_and_design_tool_nodes_are_told() -> None:
    nodes = official("Opc.Ua.Di-1.05.NodeSet2.xml")
    assert {
        node.definition.name.name
        for node in nodes.values()
        if node.definition and node.definition.is_option_set
    }
    tool_only = [node for node in nodes.values() if node.design_tool_only]
    assert len(tool_only) == 9
    assert all(reference.forward for node in tool_only for reference in node.references)


def test_an_orphan_stays_one() -> None:
    isa95 = "http://www.OPCFoundation.org/UA/2013/01/ISA95"
    orphan = official("Opc.ISA95.NodeSet2.xml")[NodeId(isa95, 5224)]
    assert [str(reference.type) for reference in orphan.references] == ["i=40", "i=37"]
