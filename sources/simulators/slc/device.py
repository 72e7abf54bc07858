"""An SLC 5/05 or MicroLogix: its data files, and the PCCC commands it answers (1770-RM516, chapter 7).

It shares EtherNet/IP, sessions and connections with the simulated Logix controller.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import weakref
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sources.simulators.logix.cip import (
    CipError,
    Extended,
    Reply,
    Service,
    Status,
    build_error,
    build_reply,
    parse_request,
)
from sources.simulators.logix.connections import ConnectionManager, unwrap
from sources.simulators.logix.epath import Logical, LogicalType, Port
from sources.simulators.logix.faults import LogixFaults
from sources.simulators.logix.identity import Identity
from sources.simulators.logix.server import LogixServer
from sources.simulators.slc.directory import Processor, directory

_EXECUTE: Final = 0x4B
_PCCC_CLASS: Final = 0x67
_DIAGNOSTIC: Final = 0x06
_STATUS: Final = 0x03
_TYPED: Final = 0x0F
_READ_TWO: Final = 0xA1
_READ: Final = 0xA2
_MASKED_WRITE: Final = 0xAB
_MOST: Final = 236
"""Bytes of one command's data."""

_ILLEGAL: Final = 0x10
_PROTECTED: Final = 0x60
_NO_ADDRESS: Final = 0x50
_EXTENDED: Final = 0xF0

_SIZES: Final[Mapping[int, int]] = {
    0x82: 2, 0x83: 2, 0x84: 2, 0x85: 2, 0x86: 6, 0x87: 6, 0x88: 6, 0x89: 2,
    0x8A: 4, 0x8D: 84, 0x8E: 2, 0x91: 4,
}  # fmt: skip
"""Bytes of an element by the code of its file's type: O, I, S, B, T, C, R, N, F, ST, A, L."""


class _Refused(Exception):
    """A PCCC status, with the byte that follows it where it says that one does."""

    def __init__(self, status: int, extended: int = 0) -> None:
        super().__init__(f"PCCC {status:#04x}")
        self.status = status
        self.extended = bytes((extended,)) if status == _EXTENDED else b""


@dataclass(slots=True)
class DataFile:
    """One file: ``code`` its type, ``data`` its memory.

    ``protected`` refuses writes, ``failures`` are the statuses and extended statuses of bytes that it
    answers for with those.
    """

    code: int
    data: bytearray
    protected: bool = False
    failures: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return _SIZES[self.code]


def file(code: int, elements: int) -> DataFile:
    """A file of so many elements, all zero."""
    return DataFile(code, bytearray(_SIZES[code] * elements))


