"""The ``metrics:`` section of the configuration."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from sources.settings import SecretReference, SettingsModel


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is no IP address; write 127.0.0.1, or 0.0.0.0 for every interface"
        ) from None
    return value


class MetricsSettings(SettingsModel):
    """Prometheus metrics over HTTP at ``/metrics``; there only where this section is."""

    host: Annotated[str, AfterValidator(_address)] = Field(
        "127.0.0.1", description="Address to listen on; any but loopback needs a token."
    )
    port: int = Field(9464, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    token: SecretReference | None = Field(None, description="Bearer token a scraper must send.")
    certificate: Path | None = Field(None, strict=False, description="PEM file: serve HTTPS with it.")
    key: Path | None = Field(None, strict=False, description="PEM file of its private key.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; give both or neither")
        if not ipaddress.ip_address(self.host).is_loopback and self.token is None:
            raise ValueError("beyond loopback a token is needed; add token: env:NAME or file:PATH")
        return self
