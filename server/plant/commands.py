"""From a client's write to the device: authorise, range, route, verify, audit."""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from server.plant.convert import ConversionError, fit
from server.plant.model import Property, Role
from server.plant.values import Point, ValueStore
from sources.batch import Batch
from sources.clock import now
from sources.errors import ConnectionLost, Unreachable
from sources.quality import (
    BAD_DEVICE_FAILURE,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_OUT_OF_RANGE,
    BAD_OUT_OF_SERVICE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TYPE_MISMATCH,
    BAD_USER_ACCESS_DENIED,
    GOOD,
    GOOD_CLAMPED,
    GOOD_COMPLETES_ASYNCHRONOUSLY,
    Quality,
    is_good,
    quality_name,
)
from sources.tag import INTEGER_LIMITS, Tag, Value, ValueType

MAX_TEXT: Final = 4096
"""Characters a written String may have."""

_SHOWN: Final = 64
"""Characters of a longer one that the audit log shows."""

log = logging.getLogger(__name__)
audit = logging.getLogger("isthmus.audit")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the user's name, the roles granted, and where the client sits."""

    user: str
    roles: frozenset[Role]
    client: str = ""


class Device(Protocol):
    """The way to one source's device while it is connected."""

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """Raises ConnectionLost, or Unreachable where there is no connection."""
        ...

    async def write(self, pairs: Sequence[tuple[Tag[Any], Value]]) -> list[Quality]:
        """Raises ConnectionLost when the outcome is unknown, Unreachable when nothing was sent."""
        ...


class Commands:
    """Governs every write.

    ``enabled`` false refuses all. ``keep`` stores a constant for the next start and raises
    OSError where it cannot.
    """

    def __init__(
        self,
        store: ValueStore,
        devices: Mapping[str, Device],
        *,
        enabled: bool,
        keep: Callable[[str, Value], Awaitable[None]],
    ) -> None:
        self._store = store
        self._devices = devices
        self._enabled = enabled
        self._keep = keep

    def may_write(self, caller: Caller, prop: Property) -> bool:
        """Whether this caller's roles allow writing this property (serves UserAccessLevel)."""
        rule = prop.type.write
        return self._enabled and rule is not None and not rule.roles.isdisjoint(caller.roles)

    async def write(self, caller: Caller, key: str, value: Value, source_time: int | None = None) -> Quality:
        """Write a property's value, in engineering units. Never raises for what a client or device can cause.

        ``source_time`` (ticks) is when the client says the value was so; it becomes the
        point's source time, unless it lies in the future.

        The answer is the StatusCode of OPC 10000-4 §5.10.4: BadNotWritable,
        BadUserAccessDenied, BadTypeMismatch, BadOutOfRange, the device's own refusal, Good
        when the device was read back and holds the value, GoodClamped when it holds one on
        the way there, BadDeviceFailure when it holds another, GoodCompletesAsynchronously
        when it took the value and could not be read back.
        """
        point = self._store.points[key]
        old = point.value
        quality = self._refusal(caller, point.property, value)
        if quality is None:
            time = None if source_time is None else min(source_time, now())
            quality = await self._carry_out(point, value, time)
        _tell(caller, point, old, value, quality)
        return quality

    def refuse(self, caller: Caller, key: str, value: object, quality: Quality) -> Quality:
        """Tell the audit of a write that was refused before it came here; gives the quality back."""
        point = self._store.points[key]
        _tell(caller, point, point.value, value, quality)
        return quality

    def _refusal(self, caller: Caller, prop: Property, value: Value) -> Quality | None:
        rule = prop.type.write
        if rule is None or not self._enabled:
            return BAD_NOT_WRITABLE
        if rule.roles.isdisjoint(caller.roles):
            return BAD_USER_ACCESS_DENIED
        if not _has_type(value, prop.type.type):
            return BAD_TYPE_MISMATCH
        if prop.type.enumeration is not None and value not in prop.type.enumeration.members:
            return BAD_OUT_OF_RANGE
        if isinstance(value, float) and not math.isfinite(value):
            return BAD_OUT_OF_RANGE
        if isinstance(value, str) and len(value) > MAX_TEXT:
            return BAD_OUT_OF_RANGE
        limits = rule.limits or prop.type.range
        if limits is not None and isinstance(value, int | float) and not limits.low <= value <= limits.high:
            return BAD_OUT_OF_RANGE
        if prop.binding is not None and not prop.binding.enabled:
            return BAD_OUT_OF_SERVICE
        return None

    async def _carry_out(self, point: Point, value: Value, time: int | None) -> Quality:
        binding = point.property.binding
        if binding is None:
            # Kept first: a value that was acknowledged survives whatever comes next.
            try:
                await self._keep(point.property.key, value)
            except OSError as error:
                log.error("%s: written value not kept, so refused: %s", point.property.key, error)  # noqa: TRY400 - the text says it all
                return BAD_RESOURCE_UNAVAILABLE
            self._store.set(point.property.key, value, source_time=time)
            return GOOD
        device = self._devices.get(binding.source)
        if device is None:
            return BAD_NOT_CONNECTED
        try:
            convert = binding.conversion
            raw = fit(value if convert is None else convert.to_raw(value), binding.tag.type)
        except ConversionError as error:
            log.info("write to %s refused: %s", point.property.key, error)
            return BAD_OUT_OF_RANGE
        try:
            (quality,) = await device.write([(binding.tag, raw)])
        except Unreachable:
            return BAD_NOT_CONNECTED
        except ConnectionLost as error:
            return error.quality
        if not is_good(quality):
            return quality
        return await self._verify(device, binding.tag, raw, quality, time)

    async def _verify(
        self, device: Device, tag: Tag[Any], raw: Value, quality: Quality, time: int | None
    ) -> Quality:
        try:
            batch = await device.read([tag])
        except (ConnectionLost, Unreachable):
            return GOOD_COMPLETES_ASYNCHRONOUSLY
        read_quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[0]
        if batch.values is None or not is_good(read_quality):
            self._store.ingest(batch)
            return GOOD_COMPLETES_ASYNCHRONOUSLY
        held = batch.values[0]
        taken = _same(held, raw, tag.type)
        self._store.ingest(replace(batch, device_times=[time]) if taken and time is not None else batch)
        if taken:
            return quality
        if tag.type.is_number and isinstance(held, int | float):
            return GOOD_CLAMPED
        return BAD_DEVICE_FAILURE


