"""Single values read and written on the device itself, with no server between.

A write here passes the server by: no role, interlock or rate limit is asked and no audit
log hears of it. What the plant file says of the value itself holds: `access: rw`, type,
enumeration, limits, the largest step, and the conversion backwards.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product, zip_longest
from typing import Any, Final

from server.config import Configuration
from server.config.errors import closest
from server.config.scalars import integer
from server.plant.commands.attempt import elements
from server.plant.convert import ConversionError
from server.plant.model import Property, PropertyType
from server.tools.errors import ToolError, UsageError
from server.tools.surroundings import settle
from server.tools.target import Target
from sources.batch import Batch
from sources.errors import AddressError, ConnectionLost, SourceError
from sources.opcua.security import Surroundings
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NOT_SUPPORTED,
    BAD_TIMEOUT,
    BAD_TYPE_MISMATCH,
    Quality,
    is_bad,
    is_good,
    quality_name,
)
from sources.registry import Driver
from sources.source import Session
from sources.spec import TagSpec
from sources.tag import ANY_LENGTH, INTEGER_LIMITS, Scalar, ScanClass, Tag, Value, ValueType

WITHIN: Final = 60.0
"""Seconds for connecting and one read or write; an upload of tags may come with it."""

_ONCE: Final = ScanClass("once", 1.0)
_TYPED: Final = re.compile(r"(.+?)(?:\s+as\s+|:)([a-z][a-z0-9_]*(?:\([^()]*\))?)(?:\[(\d*)\])?")
_NAMED: Final = re.compile(r"(.+?)\s+as\s+([^\s\[]+)(?:\[(\d*)\])?")
_TRIED: Final = {
    "modbus": ("uint16", "bool"),
    "logix": (
        *("bool", "sint", "int", "dint", "lint", "usint", "uint", "udint", "ulint"),
        *("real", "lreal", "string"),
    ),
    "opcua": (
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float32", "float64", "string"),
    ),
}
"""What a value may be whose type was not said. Where the device knows better, only one will do."""


_REASONS: Final = {
    BAD_CONFIGURATION_ERROR: "the device has nothing at this address, or nothing of this type; "
    "isthmus browse lists what it has",
    BAD_DECODING_ERROR: "what is there is no value of this type, or none that its lut knows",
    BAD_NO_COMMUNICATION: "the device behind the gateway cannot be reached",
    BAD_NOT_SUPPORTED: "the device has no such table or service",
    BAD_TIMEOUT: "the device did not answer in time",
    BAD_TYPE_MISMATCH: "the device has another type there",
}


@dataclass(frozen=True, slots=True)
class Place:
    """One value on one device: what it is called, its tag, and the property it is of, if any."""

    name: str
    source: str
    driver: Driver
    settings: Any
    tags: tuple[Tag[Any], ...]
    """More than one where the type is to be found out: the same address as each type."""
    property: Property | None = None
    surroundings: Surroundings | None = None
    """What an OPC UA server is shown."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a device said of one value. ``value`` is served, ``raw`` the device's own."""

    place: Place
    tag: Tag[Any]
    value: Value
    raw: Value
    quality: Quality
    device_time: int | None
    received: int

    @property
    def unit(self) -> str:
        """The symbol of its unit of measure, empty where it has none."""
        prop = self.place.property
        return prop.type.unit.symbol if prop is not None and prop.type.unit is not None else ""

    @property
    def reason(self) -> str:
        """What a Bad quality means here, for people; empty where it says so itself."""
        return _REASONS.get(self.quality, "")

    @property
    def label(self) -> str:
        """What its number is called, empty where it is of no enumeration."""
        prop = self.place.property
        if prop is None or prop.type.enumeration is None:
            return ""
        members = prop.type.enumeration.members
        if isinstance(self.value, tuple):
            return ", ".join(members.get(int(number), str(number)) for number in self.value)
        return members.get(self.value, "") if isinstance(self.value, int) else ""


@dataclass(frozen=True, slots=True)
class Order:
    """A write that may be carried out: ``value`` in engineering units, ``raw`` for the device."""

    place: Place
    tag: Tag[Any]
    value: Value
    raw: Value


