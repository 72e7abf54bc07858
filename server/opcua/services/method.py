"""The Call service (OPC 10000-4 §5.12.2): which method of which object, who may, with what arguments."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from asyncua import ua

from server.opcua.limits import MAX_NODES_PER_METHOD_CALL
from server.opcua.requests import Answer, Request, Service, service
from server.opcua.services.arguments import InvalidArguments, Signatures
from server.opcua.services.decoding import Decoding
from server.opcua.services.sight import (
    NO_DIAGNOSTICS,
    Sight,
    access_of,
    check_operations,
    not_found,
)
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access, Permission
from server.opcua.space.space import Space
from server.opcua.types import (
    AttributeIds,
    ServiceFault,
    StatusCodes,
    UaStatusCodeError,
    error_code,
)
from server.opcua.wire import nodeid, structs
from server.opcua.wire.nodeid import Key, key_of, numeric
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import array, int32, uint32

log = logging.getLogger(__name__)

Outputs: TypeAlias = Sequence[ua.Variant]
Handler: TypeAlias = Callable[[Session, Node, list[ua.Variant]], Awaitable[Outputs]]
"""Carries a method out, on that object, with arguments that fit its signature.

Raises ServiceFault for what the caller is told, `InvalidArguments` where an argument makes no sense.
"""

_OBJECT, _METHOD, _OBJECT_TYPE = 1, 4, 8
_HAS_COMPONENT: Final = numeric(47)
_EXECUTABLE: Final = int(AttributeIds.Executable)
_SMALLEST_CALL: Final = 8
_IS_BAD: Final = 0x80000000


class _Call(NamedTuple):
    """A call that may be carried out."""

    object: Node
    method: Node
    handler: Handler
    inputs: list[ua.Variant]


class Methods:
    """Answers Call requests, and knows who carries out which method."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._signatures = Signatures(space)
        self._decoding = Decoding()
        self._handlers: dict[Key, Handler] = {}

    def services(self) -> tuple[Service, ...]:
        """The services given here."""
        return (service("Call", self.call),)

    def add(self, method: Key, handler: Handler) -> None:
        """Have a method carried out; one of a type also stands for those of its instances.

        Raises ValueError where it is taken.
        """
        if self._handlers.setdefault(method, handler) is not handler:
            raise ValueError(f"the method {nodeid.text(method)} is carried out already")

    def remove(self, method: Key) -> None:
        """Have a method carried out no longer."""
        self._handlers.pop(method, None)

    def __contains__(self, method: Key) -> bool:
        """Whether anything carries that method out, so whether its Executable may be true."""
        return method in self._handlers

    async def call(self, session: Session, request: Request) -> Answer:
        """Call: every method is checked, and those that pass are begun in order and run beside each other."""
        asker = session.identity
        calls = await self._decoding.read(request, _wanted)
        access = access_of(session)
        if asker is not None and not session.is_of(asker.user, access):
            # It is another user's by now, who has asked for nothing.
            raise ServiceFault(StatusCodes.BadUserAccessDenied)
        sight = Sight(access)
        prepared = [self._prepare(session, access, sight, call) for call in calls]
        if len(calls) == 1:
            results = [await self._finish(session, prepared[0])]
        else:
            results = await asyncio.gather(*(self._finish(session, one) for one in prepared))
        return [array(results), NO_DIAGNOSTICS]

    def _prepare(
        self, session: Session, access: Access, sight: Sight, asked: ua.CallMethodRequest
    ) -> _Call | bytes:
        """The call, or the result that says why it is none."""
        inputs = cast("list[ua.Variant]", asked.InputArguments or [])
        try:
            found, method = self._find(session, sight, key_of(asked.ObjectId), key_of(asked.MethodId))
            own = self._own(found, method)
            check_rights(access, found, own)
            handler = self._handler(found, own, method)
            self._signatures.check(own, inputs)
        except InvalidArguments as refused:
            return _refused(StatusCodes.BadInvalidArgument, refused.codes)
        except ServiceFault as fault:
            return _refused(fault.code)
        return _Call(found, own, handler, inputs)

    def _find(self, session: Session, sight: Sight, object_key: Key, method_key: Key) -> tuple[Node, Node]:
        """Object and method, which belong together (OPC 10000-4 §5.12.2.2). Raises ServiceFault."""
        object_key, method_key = session.resolve(object_key), session.resolve(method_key)
        found = sight.find(self._space, object_key)
        if found is None:
            raise ServiceFault(not_found(object_key))
        if found.node_class not in {_OBJECT, _OBJECT_TYPE}:
            raise ServiceFault(StatusCodes.BadNodeIdInvalid, "neither an Object nor an ObjectType")
        method = sight.find(self._space, method_key)
        if method is None or method.node_class != _METHOD:
            raise ServiceFault(StatusCodes.BadMethodInvalid)
        if not any(method in self._components(owner) for owner in self._owners(found)):
            raise ServiceFault(StatusCodes.BadMethodInvalid, "not a method of that object")
        return found, method

    def _owners(self, found: Node) -> Iterator[Node]:
        """Whose methods may be called on an object: its own, its type's, those of the types above."""
        yield found
        kind = found if found.node_class == _OBJECT_TYPE else found.type_definition
        if kind is not None:
            if kind is not found:
                yield kind
            yield from self._space.supertypes(kind)

    def _components(self, owner: Node) -> Iterator[Node]:
        return self._space.targets(owner, self._space.nodes[_HAS_COMPONENT])

    def _named(self, owner: Node, like: Node) -> Node | None:
        """The owner's component of the same BrowseName that is a method."""
        return next(
            (
                node
                for node in self._components(owner)
                if node.browse_name == like.browse_name and node.node_class == _METHOD
            ),
            None,
        )

    def _own(self, found: Node, method: Node) -> Node:
        """The object's own method, where the client named the one of its type."""
        if found.node_class != _OBJECT or method in self._components(found):
            return method
        return self._named(found, method) or method

    def _handler(self, found: Node, own: Node, named: Node) -> Handler:
        """Who carries the method out; what is added for a type's stands for its instances'.

        Raises ServiceFault.
        """
        handler = self._handlers.get(own.key) or self._handlers.get(named.key)
        if handler is None:
            for owner in self._owners(found):
                declared = self._named(owner, own)
                handler = self._handlers.get(declared.key) if declared is not None else None
                if handler is not None:
                    break
        if handler is None:
            raise ServiceFault(StatusCodes.BadNotExecutable, "nothing carries that method out")
        return handler

    @staticmethod
    async def _finish(session: Session, call: _Call | bytes) -> bytes:
        """Carry a call out; whatever goes wrong is its result."""
        if isinstance(call, bytes):
            return call
        try:
            outputs = await call.handler(session, call.object, call.inputs)
            return _result(0, outputs=[structs.encode_variant(value) for value in outputs])
        except InvalidArguments as refused:
            return _refused(StatusCodes.BadInvalidArgument, refused.codes)
        except ServiceFault as fault:
            return _refused(fault.code)
        except UaStatusCodeError as error:
            return _refused(error_code(error))
        except Exception:
            log.exception("the method %s failed: a fault of ours", nodeid.text(call.method.key))
            return _refused(StatusCodes.BadInternalError)


