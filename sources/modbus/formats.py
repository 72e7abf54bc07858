"""Values that are no plain numbers: BCD, durations, dates and times as the makers write them, text.

Pure: bytes in, values out. A format takes the bytes of its registers in their order, most
significant first where they hold one number (`Encoding.is_one_number`), each register's high
byte first where they hold fields. What is no such value, as a month 13, decodes to None.

==================  =========  ====================================================================
bcd16, bcd32        1, 2       four or eight decimal digits
s5time              1          Siemens S5TIME: 2 bits time base (0.01, 0.1, 1, 10 s), three digits BCD
unix32              2          seconds since 1970, unsigned (also CODESYS and Beckhoff DT)
unix64, …ms, …us,   4          seconds, milli-, micro-, nanoseconds since 1970, signed (us: Rockwell
…ns                            wall clock; ns: CODESYS LDT)
filetime            4          100 ns since 1601, as Windows and Beckhoff write it
ole_date            4          Excel and OLE: days since 1899-12-30 as a float64
s7_date             1          Siemens DATE: days since 1990-01-01
s7_dt               4          Siemens DATE_AND_TIME: BCD year, month, day, hour, minute, second, three
                               digits of milliseconds, weekday; years 90 to 89 are 1990 to 2089
s7_dtl              6          Siemens DTL: year (16 bits), month, day, weekday, hour, minute, second
                               (8 bits each), nanoseconds (32 bits)
logo_clock          3          Siemens LOGO!: year of the century, month, day, hour, minute, second,
                               a byte each
schneider_dt        4          Schneider %SW50 to %SW53, BCD: ss00, hhmm, MMDD, YYYY
schneider_meter     4          Schneider power meters (TI081): year since 2000 (7 bits); month (4 bits),
                               weekday (3), day (5); hour (5 bits), minute (6); milliseconds of the minute
systemtime          8          Windows SYSTEMTIME and Beckhoff TIMESTRUCT: year, month, weekday, day,
                               hour, minute, second, millisecond, a register each
omron_clock         4          Omron A351 to A354, BCD: mmss, DDhh, YYMM, weekday
mitsubishi_clock    4          Mitsubishi SD210 to SD213, BCD: YYMM, DDhh, mmss, weekday
string(N)           (N+1)/2    N bytes, up to the first NUL
s7string(N)         (N+3)/2    Siemens STRING[N]: maximum and actual length, a byte each, then N bytes
lstring(N)          (N+3)/2    length in a register, then N bytes
==================  =========  ====================================================================
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, TypeAlias

from sources import clock
from sources.modbus.encodings import Encoding
from sources.quality import BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, Quality
from sources.tag import Value

_LAST: Final = clock.from_datetime(datetime.max.replace(tzinfo=UTC))


class Unencodable(ValueError):
    """A value that a tag's encoding cannot carry; ``quality`` says why."""

    def __init__(self, message: str, quality: Quality) -> None:
        super().__init__(message)
        self.quality = quality


@dataclass(frozen=True, slots=True)
class Format:
    """Both directions. ``encode`` raises Unencodable, its text without the name of the tag."""

    decode: Callable[[bytes], Value]
    encode: Callable[[Value], bytes]


def format_of(encoding: Encoding, length: int, zone: tzinfo) -> Format:
    """The format of an encoding that is no plain number; ``zone`` is where the device's calendar is."""
    if encoding is Encoding.string:
        return Format(
            lambda raw: _text(raw[:length]),
            lambda value: _encode_text(value, length).ljust(length + length % 2, b"\0"),
        )
    if encoding is Encoding.s7string:
        return Format(lambda raw: _s7string(raw, length), lambda value: _encode_s7string(value, length))
    if encoding is Encoding.lstring:
        return Format(lambda raw: _lstring(raw, length), lambda value: _encode_lstring(value, length))
    if encoding in _OTHERS:
        return _OTHERS[encoding]
    read, write = _CALENDARS[encoding]

    def decode(raw: bytes) -> int | None:
        try:
            ticks = clock.from_datetime(datetime(*read(raw), tzinfo=zone))  # type: ignore[misc, arg-type]
        except (ValueError, OverflowError):
            return None
        return ticks if 0 <= ticks <= _LAST else None

    def encode(value: Value) -> bytes:
        moment = clock.to_datetime(_time(value))
        try:
            return write(moment.astimezone(zone))
        except (ValueError, OverflowError, struct.error):
            raise Unencodable(f"the device's calendar has no {moment:%Y-%m-%d}", BAD_OUT_OF_RANGE) from None

    return Format(decode, encode)


