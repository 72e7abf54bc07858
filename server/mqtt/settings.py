"""The ``mqtt:`` section of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from sources.settings import Duration, SecretReference, SettingsModel

EMBEDDED = "embedded"


def _broker(value: str) -> str:
    if value == EMBEDDED:
        return value
    parts = urlsplit(value)
    try:
        port = parts.port
    except ValueError:
        port = -1
    right = parts.scheme in {"mqtt", "mqtts"} and parts.hostname and port != -1
    if not right or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(
            f"{value!r} is no broker; write embedded, mqtt://host:1883 or mqtts://host:8883 (TLS)"
        )
    if parts.username is not None:
        raise ValueError(
            "user and password do not belong in the broker's URL; use the keys user and password"
        )
    return value


class MqttSettings(SettingsModel):
    """Where and how every change is mirrored as PubSub JSON (OPC 10000-14)."""

    broker: Annotated[str, AfterValidator(_broker)] = Field(
        description="embedded (a broker beside the server, on loopback), mqtt://host:1883 or mqtts://host:8883."
    )
    embedded_port: int = Field(
        1883, ge=0, le=65535, description="Port of the embedded broker; 0: a free one."
    )
    publisher_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    prefix: str = Field("opcua", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")
    writer_group: str = Field("plant", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    publishing_interval: Duration = Field(1.0, description="At most one message an equipment in this time.")
    key_frame_every: int = Field(
        10, ge=1, description="KeyFrameCount: a message with every field after this many intervals."
    )
    keep_alive: Duration = Field(30.0, description="A message at least this often, changed or not.")
    qos: int = Field(1, ge=0, le=2)
    queue_limit: int = Field(
        10_000,
        ge=100,
        description="Messages that may wait for a slow broker; other equipment's changes add up meanwhile.",
    )
    user: str | None = None
    password: SecretReference | None = None
    ca: Path | None = Field(
        None, strict=False, description="PEM file of the authority that signed the broker."
    )
    certificate: Path | None = Field(None, strict=False, description="PEM file of our client certificate.")
    key: Path | None = Field(None, strict=False, description="PEM file of its private key.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; give both or neither")
        if self.keep_alive < self.publishing_interval:
            raise ValueError("keep_alive is shorter than publishing_interval; make it as long or longer")
        if self.password is not None and self.user is None:
            raise ValueError("a password without a user; add the key user")
        if (self.ca or self.certificate) and not self.broker.startswith("mqtts://"):
            raise ValueError("ca, certificate and key need TLS; write the broker as mqtts://host:8883")
        return self
