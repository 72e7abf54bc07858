"""Nodes of a downstream server in the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.config import load
from server.config.errors import ConfigurationError
from server.plant.model import DEFAULT_WRITERS, Import, Role
from sources.opcua.address import NodeAddress, parse_address
from sources.tag import ScanClass

PLANT = """
model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
scan: {{fast: 200ms}}
sources:
  F1: {{driver: opcua, url: "opc.tcp://10.20.1.31:4840"}}
  F2: {{driver: opcua, url: "opc.tcp://10.20.1.32:4840"}}
  PLC: {{driver: modbus, host: 10.20.1.11}}
equipment:
  Acme: {{level: Site}}
  Acme/Filler{{n}}:
    for: 1..2
    level: WorkUnit
    import: {stanza}
"""


def written(folder: Path, stanza: str) -> Path:
    path = folder / "plant.yaml"
    path.write_text(PLANT.format(stanza=stanza), encoding="utf-8")
    return path


def test_each_repetition_imports_from_its_own_source(tmp_path: Path) -> None:
    stanza = '{from: "F{n}", under: "nsu=urn:maker:filler;s=Filler", scan: fast}'
    plant = load(written(tmp_path, stanza)).plant
    address, fast = NodeAddress("urn:maker:filler", "Filler"), ScanClass("fast", 0.2)
    assert [one.imported for one in plant.equipment] == [
        None,
        Import("F1", address, fast),
        Import("F2", address, fast),
    ]


def test_chosen_nodes_stand_beside_a_subtree_or_alone(tmp_path: Path) -> None:
    fast = ScanClass("fast", 0.2)
    speed, state = NodeAddress("urn:maker:filler", "Speed1"), NodeAddress("urn:maker:filler", "State")
    nodes = '["nsu=urn:maker:filler;s=Speed{n}", "nsu=urn:maker:filler;s=State"]'
    plant = load(written(tmp_path, f'{{from: "F{{n}}", nodes: {nodes}, scan: fast}}')).plant
    assert plant.equipment[1].imported == Import("F1", None, fast, nodes=(speed, state))
    both = load(written(tmp_path, f'{{from: "F{{n}}", under: "i=85", nodes: {nodes}, scan: fast}}')).plant
    assert both.equipment[1].imported == Import("F1", parse_address("i=85"), fast, nodes=(speed, state))


@pytest.mark.parametrize(
    "uri",
    [
        "urn:acme:plant",
        "urn:acme:types",
        "urn:acme:server",
        "http://opcfoundation.org/UA/",
        "http://www.OPCFoundation.org/UA/2013/01/ISA95",
    ],
)
def test_no_import_is_shown_in_a_namespace_of_the_server_s_own(tmp_path: Path, uri: str) -> None:
    path = written(tmp_path, '{from: "F{n}", under: "i=85"}')
    given = path.read_text(encoding="utf-8").replace(
        "model: 1", "model: 1\nopcua: {application_uri: 'urn:acme:server'}"
    )
    mapped = f'10.20.1.32:4840", namespaces: {{"urn:maker": "{uri}"}}'
    path.write_text(given.replace('10.20.1.32:4840"', mapped), encoding="utf-8")
    with pytest.raises(ConfigurationError) as error:
        load(path)
    (problem,) = error.value.problems
    assert f"{uri} has nodes of this server's own" in problem.message
    right = path.read_text(encoding="utf-8").replace(f'"urn:maker": "{uri}"', '"urn:maker": "urn:maker:2"')
    path.write_text(right, encoding="utf-8")
    load(path)


@pytest.mark.parametrize(
    ("more", "writers", "callers"),
    [
        ("", set(), set()),
        (", write: {}", DEFAULT_WRITERS, set()),
        (", write: {roles: [Engineer]}, call: {}", {Role.Engineer}, DEFAULT_WRITERS),
        (", call: {roles: [Supervisor, Operator]}", set(), {Role.Supervisor, Role.Operator}),
    ],
)
def test_nobody_writes_or_calls_what_is_imported_unless_it_is_said(
    tmp_path: Path, more: str, writers: set[Role], callers: set[Role]
) -> None:
    plant = load(written(tmp_path, f'{{from: "F{{n}}", under: "i=85"{more}}}')).plant
    imported = plant.equipment[1].imported
    assert imported is not None
    assert (set(imported.writers), set(imported.callers)) == (writers, callers)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", True),
        (", mqtt: true", True),
        (", mqtt: false", False),
        (", mqtt: [Filler/Speed, 'Filler/Drive/*']", ("Filler/Speed", "Filler/Drive/*")),
    ],
)
def test_what_is_published_of_an_import(tmp_path: Path, more: str, expected: bool | tuple[str, ...]) -> None:
    plant = load(written(tmp_path, f'{{from: "F{{n}}", under: "i=85"{more}}}')).plant
    imported = plant.equipment[1].imported
    assert imported is not None
    assert imported.mqtt == expected


@pytest.mark.parametrize(
    ("stanza", "told"),
    [
        ('{from: "G{n}", under: "i=85"}', "there is no source 'G1'"),
        ('{from: PLC, under: "i=85"}', "nothing can be imported from PLC: its driver is modbus"),
        ('{from: "F{n}", under: "ns=2;s=Filler"}', "names a namespace by its index"),
        ('{from: "F{n}", under: "i=85", scan: quick}', "there is no scan class 'quick'"),
        ('{from: "F{n}"}', "an import says what it brings: under:"),
        ('{from: "F{n}", nodes: []}', "1"),
        ('{from: "F{n}", nodes: ["i=85", "ns=2;s=Filler"]}', "names a namespace by its index"),
        ('{from: "F{n}", nodes: ["i=85", "nsu=urn:maker;s={m}"]}', "m"),
        ('{from: PLC, nodes: ["i=85"]}', "nothing can be imported from PLC: its driver is modbus"),
        ('{from: "F{n}", under: "i=85", write: {roles: [Anonymous]}}', "Operator"),
        ('{from: "F{n}", under: "i=85", call: {roles: []}}', "1"),
        ('{from: "F{m}", under: "i=85"}', "m"),
        ('{from: "F{n}", under: "i=85", mqtt: []}', "1"),
        ('{from: "F{n}", under: "i=85", mqtt: Filler}', "neither true nor false nor a list"),
    ],
)
def test_what_cannot_be_imported_is_told(tmp_path: Path, stanza: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(written(tmp_path, stanza))
    assert any(told in problem.message for problem in error.value.problems), error.value.problems
