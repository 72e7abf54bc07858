"""Raw values in 16-bit registers.

Written without a look at the driver's decoder, so that each checks the other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

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


def encode(address: ModbusAddress, raw: Scalar) -> list[int]:
    """The registers of a number or text; ``raw`` fits (`sources.simulators.scaling`)."""
    form = _FORMATS.get(address.encoding)
    if form is None:
        payload = str(raw).encode().ljust(address.count * 2, b"\0")
        return _swap_bytes(address, _split(payload))
    words = _split(struct.pack(form, raw))
    if address.words in {"CDAB", "DCBA"}:
        words.reverse()
    return _swap_bytes(address, words)


def decode(address: ModbusAddress, words: Sequence[int]) -> Scalar:
    """The number or text that the registers hold; text ends at its first zero byte."""
    ordered = _swap_bytes(address, words)
    form = _FORMATS.get(address.encoding)
    if form is not None and address.words in {"CDAB", "DCBA"}:
        ordered.reverse()
    payload = struct.pack(f">{len(ordered)}H", *ordered)
    if form is None:
        return payload[: address.raw_type.size].partition(b"\0")[0].decode(errors="replace")
    value: int | float = struct.unpack(form, payload)[0]
    return value


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
