"""A connection to an OPC UA server: its transport and its secure channel (OPC 10000-6 §6.7, §7.1).

Requests are encoded by the caller, answers are handed back as bytes: what is frequent is decoded by
`sources.opcua.wire`, the rest by the stack.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, cast

from sources.errors import ConnectionLost, Refused, Unreachable
from sources.insight import Traffic
from sources.opcua import wire
from sources.opcua.assembly import Assembly
from sources.opcua.beside import beside
from sources.opcua.stack import (
    NONE,
    Buffer,
    SecureConnection,
    TransportLimits,
    binary,
    decode,
    encode,
    status_name,
    text,
    ua,
)
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED, BAD_TIMEOUT, Quality
from sources.resolve import Endpoint, Resolver

log = logging.getLogger(__name__)

CHUNK: Final = 65_535
MAX_MESSAGE: Final = 32 << 20
"""Bytes of one answer; whoever sends more has its connection ended."""
MAX_PENDING: Final = 200
"""Requests that wait for their answers, Publish requests aside: these wait as long as the server likes."""
FORWARDED: Final = MAX_PENDING // 2
"""Of these, what others ask for: their reads, writes and calls. The rest keeps the connection."""
LIFETIME: Final = 600_000
"""Milliseconds a security token is asked for."""
_LARGE: Final = 8_192
"""Bytes of an answer that the loop does not decode itself."""
_A_TURN: Final = 200
"""Chunks taken in before others get a turn."""
_MOST_DECODED: Final = 2 << 20
"""Bytes of an answer the stack decodes, but for those of which it is known how much there is in them: its
objects take a hundred times the bytes, and long."""
_MOST_REFERENCES: Final = 300_000
_MOST_TARGETS: Final = 20_000
"""In one answer, to all that was asked together."""
_LONGEST_HINT: Final = 0xFFFFFFFF
"""Milliseconds a TimeoutHint can tell, however long a keep-alive the device grants."""
_HEADER: Final = 8
_FAULT: Final = 397
"""The id of a ServiceFault's encoding."""
_UNPACK: Final = struct.Struct("<I").unpack_from


class ServiceError(Exception):
    """A service answered with a bad StatusCode."""

    def __init__(self, service: str, code: int) -> None:
        super().__init__(f"{service}: {status_name(code)}")
        self.code = code


class Crowded(ServiceError):
    """So many requests wait already that this one was not sent."""

    def __init__(self, service: str) -> None:
        super().__init__(service, 0x80100000)  # BadTooManyOperations


class _Secure(SecureConnection):  # type: ignore[misc]  # see `stack`
    """The stack's secure channel, which hands over chunks: `Assembly` makes messages of them."""

    def _receive(self, chunk: Any) -> Any:
        self._check_incoming_chunk(chunk)
        return chunk


