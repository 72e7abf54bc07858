"""The connection manager: Forward Open and Close, and what is open (CIP volume 1, chapter 3-5)."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from sources.simulators.logix.cip import CipError, ClassId, Extended, Reply, Status, unpack
from sources.simulators.logix.epath import Logical, LogicalType, PathError, Port, Segment, parse_path
from sources.simulators.logix.faults import LogixFaults

LARGEST: Final = 4002
LARGEST_STANDARD: Final = 511
_SMALLEST: Final = 16

_CLASS_3_SERVER: Final = 0xA3
"""Transport class 3, application triggered, this side serves."""

_OPEN: Final = struct.Struct("<BBIIHHIB3xIHIHB")
_LARGE_OPEN: Final = struct.Struct("<BBIIHHIB3xIIIIB")
_CLOSE: Final = struct.Struct("<BBHHI")


class _ForwardOpen(NamedTuple):
    """The fields of a Forward Open before its path; ``back`` is the direction to the originator."""

    priority: int
    ticks: int
    to_target: int
    to_originator: int
    connection_serial: int
    vendor: int
    originator_serial: int
    multiplier: int
    interval: int
    parameters: int
    back_interval: int
    back_parameters: int
    transport: int


class Originator(NamedTuple):
    """What names a connection from its originator's side."""

    connection_serial: int
    vendor: int
    serial: int

    def pack(self) -> bytes:
        """As it stands in requests and replies."""
        return struct.pack("<HHI", *self)


@dataclass(slots=True)
class Connection:
    """One open class 3 connection. Sizes count the sequence number of two bytes.

    ``last`` is the sequence number and reply of the last request: a repeated number gets
    the same reply and is not carried out again.
    """

    originator: Originator
    to_target: int
    to_originator: int
    request_size: int
    reply_size: int
    timeout: float
    used: float
    last: tuple[int, bytes] | None = None


