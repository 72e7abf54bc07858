"""The page for IT teams shows messages as we send them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from support.pubsub_schema import validate

from server.mqtt.topics import Topics, level

PAGE = (Path(__file__).parents[3] / "docs" / "mqtt.md").read_text(encoding="utf-8")


def shown() -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def test_every_message_shown_fits_the_schema() -> None:
    messages = shown()
    assert {m["MessageType"] for m in messages} == {"ua-data", "ua-metadata", "ua-status"}
    kinds = {part["MessageType"] for m in messages for part in m.get("Messages", ())}
    assert kinds == {"ua-keyframe", "ua-deltaframe", "ua-keepalive"}
    for message in messages:
        validate(message)


def test_topics_and_names_shown_are_ours() -> None:
    topics = Topics("opcua", "acme-lyon", "plant")
    for topic in (topics.status, topics.connection, topics.metadata("<writer>"), topics.data("<writer>")):
        assert f"| `{topic}` |" in PAGE
    path = "Acme/Lyon/Packaging/Line1/Filler"
    assert f"`{path}` becomes\n`{level(path)}`" in PAGE
    assert f"`{level('Füller')}`" in PAGE
    (metadata,) = (m for m in shown() if m["MessageType"] == "ua-metadata")
    assert metadata["DataSetWriterName"] == level(metadata["MetaData"]["Name"])