class Channel(asyncio.Protocol):
    """One connection with one secure channel. ``timeout`` is how long an answer may take, in seconds."""

    def __init__(self, policy: Any, timeout: float, traffic: Traffic | None = None) -> None:
        """``traffic`` is counted on."""
        self._timeout = timeout
        self._traffic = traffic or Traffic()
        self._limits = TransportLimits(CHUNK, CHUNK, MAX_MESSAGE // 8192, MAX_MESSAGE)
        self._secure = _Secure(policy, self._limits)
        self.largest = MAX_MESSAGE
        """Bytes of one answer."""
        self._assembly = Assembly(self.largest)
        self._policy = policy
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._going_on: asyncio.Handle | None = None
        """What came is more than one turn's, and nothing is read meanwhile."""
        self._unasked = 0
        """Answers nobody waited for: no longer, it may be."""
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._counted = 0
        """How many of these are no Publish."""
        self._request_id = 0
        self._hello: asyncio.Future[None] | None = None
        self._opening: tuple[Any, asyncio.Future[Any]] | None = None
        self._max_request = 0
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is gone; ``cause`` says why."""
        self.cause: tuple[str, Quality] = ("the connection was closed by this side", BAD_CONNECTION_CLOSED)
        self.token: Any = None
        """The AuthenticationToken of the session, once there is one."""
        self.renew_at = float("inf")
        """When the security token is to be renewed, by the loop's clock."""

    # --- Opening and closing

    async def open(self, resolver: Resolver, url: str) -> None:
        """Dial, say hello and open the secure channel. Raises Unreachable, Refused."""
        until = self._loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(until):
                endpoints = await resolver.resolve()
        except TimeoutError:
            raise Unreachable(f"the host name is not resolved within {self._timeout:g} s") from None
        try:
            await self._call_each(endpoints, until)
        except TimeoutError:
            raise Unreachable(f"no answer to the call within {self._timeout:g} s") from None
        except OSError as error:
            raise Unreachable(_os_text(error)) from None
        self._hello = self._loop.create_future()
        hello = ua.Hello(
            ProtocolVersion=0,
            ReceiveBufferSize=CHUNK,
            SendBufferSize=CHUNK,
            MaxMessageSize=MAX_MESSAGE,
            MaxChunkCount=0,
            EndpointUrl=url,
        )
        self._write(binary.uatcp_to_binary(ua.MessageType.Hello, hello))
        try:
            async with asyncio.timeout(self._timeout):
                await self._hello
            await self._issue(ua.SecurityTokenRequestType.Issue)
        except TimeoutError:
            raise Unreachable(f"no OPC UA server answers there within {self._timeout:g} s") from None
        except ConnectionLost as lost:
            raise Unreachable(str(lost)) from None
        except ServiceError as error:
            raise Refused(f"the secure channel was refused: {error}") from None

    async def _call_each(self, endpoints: Sequence[Endpoint], until: float) -> None:
        """Call one address after the other, each for its share of the time: a silent one hides no other."""
        last: OSError = OSError("the host name has no address")
        for tried, (_, address) in enumerate(endpoints):
            try:
                async with asyncio.timeout((until - self._loop.time()) / (len(endpoints) - tried)):
                    await self._loop.create_connection(lambda: self, *address[:2])
            except OSError as error:
                last = error
            else:
                return
        raise last

    async def renew(self) -> None:
        """Have a new security token. Raises ConnectionLost."""
        try:
            await self._issue(ua.SecurityTokenRequestType.Renew)
        except ServiceError as error:
            raise ConnectionLost(
                f"the secure channel was not renewed: {error}", BAD_COMMUNICATION_ERROR
            ) from None
        except TimeoutError:
            raise ConnectionLost("the secure channel was not renewed in time", BAD_TIMEOUT) from None

    async def _issue(self, kind: Any) -> None:
        params = ua.OpenSecureChannelParameters(
            ClientProtocolVersion=0,
            RequestType=kind,
            SecurityMode=self._policy.Mode,
            ClientNonce=secrets.token_bytes(self._policy.secure_channel_nonce_length),
            RequestedLifetime=LIFETIME,
        )
        request = ua.OpenSecureChannelRequest(Parameters=params)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._opening = (params, answer)
        try:
            self._request_id += 1
            data = self._secure.message_to_binary(
                encode(request), message_type=ua.MessageType.SecureOpen, request_id=self._request_id
            )
            self._write(data)
            async with asyncio.timeout(self._timeout):
                response = await answer
        finally:
            self._opening = None
        lifetime = response.Parameters.SecurityToken.RevisedLifetime / 1000
        self.renew_at = self._loop.time() + max(0.75 * lifetime, 1.0)

    def close(self) -> None:
        """Hang up; whoever waits for an answer gets ConnectionLost."""
        transport = self._transport
        if transport is None:
            return
        if self._secure.is_open() and not transport.is_closing():
            self._request_id += 1
            self._write(
                self._secure.message_to_binary(
                    encode(ua.CloseSecureChannelRequest()),
                    message_type=ua.MessageType.SecureClose,
                    request_id=self._request_id,
                )
            )
        transport.close()

    async def gone(self) -> None:
        """Close, and wait until the connection is gone; what cannot be sent is given up soon."""
        self.close()
        if self._transport is None:
            return
        try:
            async with asyncio.timeout(0.5):
                await asyncio.shield(self.lost)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()
                await asyncio.shield(self.lost)

    # --- Requests

    async def request(self, request: Any, answer: Any, *, within: float | None = None) -> Any:
        """Send a request of the stack's and decode its answer as that type.

        Raises ServiceError for a bad ServiceResult, ConnectionLost where none came.
        """
        return await self.decoded(request, answer, await self.answer_to(request, within=within))

    async def outcome(self, sent: asyncio.Future[bytes], request: Any, answer: Any) -> Any:
        """As `request`, of one that was sent already."""
        return await self.decoded(request, answer, await self.bytes_of(sent, request))

    async def bytes_of(self, sent: asyncio.Future[bytes], request: Any) -> bytes:
        """As `answer_to`, of one that was sent already."""
        return await self._await(sent, request, self._timeout)

    async def answer_to(
        self, request: Any, *, within: float | None = None, most: int | None = MAX_PENDING
    ) -> bytes:
        """Send a request; the bytes of its answer. Raises ServiceError for a ServiceFault, ConnectionLost."""
        patience = self._timeout if within is None else within
        return await self._await(self.send(request, patience, most=most), request, patience)

    @staticmethod
    async def _await(future: asyncio.Future[bytes], request: Any, patience: float) -> bytes:
        try:
            async with asyncio.timeout(patience):
                body = await future
        except TimeoutError:
            raise ConnectionLost(
                f"no answer to {_service(request)} within {patience:g} s", BAD_TIMEOUT
            ) from None
        except ServiceError as error:
            raise ServiceError(_service(request), error.code) from None
        check_fault(_service(request), body)
        if not body.startswith(_answer_type(_service(request))):
            # Some servers answer what was asked on the connection before.
            raise ConnectionLost(
                f"the answer to {_service(request)} is of another kind", BAD_COMMUNICATION_ERROR
            )
        return body

    @staticmethod
    async def decoded(request: Any, answer: Any, body: bytes) -> Any:
        """An answer of the stack's, which takes long for a large one: that is done in a thread.

        Raises ServiceError for a bad ServiceResult, ConnectionLost for what is no such answer.
        """
        try:
            if len(body) > _LARGE:
                response = await beside(_large, answer, body)
            else:
                response = decode(answer, body)
        except wire.Malformed as error:
            raise ConnectionLost(
                f"the answer to {_service(request)} is not taken: {error}", BAD_COMMUNICATION_ERROR
            ) from None
        except Exception as error:
            raise ConnectionLost(
                f"the answer to {_service(request)} cannot be read: {error!r:.200}", BAD_COMMUNICATION_ERROR
            ) from error
        code = int(response.ResponseHeader.ServiceResult.value)
        if code & 0x80000000:
            raise ServiceError(_service(request), code)
        return response

    def send(self, request: Any, timeout: float, *, most: int | None = MAX_PENDING) -> asyncio.Future[bytes]:
        """Send a request; a future of the answer's bytes. Raises ConnectionLost, ServiceError.

        ``most`` is how many may wait already; None for a Publish, whose number its owner bounds.
        """
        self._check()
        if most is not None and self._counted >= most:
            raise Crowded(_service(request))
        header = request.RequestHeader
        if self.token is not None:
            header.AuthenticationToken = self.token
        self._request_id += 1
        header.RequestHandle = self._request_id & 0xFFFFFFFF
        header.TimeoutHint = min(int(timeout * 1000), _LONGEST_HINT)
        body = encode(request)
        if self._max_request and len(body) > self._max_request:
            raise ServiceError(_service(request), 0x80B80000)  # BadRequestTooLarge
        if self._secure.next_security_token.TokenId != 0:
            self._secure.revolve_tokens()
        number = self._request_id
        message = self._secure.message_to_binary(body, request_id=number)
        self._write(message)
        self._traffic.asked(len(message))
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._pending[number] = future
        counts = most is not None
        self._counted += counts

        def answered(_: object) -> None:
            self._pending.pop(number, None)
            self._counted -= counts

        future.add_done_callback(answered)
        return future

    def tell(self, request: Any) -> None:
        """Send a request whose answer nobody waits for; nothing where the connection is gone."""
        if self._transport is None or self._transport.is_closing() or self.lost.done():
            return
        self.send(request, self._timeout).add_done_callback(_forget)

    def _check(self) -> None:
        if self.lost.done() or self._transport is None or self._transport.is_closing():
            raise ConnectionLost(*self.cause)

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            raise ConnectionLost(*self.cause)
        self._transport.write(data)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if exc is not None:
            self._drop(_os_text(exc) if isinstance(exc, OSError) else str(exc), BAD_CONNECTION_CLOSED)
        self._transport = None
        if self._going_on is not None:
            self._going_on.cancel()
        self._secure.close()
        if not self.lost.done():
            self.lost.set_result(None)
        self._fail()

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        self._drop("the device closed the connection", BAD_CONNECTION_CLOSED)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._traffic.bytes_in += len(data)
        self._buffer += data
        if self._going_on is None:
            self._take_in()

    def _take_in(self) -> None:
        """Take chunks in, the rest in another turn: a chunk may be of a few bytes."""
        paused, self._going_on = self._going_on is not None, None
        buffer, transport = self._buffer, self._transport
        try:
            at = taken = 0
            while len(buffer) - at >= _HEADER:
                if taken == _A_TURN:
                    self._going_on = self._loop.call_soon(self._take_in)
                    break
                taken += 1
                (size,) = _UNPACK(buffer, at + 4)
                if not _HEADER <= size <= CHUNK:
                    raise ValueError(f"a chunk of {size} bytes")  # noqa: TRY301
                if len(buffer) - at < size:
                    break
                self._chunk(bytes(buffer[at : at + size]))
                at += size
            del buffer[:at]
            if transport is not None and not transport.is_closing():
                if self._going_on is not None:
                    transport.pause_reading()
                elif paused:
                    transport.resume_reading()
        except Exception as error:  # whatever the stack makes of a stranger's bytes
            log.debug("a chunk cannot be read", exc_info=True)
            self._end(f"what the device sent cannot be read: {str(error) or type(error).__name__:.200}")

    def _chunk(self, data: bytes) -> None:
        kind = data[:3]
        if kind == b"ACK":
            self._acknowledged(data)
            return
        if kind == b"ERR":
            error = decode(ua.ErrorMessage, data, _HEADER)
            self._end(
                f"the device ended the connection: {status_name(int(error.Error.value))} {text(error.Reason)}"
            )
            return
        buffer = Buffer(data)
        header = binary.header_from_binary(buffer)
        chunk = self._secure.receive_from_header_and_body(header, buffer)
        if kind == b"OPN":
            self._opened(bytes(chunk.Body))
            return
        message = self._assembly.add(data[3:4], int(chunk.SequenceHeader.RequestId), bytes(chunk.Body))
        if message is None:
            return
        future = self._pending.get(message.request)
        if future is None or future.done():
            self._unasked += 1
            if self._unasked > self._request_id:
                raise ValueError("more answers than there were requests")
            return
        if message.refused:
            future.set_exception(ServiceError("an answer", message.refused))
            future.exception()  # whoever asked may have gone
        else:
            future.set_result(message.body)

    def _acknowledged(self, data: bytes) -> None:
        acknowledge = decode(ua.Acknowledge, data, _HEADER)
        if acknowledge.ReceiveBufferSize:
            self._limits.max_send_buffer = min(CHUNK, int(acknowledge.ReceiveBufferSize))
        self._max_request = int(acknowledge.MaxMessageSize)
        if self._hello is not None and not self._hello.done():
            self._hello.set_result(None)

    def _opened(self, body: bytes) -> None:
        if self._opening is None:
            raise ValueError("a secure channel nobody asked for")
        params, answer = self._opening
        check_fault("OpenSecureChannel", body)
        response = decode(ua.OpenSecureChannelResponse, body)
        code = int(response.ResponseHeader.ServiceResult.value)
        if answer.done():
            return
        if code & 0x80000000:
            answer.set_exception(ServiceError("OpenSecureChannel", code))
            return
        self._secure.set_channel(response.Parameters, params.RequestType, params.ClientNonce)
        answer.set_result(response)

    def _end(self, reason: str) -> None:
        self._drop(reason, BAD_COMMUNICATION_ERROR)
        if self._transport is not None:
            self._transport.abort()

    def _drop(self, reason: str, quality: Quality) -> None:
        """The connection is lost: tell whoever waits, at once."""
        if self.cause[0] == "the connection was closed by this side":
            self.cause = (reason, quality)
        if not self.lost.done():
            self._fail()

    def _fail(self) -> None:
        lost = ConnectionLost(*self.cause)
        opening = self._opening[1] if self._opening is not None else None
        for future in (*self._pending.values(), self._hello, opening):
            if future is not None and not future.done():
                future.set_exception(lost)
                future.exception()  # whoever asked may have gone


def _large(answer: Any, body: bytes) -> Any:
    """Decode an answer, unless it would take much longer than any that was meant. Raises Malformed."""
    if answer in (ua.BrowseResponse, ua.BrowseNextResponse):
        wire.check_references(body, _MOST_REFERENCES)
    elif answer is ua.TranslateBrowsePathsToNodeIdsResponse:
        wire.check_targets(body, _MOST_TARGETS)
    elif len(body) > _MOST_DECODED:
        raise wire.Malformed(f"{len(body)} bytes where {_MOST_DECODED} would do")
    return decode(answer, body)


def check_fault(service: str, body: bytes) -> None:
    """Raises ServiceError where an answer is a ServiceFault (OPC 10000-4 §7.35)."""
    if body[:2] == b"\x01\x00" and int.from_bytes(body[2:4], "little") == _FAULT:
        # ResponseHeader: timestamp, handle, then the result.
        raise ServiceError(service, int.from_bytes(body[16:20], "little"))


def unprotected() -> Any:
    """SecurityPolicy None: for discovery, and for who asks for it."""
    return NONE()


def _service(request: Any) -> str:
    return type(request).__name__.removesuffix("Request")


@cache
def _answer_type(service: str) -> bytes:
    """How the answers of a service begin: with the id of their encoding."""
    answer = getattr(ua, f"{service}Response")
    encoded: bytes = binary.nodeid_to_binary(answer().TypeId)
    return encoded


def _forget(future: asyncio.Future[bytes]) -> None:
    if not future.cancelled():
        future.exception()


def _os_text(error: OSError) -> str:
    numbers = [error.errno] if error.errno else [int(n) for n in re.findall(r"\[Errno (\d+)\]", str(error))]
    texts = dict.fromkeys(os.strerror(n).lower() for n in numbers if n and n > 0)
    return ", ".join(texts) or error.strerror or str(error) or type(error).__name__
