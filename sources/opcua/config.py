"""What the configuration says of a downstream OPC UA server: settings, and tags by `address`."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from sources.errors import AddressError
from sources.opcua.address import OpcUaAddress, parse_address
from sources.opcua.identity import OR_SERVICE, Credentials, IdentitySettings
from sources.settings import Duration, SecretReference, SettingsModel, parse_host
from sources.spec import TagSpec
from sources.tag import Tag, ValueType

DEFAULT_PORT: Final = 4840

OpcUaTag: TypeAlias = Tag[OpcUaAddress]


def _url(value: str) -> str:
    parts = urlsplit(value)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme != "opc.tcp" or not parts.netloc or port == -1 or parts.username is not None:
        raise ValueError(f"{value!r} is no address of an OPC UA server; write opc.tcp://10.20.1.30:4840/path")
    parse_host(parts.hostname or "")
    return value


def _namespaces(value: dict[str, str]) -> dict[str, str]:
    if len(set(value.values())) < len(value):
        raise ValueError("two namespaces of the device cannot become one here; give each a URI of its own")
    return value


class DeadbandSettings(SettingsModel):
    """Changes of numbers the device need not report (OPC 10000-4 §7.22.2)."""

    absolute: float | None = Field(None, gt=0, description="In units of the value.")
    percent: float | None = Field(None, gt=0, le=100, description="Of the node's EURange.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.absolute is None) == (self.percent is None):
            raise ValueError("a deadband is either absolute: or percent:")
        return self


class DownstreamSettings(SettingsModel):
    """The keys of a source with ``driver: opcua``."""

    driver: Literal["opcua"] = Field("opcua", description="A downstream OPC UA server.")
    url: Annotated[str, AfterValidator(_url)] = Field(
        description="Where it is: opc.tcp://10.20.1.30:4840, with its path where it has one."
    )
    security: Literal["sign_and_encrypt", "sign", "none"] = Field(
        "sign_and_encrypt",
        description="How messages are protected. There is no fallback to anything weaker.",
    )
    policy: Literal["Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256"] | None = Field(
        None, description="The security policy. Default: the best the device offers."
    )
    identity: Annotated[IdentitySettings | None, OR_SERVICE] = Field(
        None,
        description="In whose name writes and calls are forwarded. Default: service, the user named here, "
        "for everybody; who asked is in the audit log.",
    )
    user: str | None = Field(None, min_length=1, description="User name there. Default: anonymous.")
    password: SecretReference | None = Field(None, description="Its password: env:NAME or file:PATH.")
    timeout: Duration = Field(4.0, description="How long an answer may take.")
    keepalive: Duration = Field(
        2.0, description="How long the device may say nothing where no value changes; a dead link shows then."
    )
    lifetime: Duration = Field(
        60.0,
        description="How long the device keeps subscriptions for a connection that was lost.",
    )
    sampling: Duration | None = Field(
        None, description="How often the device looks at its values. Default: the period of the scan class."
    )
    queue: int = Field(
        1,
        ge=1,
        le=10_000,
        description="How many values of a node the device keeps between two reports; 1: the newest.",
    )
    deadband: DeadbandSettings | None = Field(
        None, description="{absolute: 0.5} or {percent: 1}: smaller changes of numbers are not reported."
    )
    max_nodes: int = Field(
        250,
        ge=1,
        le=100_000,
        description="Nodes in one request at most; fewer where the device's OperationLimits say so.",
    )
    import_mib: int = Field(
        256,
        ge=1,
        le=65_536,
        description="What its imports may take in memory together, in MiB: values, descriptions, references.",
    )
    namespaces: Annotated[dict[str, str], AfterValidator(_namespaces)] = Field(
        {},
        description="{URI there: URI here} for imported nodes. Default: URI there, # and source.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.password is not None and self.user is None:
            raise ValueError("a password needs its user: name it with user:")
        if self.user is not None and self.password is None:
            raise ValueError(
                "a user needs a password: say where it stands with password: env:NAME or file:PATH"
            )
        if self.security == "none" and self.policy is not None:
            raise ValueError("security: none has no policy; take policy: out, or choose another security:")
        return self

    @property
    def credentials(self) -> Credentials:
        """The source's own user."""
        return Credentials(self.user, self.password)

    @property
    def host(self) -> str:
        """The host of the URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port of the URL."""
        return urlsplit(self.url).port or DEFAULT_PORT


_TYPES: Final = {
    "bool": ValueType.Boolean,
    "int8": ValueType.SByte,
    "uint8": ValueType.Byte,
    "int16": ValueType.Int16,
    "uint16": ValueType.UInt16,
    "int32": ValueType.Int32,
    "uint32": ValueType.UInt32,
    "int64": ValueType.Int64,
    "uint64": ValueType.UInt64,
    "float32": ValueType.Float,
    "float64": ValueType.Double,
    "string": ValueType.String,
    "datetime": ValueType.DateTime,
}
"""The device's own type, as ``as:`` names it, in the words of the other drivers."""


def parse_tag(spec: TagSpec, _: DownstreamSettings) -> OpcUaTag:
    """A tag of what a binding says. Raises AddressError with advice."""
    if spec.words is not None:
        raise AddressError("words: an OPC UA server sends values, not registers; take it out")
    kind = spec.natural
    if spec.encoding is not None:
        found = _TYPES.get(spec.encoding)
        if found is None:
            raise AddressError(f"as: {spec.encoding} is no type; there are {', '.join(_TYPES)}")
        kind = found
    return Tag(spec.name, parse_address(spec.address), kind, spec.scan, spec.writable, spec.length)