def _tell(caller: Caller, point: Point, old: Value, new: object, quality: Quality) -> None:
    """Write a line of the audit log: the whole value where it could be written, else its beginning."""
    key, outcome = point.property.key, quality_name(quality)
    new = _brief(new)
    audit.info(
        "write %s by %s: %r -> %r: %s",
        key,
        caller.user,
        old,
        new,
        outcome,
        extra={
            "event": "write",
            "node": key,
            "user": caller.user,
            "client": caller.client,
            "old": old,
            "new": new,
            "held": point.value,
            "status": outcome,
        },
    )


class _Short(reprlib.Repr):
    """Texts of arrays that are no longer than a line, whoever sent them."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2

    def repr_float(self, value: float, _level: int) -> str:
        return repr(value)

    def repr_instance(self, value: object, _level: int) -> str:
        return f"<{type(value).__name__}>"


_SHORT: Final = _Short()


def _brief(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else f"{value[:_SHOWN]}... of {len(value)} characters"
    return _SHORT.repr(value)


def _has_type(value: Value, kind: ValueType) -> bool:
    if kind is ValueType.Boolean:
        return isinstance(value, bool)
    if kind is ValueType.String:
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    limits = INTEGER_LIMITS.get(kind)
    if limits is None:
        return isinstance(value, float)
    return isinstance(value, int) and limits[0] <= value <= limits[1]


def _same(held: Value, asked: Value, kind: ValueType) -> bool:
    if kind in {ValueType.Float, ValueType.Double} and isinstance(held, float) and isinstance(asked, float):
        return math.isclose(held, asked, rel_tol=1e-6, abs_tol=1e-30)
    return held == asked
