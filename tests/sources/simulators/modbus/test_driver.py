"""The driver and the simulator share no decoder: each finds what the other says."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Sequence

from support.modbus_tags import settings, tag
from support.simulator import FILLER, point

from sources import clock
from sources.modbus.config import ModbusAddress as DriverAddress
from sources.modbus.driver import ModbusSession, ModbusSource
from sources.modbus.encodings import Encoding
from sources.quality import BAD_DEVICE_FAILURE, GOOD
from sources.simulators.modbus.device import ModbusDevice
from sources.simulators.spec import DeviceSpec, PointSpec, Scalar
from sources.tag import Tag, ValueType

ORDERS = ("ABCD", "BADC", "CDAB", "DCBA")
VALUES: tuple[tuple[str, int, Scalar, Scalar], ...] = (
    # Encoding, registers, a value and another.
    ("int16", 1, -12345, 258),
    ("uint16", 1, 54321, 0),
    ("int32", 2, -123456789, 66051),
    ("uint32", 2, 4123456789, 1),
    ("int64", 4, -1234567890123456789, 283686952306183),
    ("uint64", 4, 12345678901234567890, 2**64 - 1),
    ("float32", 2, 1.5, -math.pi),
    ("float64", 4, math.pi, 1e-300),
    ("string(7)", 4, "Grün", "Cola 05"),
)


def device_and_tags() -> tuple[DeviceSpec, list[Tag[DriverAddress]]]:
    """A point in every encoding and order, bits beside, and the same as tags of the driver."""
    points: list[PointSpec] = []
    tags: list[Tag[DriverAddress]] = []
    at = 7
    for (encoding, count, _, _), words in itertools.product(VALUES, ORDERS):
        name = f"{encoding} {words}"
        points.append(point(name, "holding", at, encoding, words=words, writable=True))
        tags.append(tag(f"holding:{at}", encoding, words=words, writable=True, name=name))
        at += count
    for bit, words in itertools.product((0, 5, 8, 15), ORDERS):
        name = f"bit {bit} {words}"
        points.append(point(name, "holding", at, "bool", bit=bit, words=words, writable=True))
        tags.append(tag(f"holding:{at}.{bit}", words=words, writable=True, name=name))
        at += 1
    for coil in (0, 15, 16, 33):
        points.append(point(f"coil {coil}", "coil", coil, "bool", writable=True))
        tags.append(tag(f"coil:{coil}", writable=True, name=f"coil {coil}"))
    return DeviceSpec(name="PLC", points=tuple(points)), tags


def values(tags: Sequence[Tag[DriverAddress]], which: int) -> list[Scalar]:
    by_encoding = {row[0]: row[2 + which] for row in VALUES}
    return [by_encoding.get(its.name.split()[0], which == 0) for its in tags]


@contextlib.asynccontextmanager
async def both() -> AsyncIterator[tuple[ModbusDevice, ModbusSession, list[Tag[DriverAddress]]]]:
    spec, tags = device_and_tags()
    device = ModbusDevice(spec)
    async with device.listening() as (_, port):
        source = ModbusSource("PLC", settings(port, timeout="30s"), tags)
        async with source.connect() as session:
            yield device, session, tags


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other and type(one) is type(other)


async def test_the_driver_reads_what_the_simulator_shows() -> None:
    async with both() as (device, session, tags):
        for which in (0, 1):
            shown = values(tags, which)
            for its, value in zip(tags, shown, strict=True):
                device.freeze(FILLER, its.name, value)
            batch = await session.read(tags)
            assert batch.values is not None
            read = dict(zip([its.name for its in batch.tags], batch.values, strict=True))
            wrong = {
                its.name: (value, read[its.name])
                for its, value in zip(tags, shown, strict=True)
                if not same(value, read[its.name])
            }
            assert not wrong


async def test_the_simulator_takes_what_the_driver_writes() -> None:
    async with both() as (device, session, tags):
        for which in (0, 1):
            written = values(tags, which)
            qualities = await session.write(list(zip(tags, written, strict=True)))
            assert set(qualities) == {GOOD}
            wrong = {
                its.name: (value, device.get(FILLER, its.name))
                for its, value in zip(tags, written, strict=True)
                if not same(value, device.get(FILLER, its.name))
            }
            assert not wrong


async def test_a_fault_reaches_the_driver_as_its_quality() -> None:
    async with both() as (device, session, tags):
        device.faults.exceptions["holding", tags[0].address.start] = 4
        batch = await session.read(tags[:1])
        quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[0]
        assert quality == BAD_DEVICE_FAILURE


TIMES = [encoding.value for encoding in Encoding if encoding.type is ValueType.DateTime]
OTHERS: tuple[tuple[str, int, Scalar, Scalar], ...] = (
    ("bcd16", 1, 1234, 9999),
    ("bcd32", 2, 12345678, 7),
    ("s5time", 1, 12.5, 990.0),
    ("s7string(7)", 5, "Grün", "Cola 05"),
    ("lstring(6)", 4, "Grün", "Cola"),
)


async def test_what_is_no_plain_number_means_the_same_to_both() -> None:
    points: list[PointSpec] = []
    tags: list[Tag[DriverAddress]] = []
    expected: list[tuple[Scalar, Scalar]] = []
    at = 0
    kinds = [*OTHERS, *((name, Encoding(name).registers(), 1_765_000_000, 1_000_080_000) for name in TIMES)]
    for (encoding, count, one, other), words in itertools.product(kinds, ORDERS):
        name = f"{encoding} {words}"
        points.append(point(name, "holding", at, encoding, words=words, writable=True))
        tags.append(tag(f"holding:{at}", encoding, words=words, writable=True, name=name))
        expected.append((_days(one), _days(other)) if encoding == "s7_date" else (one, other))
        at += count
    device = ModbusDevice(DeviceSpec(name="PLC", points=tuple(points)))
    async with device.listening() as (_, port):
        source = ModbusSource("PLC", settings(port), tags)
        async with source.connect() as session:
            for which in (0, 1):
                wanted = [pair[which] for pair in expected]
                for its, value in zip(tags, wanted, strict=True):
                    device.freeze(FILLER, its.name, value)
                batch = await session.read(tags)
                assert batch.qualities == [GOOD] * len(tags)
                raw = [_ticks(its, value) for its, value in zip(tags, wanted, strict=True)]
                assert batch.values == raw
                for its in tags:
                    device.freeze(FILLER, its.name, None)
                back = [_ticks(its, pair[1 - which]) for its, pair in zip(tags, expected, strict=True)]
                assert await session.write(list(zip(tags, back, strict=True))) == [GOOD] * len(tags)
                held = [device.get(FILLER, its.name) for its in tags]
                assert held == [pair[1 - which] for pair in expected]


def _days(seconds: Scalar) -> Scalar:
    return int(seconds) // 86_400 * 86_400


def _ticks(its: Tag[DriverAddress], value: Scalar) -> Scalar:
    """What the driver hands up for a value of the simulator's, whose times are Unix seconds."""
    if its.type is not ValueType.DateTime:
        return value
    return int(value) * clock.TICKS_PER_SECOND + clock.UNIX_EPOCH_TICKS
