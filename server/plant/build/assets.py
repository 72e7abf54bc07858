"""Physical assets and their classes (OPC 10030 §8.3)."""

from __future__ import annotations

from nodesets import ua
from nodesets.isa95 import (
    COMPANY_TYPE,
    DEFINED_BY_PHYSICAL_ASSET_CLASS,
    HAS_ISA95_PROPERTY,
    PHYSICAL_ASSET_CLASS_TYPE,
    PHYSICAL_ASSET_PROPERTY_TYPE,
    PHYSICAL_ASSET_TYPE,
)
from nodesets.records import (
    UA,
    BuiltinType,
    NodeClass,
    NodeId,
    NodeRecord,
    QualifiedName,
    Reference,
    Variant,
)
from server.plant.build.records import child_id, folder, string_attribute, text
from server.plant.model import Asset, Plant


def asset_id(plant: Plant, key: str) -> NodeId:
    """The object of an asset: ``@assets/KHS-4711``."""
    return NodeId(plant.plant_uri, f"@assets/{key}")


def asset_nodes(plant: Plant) -> list[NodeRecord]:
    """Every asset in the folder PhysicalAssets, and an asset class for each make and model.

    ImplementedBy is not hierarchical, so without the folder nobody would find an asset
    by browsing.
    """
    if not plant.assets:
        return []
    home = NodeId(plant.plant_uri, "@assets")
    records = [folder(home, "PhysicalAssets")]
    makes = {_make(asset): asset for asset in plant.assets.values() if _make(asset)}
    if makes:
        classes = NodeId(plant.types_uri, "@assetclasses")
        records.append(folder(classes, "PhysicalAssetClasses"))
        for asset in makes.values():
            records += _asset_class(plant, asset, classes)
    for asset in plant.assets.values():
        records += _asset(plant, asset, home)
    return records


def _make(asset: Asset) -> str:
    return " ".join(part for part in (asset.manufacturer, asset.model) if part)


def _asset_class_id(plant: Plant, asset: Asset) -> NodeId:
    return NodeId(plant.types_uri, f"@assetclasses/{_make(asset)}")


def _asset_class(plant: Plant, asset: Asset, home: NodeId) -> list[NodeRecord]:
    node_id = _asset_class_id(plant, asset)
    records = [
        NodeRecord(
            node_id,
            NodeClass.Object,
            QualifiedName(plant.types_uri, _make(asset)),
            text(_make(asset)),
            references=[
                Reference(ua.ORGANIZES, home, forward=False),
                Reference(ua.HAS_TYPE_DEFINITION, PHYSICAL_ASSET_CLASS_TYPE),
            ],
        )
    ]
    if asset.manufacturer:
        records.append(string_attribute(node_id, "Manufacturer", COMPANY_TYPE, asset.manufacturer))
    if asset.model:
        records.append(string_attribute(node_id, "ModelNumber", ua.BASE_DATA_VARIABLE_TYPE, asset.model))
    return records


def _asset(plant: Plant, asset: Asset, home: NodeId) -> list[NodeRecord]:
    node_id = asset_id(plant, asset.key)
    references = [
        Reference(ua.ORGANIZES, home, forward=False),
        Reference(ua.HAS_TYPE_DEFINITION, PHYSICAL_ASSET_TYPE),
    ]
    if _make(asset):
        references.append(Reference(DEFINED_BY_PHYSICAL_ASSET_CLASS, _asset_class_id(plant, asset)))
    records = [
        NodeRecord(
            node_id,
            NodeClass.Object,
            QualifiedName(plant.plant_uri, asset.key),
            text(asset.key),
            text(asset.description),
            references=references,
        )
    ]
    if asset.manufacturer:
        records.append(string_attribute(node_id, "VendorId", COMPANY_TYPE, asset.manufacturer))
    if asset.serial:
        records.append(
            NodeRecord(
                child_id(node_id, "SerialNumber"),
                NodeClass.Variable,
                QualifiedName(plant.plant_uri, "SerialNumber"),
                text("SerialNumber"),
                references=[
                    Reference(HAS_ISA95_PROPERTY, node_id, forward=False),
                    Reference(ua.HAS_TYPE_DEFINITION, PHYSICAL_ASSET_PROPERTY_TYPE),
                ],
                data_type=NodeId(UA, BuiltinType.String.value),
                value=Variant(BuiltinType.String, asset.serial),
            )
        )
    return records
