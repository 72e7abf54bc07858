from __future__ import annotations

from dataclasses import replace

import pytest
from support.line import MACHINE, line

from nodesets import isa95, ua
from nodesets.records import UA, NodeClass, NodeId, NodeRecord, Reference
from server.plant.build import build_nodes, namespaces, node_ids

PLANT, TYPES = "urn:acme:plant", "urn:acme:types"


@pytest.fixture(scope="module")
def nodes() -> dict[NodeId, NodeRecord]:
    return {record.node_id: record for record in build_nodes(line())}


def plant(identifier: str) -> NodeId:
    return NodeId(PLANT, identifier)


def types(identifier: str) -> NodeId:
    return NodeId(TYPES, identifier)


def test_no_id_is_given_twice(nodes: dict[NodeId, NodeRecord]) -> None:
    assert len(nodes) == len(build_nodes(line()))
    assert {node.namespace for node in nodes} == set(namespaces(line()))


def test_every_target_exists_and_stands_before_its_children(nodes: dict[NodeId, NodeRecord]) -> None:
    known = {record.node_id for record in isa95.load().nodes}
    for record in build_nodes(line()):
        for reference in record.references:
            if reference.target.namespace != UA and not reference.forward:
                assert reference.target in known, (record.node_id, reference)
        known.add(record.node_id)
    for record in nodes.values():
        for reference in record.references:
            assert reference.target.namespace == UA or reference.target in known


def test_the_hierarchy_hangs_by_made_up_of_equipment(nodes: dict[NodeId, NodeRecord]) -> None:
    assert Reference(ua.ORGANIZES, ua.OBJECTS_FOLDER, forward=False) in nodes[plant("Acme")].references
    up = Reference(isa95.MADE_UP_OF_EQUIPMENT, plant("Acme/Line1"), forward=False)
    assert up in nodes[plant(MACHINE)].references


def test_a_machine_has_its_type_class_and_asset(nodes: dict[NodeId, NodeRecord]) -> None:
    references = nodes[plant(MACHINE)].references
    assert Reference(ua.HAS_TYPE_DEFINITION, types("FillerType")) in references
    assert Reference(isa95.DEFINED_BY_EQUIPMENT_CLASS, types("@classes/Filler")) in references
    assert Reference(isa95.IMPLEMENTED_BY, plant("@assets/KHS-4711")) in references
    level = nodes[plant(f"{MACHINE}.EquipmentLevel")]
    assert level.value is not None
    assert (level.value.value, level.data_type) == (11, isa95.EQUIPMENT_LEVEL_ENUM)


def test_types_follow_the_classes(nodes: dict[NodeId, NodeRecord]) -> None:
    assert (
        Reference(ua.HAS_SUBTYPE, types("MachineType"), forward=False)
        in nodes[types("FillerType")].references
    )
    assert (
        Reference(ua.HAS_SUBTYPE, isa95.EQUIPMENT_TYPE, forward=False)
        in nodes[types("MachineType")].references
    )
    assert types("MachineType.Speed") in nodes
    assert types("FillerType.Speed") not in nodes, "inherited, not declared again"
    declared = nodes[types("FillerType.Count")]
    assert Reference(ua.HAS_MODELLING_RULE, ua.MANDATORY) in declared.references


def test_a_class_object_has_all_properties_of_its_class(nodes: dict[NodeId, NodeRecord]) -> None:
    for name in ("Speed", "Count"):
        record = nodes[types(f"@classes/Filler.{name}")]
        up = Reference(isa95.HAS_ISA95_CLASS_PROPERTY, types("@classes/Filler"), forward=False)
        assert up in record.references
        assert record.access_level == 1


def test_a_property_has_type_unit_range_and_access(nodes: dict[NodeId, NodeRecord]) -> None:
    speed = nodes[plant(f"{MACHINE}.Speed")]
    assert speed.browse_name == (TYPES, "Speed"), "declared by a class: the class's namespace"
    assert speed.data_type == NodeId(UA, 11)
    assert (speed.access_level, speed.minimum_sampling_interval) == (1, 200.0)
    assert Reference(ua.HAS_TYPE_DEFINITION, isa95.EQUIPMENT_PROPERTY_TYPE) in speed.references
    assert Reference(isa95.HAS_ISA95_PROPERTY, plant(MACHINE), forward=False) in speed.references
    units = nodes[plant(f"{MACHINE}.Speed.EngineeringUnits")].value
    assert units is not None
    assert units.value.fields["DisplayName"].text == "bottle/min"
    limits = nodes[plant(f"{MACHINE}.Speed.EURange")].value
    assert limits is not None
    assert limits.value.fields == {"Low": 0.0, "High": 900.0}
    target = nodes[plant(f"{MACHINE}.Target")]
    assert target.browse_name == (PLANT, "Target"), "the machine's own: the plant's namespace"
    assert (target.access_level, target.minimum_sampling_interval) == (3, 0.0)


def test_enumerations_without_gaps_have_strings_others_values(nodes: dict[NodeId, NodeRecord]) -> None:
    assert nodes[plant(f"{MACHINE}.State")].data_type == types("@enums/packml-state")
    strings = nodes[types("@enums/packml-state.EnumStrings")].value
    assert strings is not None
    assert [text.text for text in strings.value] == ["Undefined", "Clearing", "Stopped"]
    values = nodes[types("@enums/line-mode.EnumValues")].value
    assert values is not None
    assert [entry.fields["Value"] for entry in values.value] == [1, 5]
    assert nodes[types("@enums/line-mode")].node_class is NodeClass.DataType


def test_an_asset_has_maker_serial_number_and_class(nodes: dict[NodeId, NodeRecord]) -> None:
    asset = nodes[plant("@assets/KHS-4711")]
    made = Reference(isa95.DEFINED_BY_PHYSICAL_ASSET_CLASS, types("@assetclasses/KHS Innofill"))
    assert made in asset.references
    for name, value in (("VendorId", "KHS"), ("SerialNumber", "4711")):
        record = nodes[plant(f"@assets/KHS-4711.{name}")]
        assert record.value is not None
        assert record.value.value == value


def test_pinned_ids_are_kept() -> None:
    model = line()
    *others, filler = model.equipment
    first = replace(filler.properties[0], pinned_id="speed-7")
    moved = replace(filler, pinned_id="filler-7", properties=(first, *filler.properties[1:]))
    pinned = replace(model, equipment=(*others, moved))
    nodes = {record.node_id for record in build_nodes(pinned)}
    assert {plant("filler-7"), plant("speed-7"), plant("speed-7.EURange")} <= nodes
    assert plant(MACHINE) not in nodes
    assert node_ids(pinned)[f"{MACHINE}.Speed"] == plant("speed-7")
