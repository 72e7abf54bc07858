"""The ``opcua:`` section of the configuration."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from sources.settings import SettingsModel

PolicyName = Literal["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is no IP address; write 127.0.0.1, or 0.0.0.0 and '::' for every interface"
        ) from None
    return value


def _server_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme == "opc.tcp" and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{value!r} is no URL of an OPC UA server; write opc.tcp://host:4840")
    return value


class OpcUaSettings(SettingsModel):
    """How clients reach the server. Everything is refused that no line here allows."""

    port: int = Field(4840, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    listen: tuple[Annotated[str, AfterValidator(_address)], ...] = Field(
        ("0.0.0.0", "::"),  # noqa: S104  # every client needs a certificate, and a user, that somebody let in
        min_length=1,
        description="Addresses to listen on; [127.0.0.1] for this machine only.",
    )
    path: str = Field("isthmus", pattern=r"^[A-Za-z0-9_/-]*$", description="Path of the endpoint URL.")
    application_name: str = Field("Isthmus", min_length=1, max_length=64)
    application_uri: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$",
        description="Default urn:<host name>:isthmus. Changing it makes a new certificate.",
    )
    hostnames: tuple[str, ...] = Field(
        (), description="Names and addresses for the certificate beside those this machine knows of itself."
    )
    discovery_server: Annotated[str, AfterValidator(_server_url)] | None = Field(
        None,
        description="URL of a discovery server to register with. Its certificate must be on the trust list.",
    )
    policies: tuple[PolicyName, ...] = Field(
        ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"), min_length=1
    )
    sign_only: bool = Field(False, description="Also offer the Sign mode: values travel readable.")
    allow_none: bool = Field(False, description="Also offer SecurityPolicy None: no certificate is asked.")
    crl_optional: bool = Field(
        False,
        description="Accept certificates of a CA whose revocation list is missing or out of date.",
    )
    anonymous: bool = Field(False, description="Let clients in without a user; they may read and browse.")
    writable: bool = Field(False, description="Let users with the right role write what says `access: rw`.")
    max_sessions: int = Field(100, ge=1, le=1000)
    max_sessions_per_user: int = Field(
        20,
        ge=1,
        le=1000,
        description="Of one user; anonymous ones have three quarters of all.",
    )
