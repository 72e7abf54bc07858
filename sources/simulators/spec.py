"""What a simulated device is to be: its points, where they lie and how they should move.

A spec is a JSON file between the process that knows the plant and the simulator process.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from sources.settings import SettingsModel
from sources.simulators.span import EARLIEST, LATEST

Scalar: TypeAlias = bool | int | float | str
"""A value of a point: engineering or raw."""

TableName: TypeAlias = Literal["coil", "discrete", "holding", "input"]
WordOrderName: TypeAlias = Literal["ABCD", "BADC", "CDAB", "DCBA"]

ADDRESSES: Final = 65536
Queue: TypeAlias = Annotated[tuple[Annotated[int, Field(ge=0, le=0xFFFF)], ...], Field(max_length=31)]
"""The registers of a FIFO queue."""
_FLOAT32_MAX: Final = (2.0 - 2.0**-23) * 2.0**127
_FLOAT64_MAX: Final = (2.0 - 2.0**-52) * 2.0**1023


@dataclass(frozen=True, slots=True)
class RawType:
    """What a device's own value can hold, whatever the protocol.

    ``low`` and ``high`` bound numbers, both included; ``size`` is the room for text in bytes.
    """

    kind: Literal["bool", "int", "float", "text"]
    low: float = 0
    high: float = 1
    size: int = 0


def _integer(bits: int, *, signed: bool) -> RawType:
    return (
        RawType("int", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else RawType("int", 0, 2**bits - 1)
    )


_ENCODINGS: Final[dict[str, tuple[RawType, int]]] = {
    "bool": (RawType("bool"), 1),
    "int16": (_integer(16, signed=True), 1),
    "uint16": (_integer(16, signed=False), 1),
    "int32": (_integer(32, signed=True), 2),
    "uint32": (_integer(32, signed=False), 2),
    "int64": (_integer(64, signed=True), 4),
    "uint64": (_integer(64, signed=False), 4),
    "float32": (RawType("float", -_FLOAT32_MAX, _FLOAT32_MAX), 2),
    "float64": (RawType("float", -_FLOAT64_MAX, _FLOAT64_MAX), 4),
    "bcd16": (RawType("int", 0, 9_999), 1),
    "bcd32": (RawType("int", 0, 99_999_999), 2),
    "s5time": (RawType("float", 0, 9_990), 1),
}
_TIMES: Final = {
    "unix32": 2,
    "s7_date": 1,
    "s7_dtl": 6,
    "logo_clock": 3,
    "systemtime": 8,
    "unix64": 4,
    "unix64ms": 4,
    "unix64us": 4,
    "unix64ns": 4,
    "filetime": 4,
    "ole_date": 4,
    "s7_dt": 4,
    "schneider_dt": 4,
    "schneider_meter": 4,
    "omron_clock": 4,
    "mitsubishi_clock": 4,
}
"""Registers of dates and times, whose engineering value is in Unix seconds."""
_ENCODINGS.update({name: (RawType("int", EARLIEST, LATEST), size) for name, size in _TIMES.items()})
_TEXT: Final = r"(string|s7string|lstring)\([1-9]\d{0,3}\)"
_ENCODING: Final = rf"^({'|'.join(_ENCODINGS)}|{_TEXT})$"


class ModbusAddress(SettingsModel):
    """Where a point lies in a Modbus device.

    ``encoding`` is bool (a coil, a discrete input, or with ``bit`` one bit of a register,
    0 the least significant), int16 … float64, bcd16, bcd32, s5time, one of the times, or
    ``string(N)`` of N bytes (``s7string(N)`` with two bytes of length before it, ``lstring(N)``
    with a register). ``words`` names the order of the bytes, A the most significant; the bytes
    within each register swap in BADC and DCBA, the registers among each other in CDAB and
    DCBA. Text and times of several fields keep their registers in order and swap bytes only.
    """

    table: TableName
    offset: int = Field(ge=0, lt=ADDRESSES)
    bit: int | None = Field(None, ge=0, le=15)
    encoding: str = Field(pattern=_ENCODING)
    words: WordOrderName = "ABCD"

    @property
    def is_bit_table(self) -> bool:
        """Whether an address of its table is one bit instead of 16."""
        return self.table in {"coil", "discrete"}

    @property
    def raw_type(self) -> RawType:
        """What the point can hold."""
        known = _ENCODINGS.get(self.encoding)
        return known[0] if known else RawType("text", size=self._text_size)

    @property
    def count(self) -> int:
        """Addresses it takes: registers, or bits in a bit table."""
        known = _ENCODINGS.get(self.encoding)
        return known[1] if known else (self._text_size + self.prefix + 1) // 2

    @property
    def prefix(self) -> int:
        """Bytes before a text that hold its length."""
        return 2 if self.encoding.startswith(("s7string", "lstring")) else 0

    @property
    def is_time(self) -> bool:
        """Whether it is a date or a time."""
        return self.encoding in _TIMES

    @property
    def _text_size(self) -> int:
        return int(self.encoding.partition("(")[2].rstrip(")"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_bit_table and (self.encoding != "bool" or self.bit is not None):
            raise ValueError(f"an address of the {self.table} table is one bit: encoding bool, no bit number")
        if not self.is_bit_table and (self.encoding == "bool") != (self.bit is not None):
            raise ValueError("in a register, encoding bool and a bit number go together")
        if self.offset + self.count > ADDRESSES:
            raise ValueError(f"{self.encoding} at {self.offset} runs past address {ADDRESSES - 1}")
        return self


class Point(SettingsModel, abc.ABC):
    """One value of the device, wherever it lies.

    ``machine`` is the path of the equipment it belongs to: the points of one machine move
    together. ``name`` is the property's name, by which the simulator knows a speed from a
    level. ``low`` and ``high`` are its engineering range and ``members`` the numbers of its
    enumeration, where it has them. ``engineering = raw * gain + offset``, or ``lut`` from raw
    integers to engineering ones.
    """

    machine: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    writable: bool = False
    kind: Literal["", "counter"] = ""
    low: float | None = Field(None, allow_inf_nan=False)
    high: float | None = Field(None, allow_inf_nan=False)
    members: tuple[int, ...] = ()
    gain: float = Field(1.0, allow_inf_nan=False)
    offset: float = Field(0.0, allow_inf_nan=False)
    lut: dict[int, int] | None = Field(None, min_length=1)

    @property
    def key(self) -> tuple[str, str]:
        """Machine and name: unique within a device."""
        return self.machine, self.name

    @property
    @abc.abstractmethod
    def raw_type(self) -> RawType:
        """What the device's own value can hold."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.gain == 0:
            raise ValueError("gain must not be 0")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.lut is not None and (self.gain, self.offset) != (1.0, 0.0):
            raise ValueError("give either a lut, or gain and offset")
        if self.lut is not None and self.raw_type.kind not in {"int", "bool"}:
            raise ValueError(f"a lut needs an integer or bool, not {self.raw_type.kind}")
        return self


