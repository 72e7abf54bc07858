"""A simulated SLC 500 in this process, and its settings and tags in few words."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from support.scanning import FAST

from sources.ethernetip.slc.config import SlcSettings, parse_tag
from sources.ethernetip.slc.plan import SlcTag
from sources.simulators.slc.device import SlcDevice, file, listening
from sources.spec import TagSpec
from sources.tag import ScanClass, ValueType

N, B, F, ST, T, C, S, L = 0x89, 0x85, 0x8A, 0x8D, 0x86, 0x87, 0x84, 0x91


def device() -> SlcDevice:
    """A controller with the usual files, each element of which says which it is."""
    made = SlcDevice(
        {
            0: file(0x82, 4),
            1: file(0x83, 4),
            2: file(S, 32),
            3: file(B, 16),
            4: file(T, 4),
            5: file(C, 4),
            7: file(N, 200),
            8: file(F, 40),
            9: file(ST, 3),
            10: file(L, 20),
        }
    )
    made.files[7].data[:] = struct.pack("<200h", *range(100, 300))
    made.files[8].data[:] = struct.pack("<40f", *(index + 0.5 for index in range(40)))
    made.files[10].data[:] = struct.pack("<20i", *(-100_000 * index for index in range(20)))
    made.files[3].data[:] = struct.pack("<16H", *(1 << index for index in range(16)))
    made.files[4].data[6:12] = struct.pack("<Hhh", 1 << 13, 500, 123)
    made.files[5].data[0:6] = struct.pack("<Hhh", 1 << 15, 9, 4)
    made.files[2].data[2:4] = struct.pack("<H", 0x8001)
    made.files[1].data[2:4] = struct.pack("<H", 0b1000)
    # Two characters to a word, the first in the upper half.
    made.files[9].data[84:90] = struct.pack("<H", 3) + b"oCal"
    return made


@dataclass(frozen=True, slots=True)
class Serving:
    """A controller that listens."""

    device: SlcDevice
    port: int


@contextlib.asynccontextmanager
async def serving(port: int = 0) -> AsyncIterator[Serving]:
    """`device`, serving while inside."""
    made = device()
    async with listening(made, port=port) as its_port:
        yield Serving(made, its_port)


def settings(port: int = 44818, **more: Any) -> SlcSettings:
    """Settings of a controller on loopback, patient for the sake of slow machines."""
    given = {"driver": "slc", "host": "127.0.0.1", "port": port, "timeout": "10s"} | more
    return SlcSettings.model_validate(given)


def tag(
    address: str,
    encoding: str | None = None,
    scan: ScanClass = FAST,
    *,
    writable: bool = False,
    natural: ValueType = ValueType.Int16,
    words: str | None = None,
    length: int | None = None,
) -> SlcTag:
    """A tag whose name is its address."""
    return parse_tag(TagSpec(address, address, natural, scan, encoding, words, writable, length), settings())