def check_rights(access: Access, found: Node, method: Node) -> None:
    """The Call permission is asked of both nodes (OPC 10000-3 §8.55). Raises ServiceFault."""
    for node in (found, method):
        if not access.satisfies(node.access_restrictions):
            raise ServiceFault(StatusCodes.BadSecurityModeInsufficient)
        if not node.role_permissions.of(access.roles) & Permission.Call:
            raise ServiceFault(StatusCodes.BadUserAccessDenied)
    executable = method.attributes.get(_EXECUTABLE)
    if executable is not None and not executable[1]:
        raise ServiceFault(StatusCodes.BadNotExecutable)


def _refused(code: int, arguments: Sequence[int] = ()) -> bytes:
    return _result(code if code & _IS_BAD else StatusCodes.BadInternalError, arguments)


def _result(code: int, arguments: Sequence[int] = (), outputs: Sequence[bytes] = ()) -> bytes:
    """A CallMethodResult."""
    results: Any = [uint32(argument) for argument in arguments]
    return b"".join((uint32(code), array(results), int32(-1), array(outputs)))


def _wanted(reader: Reader) -> list[ua.CallMethodRequest]:
    """Raises ServiceFault for too many calls."""
    count = reader.count(_SMALLEST_CALL)
    check_operations(count, MAX_NODES_PER_METHOD_CALL)
    return [structs.decode(ua.CallMethodRequest, reader) for _ in range(count)]
