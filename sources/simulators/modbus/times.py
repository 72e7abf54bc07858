"""Dates and times in registers, from Unix seconds and back.

Written from the makers' descriptions and without a look at the driver's formats, so that each checks
the other. Weekdays are left 0, as a device may.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from sources.simulators.span import EARLIEST, LATEST

_DAY: Final = 86_400


def _digits(pattern: str) -> tuple[Callable[[int], bytes], Callable[[bytes], int]]:
    """BCD after a pattern of strftime; four zeros at its end are weekday and milliseconds, not read."""
    read_pattern = pattern.removesuffix("0000")
    unread = len(pattern) - len(read_pattern)

    def write(seconds: int) -> bytes:
        return bytes.fromhex(datetime.fromtimestamp(seconds, UTC).strftime(pattern))

    def read(raw: bytes) -> int:
        text = raw.hex()
        at = datetime.strptime(f"{text[: len(text) - unread]}+0000", f"{read_pattern}%z")
        return int(at.timestamp())

    return write, read


def _fields(form: str, order: str) -> tuple[Callable[[int], bytes], Callable[[bytes], int]]:
    """Binary numbers: ``order`` has a letter of strftime for each, ``0`` for one that is 0."""
    packed = struct.Struct(form)

    def write(seconds: int) -> bytes:
        at = datetime.fromtimestamp(seconds, UTC)
        return packed.pack(*(0 if letter == "0" else int(at.strftime(f"%{letter}")) for letter in order))

    def read(raw: bytes) -> int:
        found = dict(zip(order, packed.unpack(raw), strict=True))
        year = found["Y"] if "Y" in found else 2000 + found["y"]
        at = datetime(year, found["m"], found["d"], found["H"], found["M"], found["S"], tzinfo=UTC)
        return int(at.timestamp())

    return write, read


def _count(form: str, unit: float, epoch: int = 0) -> tuple[Callable[[int], bytes], Callable[[bytes], int]]:
    """A count of units, so many to a second, since an epoch in Unix seconds."""
    packed = struct.Struct(form)
    whole = not form.endswith("d")

    def write(seconds: int) -> bytes:
        number = (seconds - epoch) * unit
        return packed.pack(int(number) if whole else number)

    def read(raw: bytes) -> int:
        number: float = packed.unpack(raw)[0]
        return round(number / unit) + epoch

    return write, read


def _meter_write(seconds: int) -> bytes:
    at = datetime.fromtimestamp(seconds, UTC)
    return struct.pack(">HBBBBH", at.year - 2000, at.month, at.day, at.hour, at.minute, at.second * 1000)


def _meter_read(raw: bytes) -> int:
    year, month, day, hour, minute, milliseconds = struct.unpack(">HBBBBH", raw)
    at = datetime(2000 + year % 128, month & 15, day & 31, hour & 31, minute & 63, tzinfo=UTC)
    return int(at.timestamp() + milliseconds // 1000)


TIMES: Final[Mapping[str, tuple[Callable[[int], bytes], Callable[[bytes], int]]]] = {
    "unix32": _count(">I", 1),
    "unix64": _count(">q", 1),
    "unix64ms": _count(">q", 1000),
    "unix64us": _count(">q", 1_000_000),
    "unix64ns": _count(">q", 1_000_000_000),
    "filetime": _count(">Q", 10_000_000, int(datetime(1601, 1, 1, tzinfo=UTC).timestamp())),
    "ole_date": _count(">d", 1 / _DAY, int(datetime(1899, 12, 30, tzinfo=UTC).timestamp())),
    "s7_date": _count(">H", 1 / _DAY, int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())),
    "s7_dt": _digits("%y%m%d%H%M%S0000"),
    "s7_dtl": _fields(">H6BI", "Ymd0HMS0"),
    "logo_clock": _fields(">6B", "ymdHMS"),
    "schneider_dt": _digits("%S00%H%M%m%d%Y"),
    "schneider_meter": (_meter_write, _meter_read),
    "systemtime": _fields(">8H", "Ym0dHMS0"),
    "omron_clock": _digits("%M%S%d%H%y%m0000"),
    "mitsubishi_clock": _digits("%y%m%d%H%M%S0000"),
}


def encode(name: str, seconds: int) -> bytes:
    """The bytes of its registers, in the order of a device that swaps nothing."""
    return TIMES[name][0](seconds)


def decode(name: str, raw: bytes) -> int:
    """Unix seconds; the earliest there is for what is no time."""
    try:
        return max(EARLIEST, min(LATEST, TIMES[name][1](raw)))
    except (ValueError, OverflowError):
        return EARLIEST
