"""Raw values in 16-bit registers.

Written without a look at the driver's decoder, so that each checks the other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from sources.simulators.modbus import times
from sources.simulators.spec import ModbusAddress, Scalar

_FORMATS: Final = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}


_FIELDS: Final = frozenset(
    {
        "s7_dt",
        "s7_dtl",
        "logo_clock",
        "schneider_dt",
        "schneider_meter",
        "systemtime",
        "omron_clock",
        "mitsubishi_clock",
    }
)
"""Times of several fields: their registers stay in order."""


def encode(address: ModbusAddress, raw: Scalar) -> list[int]:
    """The registers of a number, a time or a text; ``raw`` fits (`sources.simulators.scaling`)."""
    words = _split(_payload(address, raw))
    if _reverses(address):
        words.reverse()
    return _swap_bytes(address, words)


def _payload(address: ModbusAddress, raw: Scalar) -> bytes:
    encoding = address.encoding
    if form := _FORMATS.get(encoding):
        return struct.pack(form, raw)
    if address.is_time:
        return times.encode(encoding, int(raw))
    if encoding.startswith("bcd"):
        return bytes.fromhex(str(raw).zfill(4 * address.count))
    if encoding == "s5time":
        ticks, base = round(float(raw) * 100), 0
        while ticks > 999:
            ticks, base = ticks // 10, base + 1
        return bytes.fromhex(f"{base}{ticks:03}")
    text = str(raw).encode()
    if encoding.startswith("s7string"):
        text = bytes((address.raw_type.size, len(text))) + text
    elif encoding.startswith("lstring"):
        text = len(text).to_bytes(2, "big") + text
    return text.ljust(address.count * 2, b"\0")


def decode(address: ModbusAddress, words: Sequence[int]) -> Scalar:
    """The number, time or text that the registers hold; text ends at its first zero byte or its length."""
    ordered = _swap_bytes(address, words)
    if _reverses(address):
        ordered.reverse()
    payload = struct.pack(f">{len(ordered)}H", *ordered)
    encoding = address.encoding
    if form := _FORMATS.get(encoding):
        value: int | float = struct.unpack(form, payload)[0]
        return value
    if address.is_time:
        return times.decode(encoding, payload)
    digits = payload.hex()
    if encoding.startswith("bcd"):
        return int(digits) if digits.isdecimal() else 0
    if encoding == "s5time":
        return int(digits[1:]) * 10.0 ** int(digits[0]) / 100 if digits.isdecimal() else 0.0
    size = address.raw_type.size
    if address.prefix:
        size = min(size, payload[1] if encoding.startswith("s7string") else ordered[0])
        payload = payload[2:]
    return payload[:size].partition(b"\0")[0].decode(errors="replace")


def _reverses(address: ModbusAddress) -> bool:
    is_number = address.raw_type.kind != "text" and address.encoding not in _FIELDS
    return is_number and address.words in {"CDAB", "DCBA"}


def mask(address: ModbusAddress) -> int:
    """The one bit of a register that a Boolean stands in, on the wire."""
    bit = address.bit or 0
    return 1 << (bit ^ 8 if _swaps_bytes(address) else bit)


def _split(payload: bytes) -> list[int]:
    return list(struct.unpack(f">{len(payload) // 2}H", payload))


def _swaps_bytes(address: ModbusAddress) -> bool:
    return address.words in {"BADC", "DCBA"}


def _swap_bytes(address: ModbusAddress, words: Sequence[int]) -> list[int]:
    if not _swaps_bytes(address):
        return list(words)
    return [(word & 0xFF) << 8 | word >> 8 for word in words]
