"""A raw OPC UA client over SecurityPolicy None that counts notifications without decoding them.

Run as ``python -m bench.client URL NAMESPACE_INDEX INTERVAL_MS SECONDS`` with the node
identifiers on standard input, a line each, the clock's first. Prints ``subscribed`` when
the first values are there and, at the end, ``result`` and a JSON object: notifications,
seconds, and the latencies in ms from the device's stamp to here.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import asyncua.ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary

# Its annotations do not say what its own callers pass.
ua: Any = asyncua.ua

_CHUNK: Final = 100_000
_STAMP_HANDLE: Final = 0x5354414D
_OUTSTANDING: Final = 5
# ClientHandle, DataValue with value, source and server time; Variant of Int64.
_STAMP: Final = struct.pack("<I", _STAMP_HANDLE)


class Connection:
    """One secure channel without security, one session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._channel, self._token = 0, 0
        self._sequence = 0
        self.session: Any = ua.NodeId()

    @classmethod
    async def open(cls, url: str) -> Connection:
        """Hello, OpenSecureChannel, CreateSession, ActivateSession as anonymous."""
        parts = urlsplit(url)
        self = cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 24))
        encoded = url.encode()
        hello = struct.pack("<IIIIIi", 0, 1 << 20, 1 << 20, 0, 0, len(encoded)) + encoded
        self._writer.write(b"HELF" + struct.pack("<I", len(hello) + 8) + hello)
        await self._frame()
        request = ua.OpenSecureChannelRequest()
        request.Parameters.RequestType = ua.SecurityTokenRequestType.Issue
        request.Parameters.SecurityMode = ua.MessageSecurityMode.None_
        request.Parameters.RequestedLifetime = 3_600_000
        policy = b"http://opcfoundation.org/UA/SecurityPolicy#None"
        head = struct.pack("<i", len(policy)) + policy + struct.pack("<ii", -1, -1)
        self._send(b"OPNF", struct.pack("<I", 0) + head, request)
        frame = await self._frame()
        response = _decode(frame[12 + len(head) + 8 :], ua.OpenSecureChannelResponse)
        self._channel = response.Parameters.SecurityToken.ChannelId
        self._token = response.Parameters.SecurityToken.TokenId
        create = ua.CreateSessionRequest()
        create.Parameters.ClientDescription.ApplicationUri = "urn:bench:client"
        create.Parameters.ClientDescription.ApplicationType = ua.ApplicationType.Client
        create.Parameters.EndpointUrl = url
        create.Parameters.SessionName = "bench"
        create.Parameters.RequestedSessionTimeout = 3_600_000.0
        create.Parameters.ClientNonce = bytes(32)
        created = await self.call(create, ua.CreateSessionResponse)
        self.session = created.Parameters.AuthenticationToken
        policies = [
            policy.PolicyId
            for endpoint in created.Parameters.ServerEndpoints
            if endpoint.SecurityMode == ua.MessageSecurityMode.None_
            for policy in endpoint.UserIdentityTokens
            if policy.TokenType == ua.UserTokenType.Anonymous
        ]
        activate = ua.ActivateSessionRequest()
        activate.Parameters.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId=policies[0])
        await self.call(activate, ua.ActivateSessionResponse)
        return self

    def send(self, request: Any) -> None:
        """Send a request of the session without waiting."""
        request.RequestHeader.AuthenticationToken = self.session
        self._send(b"MSGF", struct.pack("<II", self._channel, self._token), request)

    async def call(self, request: Any, response: type[Any]) -> Any:
        """Send a request and decode its answer; raises UaError when it is bad."""
        self.send(request)
        answer = _decode(await self.message(), response)
        answer.ResponseHeader.ServiceResult.check()
        return answer

    async def message(self) -> bytes:
        """The next whole message's body, its chunks joined."""
        parts = []
        while True:
            frame = await self._frame()
            parts.append(frame[24:])
            if frame[3:4] == b"F":
                return b"".join(parts)

    def close(self) -> None:
        """Drop the connection."""
        self._writer.close()

    def detach(self) -> tuple[socket.socket, bytes, int]:
        """The bare socket, to be used blocking, the ids a MSG starts with, the last sequence number.

        Nothing may be on its way. The connection itself is of no use from here on.
        """
        bare: socket.socket = self._writer.get_extra_info("socket").dup()
        bare.setblocking(True)
        self._writer.transport.abort()  # closes a copy of the socket: the other end sees nothing
        return bare, struct.pack("<II", self._channel, self._token), self._sequence

    def _send(self, kind: bytes, head: bytes, request: Any) -> None:
        request.RequestHeader.TimeoutHint = 60_000
        body = ua_binary.struct_to_binary(request)
        chunks = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
        for index, chunk in enumerate(chunks):
            self._sequence += 1
            last = index == len(chunks) - 1
            size = 8 + len(head) + 8 + len(chunk)
            flag = kind if last else kind[:3] + b"C"
            numbers = struct.pack("<II", self._sequence, self._sequence - index)
            self._writer.write(flag + struct.pack("<I", size) + head + numbers + chunk)

    async def _frame(self) -> bytes:
        head = await self._reader.readexactly(8)
        frame = head + await self._reader.readexactly(struct.unpack_from("<I", head, 4)[0] - 8)
        if frame[:3] == b"ERR":
            raise ConnectionError(f"the server refused: {frame[8:]!r}")
        return frame


