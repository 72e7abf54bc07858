"""OpenSecureChannel: the service's messages (OPC 10000-4 §5.6.2, OPC 10000-6 §6.7.4)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import numeric
from server.opcua.wire.reader import DecodingError, Reader
from server.opcua.wire.writer import byte_string
from sources import clock

ISSUE: Final = 0
RENEW: Final = 1

_REQUEST: Final = numeric(ObjectIds.OpenSecureChannelRequest_Encoding_DefaultBinary)
_RESPONSE: Final = numeric(ObjectIds.OpenSecureChannelResponse_Encoding_DefaultBinary)
_FAULT: Final = numeric(ObjectIds.ServiceFault_Encoding_DefaultBinary)

_RESPONSE_HEADER: Final = struct.Struct("<qIIBi3s")
_TOKEN: Final = struct.Struct("<IIIqI")


class OpenRequest(NamedTuple):
    """What a client asks for."""

    handle: int
    version: int
    kind: int
    """`ISSUE` or `RENEW`."""
    mode: int
    nonce: bytes
    lifetime: int


def read_request(reader: Reader) -> OpenRequest:
    """An OpenSecureChannel request. Raises DecodingError."""
    if reader.key() != _REQUEST:
        raise DecodingError("no OpenSecureChannel request")
    reader.key()  # the AuthenticationToken, of no use here
    reader.int64()
    handle = reader.uint32()
    reader.uint32()
    reader.string()
    reader.uint32()
    reader.extension_object()
    version, kind, mode = reader.uint32(), reader.uint32(), reader.uint32()
    return OpenRequest(handle, version, kind, mode, reader.byte_string() or b"", reader.uint32())


def response(request: OpenRequest, channel: int, token: int, lifetime: int, nonce: bytes) -> bytes:
    """The response that grants a security token; its version is that of our Acknowledge."""
    now = clock.now()
    return b"".join(
        (
            _RESPONSE,
            _RESPONSE_HEADER.pack(now, request.handle, 0, 0, -1, b"\0\0\0"),
            _TOKEN.pack(0, channel, token, now, lifetime),
            byte_string(nonce or None),
        )
    )


def fault(request: OpenRequest, code: int) -> bytes:
    """A ServiceFault instead of a response."""
    return _FAULT + _RESPONSE_HEADER.pack(clock.now(), request.handle, code, 0, -1, b"\0\0\0")
