"""Who a device says it is: the Identity object (CIP Vol. 1 §5A-2) and ListIdentity (Vol. 2 §2-4.2)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MICRO800: Final = "2080"
"""Product names of Micro800 controllers begin so."""

_FIXED: Final = struct.Struct("<HHHBBHI")
_ITEM: Final = struct.Struct("<HHH")
_IDENTITY_ITEM: Final = 0x0C
_ENDPOINT: Final = 18
"""Bytes of an identity item before the identity: the protocol's version and a socket address."""

_VENDORS: Final[Mapping[int, str]] = {
    1: "Rockwell Automation",
    5: "Rockwell Automation/Reliance",
    26: "Festo",
    42: "Bosch Rexroth",
    47: "Omron",
    90: "HMS",
    145: "Siemens",
    243: "Schneider Electric",
    283: "Hilscher",
    808: "SICK",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """One device. ``serial`` is in hexadecimal, as it is printed on the device; ``status`` the raw word."""

    vendor: int
    device_type: int
    product_code: int
    revision: str
    status: int
    serial: str
    product: str

    @property
    def vendor_name(self) -> str:
        """The vendor by name, as far as it is known here; else by its number of ODVA."""
        return _VENDORS.get(self.vendor) or f"vendor {self.vendor}"

    @property
    def is_micro800(self) -> bool:
        """Whether it is a Micro800: no route, one service a request."""
        return self.product.startswith(MICRO800)

    @property
    def same(self) -> tuple[int, int, str, str, str]:
        """What stays the same of one device as long as its firmware does; its status does not."""
        return self.vendor, self.product_code, self.revision, self.serial, self.product

    def __str__(self) -> str:
        return f"{self.product}, revision {self.revision}, serial {self.serial}"


def parse_identity(data: bytes) -> Identity:
    """The identity that all attributes of the Identity object tell, in order. Raises ValueError."""
    if len(data) < _FIXED.size + 1:
        raise ValueError(f"an identity of {len(data)} bytes")
    vendor, kind, code, major, minor, status, serial = _FIXED.unpack_from(data)
    length = data[_FIXED.size]
    name = data[_FIXED.size + 1 : _FIXED.size + 1 + length]
    if len(name) < length:
        raise ValueError("an identity that ends within the product's name")
    return Identity(
        vendor, kind, code, f"{major}.{minor:03}", status, f"{serial:08x}", name.decode("latin-1").strip()
    )


def parse_list_identity(data: bytes) -> Identity:
    """The identity in the data of a ListIdentity reply. Raises ValueError."""
    if len(data) < _ITEM.size:
        raise ValueError("a list of identities without any")
    count, kind, length = _ITEM.unpack_from(data)
    item = data[_ITEM.size : _ITEM.size + length]
    if count < 1 or kind != _IDENTITY_ITEM or len(item) < length:
        raise ValueError("a list of identities without any")
    return parse_identity(item[_ENDPOINT:])
