"""The value of an imported variable: as the device sent it, and whose it is."""

from __future__ import annotations

from server.opcua.space.value import StoredValue
from server.opcua.wire.nodeid import Key
from sources.opcua.imports import Device
from sources.opcua.wire import Raw
from sources.quality import BAD_NO_COMMUNICATION, Quality, is_bad


class ImportedValue(StoredValue):
    """See `StoredValue`. ``device`` has it under ``key``."""

    __slots__ = ("device", "key")

    def __init__(self, device: Device, key: Key, raw: Raw) -> None:
        super().__init__(*_held(raw))
        self.device = device
        self.key = key

    def take(self, raw: Raw) -> None:
        """Another value of the device's."""
        self.set(*_held(raw))

    def mark(self, quality: Quality) -> None:
        """The device is gone: a value that is still usable is kept where the quality says so."""
        if is_bad(quality) or not self.variant:
            self.set(b"", quality if is_bad(quality) else BAD_NO_COMMUNICATION)
        else:
            self.set(self.variant, quality)


def _held(raw: Raw) -> tuple[bytes, int, int | None]:
    """A Bad status has no value (OPC 10000-4 §7.11.1)."""
    return b"" if is_bad(raw.status) else raw.variant, raw.status, raw.time or None
