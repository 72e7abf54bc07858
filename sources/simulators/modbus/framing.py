"""How requests and replies stand on each transport. The frames of serial lines are pymodbus's."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from pymodbus.framer import FramerAscii, FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU

_HEADER: Final = struct.Struct(">HHHB")
_LONGEST: Final = 254
"""Unit and PDU in one frame on TCP: 1 + 253 bytes."""

_FRAMERS: Final[dict[str, type[FramerBase]]] = {
    "rtu": FramerRTU,
    "rtu-over-tcp": FramerRTU,
    "ascii": FramerAscii,
}


class NotModbusError(Exception):
    """What came is no frame, and there is no telling where the next would begin."""


class Asked(NamedTuple):
    """A request as it stood on the line."""

    transaction: int
    unit: int
    pdu: bytes


class Framing:
    """Cuts frames out of what came, and builds those that go."""

    def __init__(self, transport: str, decoder: DecodePDU) -> None:
        self._numbered = transport not in _FRAMERS
        self._framer = _FRAMERS.get(transport, FramerSocket)(decoder)

    @property
    def shares_its_line(self) -> bool:
        """Whether other units hear the same requests, so that each keeps silent about theirs."""
        return not self._numbered

    def cut(self, buffer: bytes) -> tuple[int, Asked | None]:
        """How many bytes are done with, and the request that they are, if any. Raises NotModbusError."""
        if not self._numbered:
            used, unit, _, pdu = self._framer.decode(buffer)
            return used, Asked(0, unit, pdu) if pdu else None
        if len(buffer) < _HEADER.size:
            return 0, None
        transaction, protocol, length, unit = _HEADER.unpack_from(buffer)
        if protocol != 0 or not 2 <= length <= _LONGEST:
            raise NotModbusError
        if len(buffer) < 6 + length:
            return 0, None
        return 6 + length, Asked(transaction, unit, buffer[_HEADER.size : 6 + length])

    def build(self, asked: Asked, reply: ModbusPDU) -> bytes:
        """The frame of a reply."""
        reply.transaction_id, reply.dev_id = asked.transaction, asked.unit
        return self._framer.buildFrame(reply)
