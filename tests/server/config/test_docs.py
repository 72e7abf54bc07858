"""The reference names every key there is and no other. What it, the README and the examples show loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from server.config import load, schema

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SHOWN = [REFERENCE, (ROOT / "README.md").read_text(encoding="utf-8")]
SNIPPETS = [snippet for text in SHOWN for snippet in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]

SECTIONS = {
    "Sections": [],
    "namespaces": ["Namespaces"],
    "opcua": ["OpcUaSettings"],
    "mqtt": ["MqttSettings"],
    "audit": ["AuditSettings"],
    "metrics": ["MetricsSettings"],
    "units": ["UnitStanza"],
    "driver: modbus": ["ModbusSettings"],
    "driver: logix": ["LogixSettings"],
    "driver: slc": ["SlcSettings"],
    "scan": ["ScanStanza"],
    "stale": ["StaleStanza"],
    "driver: opcua": ["DownstreamSettings"],
    "deadband": ["DeadbandSettings"],
    "identity": ["IdentitySettings", "IdentityRule"],
    "driver: replay": ["ReplaySettings"],
    "assets": ["AssetStanza"],
    "classes": ["ClassStanza"],
    "properties": ["PropertyStanza", "OwnPropertyStanza"],
    "write": ["WriteStanza"],
    "equipment": ["EquipmentStanza"],
    "bindings": ["BindingStanza"],
    "import": ["ImportStanza", "ImportRights"],
}


def documented(heading: str) -> set[str]:
    match = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", REFERENCE, re.DOTALL | re.MULTILINE)
    assert match is not None, f"no section {heading}"
    return set(re.findall(r"^\| `([a-z_]+)` \|", match[1], re.MULTILINE))


def keys(stanza: dict[str, Any]) -> set[str]:
    return {key for branch in [stanza, *stanza.get("anyOf", [])] for key in branch.get("properties", {})}


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_reference_has_every_key_and_no_other(heading: str) -> None:
    whole = schema()
    stanzas = [whole["$defs"][name] for name in SECTIONS[heading]] or [whole]
    assert documented(heading) == set().union(*map(keys, stanzas))


def test_every_stanza_has_its_section() -> None:
    assert set(schema()["$defs"]) == {name for names in SECTIONS.values() for name in names}


def test_there_are_snippets_and_examples() -> None:
    assert len(SNIPPETS) >= 7
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: str(len(text)))
def test_what_the_reference_shows_loads(snippet: str, tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(snippet, encoding="utf-8")
    assert load(path).warnings == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_right(path: Path) -> None:
    found = load(path)
    assert found.warnings == ()
    assert found.plant.equipment


def test_the_tank_farm_is_what_it_says() -> None:
    found = load(ROOT / "examples" / "tank-farm.yaml")
    gateways = {source.name: source for source in found.sources}
    assert {name: len(source.tags) for name, source in gateways.items()} == {
        "Gateway1": 360,
        "Gateway2": 360,
        "Gateway3": 0,
    }
    assert found.plant.equipment[3].display_name == "Tank 1"
