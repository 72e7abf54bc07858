"""The value of an imported variable: as the device sent it, and whose it is."""

from __future__ import annotations

from server.opcua.space.value import StoredValue
from server.opcua.wire.nodeid import Key
from sources.clock import now
from sources.opcua.imports import Device
from sources.opcua.wire import LAST_TIME, Raw
from sources.quality import BAD_NO_COMMUNICATION, Quality, is_bad


class ImportedValue(StoredValue):
    """See `StoredValue`; also a `server.plant.mirrored.Cell`. ``device`` has it under ``key``."""

    __slots__ = ("device", "key", "lost", "source_time", "status")

    def __init__(self, device: Device, key: Key, raw: Raw) -> None:
        variant, self.status, self.source_time = _held(raw)
        super().__init__(variant, self.status, self.source_time)
        self.device = device
        self.key = key
        self.lost: float | None = None
        """Since when its device is gone, by the loop's clock, and nothing has come since."""

    @property
    def value(self) -> bytes | None:
        """The encoded Variant, None where there is no value."""
        return self.variant or None

    def set(self, variant: bytes, status: int = 0, source_time: int | None = None) -> None:
        """See StoredValue."""
        self.status = status
        self.source_time = now() if source_time is None else source_time
        super().set(variant, status, self.source_time)

    def take(self, raw: Raw) -> None:
        """Another value of the device's."""
        self.lost = None
        self.set(*_held(raw))

    def mark(self, quality: Quality) -> bool:
        """The device is gone: a value that is still usable is kept where the quality says so.

        Whether that makes a difference.
        """
        variant = self.variant
        if is_bad(quality) or not variant:
            variant, quality = b"", quality if is_bad(quality) else BAD_NO_COMMUNICATION
        if (variant, quality) == (self.variant, self.status):
            return False
        self.set(variant, quality)
        return True


def _held(raw: Raw) -> tuple[bytes, int, int]:
    """A Bad status has no value (OPC 10000-4 §7.11.1)."""
    time = raw.time if 0 < raw.time <= LAST_TIME else now()
    return b"" if is_bad(raw.status) else raw.variant, raw.status, time
