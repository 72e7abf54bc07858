from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from server.mqtt.settings import MqttSettings


def load(**keys: Any) -> MqttSettings:
    return MqttSettings.model_validate({"broker": "mqtt://h:1883", "publisher_id": "p", **keys})


def test_defaults() -> None:
    settings = load()
    assert (settings.prefix, settings.writer_group, settings.qos) == ("opcua", "plant", 1)
    assert (settings.publishing_interval, settings.key_frame_every, settings.keep_alive) == (1.0, 10, 30.0)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"broker": "http://h"}, "is no broker"),
        ({"broker": "mqtt://u:p@h"}, "use the keys user and password"),
        ({"publisher_id": "a/b"}, "publisher_id"),
        ({"keep_alive": "1s", "publishing_interval": "2s"}, "keep_alive is shorter than publishing_interval"),
        ({"password": "env:P"}, "a password without a user"),
        ({"user": "u", "password": "plain"}, "a secret never stands in this file"),
        ({"ca": "ca.pem"}, "need TLS"),
        ({"broker": "mqtts://h", "certificate": "c.pem"}, "go together"),
        ({"queue": 1}, "queue"),
    ],
)
def test_what_cannot_be_meant_is_told(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        load(**keys)
    assert words in str(caught.value)
