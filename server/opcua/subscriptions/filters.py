"""DataChangeFilter: which samples become notifications (OPC 10000-4 §7.22.2, OPC 10000-8 §7.2)."""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from server.opcua.services.datatypes import DataTypes
from server.opcua.services.readvalue import current
from server.opcua.space.node import Node
from server.opcua.space.points import parts
from server.opcua.space.space import Space
from server.opcua.subscriptions import heads
from server.opcua.types import AttributeIds, ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire.nodeid import numeric
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import qualified_name
from sources.quality import is_bad

DATA_CHANGE: Final = numeric(ObjectIds.DataChangeFilter_Encoding_DefaultBinary)

_ARRAY, _DIMENSIONS, _TYPE = 0x80, 0x40, 0x3F
_NUMBERS: Final = {2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
"""Formats of the numeric built-in types (OPC 10000-6 §5.1.2)."""
_SCALARS: Final[dict[int, Callable[..., tuple[float]]]] = {
    kind: struct.Struct("<" + form).unpack_from for kind, form in _NUMBERS.items()
}
_EU_RANGE: Final = qualified_name("EURange")
_RANGE: Final = struct.Struct("<dd")
_EXTENSION_OBJECT: Final = 22
_DATA_TYPE: Final = int(AttributeIds.DataType)
_HAS_PROPERTY: Final = int(ObjectIds.HasProperty)
_PERCENT: Final = 100.0


class Trigger(enum.IntEnum):
    """DataChangeTrigger (OPC 10000-4 §7.10)."""

    Status = 0
    StatusValue = 1
    StatusValueTimestamp = 2


class Deadband(enum.IntEnum):
    """DeadbandType (OPC 10000-4 §7.22.2)."""

    Nothing = 0
    Absolute = 1
    Percent = 2


class DataFilter(NamedTuple):
    """A filter as it is applied; ``limit`` is the deadband in the value's own units, None without one.

    ``percent`` is what of the EURange was asked for, None where something else was.
    """

    trigger: Trigger
    limit: float | None
    percent: float | None = None

    def over(self, node: Node, space: Space) -> DataFilter:
        """The filter as the node's EURange has it now; itself where that does not matter.

        Of no EURange there is no percentage: while it has none every change is told.
        """
        if self.percent is None:
            return self
        return self._replace(limit=self.percent / _PERCENT * (eu_range(node, space) or 0.0))

    @property
    def polls(self) -> bool:
        """Whether values have to be asked for: no point tells that nothing but its source time changed."""
        return self.trigger is Trigger.StatusValueTimestamp

    def passes(self, last: bytes, new: bytes) -> bool:
        """Whether a sample differs enough from the last that was queued; both are heads.

        A change of the status always does.
        """
        if self.limit is not None:
            return _exceeds(last, new, self.limit)
        if self.trigger is Trigger.Status:
            return heads.status_of(last) != heads.status_of(new)
        if self.trigger is Trigger.StatusValueTimestamp:
            return last != new
        return not heads.same(last, new)


def data_filter(body: bytes | None, node: Node, space: Space, types: DataTypes) -> DataFilter | None:
    """Decode a DataChangeFilter for a Variable's value; None where it says what holds without one.

    Raises DecodingError, and ServiceFault with the operation's code.
    """
    if body is None:
        raise ServiceFault(StatusCodes.BadMonitoredItemFilterInvalid)
    reader = Reader(body)
    kind, deadband, value = reader.int32(), reader.uint32(), reader.double()
    if not 0 <= kind <= Trigger.StatusValueTimestamp:
        raise ServiceFault(StatusCodes.BadMonitoredItemFilterInvalid, f"no trigger is {kind}")
    if deadband > Deadband.Percent:
        raise ServiceFault(StatusCodes.BadDeadbandFilterInvalid, f"no deadband is {deadband}")
    limit = None if deadband == Deadband.Nothing else _limit(deadband, value, node, space, types)
    trigger = Trigger(kind)
    if limit is not None and trigger is not Trigger.Status:
        trigger = Trigger.StatusValue  # as §7.22.2 has it for StatusValueTimestamp with a deadband
    if trigger is Trigger.Status:
        limit = None
    percent = value if limit is not None and deadband == Deadband.Percent else None
    return None if trigger is Trigger.StatusValue and limit is None else DataFilter(trigger, limit, percent)


def _limit(deadband: int, value: float, node: Node, space: Space, types: DataTypes) -> float:
    encoded = node.attributes.get(_DATA_TYPE)
    kinds = types.built_in(encoded[1:]) if encoded is not None else frozenset()
    if not kinds or not kinds <= _NUMBERS.keys():
        raise ServiceFault(StatusCodes.BadFilterNotAllowed, "a deadband on what is no number")
    if not (math.isfinite(value) and value >= 0):
        raise ServiceFault(StatusCodes.BadDeadbandFilterInvalid)
    if deadband == Deadband.Absolute:
        return value
    if value > _PERCENT:
        raise ServiceFault(StatusCodes.BadDeadbandFilterInvalid)
    span = eu_range(node, space)
    if span is None:
        raise ServiceFault(StatusCodes.BadMonitoredItemFilterUnsupported, "a percentage of no EURange")
    return value / _PERCENT * span


def eu_range(node: Node, space: Space) -> float | None:
    """How wide the EURange of a Variable is; None where it has none."""
    found = space.child(node, _EU_RANGE, space.number(_HAS_PROPERTY))
    if found is None or found.value is None:
        return None
    variant, status, _ = parts(current(found, b"")[0])
    if is_bad(status) or not variant or variant[0] != _EXTENSION_OBJECT:
        return None
    _, body = Reader(variant, 1).extension_object()
    if body is None or len(body) != _RANGE.size:
        return None
    low, high = _RANGE.unpack(body)
    return high - low if high > low else None


def _exceeds(last: bytes, new: bytes, limit: float) -> bool:
    old_variant, old_status, _ = parts(last)
    variant, status, _ = parts(new)
    if status != old_status:
        return True
    if variant == old_variant:
        return False
    if not variant or not old_variant or variant[0] != old_variant[0]:
        return True
    kind = variant[0]
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return _apart(scalar(old_variant, 1)[0], scalar(variant, 1)[0], limit)
    form = _NUMBERS.get(kind & _TYPE)
    if form is None or not kind & _ARRAY:
        return True
    old, old_shape = _elements(old_variant, form)
    now, shape = _elements(variant, form)
    # One element is enough, and so is another size (OPC 10000-4 §7.22.2).
    return shape != old_shape or any(_apart(a, b, limit) for a, b in zip(old, now, strict=True))


def _apart(old: float, new: float, limit: float) -> bool:
    if old == new or (old != old and new != new):  # noqa: PLR0124  # NaN
        return False
    return not abs(new - old) <= limit  # so that NaN and a number are apart


def _elements(variant: bytes, form: str) -> tuple[Sequence[float], bytes]:
    """The elements of a numeric array, and its shape: length and encoded dimensions."""
    length = int.from_bytes(variant[1:5], "little", signed=True)
    elements = struct.unpack_from(f"<{max(length, 0)}{form}", variant, 5)
    behind = 5 + struct.calcsize(f"<{form}") * max(length, 0)
    return elements, variant[1:5] + variant[behind:]