def _decode(body: bytes, kind: type[Any]) -> Any:
    """The message as what it should be, or as the ServiceFault it is."""
    fault = ua.FourByteNodeId(ua.ObjectIds.ServiceFault_Encoding_DefaultBinary)
    is_fault = ua_binary.nodeid_from_binary(Buffer(body)) == fault
    return ua_binary.struct_from_binary(ua.ServiceFault if is_fault else kind, Buffer(body))


@dataclass(slots=True)
class Count:
    """What came so far."""

    notifications: int = 0
    latencies: list[float] = field(default_factory=list)


def count(body: bytes, so_far: Count, moment: int) -> tuple[int, int]:
    """Add one PublishResponse; its subscription id and sequence number, 0 for a keep-alive.

    Only the fixed head is read: type id, ResponseHeader, ids, NotificationMessage.
    """
    at = 4 + 8 + 4 + 4  # type id, timestamp, request handle, service result
    at += 1  # DiagnosticInfo: none
    (strings,) = struct.unpack_from("<i", body, at)
    at += 4 if strings <= 0 else 0
    at += 3  # additional header: null ExtensionObject
    subscription, available = struct.unpack_from("<Ii", body, at)
    at += 8 + 4 * max(available, 0) + 1
    sequence, _, parts = struct.unpack_from("<IQi", body, at)
    at += 16
    if parts <= 0:
        return subscription, 0
    for _ in range(parts):
        at += 4  # NodeId of the encoding, four bytes
        at += 1
        (length,) = struct.unpack_from("<i", body, at)
        (items,) = struct.unpack_from("<i", body, at + 4)
        so_far.notifications += items
        found = body.find(_STAMP, at, at + length)
        if found >= 0:
            mask, kind, stamp = struct.unpack_from("<BBq", body, found + 4)
            if mask & 1 and kind == 8:
                so_far.latencies.append((moment - stamp) / 1e6)
        at += 4 + length
    return subscription, sequence


async def _subscribe(connection: Connection, nodes: list[Any], interval: float) -> None:
    create = ua.CreateSubscriptionRequest()
    create.Parameters.RequestedPublishingInterval = interval
    create.Parameters.RequestedLifetimeCount = 10_000
    create.Parameters.RequestedMaxKeepAliveCount = 100
    create.Parameters.PublishingEnabled = True
    created = await connection.call(create, ua.CreateSubscriptionResponse)
    for start in range(0, len(nodes), 1000):
        items = ua.CreateMonitoredItemsRequest()
        items.Parameters.SubscriptionId = created.Parameters.SubscriptionId
        items.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        for index, node in enumerate(nodes[start : start + 1000], start):
            item = ua.MonitoredItemCreateRequest()
            item.ItemToMonitor.NodeId = node
            item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
            item.MonitoringMode = ua.MonitoringMode.Reporting
            item.RequestedParameters.ClientHandle = index or _STAMP_HANDLE
            item.RequestedParameters.SamplingInterval = interval
            item.RequestedParameters.QueueSize = 1
            items.Parameters.ItemsToCreate.append(item)
        answer = await connection.call(items, ua.CreateMonitoredItemsResponse)
        for result in answer.Results:
            result.StatusCode.check()


async def _run(url: str, namespace: int, interval: float, seconds: float) -> None:
    nodes = [ua.NodeId(line.strip(), namespace) for line in sys.stdin]
    connection = await Connection.open(url)
    await _subscribe(connection, nodes, interval)
    seen = Count()
    for _ in range(_OUTSTANDING):
        connection.send(ua.PublishRequest())
    while seen.notifications < len(nodes):
        await _take(connection, seen)
    print("subscribed", flush=True)
    seen, start = Count(), time.monotonic()
    while time.monotonic() < start + seconds:
        await _take(connection, seen)
    took = time.monotonic() - start
    connection.close()
    result = {"notifications": seen.notifications, "seconds": took, "latencies": seen.latencies}
    print("result", json.dumps(result), flush=True)


async def _take(connection: Connection, seen: Count) -> None:
    body = await connection.message()
    subscription, sequence = count(body, seen, time.time_ns())
    publish = ua.PublishRequest()
    if sequence:
        acknowledgement = ua.SubscriptionAcknowledgement(SubscriptionId=subscription, SequenceNumber=sequence)
        publish.Parameters.SubscriptionAcknowledgements.append(acknowledgement)
    connection.send(publish)


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