def of_url(target: Target, text: str, *, writable: bool = False, lent: Surroundings | None = None) -> Place:
    """The value that ``ADDRESS``, ``ADDRESS:TYPE`` or ``ADDRESS as TYPE`` means. Raises UsageError.

    ``TYPE[8]`` is an array of so many, ``TYPE[]`` one of any length.
    """
    pattern = _NAMED if target.kind == "opcua" else _TYPED
    match = pattern.fullmatch(text.strip())
    address, encoding = (match[1], match[2]) if match else (text.strip(), None)
    length = int(match[3] or ANY_LENGTH) if match and match[3] is not None else None
    tried: Sequence[str | None] = [encoding] if encoding else _TRIED.get(target.kind, (None,))
    # The words of an SLC are signed.
    natural = ValueType.Int16 if target.kind == "slc" else ValueType.UInt16
    tags: list[Tag[Any]] = []
    problem: AddressError | None = None
    shapes = [(candidate, length) for candidate in tried]
    if target.kind == "opcua" and match is None:
        shapes += [(candidate, ANY_LENGTH) for candidate in tried]
    for candidate, count in shapes:
        name = f"{address} as {candidate}" if count is None else f"{address} as {candidate}[{count}]"
        spec = TagSpec(name, address, natural, _ONCE, candidate, writable=writable, length=count)
        try:
            tag = target.driver.tag(spec, target.settings)
        except AddressError as error:
            problem = problem or error
        else:
            tags.append(tag)
            if target.kind == "modbus":
                break
    if not tags:
        raise UsageError(str(problem))
    return Place(text, "device", target.driver, target.settings, tuple(tags), surroundings=lent)


def of_plant(config: Configuration, key: str, lent: Surroundings | None = None) -> Place:
    """The value of a property by its path. Raises UsageError."""
    properties = {prop.key: prop for prop in config.plant.properties()}
    prop = properties.get(key)
    if prop is None:
        near = closest(key, properties)
        hint = f"; did you mean {near}?" if near else "; write EQUIPMENT.PROPERTY, as Acme/Lyon/Filler.Speed"
        raise UsageError(f"{config.path} has no property {key}{hint}")
    if prop.binding is None:
        raise UsageError(f"{key} is a constant of the plant file: no device has it; ask the server")
    entry = next(entry for entry in config.sources if entry.name == prop.binding.source)
    return Place(key, entry.name, entry.driver, entry.settings, (prop.binding.tag,), prop, lent)


async def read(places: Sequence[Place]) -> list[Reading]:
    """Read each once, every device over one connection. Raises ToolError where one does not answer."""
    by_source: dict[str, list[Place]] = {}
    for place in places:
        by_source.setdefault(place.source, []).append(place)
    found: dict[int, Reading] = {}
    for its in by_source.values():
        tags = tuple({id(tag): tag for place in its for tag in place.tags}.values())
        async with _connected(its[0], tags, "reading") as session:
            batch = await session.read(tags)
        found |= {id(place): _reading(place, batch) for place in its}
    return [found[id(place)] for place in places]


async def write(wanted: Order) -> Quality:
    """Write once. Raises ToolError; its text says where the outcome is unknown."""
    async with _connected(wanted.place, (wanted.tag,), "writing") as session:
        (quality,) = await session.write([(wanted.tag, wanted.raw)])
        return quality


@asynccontextmanager
async def _connected(place: Place, tags: tuple[Tag[Any], ...], doing: str) -> AsyncIterator[Session]:
    """A session with the device of a place, its errors told as ours."""
    source = settle(place.driver.source(place.source, place.settings, tags), place.surroundings)
    where = source.address if place.property is None else f"{place.source} ({source.address})"
    try:
        async with asyncio.timeout(WITHIN), source.connect() as session:
            yield session
    except TimeoutError:
        raise ToolError(f"{where}: no answer within {WITHIN:g} s") from None
    except ConnectionLost as error:
        raise ToolError(f"{where}: the connection was lost while {doing}: {error}") from None
    except SourceError as error:
        raise ToolError(f"{where}: {error}") from None


def _reading(place: Place, batch: Batch) -> Reading:
    """What the batch says of a place: of several types tried, the one that the device has."""
    numbers = {id(tag): index for index, tag in enumerate(batch.tags)}
    best: Reading | None = None
    for tag in place.tags:
        index = numbers[id(tag)]
        quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[index]
        raw = None if batch.values is None or is_bad(quality) else batch.values[index]
        time = None if batch.device_times is None else batch.device_times[index]
        value = raw
        conversion = place.property.binding.conversion if place.property and place.property.binding else None
        if conversion is not None and raw is not None:
            try:
                value = conversion.to_engineering(raw)
            except ConversionError:
                value, quality = None, BAD_DECODING_ERROR
        reading = Reading(place, tag, value, raw, quality, time, batch.received)
        if quality not in {BAD_CONFIGURATION_ERROR, BAD_TYPE_MISMATCH}:
            return reading
        best = best or reading
    if best is None:
        raise ToolError(f"{place.name}: nothing was read")
    return best


