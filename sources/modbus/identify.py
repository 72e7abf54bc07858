"""Device identification (FC 43, MEI type 14): who made a device, and what it is.

Modbus Application Protocol Specification V1.1b3 §6.21. What comes is checked byte by byte:
many devices get the lengths of this one wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sources.errors import Refused, Unreachable
from sources.insight import Traffic
from sources.modbus import codec
from sources.modbus.config import ModbusSettings
from sources.modbus.exchange import NoReply
from sources.modbus.line import Gateway, Unit

_FUNCTION: Final = 0x2B
_MEI_TYPE: Final = 0x0E
_BASIC: Final = 1
_EXTENDED: Final = 3
_MOST_REPLIES: Final = 64
"""A device that always says that more follows is not asked for ever."""

_NAMES: Final[Mapping[int, str]] = {
    0: "VendorName",
    1: "ProductCode",
    2: "MajorMinorRevision",
    3: "VendorUrl",
    4: "ProductName",
    5: "ModelName",
    6: "UserApplicationName",
}


async def identify(settings: ModbusSettings) -> Mapping[str, str]:
    """What a device says of itself, by the names of the specification, in the order of their numbers.

    Objects of the vendor's own are ``Object 0x80`` and so on. A device that does not know
    the function yields nothing. Raises Unreachable where nobody answers, or a gateway says so,
    ConnectionLost where the connection ends, and Refused where what comes cannot be read or the
    device says no.
    """
    gateway = Gateway(settings)
    try:
        async with gateway.unit(settings, Traffic()) as unit:
            found = await _everything(unit)
    except NoReply as error:
        raise Unreachable(f"unit {settings.unit} does not answer: {error}") from None
    except codec.MalformedReply as error:
        raise Refused(f"the device identification cannot be read: {error}") from None
    except codec.DeviceException as error:
        if error.code == codec.ILLEGAL_FUNCTION:
            return {}
        if error.code in codec.UNREACHED:
            raise Unreachable(f"unit {settings.unit} does not answer: {error}") from None
        raise Refused(f"no device identification: {error}") from None
    return {_NAMES.get(number) or f"Object 0x{number:02X}": found[number] for number in sorted(found)}


async def _everything(unit: Unit) -> dict[int, str]:
    """All objects; of a device that refuses the extended ones, the basic ones."""
    try:
        return await _objects(unit, _EXTENDED)
    except codec.DeviceException as error:
        if error.code not in {codec.ILLEGAL_ADDRESS, codec.ILLEGAL_VALUE}:
            raise
        return await _objects(unit, _BASIC)


async def _objects(unit: Unit, kind: int) -> dict[int, str]:
    found: dict[int, str] = {}
    start = 0
    for _ in range(_MOST_REPLIES):
        request = codec.Request(unit.number, _FUNCTION, bytes((_MEI_TYPE, kind, start)))
        async with unit.slots.command():
            body = codec.check(request, await unit.exchange(request))
        following = _read(body, kind, found)
        if following is None or following <= start:
            break
        start = following
    return found


def _read(body: bytes, kind: int, found: dict[int, str]) -> int | None:
    """Take the objects of one reply in; the number of the next to ask for, None where that was all."""
    if len(body) < 6 or body[0] != _MEI_TYPE or body[1] != kind:
        raise codec.MalformedReply("the reply is not of a device identification")
    more, following, count = body[3], body[4], body[5]
    at = 6
    for _ in range(count):
        if at + 2 > len(body) or (end := at + 2 + body[at + 1]) > len(body):
            raise codec.MalformedReply(f"the reply announces {count} objects and ends before them")
        found[body[at]] = _text(body[at + 2 : end])
        at = end
    return following if more == 0xFF else None


def _text(raw: bytes) -> str:
    """ASCII by the specification; of what is none, something for people to look at."""
    text = raw.rstrip(b"\0 ").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