class ConnectionManager:
    """The connections of one client's socket; ``room`` tells whether the device has another to give."""

    _ids = itertools.count(0x00FE0001)

    def __init__(
        self,
        faults: LogixFaults,
        route: tuple[Port, ...],
        room: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._faults = faults
        self._whole_route = route
        self._room = room
        self._clock = clock
        self._connections: dict[int, Connection] = {}

    def __len__(self) -> int:
        for handle in tuple(self._connections):
            self._living(handle)
        return len(self._connections)

    def open(self, data: bytes, *, large: bool) -> Reply:
        """Answer a Forward Open. Raises CipError."""
        if large and self._faults.refuse_large:
            raise CipError(Status.SERVICE_NOT_SUPPORTED)
        form = _LARGE_OPEN if large else _OPEN
        wanted = _ForwardOpen._make(unpack(form, data))
        originator = Originator(wanted.connection_serial, wanted.vendor, wanted.originator_serial)
        path, end = _counted_path(data, form.size, padded=False)
        self._faults.check_end(data, end)
        self._check_path(path, originator)
        if wanted.transport != _CLASS_3_SERVER:
            raise _failure(Extended.TRANSPORT_NOT_SUPPORTED, originator)
        if any(open_.originator == originator for open_ in self._connections.values()):
            raise _failure(Extended.DUPLICATE_FORWARD_OPEN, originator)
        mask = 0xFFFF if large else 0x1FF
        sizes = (wanted.parameters & mask, wanted.back_parameters & mask)
        most = LARGEST if large else LARGEST_STANDARD
        if not all(_SMALLEST <= size <= most for size in sizes):
            raise _failure(Extended.INVALID_CONNECTION_SIZE, originator, most)
        if not self._room():
            raise _failure(Extended.OUT_OF_CONNECTIONS, originator)
        connection = Connection(
            originator,
            next(self._ids),
            wanted.to_originator,
            *sizes,
            timeout=wanted.interval * (4 << min(wanted.multiplier, 7)) / 1e6,
            used=self._clock(),
        )
        self._connections[connection.to_target] = connection
        return Reply(
            struct.pack("<II", connection.to_target, connection.to_originator)
            + originator.pack()
            + struct.pack("<IIBB", wanted.interval, wanted.back_interval, 0, 0)
        )

    def close(self, data: bytes) -> Reply:
        """Answer a Forward Close. Raises CipError."""
        _, _, *triad = unpack(_CLOSE, data)
        originator = Originator(*triad)
        _, end = _counted_path(data, _CLOSE.size, padded=True)
        self._faults.check_end(data, end)
        for handle, connection in self._connections.items():
            if connection.originator == originator:
                del self._connections[handle]
                return Reply(originator.pack() + bytes(2))
        raise _failure(Extended.CONNECTION_NOT_FOUND, originator)

    def find(self, handle: int) -> Connection | None:
        """The open connection of that identifier; one unused for longer than its timeout is gone."""
        connection = self._living(handle)
        if connection is not None:
            connection.used = self._clock()
        return connection

    def _living(self, handle: int) -> Connection | None:
        connection = self._connections.get(handle)
        if connection is not None and self._clock() - connection.used > connection.timeout:
            del self._connections[handle]
            return None
        return connection

    def close_all(self) -> None:
        """Forget every connection, as a download can do."""
        self._connections.clear()

    def check_route(self, route: tuple[Segment, ...]) -> None:
        """Let a route pass that ends in this controller. Raises CipError as a communication module does.

        None is right as well where the controller has the port itself.
        """
        if not route and len(self._whole_route) <= 1:
            return
        for hop, right in itertools.zip_longest(route, self._whole_route):
            if hop is None or right is None or not isinstance(hop, Port):
                raise CipError(Status.CONNECTION_FAILURE, Extended.INVALID_SEGMENT)
            if hop.port != right.port:
                raise CipError(Status.CONNECTION_FAILURE, Extended.PORT_NOT_AVAILABLE)
            if hop.link != right.link:
                raise CipError(Status.CONNECTION_FAILURE, Extended.LINK_ADDRESS_NOT_VALID)

    def _check_path(self, path: tuple[Segment, ...], originator: Originator) -> None:
        route = tuple(itertools.takewhile(lambda segment: isinstance(segment, Port), path))
        try:
            self.check_route(route)
        except CipError as error:
            raise _failure(error.extended[0], originator) from None
        router = (Logical(LogicalType.CLASS, ClassId.MESSAGE_ROUTER), Logical(LogicalType.INSTANCE, 1))
        if path[len(route) :] != router:
            raise _failure(Extended.INVALID_SEGMENT, originator)


def _failure(extended: int, originator: Originator, *more: int) -> CipError:
    """Refusals name the connection, and no path that would be left."""
    return CipError(Status.CONNECTION_FAILURE, extended, *more, data=originator.pack() + bytes(2))


def _counted_path(data: bytes, offset: int, *, padded: bool) -> tuple[tuple[Segment, ...], int]:
    """A path after its length in words (and a reserved byte), and where it ends."""
    start = offset + (2 if padded else 1)
    if len(data) < start:
        raise CipError(Status.NOT_ENOUGH_DATA)
    end = start + data[offset] * 2
    if len(data) < end:
        raise CipError(Status.NOT_ENOUGH_DATA)
    try:
        return parse_path(data[start:end]), end
    except PathError:
        raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE) from None


_UNCONNECTED: Final = struct.Struct("<BBH")


def unwrap(data: bytes) -> tuple[bytes, tuple[Segment, ...]]:
    """The request within an Unconnected Send, and its route. Raises CipError."""
    _, _, length = unpack(_UNCONNECTED, data)
    end = _UNCONNECTED.size + length
    if len(data) < end + length % 2:
        raise CipError(Status.NOT_ENOUGH_DATA)
    route, _ = _counted_path(data, end + length % 2, padded=True)
    return data[_UNCONNECTED.size : end], route
