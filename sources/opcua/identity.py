"""In whose name writes and calls go to a downstream server: what the configuration says of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from sources.asking import Asker, RoleName
from sources.settings import Duration, SecretReference, SettingsModel

UserName = Annotated[str, StringConstraints(min_length=1, max_length=64)]

_NOBODY: Final = "anonymous"
SERVICE: Final = "service"


@dataclass(frozen=True, slots=True)
class Credentials:
    """As whom a session is made there; all None is Anonymous. Of secrets it has where they stand."""

    user: str | None = None
    password: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: str | None = None

    def __str__(self) -> str:
        """``user:anna``, ``certificate:/etc/anna.crt``, ``anonymous``: for people and the audit log."""
        if self.certificate is not None:
            return f"certificate:{self.certificate}"
        return f"user:{self.user}" if self.user is not None else _NOBODY


# What comes through `_or_service` is no JSON any more, and nothing is converted by itself.


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class IdentityRule(SettingsModel):
    """Whose writes and calls go in one name, and how that is proved there."""

    users: Annotated[tuple[UserName, ...], BeforeValidator(_listed)] = Field(
        (), description="Users of this server, by name."
    )
    roles: Annotated[tuple[RoleName, ...], BeforeValidator(_listed)] = Field(
        (), description="Who has one of these roles here."
    )
    user: str | None = Field(None, min_length=1, description="User name there.")
    password: SecretReference | None = Field(None, description="Its password: env:NAME or file:PATH.")
    certificate: Path | None = Field(
        None,
        strict=False,
        description="PEM or DER file of a user's certificate, in place of user and password.",
    )
    key: Path | None = Field(None, strict=False, description="PEM file of its private key.")
    key_password: SecretReference | None = Field(
        None, description="What opens the key: env:NAME or file:PATH."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.users and not self.roles:
            raise ValueError("it is for nobody; say for whom with users: or roles:")
        if _NOBODY in self.users:
            raise ValueError(f"{_NOBODY} is nobody in particular; name users who log in, or roles")
        if (self.user is None) == (self.certificate is None):
            raise ValueError(
                "it needs one identity there; give user: and password:, or certificate: and key:"
            )
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together; say where it stands with env:NAME or file:PATH")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; give both or neither")
        if self.key_password is not None and self.key is None:
            raise ValueError("a key_password without a key; add the key key")
        return self

    @property
    def credentials(self) -> Credentials:
        """As whom it is there."""
        return Credentials(self.user, self.password, self.certificate, self.key, self.key_password)

    def fits(self, asker: Asker) -> bool:
        """Whether it is for whoever asks."""
        return asker.user in self.users or not asker.roles.isdisjoint(self.roles)


class IdentitySettings(SettingsModel):
    """Who goes in which name."""

    map: Annotated[tuple[IdentityRule, ...], BeforeValidator(_listed)] = Field(
        min_length=1, max_length=100, description="The first rule that fits counts."
    )
    others: Literal["refuse", "service"] = Field(
        description="Whom no rule fits: refuse, or service, the source's own user."
    )
    sessions: int = Field(
        8, ge=1, le=100, description="Sessions in these names at a time; who was idle longest makes room."
    )
    idle: Duration = Field(60.0, description="How long a session nobody uses stays open.")

    @model_validator(mode="after")
    def _once(self) -> Self:
        for what in ("users", "roles"):
            for name, count in Counter(name for rule in self.map for name in getattr(rule, what)).items():
                if count > 1:
                    raise ValueError(f"{name} stands in {what} twice, and only the first counts; keep one")
        return self

    def rule(self, asker: Asker) -> IdentityRule | None:
        """The one for whoever asks; None for the others."""
        return next((rule for rule in self.map if rule.fits(asker)), None)


def _or_service(value: object) -> object:
    if isinstance(value, str) and value != SERVICE:
        raise ValueError("it is service, or says with map: and others: who goes in which name")
    return None if value == SERVICE else value


class _OrService:
    """``service`` in the place of a mapping means that there is none."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_or_service, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"const": SERVICE}, handler(schema)]}


OR_SERVICE: Final = _OrService()
