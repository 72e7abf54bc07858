"""What happens to a device in a soak: one fault after the other, at random, each for some seconds."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from support.contract import spoils
from support.contract.logix import LogixPlc
from support.contract.modbus import ModbusPlc
from support.contract.plc import SimulatedPlc
from support.contract.proxy import Spoil
from support.contract.slc import SlcPlc
from support.soak.plant import Device

Fault: TypeAlias = Callable[[Device, random.Random], AbstractAsyncContextManager[None]]
"""A device has it for the time of the block."""


def _network(how: Callable[[Device, random.Random], Spoil], *, once: bool = False) -> Fault:
    @asynccontextmanager
    async def fault(device: Device, dice: random.Random) -> AsyncIterator[None]:
        spoil = how(device, dice)
        device.proxy.spoil = spoils.Once(device.case.carries_values, spoil) if once else spoil
        yield
        device.proxy.heal()

    return fault


@asynccontextmanager
async def _mute(device: Device, _dice: random.Random) -> AsyncIterator[None]:
    device.proxy.mute = True
    yield
    device.proxy.heal()


@asynccontextmanager
async def _gone(device: Device, _dice: random.Random) -> AsyncIterator[None]:
    device.proxy.refuse = True
    device.proxy.hang_up()
    yield
    device.proxy.heal()


@asynccontextmanager
async def _cable(device: Device, dice: random.Random) -> AsyncIterator[None]:
    for _ in range(dice.randint(1, 4)):
        device.proxy.hang_up()
        await asyncio.sleep(dice.uniform(0.0, 0.5))
    yield


@asynccontextmanager
async def _restart(device: Device, dice: random.Random) -> AsyncIterator[None]:
    # Nobody sees the values it starts with, before it holds what it held.
    device.proxy.refuse = True
    await asyncio.to_thread(device.plc.kill)
    await asyncio.sleep(dice.uniform(0.0, 2.0))
    await asyncio.to_thread(device.plc.start)
    await device.plc.again()
    device.proxy.refuse = False
    yield


def _ordered(*begin: dict[str, Any]) -> Fault:
    @asynccontextmanager
    async def fault(device: Device, _dice: random.Random) -> AsyncIterator[None]:
        assert isinstance(device.plc, SimulatedPlc)
        await device.plc.order(*begin)
        yield
        await device.plc.heal()

    return fault


@asynccontextmanager
async def _refuses(device: Device, dice: random.Random) -> AsyncIterator[None]:
    """A tag that is refused for a while; Modbus with another exception than "no such address"."""
    name = dice.choice(device.plc.names)
    if isinstance(device.plc, ModbusPlc):
        await device.plc.fail(name, dice.choice((4, 6, 8, 10, 11)))
    else:
        await device.plc.refuse(name)
    yield
    await device.plc.heal()


@asynccontextmanager
async def _download(device: Device, dice: random.Random) -> AsyncIterator[None]:
    assert isinstance(device.plc, LogixPlc)
    for _ in range(dice.randint(1, 3)):
        await device.plc.renumber(close_connections=dice.random() < 0.5)
        await asyncio.sleep(0.3)
    yield


@asynccontextmanager
async def _other_program(device: Device, dice: random.Random) -> AsyncIterator[None]:
    """Another program in an SLC, with other elements in a file that nobody reads, and then the one before."""
    assert isinstance(device.plc, SlcPlc)
    await device.plc.download(dice.randrange(1, 1000), B3=dice.randrange(1, 100))
    yield
    await device.plc.download(dice.randrange(1000, 2000))


def _payload(device: Device) -> Callable[[bytes], bytes | None]:
    case = device.case
    return lambda frame: case.payload(frame) if case.carries_values(frame) else None


def _shortened(device: Device, _dice: random.Random) -> Spoil:
    case = device.case
    return lambda frame: (case.shorten(frame) if case.carries_values(frame) else frame,)


def _noise(*, instead: bool) -> Callable[[Device, random.Random], Spoil]:
    return lambda _, dice: spoils.garbage(dice.randrange(2**32), instead=instead)


ANY: dict[str, Fault] = {
    "mute": _mute,
    "gone": _gone,
    "cable": _cable,
    "restart": _restart,
    "late": _network(lambda _, dice: spoils.late(dice.uniform(0.1, 1.5))),
    "late once": _network(lambda _, dice: spoils.late(dice.uniform(1.0, 3.0)), once=True),
    "dribbled": _network(lambda _d, _r: spoils.dribbled),
    "twice": _network(lambda _d, _r: spoils.twice),
    "cut": _network(lambda _, dice: spoils.cut(dice.random()), once=True),
    "garbage before": _network(
        lambda _, dice: spoils.garbage(dice.randrange(2**32), instead=False), once=True
    ),
    "garbage instead": _network(
        lambda _, dice: spoils.garbage(dice.randrange(2**32), instead=True), once=True
    ),
    "short": _network(_shortened),
    "replayed": _network(lambda device, _: spoils.Replayed(_payload(device), right_too=False)),
    "replayed before": _network(lambda device, _: spoils.Replayed(_payload(device), right_too=True)),
    "slow device": _ordered({"delay": 0.7}),
    "hanging device": _ordered({"mute": True}),
    "full device": _ordered({"drop": True}, {"refuse": True}),
    "tag refused": _refuses,
}
MODBUS: dict[str, Fault] = {"short reply": _ordered({"short_reply": True})}
LOGIX: dict[str, Fault] = {
    "download": _download,
    "cut by the device": _ordered({"cut": 30}),
    "small connections": _ordered({"refuse_large": True}, {"drop": True}),
}
SLC: dict[str, Fault] = {
    "another program": _other_program,
    "cut by the device": _ordered({"cut": 30}),
    "foreign transactions": _ordered({"transaction_shift": 1}),
}


def of(device: Device) -> dict[str, Fault]:
    """The faults a device may have."""
    its = {"modbus": MODBUS, "logix": LOGIX, "slc": SLC}.get(device.case.kind, {})
    return ANY | its


async def afflict(
    device: Device,
    dice: random.Random,
    told: Counter[str],
    over: asyncio.Event,
    *,
    calm: tuple[float, float] = (2.0, 8.0),
    lasting: tuple[float, float] = (0.5, 6.0),
) -> None:
    """Let a device have faults until it is over; ``told`` counts them.

    Not until cancelled: a device that is just being started must not be left half way.
    """
    known = of(device)
    while not await set_within(over, dice.uniform(*calm)):
        name = dice.choice(list(known))
        told[name] += 1
        async with known[name](device, dice):
            await set_within(over, dice.uniform(*lasting))


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for so long at most; whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def heal(plant: Sequence[Device]) -> None:
    """Have every device run, without a fault, and hold the values of one generation."""

    async def one(device: Device) -> None:
        await device.plc.heal()
        await device.plc.advance()
        device.proxy.heal()

    waiting: list[Awaitable[None]] = [one(device) for device in plant]
    await asyncio.gather(*waiting)
