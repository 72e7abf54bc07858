"""What the configuration says of a Modbus device and its points: settings, addresses, encodings."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sources.address import host_and_port
from sources.errors import AddressError
from sources.modbus.encodings import Encoding, Shape, WordOrder, natural_shape, parse_shape
from sources.modbus.tables import ADDRESSES, Addressing, Span, Table, parse_address, parse_range, show
from sources.settings import Duration, Host, SecretReference, SettingsModel
from sources.spec import TagSpec
from sources.tag import ANY_LENGTH, Tag

MAX_READ_REGISTERS: Final = 125
MAX_READ_BITS: Final = 2000
MAX_WRITE_REGISTERS: Final = 123
MAX_WRITE_BITS: Final = 1968
MAX_WRITE_AND_READ_REGISTERS: Final = 121


def _zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError(f"{value!r} is no time zone; write one like UTC or Europe/Paris") from None
    return value


def _usual_port(given: dict[str, Any]) -> int:
    """Modbus/TCP Security has a port of its own."""
    return 802 if given.get("transport") == "tls" else 502


class ModbusSettings(SettingsModel):
    """A source of ``driver: modbus``: one unit of one device, or of a gateway or serial line.

    Sources with the same ``transport`` and address share the line, its ``connections`` and
    ``pipeline``. ``host`` and ``port`` say where it is on the network, ``device`` and what
    follows it how a serial port is set. ``ca`` signs the device's certificate, ``certificate`` and
    ``key`` are ours; ``server_name`` is whom the device's certificate names, where that is not ``host``.

    ``addressing`` says how the addresses of its tags are counted (`tables`), ``timezone`` where
    the device's calendar is. ``forbidden`` are ranges
    that no request may touch. ``max_gap`` is how many registers no tag asks for may be read
    along to spare a request (in the bit tables 16 bits count as one register); left out, it
    follows from the line. ``max_registers`` and ``max_bits``
    bound one request, where a device takes less than the protocol allows. ``write_with`` says
    how registers are written: one by FC 6 and several by FC 16, all by FC 16, or by FC 23,
    which reads them back in the same request. ``timeout`` is
    the time one request may take, and the call itself. ``pipeline`` requests at most are on
    their way on each of ``connections`` connections.
    """

    driver: Literal["modbus"]
    transport: Literal["tcp", "tls", "udp", "rtu-over-tcp", "rtu", "ascii"] = "tcp"
    host: Host = Field("", validate_default=False)
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default_factory=_usual_port)
    device: str = ""
    baud: Annotated[int, Field(ge=50, le=4_000_000)] = 19_200
    parity: Literal["even", "odd", "none"] = "even"
    stop_bits: Literal[1, 2] | None = None
    data_bits: Literal[7, 8] | None = None
    ca: Path | None = Field(None, strict=False)
    certificate: Path | None = Field(None, strict=False)
    key: Path | None = Field(None, strict=False)
    key_password: SecretReference | None = None
    server_name: str | None = None
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    words: Literal["ABCD", "BADC", "CDAB", "DCBA"] = "ABCD"
    addressing: Addressing = "0-based"
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    forbidden: tuple[str, ...] = ()
    max_gap: Annotated[int, Field(ge=0, le=MAX_READ_REGISTERS)] | None = None
    max_registers: Annotated[int, Field(ge=1, le=MAX_READ_REGISTERS)] = MAX_READ_REGISTERS
    max_bits: Annotated[int, Field(ge=1, le=MAX_READ_BITS)] = MAX_READ_BITS
    write_with: Literal["auto", "fc16", "fc23"] = "auto"
    timeout: Duration = 1.0
    connections: Annotated[int, Field(ge=1, le=16)] = 1
    pipeline: Annotated[int, Field(ge=1, le=16)] = 1

    @model_validator(mode="after")
    def _fits_the_transport(self) -> Self:
        given, serial = self.model_fields_set, self.is_serial_port
        for key in sorted(given & (_NETWORK if serial else _SERIAL)):
            where = "a serial port" if serial else "the network"
            raise ValueError(
                f"{key} has no meaning for transport: {self.transport}, which is on {where}; take it out"
            )
        if serial and not self.device:
            raise ValueError("the key 'device' is missing; name the serial port, like /dev/ttyUSB0")
        if not serial and not self.host:
            raise ValueError("the key 'host' is missing; name the device or gateway, like 10.20.1.11")
        if self.is_unnumbered and (self.pipeline > 1 or self.connections > 1):
            raise ValueError(
                f"transport: {self.transport} takes one request at a time; take pipeline and connections out"
            )
        if self.is_unnumbered and not 1 <= self.unit <= 247:
            raise ValueError(f"unit {self.unit} cannot be read on a serial line; units there are 1 to 247")
        if self.transport == "rtu" and self.data_bits == 7:
            raise ValueError("RTU frames need 8 data bits; take data_bits out")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.transport != "tls" and (misplaced := self.model_fields_set & _TLS):
            raise ValueError(f"{min(misplaced)} needs TLS; add transport: tls, or take it out")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; give both or neither")
        if self.key_password is not None and self.key is None:
            raise ValueError("a key_password without a key; add the key key")
        try:
            _ = self.forbidden_spans
        except AddressError as error:
            raise ValueError(f"forbidden: {error}") from None
        return self

    @property
    def forbidden_spans(self) -> list[Span]:
        """``forbidden``, parsed."""
        return [parse_range(text, self.addressing) for text in self.forbidden]

    @property
    def is_serial_port(self) -> bool:
        """Whether the line begins at a port of this machine."""
        return self.transport in {"rtu", "ascii"}

    @property
    def is_unnumbered(self) -> bool:
        """Whether its frames carry no transaction number, so that one request at a time is on its way."""
        return self.transport in {"rtu", "ascii", "rtu-over-tcp"}

    @property
    def address(self) -> str:
        """Where the line is, for people: ``10.20.1.11:502``, ``/dev/ttyUSB0``."""
        return self.device if self.is_serial_port else host_and_port(self.host, self.port)


_NETWORK: Final = frozenset({"host", "port"})
_SERIAL: Final = frozenset({"device", "baud", "parity", "stop_bits", "data_bits"})
_TLS: Final = frozenset({"ca", "certificate", "key", "key_password", "server_name"})


def conflict(one: ModbusSettings, other: ModbusSettings) -> str | None:
    """Why two sources cannot stand side by side: a serial port has but one setting."""
    if not (one.is_serial_port and other.is_serial_port and one.device == other.device):
        return None
    for key in ("transport", *sorted(_SERIAL - {"device"})):
        here, there = getattr(one, key), getattr(other, key)
        if here != there:
            return f"{one.device} is shared, and {key} is {here} here and {there} there"
    return None


@dataclass(frozen=True, slots=True)
class ModbusAddress:
    """Where a tag's value lies, and how it is to be read.

    ``start`` counts from 0; ``count`` is in registers, or in bits for coils and discrete
    inputs. ``bit`` is set for one bit of a register, ``length`` (bytes) for text. ``zone`` is
    that of the device's calendar. ``text`` is the address as the configuration writes it.
    ``elements`` is set for an array: so many values of the encoding one behind the other, or so
    many bits from ``bit`` on, through registers from the lowest up, in each the least significant first.
    A queue is one of ANY_LENGTH, and ``start`` that of its pointer.
    """

    table: Table
    start: int
    count: int
    encoding: Encoding
    order: WordOrder = WordOrder.ABCD
    bit: int | None = None
    length: int = 0
    zone: tzinfo = UTC
    text: str = field(default="", compare=False)
    elements: int | None = None

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.count

    def __str__(self) -> str:
        """As the configuration writes it: ``holding:10.3``, ``holding:0 as float32``."""
        bit = "" if self.bit is None else f".{self.bit}"
        text = self.text or f"{self.table.name}:{self.start}{bit}"
        several = "" if self.elements is None else f"[{self.elements or ''}]"
        if self.encoding is Encoding.bool:
            return text + several
        return f"{text} as {Shape(self.encoding, self.length)}{several}"

    @property
    def each(self) -> int:
        """How many registers one value takes, or one element of an array."""
        return self.count if self.elements is None else self.encoding.registers(self.length)

    def part(self, first: int, elements: int) -> ModbusAddress:
        """Where these elements of the array lie. Not for bits of registers."""
        return replace(
            self, start=self.start + first * self.each, count=elements * self.each, elements=elements, text=""
        )


def parse_tag(spec: TagSpec, settings: ModbusSettings) -> Tag[ModbusAddress]:
    """The tag a binding means. Raises AddressError, its text saying what would be right."""
    table, start, bit = parse_address(spec.address, settings.addressing)
    shape = _parse_shape(spec, table, bit)
    if table.is_queue and spec.length != ANY_LENGTH:
        raise AddressError(f"{spec.address!r} is a queue of up to 31 registers; write array: any")
    if spec.length == ANY_LENGTH and not table.is_queue:
        raise AddressError(
            f"{spec.address!r} has a place for every element: say how many there are, as in array: 8"
        )
    count = 1 if table.is_queue else (spec.length or 1) * shape.encoding.registers(shape.length)
    if bit is not None and spec.length is not None:
        count = (bit + spec.length + 15) // 16
    address = ModbusAddress(
        table,
        start,
        count,
        shape.encoding,
        _parse_order(spec, settings, table),
        bit,
        shape.length,
        UTC if settings.timezone == "UTC" else zoneinfo.ZoneInfo(settings.timezone),
        spec.address,
        spec.length,
    )
    _check_extent(spec, address, settings)
    return Tag(spec.name, address, shape.encoding.type, spec.scan, spec.writable, spec.length)


def _parse_shape(spec: TagSpec, table: Table, bit: int | None) -> Shape:
    if table.is_bits or bit is not None:
        if spec.encoding not in {None, "bool"}:
            raise AddressError(f"{spec.address!r} is one bit: it can only be bool, not {spec.encoding}")
        return Shape(Encoding.bool)
    shape = natural_shape(spec.address, spec.natural) if spec.encoding is None else parse_shape(spec.encoding)
    if shape.encoding is Encoding.bool:
        raise AddressError(
            f"{spec.address!r} is a register of 16 bits: say which bit ({spec.address}.0 is the least "
            "significant), or what number it holds (as: uint16)"
        )
    return shape


def _parse_order(spec: TagSpec, settings: ModbusSettings, table: Table) -> WordOrder:
    if spec.words is None:
        return WordOrder(settings.words)
    if table.is_bits:
        raise AddressError(f"{spec.address!r} is one bit: it has no word order; leave words out")
    try:
        return WordOrder(spec.words)
    except ValueError:
        orders = ", ".join(order.value for order in WordOrder)
        raise AddressError(f"words: {spec.words} is no word order; there are {orders}") from None


def _check_extent(spec: TagSpec, address: ModbusAddress, settings: ModbusSettings) -> None:
    unit = "bits" if address.table.is_bits else "registers"
    if address.end > ADDRESSES:
        raise AddressError(
            f"{address} takes {address.count} {unit} and so runs past "
            f"{show(address.table, ADDRESSES - 1, settings.addressing)}, the last address"
        )
    key = "max_bits" if address.table.is_bits else "max_registers"
    if address.count > (most := getattr(settings, key)):
        never = "a value is never split" if address.elements is None else "an array is never split"
        raise AddressError(
            f"{address} takes {address.count} {unit}; one request reads {most} of this "
            f"device ({key}) and {never}"
        )
    for span in settings.forbidden_spans:
        if span.table is address.table and address.start < span.high and span.low < address.end:
            first, last = (show(span.table, at, settings.addressing) for at in (span.low, span.high - 1))
            raise AddressError(f"{address} lies in {first} to {last}, which is forbidden for this source")
    if not spec.writable:
        return
    if not address.table.is_writable:
        other = "coil" if address.table.is_bits else "holding"
        raise AddressError(
            f"{spec.address!r}: the {address.table.name} table cannot be written; use its {other} if the "
            "device has one, or take access: rw away"
        )
    if address.elements is not None and address.bit is not None:
        raise AddressError(
            f"{address}: bits of registers are written one at a time; take access: rw away, or make each "
            "a property of its own"
        )
    most = MAX_WRITE_AND_READ_REGISTERS if settings.write_with == "fc23" else MAX_WRITE_REGISTERS
    most = MAX_WRITE_BITS if address.table.is_bits else most
    if address.count > most:
        raise AddressError(f"{address} takes {address.count} {unit}; one request writes at most {most}")