class PointSpec(Point):
    """One value of a Modbus device."""

    address: ModbusAddress

    @property
    def raw_type(self) -> RawType:
        """See Point."""
        return self.address.raw_type

    @model_validator(mode="after")
    def _check_table(self) -> Self:
        if self.writable and self.address.table in {"discrete", "input"}:
            raise ValueError(f"the {self.address.table} table cannot be written")
        return self


class DeviceSpec(SettingsModel):
    """One simulated device. ``port`` 0 takes a free one.

    Over ``rtu`` and ``ascii`` it is reached by a pseudo terminal, whose path stands in the
    place of the host when it says that it is ready. ``tls`` needs ``certificate`` and ``key``
    (PEM files) and with ``ca`` asks masters for theirs.
    """

    name: Annotated[str, Field(min_length=1)]
    kind: Literal["modbus"] = "modbus"
    transport: Literal["tcp", "tls", "udp", "rtu-over-tcp", "rtu", "ascii"] = "tcp"
    certificate: str = ""
    key: str = ""
    ca: str = ""
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    unit: int = Field(1, ge=0, le=255)
    points: tuple[PointSpec, ...] = ()
    queues: dict[Annotated[int, Field(ge=0, lt=ADDRESSES)], Queue] = Field(default_factory=dict)
    """What FC 24 brings, by the address of the pointer."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.points and not self.queues:
            raise ValueError("a device has at least one point")
        if self.transport == "tls" and not (self.certificate and self.key):
            raise ValueError("transport tls needs certificate and key")
        seen: set[tuple[str, str]] = set()
        for point in self.points:
            if point.key in seen:
                raise ValueError(f"{point.machine}.{point.name} is there twice")
            seen.add(point.key)
        return self
