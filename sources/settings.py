"""What every settings model shares: unknown keys refused, durations, secrets that stand elsewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


def parse_duration(value: object) -> float:
    """Seconds of ``200ms``, ``1s``, ``5min`` or ``1h``. Raises ValueError for anything else or zero.

    A bare number is refused: nobody can see whether it means seconds or milliseconds.
    """
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _SECONDS[match[2]]
        if seconds > 0:
            return seconds
    raise ValueError(f"{value!r} is not a duration; write a number and its unit, like 200ms, 1s, 5min or 1h")


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|min|h)$"}),
]
"""Seconds, written with a unit."""


def parse_host(value: str) -> str:
    """A host name or address as far as one can tell without asking the network. Raises ValueError."""
    try:
        value.encode("idna")
    except UnicodeError:
        pass
    else:
        if value and not any(letter.isspace() or letter in "/@[]" for letter in value):
            return value
    raise ValueError(
        f"{value!r} is no host name or IP address; write one like plc1.acme.example or 10.20.1.11"
    )


Host = Annotated[str, AfterValidator(parse_host)]
"""A host name or IP address that can be asked for."""


class SecretError(ValueError):
    """A secret cannot be had; the text says which and what to do, never the secret."""


def parse_secret(value: object) -> str:
    """Accept only a reference: ``env:NAME`` or ``file:PATH``. Raises ValueError without echoing the value."""
    if isinstance(value, str) and re.fullmatch(r"(env|file):\S.*", value):
        return value
    raise ValueError("a secret never stands in this file; write env:NAME or file:PATH instead")


SecretReference = Annotated[
    str, BeforeValidator(parse_secret), WithJsonSchema({"type": "string", "pattern": r"^(env|file):\S"})
]
"""Where a secret stands: ``env:NAME`` or ``file:PATH``."""


def read_secret(reference: str, base: Path) -> str:
    """The secret itself; a relative PATH is taken from ``base``. Raises SecretError."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        found = os.environ.get(name)
        if found is None:
            raise SecretError(f"the environment variable {name} is not set; set it or name another one")
        if any("\ud800" <= letter <= "\udfff" for letter in found):
            # As which whoever encodes it would raise an error with all of it.
            raise SecretError(f"what the environment variable {name} holds is no UTF-8")
        return found
    path = base / name
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SecretError(f"the secret file {path} cannot be read: {error}") from error
    except UnicodeDecodeError:
        # The error has all of it, and some of it in its text.
        raise SecretError(f"the secret file {path} cannot be read: it is no UTF-8") from None


class SettingsModel(BaseModel):
    """Base of all settings: frozen, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)
