"""The driver and the simulator share no decoder: each finds what the other says."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Sequence

from support.modbus_tags import settings, tag
from support.simulator import FILLER, point

from sources.modbus.config import ModbusAddress as DriverAddress
from sources.modbus.driver import ModbusSession, ModbusSource
from sources.quality import BAD_DEVICE_FAILURE, GOOD
from sources.simulators.modbus.device import ModbusDevice
from sources.simulators.spec import DeviceSpec, PointSpec, Scalar
from sources.tag import Tag

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
