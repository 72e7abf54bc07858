"""Modbus settings and tags in few words, and a listener that keeps what a source emits."""

from __future__ import annotations

from typing import Any

from sources.batch import Batch
from sources.modbus.config import ModbusAddress, ModbusSettings, parse_tag
from sources.quality import BAD_WAITING_FOR_INITIAL_DATA, Quality
from sources.spec import TagSpec
from sources.tag import ScanClass, Tag, Value, ValueType

FAST = ScanClass("fast", 0.05)
NORMAL = ScanClass("normal", 0.2)
SLOW = ScanClass("slow", 3600.0)


def settings(port: int = 502, **more: Any) -> ModbusSettings:
    """Settings of a device on loopback."""
    return ModbusSettings.model_validate({"driver": "modbus", "host": "127.0.0.1", "port": port} | more)


def tag(
    address: str,
    encoding: str | None = None,
    scan: ScanClass = FAST,
    *,
    words: str | None = None,
    writable: bool = False,
    natural: ValueType = ValueType.UInt16,
    name: str | None = None,
    of: ModbusSettings | None = None,
) -> Tag[ModbusAddress]:
    """A tag; its name is its address unless given."""
    spec = TagSpec(name or address, address, natural, scan, encoding, words, writable)
    return parse_tag(spec, of or settings())


class Listener:
    """What came, latest by tag: the value, None where the batch brought none, and the quality."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.values: dict[str, Value] = {}
        self.qualities: dict[str, Quality] = {}

    def __call__(self, batch: Batch) -> None:
        self.batches.append(batch)
        for index, its in enumerate(batch.tags):
            quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[index]
            self.qualities[its.name] = quality
            if batch.values is not None:
                self.values[its.name] = batch.values[index]

    def quality(self, its: Tag[Any]) -> Quality:
        """The latest quality of a tag, BadWaitingForInitialData before the first."""
        return self.qualities.get(its.name, BAD_WAITING_FOR_INITIAL_DATA)

    def value(self, its: Tag[Any]) -> Value:
        """The latest value of a tag."""
        return self.values.get(its.name)
