"""A session over a bare socket that sends prebuilt Read requests and counts what comes back."""

from __future__ import annotations

import random
import socket
import struct
from typing import Any, Final

import asyncua.ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary

from bench.plant import keys

# Its annotations do not say what its own callers pass.
ua: Any = asyncua.ua

_ANY_AGE: Final = 2.0**31  # so that no device is asked
_NUMBERS: Final = struct.Struct("<II")
_HEAD: Final = struct.Struct("<II")  # RequestHandle, ServiceResult
_HEADER: Final = 24  # of a chunk: type and size, channel and token, sequence number and request id
_RESULTS: Final = _HEADER + 28  # in a response without diagnostics or additional header
_SEED: Final = 1
# AttributeId Value, null IndexRange, null DataEncoding.
_VALUE: Final = struct.pack("<IiHi", 13, -1, 0, -1)


class NotWhatWasAskedFor(Exception):
    """A response is not what it should be; the text says how."""


class Poller:
    """A session over a bare socket: one request, one response."""

    def __init__(self, bare: socket.socket, ids: bytes, sequence: int, session: Any) -> None:
        self._socket, self._ids, self._number = bare, ids, sequence
        self._buffer = bytearray(1 << 20)
        self._view = memoryview(self._buffer)
        self._end = self._read = 0
        self.session = session
        self._type = ua_binary.nodeid_to_binary(
            ua.FourByteNodeId(ua.ObjectIds.ReadRequest_Encoding_DefaultBinary)
        )
        self._token = ua_binary.nodeid_to_binary(session)
        self._handle_at = _HEADER + len(self._type) + len(self._token) + 8

    def read_request(self, nodes: list[bytes], times: int) -> bytearray:
        """A whole Read of values; sequence number, request id and handle are left open."""
        body = b"".join(
            (
                self._type,
                self._token,
                struct.pack("<QIIiI3x", 0, 0, 0, -1, 60_000),
                struct.pack("<dIi", _ANY_AGE, times, len(nodes)),
                *(node + _VALUE for node in nodes),
            )
        )
        return bytearray(self._message(body))

    def ask(self, requests: list[bytearray], values: int) -> int:
        """Send all in one go and await the response of each, of so many values; the bytes of the last.

        Raises NotWhatWasAskedFor when one is the response to something else, or a bad one.
        """
        numbers, data = [], bytearray()
        for request in requests:  # which may be the same one, several times
            numbers.append(self._next(request))
            struct.pack_into("<I", request, self._handle_at, numbers[-1])
            data += request
        self._socket.sendall(data)
        return [self._response(number, values) for number in numbers][-1]

    def _response(self, number: int, values: int) -> int:
        self._receive()
        handle, result = _HEAD.unpack_from(self._buffer, _HEADER + 4 + 8)
        (count,) = struct.unpack_from("<i", self._buffer, _RESULTS)
        if (handle, result, count) != (number, 0, values):
            raise NotWhatWasAskedFor(
                f"request {number} for {values} values has response {handle}: 0x{result:08X}, {count} values"
            )
        return self._end

    def results(self) -> list[Any]:
        """The last response's DataValues, decoded."""
        response = ua_binary.struct_from_binary(ua.ReadResponse, Buffer(self._body()))
        return list(response.Results)

    def register(self, nodes: list[bytes]) -> list[bytes]:
        """RegisterNodes: what the server wants them called."""
        request = ua.RegisterNodesRequest()
        request.Parameters.NodesToRegister = [ua_binary.nodeid_from_binary(Buffer(node)) for node in nodes]
        self._send(request)
        response = ua_binary.struct_from_binary(ua.RegisterNodesResponse, Buffer(self._body()))
        response.ResponseHeader.ServiceResult.check()
        return [ua_binary.nodeid_to_binary(node) for node in response.Parameters.RegisteredNodeIds]

    def close(self) -> None:
        """CloseSession, and the end of the connection."""
        self._send(ua.CloseSessionRequest(DeleteSubscriptions=True))
        self._socket.close()

    def _send(self, request: Any) -> None:
        request.RequestHeader.AuthenticationToken = self.session
        message = bytearray(self._message(ua_binary.struct_to_binary(request)))
        self._next(message)
        self._socket.sendall(message)
        self._receive()

    def _message(self, body: bytes) -> bytes:
        return b"MSGF" + struct.pack("<I", _HEADER + len(body)) + self._ids + bytes(8) + body

    def _next(self, message: bytearray) -> int:
        self._number += 1
        _NUMBERS.pack_into(message, 16, self._number, self._number)
        return self._number

    def _receive(self) -> None:
        """A whole message, chunk behind chunk in the buffer."""
        left = self._read - self._end
        self._buffer[:left] = self._buffer[self._end : self._read]
        self._read, at = left, 0
        while True:
            self._fill(at + 8)
            kind, size = struct.unpack_from("<4sI", self._buffer, at)
            if not kind.startswith(b"MSG"):
                raise NotWhatWasAskedFor(f"the server answered {bytes(self._buffer[: self._read])!r}")
            self._fill(at + size)
            at += size
            if kind == b"MSGF":
                self._end = at
                return

    def _fill(self, end: int) -> None:
        while self._read < end:
            got = self._socket.recv_into(self._view[self._read :])
            if not got:
                raise NotWhatWasAskedFor("the server closed the connection")
            self._read += got

    def _body(self) -> bytes:
        parts, at = [], 0
        while at < self._end:
            (size,) = struct.unpack_from("<I", self._buffer, at + 4)
            parts.append(bytes(self._buffer[at + _HEADER : at + size]))
            at += size
        return b"".join(parts)


class Nodes:
    """The plant's variables as encoded NodeIds, and lists of them."""

    def __init__(self, variables: int, namespace: int) -> None:
        names = keys(variables)[1:]
        self.all = [ua_binary.nodeid_to_binary(ua.StringNodeId(name, namespace)) for name in names]
        machines: dict[str, list[bytes]] = {}
        for name, node in zip(names, self.all, strict=True):
            machines.setdefault(name.partition(".")[0], []).append(node)
        self._machines = list(machines.values())
        self._random = random.Random(_SEED)  # noqa: S311  # the same lists in every run

    def some(self, count: int, *, in_order: bool) -> list[bytes]:
        """So many, any of them."""
        if not in_order:
            return self._random.sample(self.all, count)
        found: list[bytes] = []
        for machine in self._random.sample(self._machines, len(self._machines)):
            found += machine[: count - len(found)]
            if len(found) == count:
                break
        return found

    def parts(self, count: int) -> list[list[bytes]]:
        """All of them, in lists of so many."""
        mixed = self._random.sample(self.all, len(self.all))
        return [mixed[at : at + count] for at in range(0, len(mixed) - count + 1, count)]


def check(results: list[Any], times: str) -> None:
    """Raise NotWhatWasAskedFor unless all are good doubles with the times asked for ("both", "source")."""
    for result in results:
        good = result.StatusCode is None or result.StatusCode.is_good()
        stamped = result.SourceTimestamp and (result.ServerTimestamp or times != "both")
        if not (good and stamped and result.Value.VariantType == ua.VariantType.Double):
            raise NotWhatWasAskedFor(f"a value is {result!r}")
