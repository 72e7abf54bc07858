"""What of a configuration only a restart can change."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plants import plant_of

from server.change.fixed import needs_restart

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
