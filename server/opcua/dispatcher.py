"""From a message to the service that answers it (OPC 10000-4 §5, §7.33)."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from typing import Final

from server.opcua.requests import Needs, Peer, Request, Service
from server.opcua.types import ServiceFault, StatusCodes
from server.opcua.wire.nodeid import NULL, Key
from server.opcua.wire.reader import Reader

_MS: Final = 1000.0
_LONGEST: Final = 86_400_000
"""Milliseconds beyond which a TimeoutHint means no more than its absence."""

_FOUR_BYTES: Final = b"\x01"
_OUR_TOKEN: Final = b"\x05\x00\x00\x20\x00\x00\x00"
"""How the key of an AuthenticationToken of ours begins (`Session.token`)."""
_TOKEN_BEGINS: Final = 4
_TOKEN_LENGTH: Final = _TOKEN_BEGINS + len(_OUR_TOKEN)
_TOKEN_ENDS: Final = _TOKEN_LENGTH + 32
_PLAIN: Final = struct.Struct("<qIIiI3s")
"""Timestamp, RequestHandle, ReturnDiagnostics, length of the AuditEntryId, TimeoutHint, AdditionalHeader."""
_HEADER_ENDS: Final = _TOKEN_ENDS + _PLAIN.size
_NOTHING: Final = b"\x00\x00\x00"
"""A null ExtensionObject."""
_EMPTY: Final = frozenset({-1, 0})
"""Lengths of a null and an empty String."""

_SECURITY: Final = frozenset(
    {
        StatusCodes.BadSecurityChecksFailed,
        StatusCodes.BadSecurityPolicyRejected,
        StatusCodes.BadSecureChannelIdInvalid,
        StatusCodes.BadSessionIdInvalid,
        StatusCodes.BadSessionNotActivated,
        StatusCodes.BadIdentityTokenInvalid,
        StatusCodes.BadIdentityTokenRejected,
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadUserSignatureInvalid,
        StatusCodes.BadApplicationSignatureInvalid,
        StatusCodes.BadCertificateInvalid,
        StatusCodes.BadCertificateUriInvalid,
        StatusCodes.BadNonceInvalid,
    }
)


class _Unsupported:
    """What answers a request that no service of ours is for."""

    @staticmethod
    def run(_: object, request: Request) -> None:
        """Raises ServiceFault."""
        raise ServiceFault(StatusCodes.BadServiceUnsupported, f"no service for {request.service.name}")


class Dispatcher:
    """All services of a server, by the type of their requests."""

    def __init__(self, services: Iterable[Service]) -> None:
        """A request type may be given once. Raises ValueError."""
        self._services: dict[Key, Service] = {}
        self.refused = 0
        """Requests answered with a ServiceFault since the start (OPC 10000-5 §12.9)."""
        self.refused_for_security = 0
        """Those of them refused for what their sender may not."""
        for service in services:
            if service.request in self._services:
                raise ValueError(f"two services answer {service.name}")
            self._services[service.request] = service

    def request(self, peer: Peer, number: int, body: bytes) -> Request:
        """The request of a message: its header is decoded, its parameters are not.

        Raises DecodingError where there is no header to answer to.
        """
        reader = Reader(body)
        if body[_TOKEN_BEGINS:_TOKEN_LENGTH] == _OUR_TOKEN and len(body) >= _HEADER_ENDS:
            # What nearly every client sends: a token of ours, no AuditEntryId, no AdditionalHeader.
            _, handle, _, entry, hint, more = _PLAIN.unpack_from(body, _TOKEN_ENDS)
            if body[:1] == _FOUR_BYTES and entry in _EMPTY and more == _NOTHING:
                reader.at = _HEADER_ENDS
                token = body[_TOKEN_BEGINS:_TOKEN_ENDS]
                return self._made(peer, number, body[:_TOKEN_BEGINS], token, handle, hint, reader)
        kind = reader.key()
        token = reader.key()
        reader.skip(8)  # Timestamp: the client's clock is its own business
        handle = reader.uint32()
        reader.skip(4)  # ReturnDiagnostics: taken, and no diagnostics are kept
        entry = reader.string()
        hint = reader.uint32()
        reader.extension_object()  # AdditionalHeader
        return self._made(peer, number, kind, token, handle, hint, reader, entry)

    def _made(  # the fields of the header
        self,
        peer: Peer,
        number: int,
        kind: Key,
        token: Key,
        handle: int,
        hint: int,
        reader: Reader,
        entry: str | None = None,
    ) -> Request:
        service = self._services.get(kind)
        if service is None:
            service = Service("unknown", kind, NULL, _Unsupported.run, Needs.Channel)
        deadline = time.monotonic() + hint / _MS if 0 < hint < _LONGEST else None
        return Request(peer, number, service, token, handle, deadline, reader, entry)

    def count(self, code: int) -> None:
        """A request was refused with that code."""
        self.refused += 1
        if code in _SECURITY:
            self.refused_for_security += 1

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services.values())
