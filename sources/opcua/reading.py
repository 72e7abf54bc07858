"""Read, whatever the device's limits and ours (OPC 10000-4 §5.11.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, Final

from sources.errors import ConnectionLost
from sources.opcua import wire
from sources.opcua.beside import beside_if_long
from sources.opcua.channel import MAX_PENDING, Crowded, ServiceError
from sources.opcua.connection import Connection, read_request
from sources.opcua.wire import Raw
from sources.quality import BAD_COMMUNICATION_ERROR, is_bad

TOO_MANY: Final = 0x80100000
"""BadTooManyOperations."""
TOO_LARGE: Final = frozenset(
    {
        TOO_MANY,
        0x80080000,  # BadEncodingLimitsExceeded
        0x80B80000,  # BadRequestTooLarge
        0x80B90000,  # BadResponseTooLarge
    }
)
"""What is said of a Read that asks for too much at once, be it by the device or by this side."""


async def read_raw(
    connection: Connection, wanted: Sequence[tuple[Any, int]], *, most: int = MAX_PENDING
) -> list[Raw]:
    """Values of (NodeId, AttributeId) as they are, see `read_parts`. Raises ConnectionLost."""
    return [raw async for part in read_parts(connection, wanted, most=most) for raw in part]


async def read_parts(
    connection: Connection, wanted: Sequence[tuple[Any, int]], *, most: int = MAX_PENDING
) -> AsyncGenerator[list[Raw], None]:
    """Values of (NodeId, AttributeId) as they are, a Read's after the other's; ``most`` as of `Channel.send`.

    A Read that is too large is halved. An attribute that is too large by itself has no value and the
    StatusCode that says so. Raises ConnectionLost.
    """
    limits, start, ends = connection.limits, 0, [len(wanted)]
    while start < len(wanted):
        if ends[-1] - start > limits.read:
            ends.append(start + limits.read)
        asked = wanted[start : ends[-1]]
        try:
            found = await _read(connection, asked, most)
        except ServiceError as error:
            if error.code not in TOO_LARGE or isinstance(error, Crowded):
                raise _refused(error) from None
            if len(asked) > 1:
                ends.append(start + len(asked) // 2)
                if error.code == TOO_MANY:
                    # That is said of how many they are, not of what they are, and will be said again.
                    limits.read = min(limits.read, len(asked) // 2)
                continue
            connection.tell_too_large(*asked[0], error.code)
            found = [Raw(b"", error.code, 0)]
        start = ends.pop()
        yield found


async def _read(connection: Connection, wanted: Sequence[tuple[Any, int]], most: int) -> list[Raw]:
    """One Read. Raises ServiceError, ConnectionLost."""
    body = await connection.channel.answer_to(read_request(wanted), most=most)
    try:
        result, values = await beside_if_long(partial(wire.read_results, most=len(wanted)), body, len(wanted))
    except wire.Malformed as error:
        raise _refused(error) from None
    if is_bad(result):
        raise ServiceError("Read", result)
    if len(values) != len(wanted):
        raise ConnectionLost("a Read was answered in part", BAD_COMMUNICATION_ERROR)
    return values


def _refused(error: Exception) -> ConnectionLost:
    return ConnectionLost(f"the device refused {error}", BAD_COMMUNICATION_ERROR)
