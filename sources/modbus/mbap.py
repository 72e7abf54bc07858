"""Modbus on TCP: frames with a transaction number, so that several may be in flight and none is mistaken."""

from __future__ import annotations

import asyncio
import struct
from abc import abstractmethod
from typing import Final

from sources.modbus.codec import Request
from sources.modbus.exchange import Exchange
from sources.modbus.link import Link
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_NO_COMMUNICATION

_HEADER: Final = struct.Struct(">HHHB")
_LONGEST: Final = 254
"""Unit and PDU of one frame: 1 + 253 bytes."""


class MbapLink(Link):
    """Over whatever carries bytes.

    A reply counts if its transaction and unit are those of a request in flight. Others, as
    late ones, are dropped and counted.
    """

    _transaction = 0

    def render(self, request: Request) -> bytes:
        """See Link: a frame without its first two bytes, the transaction number."""
        return struct.pack(">HHB", 0, len(request.pdu) + 1, request.unit) + request.pdu

    def ask(self, exchange: Exchange, patience: float) -> None:
        """See Link."""
        number = self._transaction % 0xFFFF + 1  # careless devices answer everything with 0
        while number in self._pending:
            number = number % 0xFFFF + 1
        self._transaction = number
        self._expect(number, exchange, patience)
        exchange.traffic.asked(2 + len(exchange.frame))
        self._send(number.to_bytes(2, "big") + exchange.frame)

    @abstractmethod
    def _send(self, frame: bytes) -> None:
        """Give a frame to whatever carries it."""


class MbapStream(MbapLink, asyncio.Protocol):
    """Over a stream, plain or TLS.

    What is no frame ends the link, since there is no telling where the next would begin.
    """

    _rest = b""
    _transport: asyncio.Transport | None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        self._transport = transport
        if self._closed:
            transport.abort()

    def _send(self, frame: bytes) -> None:
        # uvloop's transport raises once it is closed; what waits for a reply is told in connection_lost.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

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


class MbapDatagrams(MbapLink, asyncio.DatagramProtocol):
    """Over UDP: each datagram is one frame; what is none is dropped, for the next one is whole again."""

    _transport: asyncio.DatagramTransport | None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        self._transport = transport
        if self._closed:
            transport.abort()

    def _send(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(frame)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Called by asyncio."""
        del addr  # the socket is connected: the system lets no other through
        if len(data) < _HEADER.size + 1:
            self.strangers += 1
            return
        number, protocol, length, unit = _HEADER.unpack_from(data)
        exchange = self._pending.get(number)
        if protocol == 0 and length == len(data) - 6 and exchange and exchange.request.unit == unit:
            del self._pending[number]
            exchange.traffic.bytes_in += len(data)
            exchange.answered(data[7:])
        else:
            self.strangers += 1

    def error_received(self, exc: Exception) -> None:
        """Called by asyncio: nobody listens there, or there is no way."""
        reason = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
        self._drop(reason.lower(), BAD_NO_COMMUNICATION)
