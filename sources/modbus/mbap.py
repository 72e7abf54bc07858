"""Modbus on TCP: frames with a transaction number, so that several may be in flight and none is mistaken."""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from sources.modbus.codec import Request
from sources.modbus.exchange import Exchange
from sources.modbus.link import Link
from sources.quality import BAD_COMMUNICATION_ERROR

_HEADER: Final = struct.Struct(">HHHB")
_LONGEST: Final = 254
"""Unit and PDU of one frame: 1 + 253 bytes."""


def render(request: Request) -> bytes:
    """A frame without its first two bytes, the transaction number."""
    return struct.pack(">HHB", 0, len(request.pdu) + 1, request.unit) + request.pdu


class MbapStream(Link, asyncio.Protocol):
    """Over a stream, plain or TLS.

    A reply counts if its transaction and unit are those of a request in flight. Others, as
    late ones, are dropped and counted. What is no frame ends the link, since there is no
    telling where the next would begin.
    """

    render = staticmethod(render)
    _rest = b""
    _transaction = 0
    _transport: asyncio.WriteTransport | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = transport  # type: ignore[assignment]  # a stream's transport writes
        if self._closed:
            transport.close()

    def ask(self, exchange: Exchange, patience: float) -> None:
        """See Link."""
        number = self._transaction % 0xFFFF + 1  # careless devices answer everything with 0
        while number in self._pending:
            number = number % 0xFFFF + 1
        self._transaction = number
        self._expect(number, exchange, patience)
        exchange.traffic.asked(2 + len(exchange.frame))
        if self._transport is not None:
            self._transport.write(number.to_bytes(2, "big") + exchange.frame)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: hand on every whole reply."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 8 and not self._closed:
            number, protocol, length, unit = _HEADER.unpack_from(data, at)
            if protocol != 0 or not 2 <= length <= _LONGEST:
                self._drop("what came is not Modbus TCP", BAD_COMMUNICATION_ERROR)
                return
            behind = at + 6 + length
            if behind > end:
                break
            exchange = self._pending.get(number)
            if exchange is not None and exchange.request.unit == unit:
                del self._pending[number]
                exchange.traffic.bytes_in += 6 + length
                exchange.answered(data[at + 7 : behind])
            else:
                self.strangers += 1
            at = behind
        self._rest = data[at:]

    def _halfway(self) -> bool:
        return bool(self._rest)