def _time(value: Value) -> int:
    """Ticks of a DateTime. Raises Unencodable."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unencodable(f"{value!r} is not a DateTime", BAD_TYPE_MISMATCH)
    if not 0 <= value <= _LAST:
        raise Unencodable(f"{value} is no time between 1601 and 9999", BAD_OUT_OF_RANGE)
    return value


# Calendars: fields for datetime(), and back.

_Fields: TypeAlias = tuple[int, ...]


def _bcd(raw: bytes) -> list[int]:
    """Two digits a byte. Raises ValueError for what is no digit."""
    return [int(f"{byte:02x}") for byte in raw]


def _to_bcd(*numbers: int) -> bytes:
    return bytes.fromhex("".join(f"{number:02d}" for number in numbers))


def _century(year: int, first: int = 1970) -> int:
    """The year whose last two digits these are, within a hundred from ``first`` on."""
    return first + (year - first) % 100


def _two_digits(year: int, first: int = 1970) -> int:
    if not first <= year < first + 100:
        raise ValueError("another century")
    return year % 100


def _read_s7_dt(raw: bytes) -> _Fields:
    *fields, high, low = [*_bcd(raw[:7]), raw[7] >> 4]
    if low > 9:
        raise ValueError("no digit")
    return _century(fields[0], 1990), *fields[1:], (high * 10 + low) * 1000


def _write_s7_dt(at: datetime) -> bytes:
    year = _two_digits(at.year, 1990)
    head = _to_bcd(year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond // 10_000)
    return head + bytes(((at.microsecond // 1000 % 10) << 4 | _weekday(at),))


def _weekday(at: datetime) -> int:
    """1 is Sunday, as Siemens counts."""
    return at.isoweekday() % 7 + 1


def _read_s7_dtl(raw: bytes) -> _Fields:
    year, month, day, _, hour, minute, second, nanoseconds = struct.unpack(">HBBBBBBI", raw)
    if nanoseconds >= 1_000_000_000:
        raise ValueError("more than a second")
    return year, month, day, hour, minute, second, nanoseconds // 1000


def _write_s7_dtl(at: datetime) -> bytes:
    return struct.pack(
        ">HBBBBBBI",
        at.year,
        at.month,
        at.day,
        _weekday(at),
        at.hour,
        at.minute,
        at.second,
        at.microsecond * 1000,
    )


def _read_logo(raw: bytes) -> _Fields:
    if raw[0] > 99:
        raise ValueError("no year of a century")
    return 2000 + raw[0], *raw[1:]


def _write_logo(at: datetime) -> bytes:
    return bytes((_two_digits(at.year, 2000), at.month, at.day, at.hour, at.minute, at.second))


def _read_schneider_dt(raw: bytes) -> _Fields:
    second, _, hour, minute, month, day, century, year = _bcd(raw)
    return century * 100 + year, month, day, hour, minute, second


def _write_schneider_dt(at: datetime) -> bytes:
    century, year = divmod(at.year, 100)
    return _to_bcd(at.second, 0, at.hour, at.minute, at.month, at.day, century, year)


def _read_meter(raw: bytes) -> _Fields:
    year, date, time, milliseconds = struct.unpack(">4H", raw)
    second, millisecond = divmod(milliseconds, 1000)
    return (
        2000 + (year & 0x7F),
        date >> 8 & 0xF,
        date & 0x1F,
        time >> 8 & 0x1F,
        time & 0x3F,
        second,
        millisecond * 1000,
    )


def _write_meter(at: datetime) -> bytes:
    if not 2000 <= at.year < 2128:
        raise ValueError("beyond seven bits")
    return struct.pack(
        ">4H",
        at.year - 2000,
        at.month << 8 | at.isoweekday() << 5 | at.day,
        at.hour << 8 | at.minute,
        at.second * 1000 + at.microsecond // 1000,
    )


def _read_systemtime(raw: bytes) -> _Fields:
    year, month, _, day, hour, minute, second, millisecond = struct.unpack(">8H", raw)
    return year, month, day, hour, minute, second, millisecond * 1000


def _write_systemtime(at: datetime) -> bytes:
    return struct.pack(
        ">8H",
        at.year,
        at.month,
        at.isoweekday() % 7,
        at.day,
        at.hour,
        at.minute,
        at.second,
        at.microsecond // 1000,
    )


def _read_omron(raw: bytes) -> _Fields:
    minute, second, day, hour, year, month = _bcd(raw[:6])
    return _century(year), month, day, hour, minute, second


def _write_omron(at: datetime) -> bytes:
    return _to_bcd(
        at.minute, at.second, at.day, at.hour, _two_digits(at.year), at.month, 0, at.isoweekday() % 7
    )


def _read_mitsubishi(raw: bytes) -> _Fields:
    year, month, day, hour, minute, second = _bcd(raw[:6])
    return _century(year), month, day, hour, minute, second


def _write_mitsubishi(at: datetime) -> bytes:
    year = _two_digits(at.year)
    return _to_bcd(year, at.month, at.day, at.hour, at.minute, at.second, 0, at.isoweekday() % 7)


def _read_s7_date(raw: bytes) -> _Fields:
    day = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(days=int.from_bytes(raw, "big"))
    return day.year, day.month, day.day


def _write_s7_date(at: datetime) -> bytes:
    return struct.pack(">H", (at.date() - datetime(1990, 1, 1, tzinfo=UTC).date()).days)


def _read_ole(raw: bytes) -> _Fields:
    (days,) = struct.unpack(">d", raw)
    if not math.isfinite(days):
        raise ValueError("no number of days")
    at = datetime(1899, 12, 30, tzinfo=UTC) + timedelta(milliseconds=round(days * 86_400_000))
    return at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond


def _write_ole(at: datetime) -> bytes:
    naive = at.replace(tzinfo=UTC) - datetime(1899, 12, 30, tzinfo=UTC)
    return struct.pack(">d", naive.total_seconds() / 86_400)


_CALENDARS: Final[Mapping[Encoding, tuple[Callable[[bytes], _Fields], Callable[[datetime], bytes]]]] = {
    Encoding.s7_date: (_read_s7_date, _write_s7_date),
    Encoding.s7_dt: (_read_s7_dt, _write_s7_dt),
    Encoding.s7_dtl: (_read_s7_dtl, _write_s7_dtl),
    Encoding.logo_clock: (_read_logo, _write_logo),
    Encoding.schneider_dt: (_read_schneider_dt, _write_schneider_dt),
    Encoding.schneider_meter: (_read_meter, _write_meter),
    Encoding.systemtime: (_read_systemtime, _write_systemtime),
    Encoding.omron_clock: (_read_omron, _write_omron),
    Encoding.mitsubishi_clock: (_read_mitsubishi, _write_mitsubishi),
    Encoding.ole_date: (_read_ole, _write_ole),
}


# One number: counts from an epoch, BCD, S5TIME.


def _count(letter: str, unit: int, epoch: int) -> Format:
    """A number of units of so many ticks (below one tick: minus ticks a unit's fraction) since an epoch."""
    form = struct.Struct(">" + letter)

    def decode(raw: bytes) -> int | None:
        (number,) = form.unpack(raw)
        ticks: int = epoch + (number * unit if unit > 0 else number // -unit)
        return ticks if 0 <= ticks <= _LAST else None

    def encode(value: Value) -> bytes:
        since = _time(value) - epoch
        try:
            return form.pack(since // unit if unit > 0 else since * -unit)
        except struct.error:
            moment = clock.to_datetime(since + epoch)
            raise Unencodable(f"the device's count has no {moment:%Y-%m-%d}", BAD_OUT_OF_RANGE) from None

    return Format(decode, encode)


def _decimal(digits: int) -> Format:
    def decode(raw: bytes) -> int | None:
        text = raw.hex()
        return int(text) if text.isdecimal() else None

    def encode(value: Value) -> bytes:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Unencodable(f"{value!r} is not a whole number", BAD_TYPE_MISMATCH)
        if not 0 <= value < 10**digits:
            raise Unencodable(f"{value} has no {digits} digits", BAD_OUT_OF_RANGE)
        return bytes.fromhex(f"{value:0{digits}d}")

    return Format(decode, encode)


def _s5time(raw: bytes) -> float | None:
    text = raw.hex()[1:]
    base = raw[0] >> 4 & 0b11
    return round(int(text) * 10.0 ** (base - 2), 2) if text.isdecimal() else None


def _encode_s5time(value: Value) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unencodable(f"{value!r} is not a number of seconds", BAD_TYPE_MISMATCH)
    for base in range(4):
        count = value / 10.0 ** (base - 2)
        if 0 <= count < 999.5:
            return bytes.fromhex(f"{base}{round(count):03d}")
    raise Unencodable(f"{value:g} s is no S5TIME, which reaches from 0 to 9990 s", BAD_OUT_OF_RANGE)


_OTHERS: Final[Mapping[Encoding, Format]] = {
    Encoding.bcd16: _decimal(4),
    Encoding.bcd32: _decimal(8),
    Encoding.s5time: Format(_s5time, _encode_s5time),
    Encoding.unix32: _count("I", clock.TICKS_PER_SECOND, clock.UNIX_EPOCH_TICKS),
    Encoding.unix64: _count("q", clock.TICKS_PER_SECOND, clock.UNIX_EPOCH_TICKS),
    Encoding.unix64ms: _count("q", clock.TICKS_PER_SECOND // 1000, clock.UNIX_EPOCH_TICKS),
    Encoding.unix64us: _count("q", clock.TICKS_PER_SECOND // 1_000_000, clock.UNIX_EPOCH_TICKS),
    Encoding.unix64ns: _count("q", -100, clock.UNIX_EPOCH_TICKS),
    Encoding.filetime: _count("Q", 1, 0),
}


# Text.


def _utf8(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _text(raw: bytes) -> str | None:
    """Text up to the first NUL; padding blanks stay, they may be meant."""
    return _utf8(raw.partition(b"\0")[0])


def _s7string(raw: bytes, length: int) -> str | None:
    actual = raw[1]
    return _utf8(raw[2 : 2 + actual]) if actual <= min(raw[0], length) else None


def _lstring(raw: bytes, length: int) -> str | None:
    actual = int.from_bytes(raw[:2], "big")
    return _utf8(raw[2 : 2 + actual]) if actual <= length else None


def _encode_text(value: Value, length: int, *, ends_at_nul: bool = True) -> bytes:
    if not isinstance(value, str):
        raise Unencodable(f"{value!r} is not a String", BAD_TYPE_MISMATCH)
    try:
        raw = value.encode("utf-8")
    except UnicodeEncodeError:
        raise Unencodable(f"{value!r} has no UTF-8", BAD_OUT_OF_RANGE) from None
    if ends_at_nul and b"\0" in raw:
        raise Unencodable(f"a NUL inside {value!r} would end the text there", BAD_OUT_OF_RANGE)
    if len(raw) > length:
        raise Unencodable(f"{value!r} takes {len(raw)} bytes, the device has {length}", BAD_OUT_OF_RANGE)
    return raw


def _encode_s7string(value: Value, length: int) -> bytes:
    raw = _encode_text(value, length, ends_at_nul=False)
    return bytes((length, len(raw))) + raw.ljust(length + length % 2, b"\0")


def _encode_lstring(value: Value, length: int) -> bytes:
    raw = _encode_text(value, length, ends_at_nul=False)
    return len(raw).to_bytes(2, "big") + raw.ljust(length + length % 2, b"\0")
