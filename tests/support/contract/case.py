"""What the contract needs to know of a driver: its device, its configuration, and its frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from support.contract.plc import Plc
from support.contract.proxy import Framing

from sources.quality import BAD_CONFIGURATION_ERROR, Quality
from sources.registry import DRIVERS
from sources.source import Source
from sources.spec import TagSpec
from sources.tag import ScanClass, Tag

FAST = ScanClass("fast", 0.03)
SLOWER = ScanClass("slower", 0.09)


class DriverCase(ABC):
    """One driver. A new one adds a class like this, and a line in ``tests/contract/conftest.py``."""

    kind: ClassVar[str]
    """As in `sources.registry`."""
    framing: ClassVar[Framing]
    refused: ClassVar[Quality] = BAD_CONFIGURATION_ERROR
    """What a tag is worth that the device refuses."""
    cycles: ClassVar[int] = 1000
    """So many connections, one after the other, must leave nothing."""

    restarts: ClassVar[int] = 2
    """So often a device is restarted in a row."""

    @abstractmethod
    def plc(self, base: int = 0) -> Plc:
        """A device, not started yet."""

    @abstractmethod
    def spec(self, name: str, scan: ScanClass, *, writable: bool) -> TagSpec:
        """What a configuration says of one of its tags."""

    @abstractmethod
    def settings(self, host: str, port: int, timeout: str) -> dict[str, Any]:
        """What a configuration says of the source."""

    @abstractmethod
    def carries_values(self, frame: bytes) -> bool:
        """Whether a frame of the device's brings values."""

    @abstractmethod
    def payload(self, frame: bytes) -> bytes:
        """What such a frame brings, without what makes it the reply to one request."""

    @abstractmethod
    def shorten(self, frame: bytes) -> bytes:
        """The frame with less in it than was asked for, and right as a frame."""

    def tags(self, plc: Plc, settings: Any) -> list[Tag[Any]]:
        """All tags of the device, every other one slower, so that replies of both kinds look alike."""
        names = [*plc.names, *plc.writable]
        specs = [
            self.spec(name, (FAST, SLOWER)[index % 2], writable=name in plc.writable)
            for index, name in enumerate(names)
        ]
        return [DRIVERS[self.kind].tag(spec, settings) for spec in specs]

    def source(
        self,
        plc: Plc,
        port: int | None = None,
        *,
        host: str = "127.0.0.1",
        timeout: str = "20s",
        names: Sequence[str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Source:
        """A source as a configuration makes it, at the device or at a port before it."""
        driver = DRIVERS[self.kind]
        said = self.settings(host, plc.port if port is None else port, timeout) | dict(more or {})
        settings = driver.settings.model_validate(said)
        tags = self.tags(plc, settings)
        if names is not None:
            tags = [tag for tag in tags if tag.name in names]
        return driver.source("PLC", settings, tags)


@dataclass(frozen=True, slots=True)
class Running:
    """A driver and its device, which runs as long as tests of this driver do."""

    case: DriverCase
    plc: Plc
