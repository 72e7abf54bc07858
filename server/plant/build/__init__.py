"""The plant as nodes: from the model to the records of an ISA-95 address space (OPC 10030)."""

from __future__ import annotations

from collections.abc import Container

from nodesets.records import NodeRecord
from server.plant.build.assets import asset_nodes
from server.plant.build.classes import class_nodes
from server.plant.build.enumerations import enumeration_nodes
from server.plant.build.equipment import (
    equipment_id,
    equipment_nodes,
    node_ids,
    property_records,
    shape_key,
)
from server.plant.model import Plant

__all__ = [
    "build_nodes",
    "equipment_id",
    "namespaces",
    "node_ids",
    "property_records",
    "shape_key",
    "skeleton",
]


def namespaces(plant: Plant) -> tuple[str, str]:
    """The namespaces this plant defines: its types and its instances."""
    return plant.types_uri, plant.plant_uri


def build_nodes(plant: Plant) -> list[NodeRecord]:
    """Every node of the plant, each after those it refers to upwards: the skeleton and its properties."""
    records = skeleton(plant)
    for equipment in plant.equipment:
        for prop in equipment.properties:
            records += property_records(plant, equipment, prop)
    return records


def skeleton(plant: Plant, paths: Container[str] | None = None) -> list[NodeRecord]:
    """Every node of the plant but the properties of its equipment, each after those it refers to upwards.

    With ``paths`` the equipment of these alone. The ISA-95 nodeset is expected to be there. The
    entry points are organized by the Objects folder: each enterprise, and the folders
    EquipmentClasses and PhysicalAssets.
    """
    records: list[NodeRecord] = []
    records += enumeration_nodes(plant)
    records += class_nodes(plant)
    records += asset_nodes(plant)
    records += equipment_nodes(plant, paths)
    return records
