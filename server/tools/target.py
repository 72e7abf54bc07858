"""A device as a URL: ``modbus://10.20.1.11:502?unit=1``, ``eip://10.20.1.12/1,0``, ``opc.tcp://…``.

The scheme says the driver. What follows a ``?`` are keys of its settings, as the
configuration has them: ``?unit=2&words=CDAB&timeout=500ms``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ValidationError

from server.config.errors import Mark, did_you_mean
from server.config.scalars import plain
from server.config.translate import translate
from server.config.tree import Scalar
from server.tools.errors import UsageError
from sources.registry import DRIVERS, Driver

_KINDS: Final[Mapping[str, str]] = {
    "modbus": "modbus",
    "eip": "logix",
    "logix": "logix",
    "slc": "slc",
    "opc.tcp": "opcua",
}
_SECRET: Final = re.compile(r"([?&][^=&]*password=)[^&]+", re.IGNORECASE)
_FORMS: Final = "write modbus://HOST:502?unit=1, eip://HOST/1,0 or opc.tcp://HOST:4840"


@dataclass(frozen=True, slots=True)
class Target:
    """A device, and how it is spoken to. ``given`` are the settings as a configuration would have them."""

    driver: Driver
    settings: BaseModel
    given: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The driver's."""
        return self.driver.kind

    @property
    def address(self) -> str:
        """Where it is, as every message about the device says it."""
        return self.driver.source("device", self.settings, ()).address


def is_url(text: str) -> bool:
    """Whether a text names a device rather than a file."""
    return re.match(r"[A-Za-z][A-Za-z0-9.+-]*://", text) is not None


def parse_target(url: str, drivers: Mapping[str, Driver] = DRIVERS) -> Target:
    """The device that a URL means. Raises UsageError, its text saying what would be right."""
    kind, parts = _split(url, drivers)
    url = _shown(url)
    given: dict[str, Any] = {"driver": kind}
    if kind == "opcua":
        given["url"] = parts._replace(query="").geturl()
    else:
        if parts.hostname:
            given["host"] = parts.hostname
        if parts.port is not None:
            given["port"] = parts.port
        _take_path(url, kind, unquote(parts.path), given)
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key in given:
            raise UsageError(f"{url!r}: {key} is said twice")
        given[key] = _scalar(url, key, text)
    return Target(drivers[kind], _validated(url, drivers[kind], given), given)


def _split(url: str, drivers: Mapping[str, Driver]) -> tuple[str, SplitResult]:
    """The driver's kind, and the URL in its parts."""
    shown = _shown(url)
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises where it is none
    except ValueError as error:
        raise UsageError(f"{shown!r} is no address of a device: {error}; {_FORMS}") from None
    if not parts.scheme:
        raise UsageError(f"{shown!r} is no address of a device; {_FORMS}")
    kind = _KINDS.get(parts.scheme)
    if kind is None or kind not in drivers:
        hint = did_you_mean(parts.scheme, [scheme for scheme, its in _KINDS.items() if its in drivers])
        raise UsageError(f"{shown!r}: no driver speaks {parts.scheme!r}; {hint or _FORMS}")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"{parts.scheme}://…: a password does not belong in a URL; name a plant file instead"
        )
    serial = kind == "modbus" and (len(parts.path) > 1 or "device=" in parts.query)
    if not parts.hostname and not serial:
        raise UsageError(f"{shown!r} names no host; {_FORMS}")
    if parts.fragment:
        raise UsageError(f"{shown!r}: what follows # means nothing here; {_FORMS}")
    return kind, parts


def _shown(url: str) -> str:
    """The URL as messages show it."""
    return _SECRET.sub(r"\1…", url)


def _take_path(url: str, kind: str, path: str, given: dict[str, Any]) -> None:
    if kind in {"logix", "slc"} and path not in {"", "/"}:
        given["path"] = path.strip("/").replace(",", "/")
    elif kind == "modbus" and path not in {"", "/"}:
        if "host" in given or "device" not in DRIVERS[kind].settings.model_fields:
            raise UsageError(f"{url!r}: a Modbus device has no path; the unit is ?unit=1")
        given["device"] = path  # modbus:///dev/ttyUSB0?transport=rtu


def _scalar(url: str, key: str, text: str) -> Any:
    try:
        # An empty text is one, not null: path="" is a controller that is addressed directly.
        return plain(text) if text else text
    except ValueError as error:
        raise UsageError(f"{url!r}: {key}: {error}") from None


def _validated(url: str, driver: Driver, given: Mapping[str, Any]) -> BaseModel:
    try:
        return driver.settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            fields = driver.settings.model_fields.items()
            keys = [field.alias or name for name, field in fields if name != "driver"]
            hint = did_you_mean(where, keys) or f"there are {', '.join(sorted(keys))}"
            raise UsageError(
                f"{url!r}: a source of driver {driver.kind} has no key {where!r}; {hint}"
            ) from None
        value = first["input"]
        message, hint = translate(first, Scalar(Mark(url), str(value), value), driver.settings)
        told = f"{message}; {hint}" if hint else message
        raise UsageError(f"{url!r}: {where}: {told}" if where else f"{url!r}: {told}") from None


def default_target(file: Path) -> Target:
    """The driver of a tag list whose device is not said: Modbus where its addresses are, else Logix."""
    with file.open("rb") as stream:
        head = stream.read(64 * 1024).decode("latin-1")
    modbus = re.search(r"(?:^|[,;\t|\"])(?:coil|discrete|holding|input):\d", head, re.MULTILINE)
    kind = "modbus" if modbus else "logix"
    given = {"driver": kind, "host": "127.0.0.1"}
    return Target(DRIVERS[kind], _validated(kind, DRIVERS[kind], given), given)
