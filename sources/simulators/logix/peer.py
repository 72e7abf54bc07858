"""One client's conversation, frame by frame, without I/O."""

from __future__ import annotations

import struct
from typing import Final, Protocol

from sources.simulators.logix.connections import ConnectionManager
from sources.simulators.logix.encapsulation import (
    ADDRESS_CONNECTED,
    ADDRESS_NULL,
    DATA_CONNECTED,
    DATA_UNCONNECTED,
    PROTOCOL_VERSION,
    Command,
    EncapsulationError,
    Frame,
    Item,
    Status,
    build_packet,
    parse_packet,
)
from sources.simulators.logix.faults import LogixFaults
from sources.simulators.logix.identity import Identity
from sources.simulators.logix.router import UNCONNECTED_ROOM

_REGISTRATION: Final = struct.Struct("<HH")
_CONNECTION: Final = struct.Struct("<I")
_SEQUENCE: Final = struct.Struct("<H")

_SERVICES: Final = struct.pack("<HHHHH16s", 1, 0x0100, 20, PROTOCOL_VERSION, 0x0020, b"Communications")
"""ListServices: one item; CIP over TCP and nothing else."""


class Served(Protocol):
    """A device, as far as its clients' sockets go."""

    identity: Identity
    faults: LogixFaults

    def new_session(self) -> int:
        """A session handle nobody has."""
        ...

    def new_manager(self) -> ConnectionManager:
        """A connection manager for one client's socket."""
        ...

    def answer(self, message: bytes, room: int, connections: ConnectionManager | None = None) -> bytes:
        """The reply to one request, at most ``room`` bytes long."""
        ...


class Peer:
    """Answers one client's frames. ``address`` is the end of the socket on this side.

    ``finished`` says that the client has taken its leave: the socket is to be closed.
    """

    def __init__(self, device: Served, address: tuple[str, int]) -> None:
        self._device = device
        self._address = address
        self._session: int | None = None
        self.connections = device.new_manager()
        self.finished = False

    def receive(self, frame: Frame) -> bytes | None:
        """The reply to a frame; None where there is none to give."""
        if frame.options != 0:
            # CIP volume 2, 2-3.6: such a frame is discarded.
            return None
        try:
            return self._answer(frame)
        except EncapsulationError as error:
            return frame.reply(status=error.status)

    def _answer(self, frame: Frame) -> bytes | None:
        match frame.command:
            case Command.NOP:
                return None
            case Command.LIST_SERVICES:
                return frame.reply(_SERVICES)
            case Command.LIST_IDENTITY:
                identity = self._device.identity
                return frame.reply(identity.list_identity(self._device.faults.mode, self._address))
            case Command.LIST_INTERFACES:
                return frame.reply(bytes(2))
            case Command.REGISTER_SESSION:
                return self._register(frame)
            case Command.UNREGISTER_SESSION:
                self.finished = frame.session == self._session
                return None
            case Command.SEND_RR_DATA:
                self._check_session(frame)
                return self._unconnected(frame)
            case Command.SEND_UNIT_DATA:
                self._check_session(frame)
                return self._connected(frame)
            case _:
                raise EncapsulationError(Status.INVALID_COMMAND)

    def _register(self, frame: Frame) -> bytes:
        if len(frame.data) != _REGISTRATION.size:
            raise EncapsulationError(Status.INVALID_LENGTH)
        version, options = _REGISTRATION.unpack(frame.data)
        if self._session is not None:
            raise EncapsulationError(Status.INVALID_COMMAND)
        if version != PROTOCOL_VERSION or options != 0:
            # The reply tells the version that would do.
            data = _REGISTRATION.pack(PROTOCOL_VERSION, 0)
            return frame.reply(data, Status.UNSUPPORTED_VERSION, session=0)
        self._session = self._device.new_session()
        return frame.reply(frame.data, session=self._session)

    def _check_session(self, frame: Frame) -> None:
        if self._session is None or frame.session != self._session:
            raise EncapsulationError(Status.INVALID_SESSION)

    def _unconnected(self, frame: Frame) -> bytes:
        address, data = _two_items(frame.data)
        if address.type != ADDRESS_NULL or data.type != DATA_UNCONNECTED:
            raise EncapsulationError(Status.INCORRECT_DATA)
        reply = self._device.answer(data.data, UNCONNECTED_ROOM, self.connections)
        return frame.reply(build_packet(Item(ADDRESS_NULL, b""), Item(DATA_UNCONNECTED, reply)))

    def _connected(self, frame: Frame) -> bytes | None:
        address, data = _two_items(frame.data)
        if address.type != ADDRESS_CONNECTED or data.type != DATA_CONNECTED:
            raise EncapsulationError(Status.INCORRECT_DATA)
        if len(address.data) != _CONNECTION.size or len(data.data) < _SEQUENCE.size:
            raise EncapsulationError(Status.INVALID_LENGTH)
        connection = self.connections.find(*_CONNECTION.unpack(address.data))
        if connection is None:
            # A connection that is not there has nobody to answer: the client waits in vain, as on a real one.
            return None
        if self._device.faults.strict and len(data.data) > connection.request_size:
            raise EncapsulationError(Status.INVALID_LENGTH)
        (sequence,) = _SEQUENCE.unpack_from(data.data)
        if connection.last is not None and connection.last[0] == sequence:
            reply = connection.last[1]
        else:
            room = connection.reply_size - _SEQUENCE.size
            reply = self._device.answer(data.data[_SEQUENCE.size :], room)
            connection.last = (sequence, reply)
        to_originator = Item(ADDRESS_CONNECTED, _CONNECTION.pack(connection.to_originator))
        return frame.reply(
            build_packet(to_originator, Item(DATA_CONNECTED, _SEQUENCE.pack(sequence) + reply))
        )


def _two_items(data: bytes) -> tuple[Item, Item]:
    items = parse_packet(data)
    if len(items) < 2:
        raise EncapsulationError(Status.INCORRECT_DATA)
    return items[0], items[1]
