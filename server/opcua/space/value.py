"""Where a Variable's value comes from.

Three kinds stand in `Node.value`: a `Point` of the plant (server/plant/values.py), a
`StoredValue` that the server sets, and a `LiveValue` that is worked out when it is read.
All three give a **head**: a DataValue encoded up to, but not including, its
ServerTimestamp, with the mask bit of the ServerTimestamp set. Eight bytes of time behind it
make it whole (OPC 10000-6 §5.2.2.17), so one head serves every reader until the value changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, TypeAlias

from server.opcua.wire.writer import ticks, uint32
from server.plant.values import Point
from sources.clock import now

if TYPE_CHECKING:
    from server.opcua.subscriptions.item import MonitoredItem

HAS_VALUE: Final = 0x01
HAS_STATUS: Final = 0x02
HAS_SOURCE: Final = 0x04
HAS_SERVER: Final = 0x08


def head(variant: bytes, status: int = 0, source_time: int | None = None) -> bytes:
    """The head of an encoded Variant (empty for none), a StatusCode and a SourceTimestamp in ticks."""
    mask = HAS_SERVER
    parts = [b""]
    if variant:
        mask |= HAS_VALUE
        parts.append(variant)
    if status:
        mask |= HAS_STATUS
        parts.append(uint32(status))
    if source_time is not None:
        mask |= HAS_SOURCE
        parts.append(ticks(source_time))
    parts[0] = bytes((mask,))
    return b"".join(parts)


class StoredValue:
    """A value the server holds itself: a constant, or one it sets from time to time."""

    __slots__ = ("head", "items", "variant")

    def __init__(self, variant: bytes, status: int = 0, source_time: int | None = None) -> None:
        """``variant`` is encoded; ``source_time`` in ticks, now where none is given."""
        self.variant = variant
        self.head = head(variant, status, now() if source_time is None else source_time)
        self.items: Collection[MonitoredItem] | None = None
        """The monitored items that want to be told; None where there never was one."""

    def set(self, variant: bytes, status: int = 0, source_time: int | None = None) -> None:
        """Another value; monitored items are told."""
        self.variant = variant
        self.head = head(variant, status, now() if source_time is None else source_time)
        for item in self.items or ():
            item.changed()


class LiveValue:
    """A value worked out when it is read, such as CurrentTime; subscriptions sample it."""

    __slots__ = ("variant",)

    def __init__(self, variant: Callable[[], bytes]) -> None:
        """``variant`` gives the encoded Variant."""
        self.variant = variant

    @property
    def head(self) -> bytes:
        """The head of now."""
        return head(self.variant(), 0, now())


Value: TypeAlias = Point | StoredValue | LiveValue