class SlcDevice:
    """Files by number, faults and connections of one controller; what `LogixServer` serves."""

    def __init__(
        self,
        files: Mapping[int, DataFile],
        identity: Identity | None = None,
        processor: Processor | None = None,
    ) -> None:
        self.files = dict(files)
        self.identity = identity or Identity(product="1747-L553C/C", product_code=0x59, major=12, minor=1)
        self.processor = processor or Processor()
        self.faults = LogixFaults()
        self.requests = 0
        self.writes: list[bytes] = []
        """Every write command that came, whole."""
        self.transaction_shift = 0
        """What is added to the transaction numbers of replies: another than 0 is a fault."""
        self.short = 0
        """So many bytes are missing from the data of replies."""
        self.loose = False
        """Whether files are read without a look at their type."""
        self.no_directory = False
        """Whether file 0 is kept to itself."""
        self.no_status = False
        """Whether it does not know what a diagnostic status is."""
        self._sessions = itertools.count(0x2001)
        self._managers: weakref.WeakSet[ConnectionManager] = weakref.WeakSet()

    def new_session(self) -> int:
        """A session handle nobody has."""
        return next(self._sessions)

    def new_manager(self) -> ConnectionManager:
        """A connection manager for one client's socket."""
        manager = ConnectionManager(self.faults, (Port(1, b"\0"),), lambda: self.open_connections < 32)
        self._managers.add(manager)
        return manager

    @property
    def open_connections(self) -> int:
        """How many connections are open, over all clients."""
        return sum(len(manager) for manager in self._managers)

    def close_connections(self) -> None:
        """Forget every connection, as a download can do."""
        for manager in self._managers:
            manager.close_all()

    def answer(self, message: bytes, room: int, connections: ConnectionManager | None = None) -> bytes:
        """The reply to one request."""
        self.requests += 1
        service = message[0] if message else 0
        try:
            request = parse_request(message)
            first = request.path[0] if request.path else None
            if connections is not None and first == Logical(LogicalType.CLASS, 6):
                return self._connection_manager(request.service, request.data, room, connections)
            if service == _EXECUTE and first == Logical(LogicalType.CLASS, _PCCC_CLASS):
                return build_reply(service, self._execute(request.data))
        except CipError as error:
            return build_error(service, error)
        return build_error(service, CipError(Status.SERVICE_NOT_SUPPORTED))

    def _connection_manager(
        self, service: int, data: bytes, room: int, connections: ConnectionManager
    ) -> bytes:
        if service == Service.UNCONNECTED_SEND:
            embedded, route = unwrap(data)
            connections.check_route(route)
            return self.answer(embedded, room)
        reply = Reply()
        match service:
            case Service.FORWARD_OPEN:
                reply = connections.open(data, large=False)
            case Service.FORWARD_CLOSE:
                reply = connections.close(data)
            case _:
                raise CipError(Status.SERVICE_NOT_SUPPORTED, Extended.NONE)
        return build_reply(service, reply.data, reply.status)

    def _execute(self, data: bytes) -> bytes:
        """Execute PCCC: the requestor's id comes back before the command's reply."""
        length = data[0] if data else 0
        if length < 7 or len(data) < length + 5:
            raise CipError(Status.NOT_ENOUGH_DATA)
        requestor, command = data[:length], data[length:]
        code, _, transaction, function = struct.unpack_from("<BBHB", command)
        status, answer = 0, b""
        try:
            answer = self._answer(code, function, command[5:])
        except _Refused as refused:
            status, answer = refused.status, refused.extended
        answer = answer[: len(answer) - self.short]
        number = transaction + self.transaction_shift & 0xFFFF
        return requestor + struct.pack("<BBH", code | 0x40, status, number) + answer

    def _answer(self, command: int, function: int, body: bytes) -> bytes:
        """The data of a command's reply."""
        if (command, function) == (_DIAGNOSTIC, _STATUS) and not self.no_status:
            return self.processor.status()
        if (command, function) == (_TYPED, _READ_TWO):
            return self._directory(body)
        if command == _TYPED and len(body) >= 5 and function in {_READ, _MASKED_WRITE}:
            return self._typed(function, body)
        raise _Refused(_ILLEGAL)

    def _typed(self, function: int, body: bytes) -> bytes:
        """Protected typed logical read and masked write, with three address fields."""
        size, number, code, element, word = body[:5]
        its = self.files.get(number)
        if its is None or (its.code != code and not self.loose):
            raise _Refused(_NO_ADDRESS)
        start = element * its.size + 2 * word
        if size > _MOST or start + size > len(its.data):
            raise _Refused(_NO_ADDRESS)
        for at in its.failures.keys() & set(range(start, start + size)):
            raise _Refused(*its.failures[at])
        if function == _READ:
            if self.faults.strict and len(body) > 5:
                raise _Refused(_ILLEGAL)
            return bytes(its.data[start : start + size])
        self.writes.append(body)
        (mask,) = struct.unpack_from("<H", body, 5) if len(body) >= 7 else (0,)
        data = body[7:]
        if len(data) != size or size % 2:
            raise _Refused(_ILLEGAL)
        if its.protected:
            raise _Refused(_PROTECTED)
        for at in range(0, size, 2):
            old = int.from_bytes(its.data[start + at : start + at + 2], "little")
            new = int.from_bytes(data[at : at + 2], "little")
            its.data[start + at : start + at + 2] = (old & ~mask | new & mask).to_bytes(2, "little")
        return b""

    def _directory(self, body: bytes) -> bytes:
        """File 0, by words: a read with two address fields."""
        if len(body) not in {4, 6} or (len(body) == 6) != (body[3:4] == b"\xff"):
            raise _Refused(_ILLEGAL)
        size, number, kind = body[:3]
        word = int.from_bytes(body[4:6], "little") if len(body) == 6 else body[3]
        if self.no_directory or (number, kind) != (0, self.processor.layout[0]):
            raise _Refused(_NO_ADDRESS)
        files = {number: (its.code, len(its.data)) for number, its in self.files.items()}
        data = directory(self.processor, files)[2 * word :]
        if size > _MOST or size > len(data):
            raise _Refused(_NO_ADDRESS)
        return data[:size]


@contextlib.asynccontextmanager
async def listening(device: SlcDevice, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Serve while inside; yields the port. Raises ListenError."""
    async with LogixServer(device).listening(host, port) as (_, its_port):
        yield its_port
