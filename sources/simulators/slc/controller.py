"""A whole simulated SLC: device, server, and what the control port asks of it."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Never

from sources.simulators.logix.identity import Identity
from sources.simulators.logix.served import ServedController
from sources.simulators.slc.device import DataFile, SlcDevice, file
from sources.simulators.slc.directory import Processor
from sources.simulators.slc.spec import LETTERS, FileSpec, SlcSpec, Word
from sources.simulators.spec import Scalar

CODES: Final[Mapping[str, int]] = {
    "O": 0x82, "I": 0x83, "S": 0x84, "B": 0x85, "T": 0x86, "C": 0x87, "R": 0x88,
    "N": 0x89, "F": 0x8A, "ST": 0x8D, "A": 0x8E, "L": 0x91,
}  # fmt: skip
_PRODUCT_CODE: Final = 0x59
_FORMATS: Final[Mapping[int, str]] = {4: "<i", 2: "<h"}
_ADDRESS: Final = re.compile(rf"({LETTERS})(\d{{1,3}}):(\d{{1,3}})(?:\.(\d))?(?:/(\d{{1,2}}))?")
_ROOM: Final = 82


class _Place(NamedTuple):
    """Where a value lies: ``start`` and ``size`` in bytes, ``bit`` of its word."""

    file: DataFile
    start: int
    size: int
    bit: int | None


class SlcController(ServedController):
    """One controller as its spec says."""

    def __init__(self, spec: SlcSpec) -> None:
        self._spec = spec
        who = spec.identity
        identity = Identity(
            product=who.product,
            serial=who.serial,
            major=who.major,
            minor=who.minor,
            product_code=_PRODUCT_CODE,
        )
        self.device = SlcDevice(made(spec.files), identity, Processor(who.bulletin, spec.program))
        for address, value in spec.values.items():
            self.write(address, value)
        super().__init__(self.device, spec.host, spec.port)

    def get(self, machine: str, name: str) -> Never:
        """Raises KeyError: it has no machines."""
        raise KeyError(machine, name)

    def freeze(self, machine: str, name: str, value: Scalar | None) -> Never:
        """Raises KeyError: it has no machines."""
        del value
        raise KeyError(machine, name)

    def read(self, address: str) -> Word:
        """What an address holds. Raises ValueError for what is none."""
        place = self._place(address)
        raw = bytes(place.file.data[place.start : place.start + place.size])
        if place.bit is not None:
            return bool(int.from_bytes(raw, "little") >> place.bit & 1)
        if place.file.code == CODES["ST"]:
            return _swapped(raw[2:])[: int.from_bytes(raw[:2], "little")].decode("latin-1")
        value: int | float = struct.unpack(_format(place), raw)[0]
        return value

    def write(self, address: str, value: Word) -> None:
        """Have an address hold a value. Raises ValueError for what is none, or does not fit there."""
        place = self._place(address)
        data, start = place.file.data, place.start
        if place.bit is not None:
            old = int.from_bytes(data[start : start + place.size], "little") & ~(1 << place.bit)
            raw = (old | bool(value) << place.bit).to_bytes(place.size, "little")
        elif place.file.code == CODES["ST"]:
            text = str(value).encode("latin-1")[:_ROOM]
            raw = len(text).to_bytes(2, "little") + _swapped(text.ljust(_ROOM, b"\0"))
        else:
            try:
                raw = struct.pack(_format(place), value)
            except struct.error as error:
                raise ValueError(f"{address} cannot hold {value!r}: {error}") from None
        data[start : start + place.size] = raw

    def fail(self, address: str, failure: tuple[int, int] | None) -> None:
        """Let every access to a value answer a PCCC status and extended status; None heals it.

        Raises ValueError.
        """
        place = self._place(address)
        for at in range(place.start, place.start + place.size):
            if failure is None:
                place.file.failures.pop(at, None)
            else:
                place.file.failures[at] = failure

    def heal(self) -> None:
        """Have every file answer, and replies be what they are."""
        for its in self.device.files.values():
            its.failures.clear()
        self.device.short = self.device.transaction_shift = 0

    def download(self, files: Sequence[FileSpec], program: int, *, close_connections: bool) -> None:
        """Hold another program: other files, all zero where they have another type or size."""
        device = self.device
        new = made(files)
        for number, its in new.items():
            old = device.files.get(number)
            if old is not None and old.code == its.code:
                kept = min(len(old.data), len(its.data))
                its.data[:kept] = old.data[:kept]
        device.files = new
        device.processor = Processor(device.processor.bulletin, program, device.processor.mode)
        if close_connections:
            device.close_connections()

    def status(self) -> Mapping[str, Any]:
        """What it is and how much it has done, as JSON values."""
        faults, device = self.faults, self.device
        return {
            "name": self._spec.name,
            "kind": self._spec.kind,
            "pid": os.getpid(),
            "files": len(device.files),
            "clients": self._server.clients,
            "connections": device.open_connections,
            "requests": device.requests,
            "writes": len(device.writes),
            "faults": {
                "mute": faults.mute,
                "delay": faults.delay,
                "delay_once": faults.delay_once,
                "cut": faults.cut,
                "refuse": faults.refuse,
                "strict": faults.strict,
            },
        }

    def _place(self, address: str) -> _Place:
        match = _ADDRESS.fullmatch(address.upper())
        if match is None:
            raise ValueError(f"{address!r} is no address; write N7:0, L10:3, B3:1/5, T4:0.2 or ST9:1")
        its = self.device.files.get(int(match[2]))
        if its is None or its.code != CODES[match[1]]:
            raise ValueError(f"there is no file {match[1]}{match[2]}")
        word = match[4] is not None
        start = int(match[3]) * its.size + 2 * int(match[4] or 0)
        size = 2 if word or its.size == 6 else its.size  # the first word of a timer are its bits
        if start + size > len(its.data):
            raise ValueError(f"{address}: the file ends before")
        return _Place(its, start, size, None if match[5] is None else int(match[5]))


def made(files: Sequence[FileSpec]) -> dict[int, DataFile]:
    """Files as specs say, all zero, by their numbers."""
    found = {its.number: file(CODES[its.letters], its.elements) for its in files}
    for its in files:
        found[its.number].protected = its.protected
    return found


def _format(place: _Place) -> str:
    return "<f" if place.file.code == CODES["F"] else _FORMATS[place.size]


def _swapped(raw: bytes) -> bytes:
    """Two characters to a word, the first in its upper half."""
    out = bytearray(raw)
    out[0::2], out[1::2] = raw[1::2], raw[0::2]
    return bytes(out)
