"""Every nodeset at hand, read by us and counted by a plain ElementTree pass that knows nothing of us."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.nodesets import NODESETS, TYPES, found

import nodesets
from nodesets.reader import read_nodeset, stream_nodeset
from nodesets.records import UA, Model, NodeSet, Structure

FILES = [Path(nodesets.__file__).parent / "isa95.xml", *found("nodesets/*.xml")]


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


@pytest.fixture(scope="module")
def nodeset(path: Path) -> NodeSet:
    return read_nodeset(path)


@pytest.fixture(scope="module")
def root(path: Path) -> ET.Element:
    return ET.parse(path).getroot()


def nodes_of(root: ET.Element) -> list[ET.Element]:
    return [child for child in root if child.tag.startswith(f"{{{NODESETS}}}UA")]


def test_nodes_and_references_are_as_many(nodeset: NodeSet, root: ET.Element) -> None:
    counted = Counter(node.tag.removeprefix(f"{{{NODESETS}}}UA") for node in nodes_of(root))
    assert Counter(node.node_class.name for node in nodeset.nodes) == counted
    assert sum(len(node.references) for node in nodeset.nodes) == sum(
        1 for _ in root.iter(f"{{{NODESETS}}}Reference")
    )
    assert sum(not r.forward for node in nodeset.nodes for r in node.references) == sum(
        reference.get("IsForward") == "false" for reference in root.iter(f"{{{NODESETS}}}Reference")
    )
    assert len({node.node_id for node in nodeset.nodes}) == len(nodeset.nodes)


def test_every_node_stands_where_the_file_has_it(nodeset: NodeSet, root: ET.Element) -> None:
    uris = [UA, *(uri.text for uri in root.iter(f"{{{NODESETS}}}Uri"))]
    for node, element in zip(nodeset.nodes, nodes_of(root), strict=True):
        index, _, rest = element.attrib["NodeId"].rpartition(";")
        kind, _, identifier = rest.partition("=")
        expected = int(identifier) if kind == "i" else identifier
        assert node.node_id == (uris[int(index.removeprefix("ns=") or 0)], expected)
        assert [text.text for text in node.display_name] == [
            text.text for text in element.findall(f"{{{NODESETS}}}DisplayName")
        ]


def test_values_fields_and_models_are_as_many(nodeset: NodeSet, root: ET.Element) -> None:
    values = [value for value in root.iter(f"{{{NODESETS}}}Value") if len(value)]
    assert sum(node.value is not None for node in nodeset.nodes) == len(values)
    fields = sum(1 for _ in root.iter(f"{{{NODESETS}}}Field"))
    assert sum(len(node.definition.fields) for node in nodeset.nodes if node.definition) == fields
    required = sum(1 for _ in root.iter(f"{{{NODESETS}}}RequiredModel"))
    assert sum(len(model.required) for model in nodeset.models) == required


def test_every_extension_object_is_a_structure(nodeset: NodeSet, root: ET.Element) -> None:
    def count(value: object) -> int:
        match value:
            case Structure():
                return 1 + sum(map(count, value.fields.values()))
            case dict():
                return sum(map(count, value.values()))
            case list():
                return sum(map(count, value))
            case _:
                return 0

    bodies = sum(1 for _ in root.iter(f"{{{TYPES}}}Body"))
    assert sum(count(node.value.value) for node in nodeset.nodes if node.value) == bodies


def test_streaming_tells_models_first(path: Path, nodeset: NodeSet) -> None:
    items = list(stream_nodeset(path))
    models = len(nodeset.models)
    assert tuple(items[:models]) == nodeset.models
    assert all(isinstance(item, Model) for item in items[:models])
    assert items[models:] == nodeset.nodes
