"""The ``opcua:`` section of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sources.settings import SettingsModel

PolicyName = Literal["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]


class OpcUaSettings(SettingsModel):
    """How clients reach the server. Everything is refused that no line here allows."""

    port: int = Field(4840, ge=0, le=65535, description="TCP port; 0 takes a free one.")
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
