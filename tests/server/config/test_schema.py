from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.plants import HEAD

from server.config import schema
from server.config.tree import read_tree, to_plain
from sources.registry import DRIVERS

ROOT = Path(__file__).parents[3]
PLANTS = [ROOT / "server" / "demo" / "plant.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return schema()


def errors(whole: dict[str, Any], text: str) -> list[str]:
    plain = to_plain(read_tree(text, "f", []))
    return [error.message for error in Draft202012Validator(whole).iter_errors(plain)]


def test_it_is_a_schema_of_2020_12(whole: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(whole)
    assert whole["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    json.dumps(whole)


@pytest.mark.parametrize("path", PLANTS, ids=lambda path: path.name)
def test_it_takes_what_loads(path: Path, whole: dict[str, Any]) -> None:
    assert errors(whole, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "sources: {A: {driver: modbus, host: h, enabled: false}}",
        "equipment: {Acme: , B: {properties: {x: }, map: }}",
        "equipment: {Acme: {for: 1..5, map: {x: 'holding:0', y: {addr: 'holding:1', lut: {0: 1}}}}}",
        "equipment: {Acme: {for: {n: 1..5, m: [A, 2]}}}",
        "include: a.yaml",
        "include: [a.yaml]",
    ],
)
def test_it_takes_the_short_forms(text: str, whole: dict[str, Any]) -> None:
    assert errors(whole, HEAD + text) == []


@pytest.mark.parametrize(
    "text",
    [
        "equipments: {}",
        "equipment: {Acme: {lvel: Site}}",
        "equipment: {Acme: {level: Sit}}",
        "equipment: {Acme: {map: {x: 5}}}",
        "equipment: {Acme: {properties: {x y: {}}}}",
        "sources: {A: {driver: modbs, host: h}}",
        "sources: {A: {driver: modbus, host: h, unt: 1}}",
        "sources: {A: {host: h}}",
        "sources: {a b: {driver: modbus, host: h}}",
        "classes: {A: {properties: {x: {id: y}}}}",
        "classes: {A: {properties: {x: {range: [1]}}}}",
        "scan: {fast: 200}",
        "mqtt: {broker: embedded, publisher_id: p, user: u, password: hunter2}",
    ],
)
def test_it_refuses_what_editors_should_underline(text: str, whole: dict[str, Any]) -> None:
    assert errors(whole, HEAD + text) != []


def test_every_key_of_a_stanza_is_described(whole: dict[str, Any]) -> None:
    own = {name for name in whole["$defs"] if name.endswith("Stanza") or name == "Namespaces"}
    assert len(own) == 12
    stanzas = {"": whole, **{name: whole["$defs"][name] for name in own}}
    for name, stanza in stanzas.items():
        for branch in [stanza, *stanza.get("anyOf", [])]:
            for key, value in branch.get("properties", {}).items():
                assert value.get("description"), f"{name}.{key}"


def test_sources_are_told_apart_by_their_driver(whole: dict[str, Any]) -> None:
    (source,) = whole["properties"]["sources"]["patternProperties"].values()
    assert source["discriminator"] == {"propertyName": "driver"}
    drivers = [whole["$defs"][one["$ref"].rpartition("/")[2]] for one in source["oneOf"]]
    assert [driver["properties"]["driver"]["const"] for driver in drivers] == list(DRIVERS)


@pytest.mark.parametrize(
    ("identity", "fits"),
    [
        ("service", True),
        ("{map: [{roles: [Operator], user: x, password: env:X}], others: refuse}", True),
        ("{map: [{users: [anna], certificate: a.crt, key: a.key}], others: service, idle: 5min}", True),
        ("{map: [{roles: [Anonymous], user: x, password: env:X}], others: refuse}", False),
        ("{map: [{roles: [Operator], user: x, password: plain}], others: refuse}", False),
        ("{map: []}", False),
        ("anybody", False),
    ],
)
def test_it_knows_identities(whole: dict[str, Any], identity: str, fits: bool) -> None:
    source = f'  There: {{driver: opcua, url: "opc.tcp://h", identity: {identity}}}\n'
    found = errors(whole, f"{HEAD}sources:\n{source}equipment: {{Acme: {{level: Site}}}}\n")
    assert (found == []) is fits


@pytest.mark.parametrize(
    ("rate", "fits"), [("5 per second", True), ("2.5e3 per hour", True), ("5", False), ("5 per day", False)]
)
def test_it_knows_rates(whole: dict[str, Any], rate: str, fits: bool) -> None:
    prop = f"x: {{value: 1, write: {{max_rate: {rate}}}}}"
    found = errors(whole, f"{HEAD}equipment: {{Acme: {{level: Site, properties: {{{prop}}}}}}}\n")
    assert (found == []) is fits
