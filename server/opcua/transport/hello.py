"""Hello and Acknowledge (OPC 10000-6 §7.1.2.3, §7.1.2.4)."""

from __future__ import annotations

import struct
from typing import Final

from server.opcua.transport.framing import HEADER, TransportError
from server.opcua.transport.limits import MAX_URL, MIN_CHUNK, Limits, Negotiated
from server.opcua.types import StatusCodes
from server.opcua.wire.reader import DecodingError, Reader

PROTOCOL_VERSION: Final = 0

_ACKNOWLEDGE: Final = struct.Struct("<4sIIIIII")


def greet(chunk: bytes, limits: Limits) -> tuple[Negotiated, str, bytes]:
    """What a Hello leads to: the agreement, the EndpointUrl, and the Acknowledge to send.

    Raises TransportError for what makes no sense, and for buffers nobody could work with.
    """
    try:
        agreed, url = _read(Reader(chunk, HEADER), limits)
    except DecodingError as error:
        raise TransportError(StatusCodes.BadDecodingError, f"a Hello that cannot be read: {error}") from error
    answer = _ACKNOWLEDGE.pack(
        b"ACKF",
        _ACKNOWLEDGE.size,
        PROTOCOL_VERSION,
        agreed.receive_chunk,
        agreed.send_chunk,
        limits.message,
        limits.chunks,
    )
    return agreed, url, answer


def _read(reader: Reader, limits: Limits) -> tuple[Negotiated, str]:
    version, receive, send, message, chunks = (reader.uint32() for _ in range(5))
    size = reader.int32()
    if size > MAX_URL:
        raise TransportError(
            StatusCodes.BadTcpEndpointUrlInvalid, f"an EndpointUrl of {size} bytes is announced"
        )
    reader.at -= 4
    url = reader.string() or ""
    if min(receive, send) < MIN_CHUNK:
        raise TransportError(
            StatusCodes.BadConnectionRejected, f"the client's buffers are smaller than {MIN_CHUNK} bytes"
        )
    agreed = Negotiated(
        receive_chunk=min(send, limits.chunk),
        send_chunk=min(receive, limits.chunk),
        max_response=message,
        max_response_chunks=chunks,
        version=version,
    )
    return agreed, url