def order(place: Place, tag: Tag[Any], text: str) -> Order:
    """The write that a text means, to one of the place's tags. Raises UsageError where it must not be."""
    prop = place.property
    if prop is None:
        value = _whole(text, tag.length, lambda one: _checked(one, tag.type))
        return Order(place, tag, value, value)
    kind = prop.type
    if kind.write is None:
        raise UsageError(f"{prop.key} is not access: rw in the plant file; nobody may write it")
    value = _whole(text, kind.length, lambda one: _of_property(one, kind))
    limits = kind.write.limits or kind.range
    for one in elements(value):
        if limits is not None and isinstance(one, int | float) and not limits.low <= one <= limits.high:
            shown = text if kind.length is None else one
            raise UsageError(f"{prop.key}: {shown} is outside its limits, {limits.low:g} to {limits.high:g}")
    conversion = prop.binding.conversion if prop.binding is not None else None
    try:
        raw = value if conversion is None else conversion.to_raw(value)
    except ConversionError as error:
        raise UsageError(f"{prop.key}: {error}") from None
    return Order(place, tag, value, raw)


def check_step(before: Reading, wanted: Order) -> None:
    """Raise UsageError where the property allows no step as large as this one.

    Of a ``max_rate`` nobody knows here when it was written last: one step may be as large as ever.
    """
    prop = wanted.place.property
    rule = prop.type.write if prop is not None else None
    limits: list[tuple[str, float, str]] = []
    if rule is not None and rule.max_step is not None:
        limits.append(("max_step", rule.max_step, f"{rule.max_step:g}"))
    if rule is not None and rule.max_rate is not None:
        limits.append(("max_rate", rule.max_rate.amount, str(rule.max_rate)))
    held = elements(before.value) if is_good(before.quality) else ()
    for (name, most, shown), (old, new) in product(limits, zip_longest(held, elements(wanted.value))):
        if not isinstance(new, int | float):
            continue
        if not isinstance(old, int | float):
            raise UsageError(f"{wanted.place.name} has a {name}, and its present value is not Good")
        if abs(new - old) > most:
            raise UsageError(f"{wanted.place.name}: from {old:g} to {new:g} is more than its {name}, {shown}")


def _whole(text: str, length: int | None, one: Callable[[str], Scalar]) -> Value:
    """A value, or of an array the elements of ``[1, 2, 3]``; texts in quotes. Raises UsageError."""
    if length is None:
        return one(text)
    plain = text.strip()
    if not (plain.startswith("[") and plain.endswith("]")):
        raise UsageError(f"{text!r} is no array; write its elements in brackets: [1, 2, 3]")
    try:
        found = json.loads(plain)
        parts = [each if isinstance(each, str) else json.dumps(each) for each in found]
    except ValueError:
        parts = plain[1:-1].split(",")
    if len(parts) != length != ANY_LENGTH:
        raise UsageError(f"{len(parts)} elements, and the array has {length}")
    return tuple([one(part) for part in parts])


def _checked(text: str, kind: ValueType) -> Scalar:
    value = parse_value(text, kind)
    _check_integer(text, value, kind)
    return value


def _of_property(text: str, kind: PropertyType) -> Scalar:
    members = kind.enumeration.members if kind.enumeration is not None else {}
    for number, label in members.items():
        if label.casefold() == text.strip().casefold():
            return number
    value = _checked(text, kind.type)
    if members and value not in members:
        shown = ", ".join(f"{number} {label}" for number, label in members.items())
        raise UsageError(f"{text} is nothing that {kind.name} can be; it can be {shown}")
    return value


def parse_value(text: str, kind: ValueType) -> Scalar:
    """A value as people write it on a command line. Raises UsageError."""
    plain = text.strip()
    if kind is ValueType.String:
        return text
    if kind is ValueType.Boolean:
        found = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
        if plain.casefold() not in found:
            raise UsageError(f"{text!r} is not a Boolean; write true or false")
        return found[plain.casefold()]
    try:
        whole = integer(plain)
        if kind.is_integer:
            if whole is None:
                raise UsageError(f"{text!r} is not a whole number, which {kind.name} needs")
            return whole
        number = float(plain if whole is None else whole)
        if not math.isfinite(number):
            raise UsageError(f"{text!r} is not a finite number")
        return number  # noqa: TRY300  # what raises stands above it
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a number, which {kind.name} needs") from None


def _check_integer(text: str, value: Value, kind: ValueType) -> None:
    limits = INTEGER_LIMITS.get(kind)
    if limits is not None and isinstance(value, int) and not limits[0] <= value <= limits[1]:
        raise UsageError(f"{text} is outside {kind.name} ({limits[0]} to {limits[1]})")


def described(reading: Reading) -> str:
    """``512.3 bottle/min``, ``Execute (6)``, or the quality where there is no value."""
    if reading.value is None or is_bad(reading.quality):
        return quality_name(reading.quality)
    value = reading.value
    shown = f"{reading.label} ({_plain(value)})" if reading.label else _plain(value)
    shown = f"{shown} {reading.unit}".rstrip()
    return shown if is_good(reading.quality) else f"{shown} ({quality_name(reading.quality)})"


def _plain(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, str) else str(value)
