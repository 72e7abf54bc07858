"""Who the controller says it is (class 0x01, ListIdentity)."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final

from sources.simulators.logix.faults import Mode

_ROCKWELL: Final = 1
_PROGRAMMABLE_CONTROLLER: Final = 0x0E
_OPERATIONAL: Final = 3
_MICRO800: Final = "2080"
_IDENTITY_ITEM: Final = 0x000C


@dataclass(frozen=True, slots=True)
class Identity:
    """Catalogue data and names. ``controller`` is the project's name, ``product`` the catalogue entry."""

    controller: str = "Simulated"
    product: str = "1756-L83E/B"
    serial: int = 0x00C0FFEE
    major: int = 33
    minor: int = 11
    product_code: int = 166
    vendor: int = _ROCKWELL

    @property
    def is_micro800(self) -> bool:
        """Whether it is one of the small ones, which tell themselves by their catalogue number."""
        return self.product.startswith(_MICRO800)

    def attributes(self, mode: Mode) -> dict[int, bytes]:
        """The identity object's attributes by number; joined, they are all of them in order."""
        name = self.product.encode("ascii")
        return {
            1: struct.pack("<H", self.vendor),
            2: struct.pack("<H", _PROGRAMMABLE_CONTROLLER),
            3: struct.pack("<H", self.product_code),
            4: bytes((self.major, self.minor)),
            5: struct.pack("<H", mode.status),
            6: struct.pack("<I", self.serial),
            7: bytes((len(name),)) + name,
        }

    def list_identity(self, mode: Mode, address: tuple[str, int]) -> bytes:
        """The data of a ListIdentity reply: one item, the socket address (big-endian) and the identity."""
        endpoint = struct.pack(">HH4s8x", socket.AF_INET, address[1], socket.inet_aton(address[0]))
        item = b"".join(
            (struct.pack("<H", 1), endpoint, *self.attributes(mode).values(), bytes((_OPERATIONAL,)))
        )
        return struct.pack("<HHH", 1, _IDENTITY_ITEM, len(item)) + item
