"""What of a configuration only a restart can change."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plants import plant_of

from server.change.fixed import needs_restart
from server.config import Configuration, load

EQUIPMENT = "equipment: {Acme: {level: Enterprise}}\n"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "scan: {slow: 5s}\n", []),
        ("opcua: {writable: true}\n", "", ["opcua.writable: true -> false"]),
        ("", "opcua: {listen: [127.0.0.1]}\n", ["opcua.listen: [0.0.0.0, ::] -> [127.0.0.1]"]),
        ("", "opcua: {application_uri: 'urn:a:b'}\n", ["opcua.application_uri: nothing -> urn:a:b"]),
        ("", "metrics: {}\n", ["metrics: added"]),
        ("", "audit: {refuse_unrecorded: false}\n", ["audit.refuse_unrecorded: true -> false"]),
        ("mqtt: {broker: embedded, publisher_id: a}\n", "", ["mqtt: taken out"]),
        (
            "mqtt: {broker: embedded, publisher_id: a}\n",
            "mqtt: {broker: embedded, publisher_id: b, qos: 0}\n",
            ["mqtt.publisher_id: a -> b", "mqtt.qos: 1 -> 0"],
        ),
    ],
)
def test_every_key_is_named_with_what_it_is_and_would_be(
    tmp_path: Path, before: str, after: str, told: list[str]
) -> None:
    one, other = (plant_of(tmp_path, text + EQUIPMENT) for text in (before, after))
    assert needs_restart(one, other) == told
    assert needs_restart(one, one) == []


def test_imports_come_and_go_at_a_start_only(tmp_path: Path) -> None:
    def importing(below: str, more: str = "") -> Configuration:
        stanza = f", import: {{from: F, under: 'i={below}'}}{more}" if below else ""
        path = tmp_path / "plant.yaml"
        path.write_text(
            "model: 1\n"
            "namespaces: {plant: 'urn:p', types: 'urn:t'}\n"
            "sources: {F: {driver: opcua, url: 'opc.tcp://10.20.1.31:4840'}}\n"
            f"equipment: {{Acme: {{level: Site{stanza}}}}}\n",
            encoding="utf-8",
        )
        return load(path)

    none, one, other = importing(""), importing("85"), importing("2253")
    assert needs_restart(one, one) == []
    assert needs_restart(none, one) == ["import of Acme: added"]
    assert needs_restart(one, other) == ["import of Acme: another one"]
    assert needs_restart(one, none) == ["import of Acme: taken out"]
    # What is imported hangs below the node that the equipment had at the start.
    assert needs_restart(one, importing("85", ", id: Pinned")) == ["import of Acme: another one"]
