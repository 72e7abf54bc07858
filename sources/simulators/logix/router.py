"""The message router: every request to its object, and several of them in one packet."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from sources.simulators.logix.cip import (
    HEADER_SIZE,
    CipError,
    ClassId,
    Extended,
    Reply,
    Request,
    Service,
    Status,
    build_error,
    build_reply,
    parse_request,
    unpack,
)
from sources.simulators.logix.connections import ConnectionManager, unwrap
from sources.simulators.logix.data import WRITES, serve_tag
from sources.simulators.logix.database import CONTROLLER_SCOPE, PROGRAM_PREFIX, Database, Scope
from sources.simulators.logix.epath import Logical, LogicalType, Port, Segment, Symbol
from sources.simulators.logix.faults import LogixFaults
from sources.simulators.logix.objects import Objects
from sources.simulators.logix.tags import Place, Step, Tag, locate

UNCONNECTED_ROOM: Final = 504
"""The longest reply outside a connection."""

_WORD: Final = struct.Struct("<H")


class Router:
    """Answers requests. Whatever the bytes are, the answer is a reply and never an error of its own.

    ``on_write`` is told every tag that a client has written to.
    """

    def __init__(
        self, database: Database, objects: Objects, faults: LogixFaults, on_write: Callable[[Tag], None]
    ) -> None:
        self._database = database
        self._objects = objects
        self._faults = faults
        self._on_write = on_write

    def answer(self, message: bytes, room: int, connections: ConnectionManager | None = None) -> bytes:
        """The reply to one request, at most ``room`` bytes long.

        ``connections`` is given for unconnected requests: only those reach the connection
        manager.
        """
        service = message[0] if message else 0
        try:
            request = parse_request(message)
            if connections is not None and _is_unconnected_send(request):
                embedded, route = unwrap(request.data)
                connections.check_route(route)
                # The embedded service's own reply comes back, as if it had come alone.
                return self.answer(embedded, room)
            reply = self._serve(request, room - HEADER_SIZE, connections)
        except CipError as error:
            return build_error(service, error)
        if HEADER_SIZE + len(reply.data) > room:
            return build_error(service, CipError(Status.REPLY_DATA_TOO_LARGE))
        return build_reply(service, reply.data, reply.status)

    def _serve(self, request: Request, room: int, connections: ConnectionManager | None) -> Reply:
        if not request.path:
            raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE)
        first = request.path[0]
        if isinstance(first, Symbol):
            return self._named(request, first, room)
        if isinstance(first, Port) or first.type is not LogicalType.CLASS:
            raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE)
        if first.value == ClassId.SYMBOL:
            return self._symbol_class(request, self._database.scopes[0], request.path, room)
        instance = _instance(request.path[1:])
        match first.value:
            case ClassId.MESSAGE_ROUTER:
                return self._message_router(request, instance, room)
            case ClassId.CONNECTION_MANAGER:
                return _connection_manager(request, instance, connections)
            case _:
                return self._objects.answer(first.value, request, instance, room)

    def _named(self, request: Request, first: Symbol, room: int) -> Reply:
        """A path that begins with a name: a tag's, or a program's with something of its symbol class."""
        rest = request.path[1:]
        scope = self._program(first)
        if scope is not None and rest and isinstance(rest[0], Logical):
            return self._symbol_class(request, scope, rest, room)
        return self._tag(request, self._database.find(_steps(request.path)), room)

    def _tag(self, request: Request, place: Place, room: int) -> Reply:
        reply = serve_tag(request, place, room, self._faults)
        if request.service in WRITES:
            self._on_write(place.tag)
        return reply

    def _program(self, symbol: Symbol) -> Scope | None:
        if not symbol.name.casefold().startswith(PROGRAM_PREFIX.casefold()):
            return None
        scope = self._database.scope(symbol.name)
        return None if scope is None or scope.name == CONTROLLER_SCOPE else scope

    def _symbol_class(self, request: Request, scope: Scope, path: tuple[Segment, ...], room: int) -> Reply:
        """Class 0x6B: the symbol table, or a tag by its instance and what follows."""
        if path[0] != Logical(LogicalType.CLASS, ClassId.SYMBOL):
            raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE)
        instance = _instance(path[1:])
        match request.service:
            case Service.GET_INSTANCE_ATTRIBUTE_LIST:
                return self._objects.symbol_list(request, scope, instance, room)
            case Service.GET_ATTRIBUTE_LIST | Service.GET_ATTRIBUTE_SINGLE | Service.GET_ATTRIBUTES_ALL:
                return self._objects.symbol(request, scope, instance)
        symbol = scope.symbol(instance)
        if symbol is None or symbol.tag is None:
            raise CipError(Status.PATH_DESTINATION_UNKNOWN, Extended.NONE)
        return self._tag(request, locate(symbol.tag, _steps(path[2:])), room)

    def _message_router(self, request: Request, instance: int, room: int) -> Reply:
        if instance != 1:
            raise CipError(Status.PATH_DESTINATION_UNKNOWN, Extended.NONE)
        if request.service != Service.MULTIPLE_SERVICE_PACKET or self._faults.single:
            raise CipError(Status.SERVICE_NOT_SUPPORTED)
        messages = _embedded(request.data)
        head = _WORD.size * (1 + len(messages))
        left = room - head - HEADER_SIZE * len(messages)
        if left < 0:
            raise CipError(Status.REPLY_DATA_TOO_LARGE)
        offsets: list[int] = []
        replies: list[bytes] = []
        status = Status.SUCCESS
        position = head
        for message in messages:
            if message[:1] == bytes((Service.MULTIPLE_SERVICE_PACKET,)):
                reply = build_error(message[0], CipError(Status.SERVICE_NOT_SUPPORTED))
            else:
                reply = self.answer(message, left + HEADER_SIZE)
            if len(reply) > left + HEADER_SIZE:
                reply = build_error(message[0], CipError(Status.REPLY_DATA_TOO_LARGE))
            left -= len(reply) - HEADER_SIZE
            if reply[2] != Status.SUCCESS:
                status = Status.EMBEDDED_SERVICE_ERROR
            offsets.append(position)
            position += len(reply)
            replies.append(reply)
        data = struct.pack(f"<{1 + len(offsets)}H", len(offsets), *offsets) + b"".join(replies)
        return Reply(data, status)


def _is_unconnected_send(request: Request) -> bool:
    return request.service == Service.UNCONNECTED_SEND and request.path == (
        Logical(LogicalType.CLASS, ClassId.CONNECTION_MANAGER),
        Logical(LogicalType.INSTANCE, 1),
    )


def _connection_manager(request: Request, instance: int, connections: ConnectionManager | None) -> Reply:
    if instance != 1:
        raise CipError(Status.PATH_DESTINATION_UNKNOWN, Extended.NONE)
    if connections is None:
        raise CipError(Status.SERVICE_NOT_SUPPORTED)
    match request.service:
        case Service.FORWARD_OPEN | Service.LARGE_FORWARD_OPEN:
            return connections.open(request.data, large=request.service == Service.LARGE_FORWARD_OPEN)
        case Service.FORWARD_CLOSE:
            return connections.close(request.data)
        case _:
            raise CipError(Status.SERVICE_NOT_SUPPORTED)


def _instance(path: tuple[Segment, ...]) -> int:
    """The instance after a class; 0, the class itself, where there is none."""
    if not path:
        return 0
    first = path[0]
    if not isinstance(first, Logical) or first.type is not LogicalType.INSTANCE:
        raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE)
    return first.value


def _steps(path: tuple[Segment, ...]) -> list[Step]:
    steps: list[Step] = []
    for segment in path:
        if isinstance(segment, Symbol):
            steps.append(segment.name)
        elif isinstance(segment, Logical) and segment.type is LogicalType.MEMBER:
            steps.append(segment.value)
        else:
            raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE)
    return steps


def _embedded(data: bytes) -> list[bytes]:
    """The requests of a Multiple Service Packet, by their offsets. Raises CipError."""
    (count,) = unpack(_WORD, data)
    head = _WORD.size * (1 + count)
    if count == 0 or len(data) < head:
        raise CipError(Status.NOT_ENOUGH_DATA)
    offsets = struct.unpack_from(f"<{count}H", data, _WORD.size)
    ends = (*offsets[1:], len(data))
    if any(not head <= start < end <= len(data) for start, end in zip(offsets, ends, strict=True)):
        raise CipError(Status.INVALID_PARAMETER)
    return [data[start:end] for start, end in zip(offsets, ends, strict=True)]
