"""The MQTT connection: dialling a broker, and what its refusals mean."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import aiomqtt
from aiomqtt import ProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from server.mqtt.errors import BrokerError, BrokerRefused, BrokerUnreachable
from server.mqtt.settings import EMBEDDED, MqttSettings
from sources.settings import SecretError, read_secret

_T = TypeVar("_T")

log = logging.getLogger(__name__)

WINDOW: Final = 16
"""Messages on their way at once, not yet acknowledged. Brokers take 20 and more."""
_LARGEST: Final = 268_435_455
"""Bytes of a packet that MQTT has a number for."""
_GREETING: Final = 5.0
"""Seconds a broker has for answering a CONNECT."""
_ANSWER: Final = 10.0
"""Seconds a broker has for answering a SUBSCRIBE or a PUBLISH."""
_LEAVE: Final = 0.5
"""Seconds a broker has for taking a DISCONNECT."""
_WRONG_VERSION: Final = 132
_REFUSALS: Final = {
    133: "it does not take the client id; choose another publisher_id",
    134: "user name or password is wrong; correct user and password",
    135: "not authorised; correct user and password, or what the broker lets this user do",
    138: "this client is banned there",
    140: "it wants another way of authentication",
}
"""CONNACK reason codes a person must act on (MQTT 5.0 §3.2.2.2); those of 3.1.1 arrive as these."""
_CERTIFICATE_HINTS: Final = {
    **dict.fromkeys((18, 19, 20, 21), "set ca to the authority that signed it"),
    **dict.fromkeys((62, 64), "write the broker's host as its certificate does"),
}
"""What helps, by OpenSSL's number of the complaint: an unknown issuer, another host."""
_SESSION_TAKEN_OVER: Final = 142
_UNSPECIFIED: Final = 128


class _MaybeWrongVersion(BrokerError):
    """The broker said, or by hanging up may have meant, that it does not speak this version of MQTT.

    ``meaning`` is what it comes to where no other version helps.
    """

    def __init__(self, meaning: BrokerError) -> None:
        super().__init__(str(meaning))
        self.meaning = meaning


class _ClosedEarly(aiomqtt.MqttError):
    """The broker hung up instead of answering the CONNECT."""


def properties(
    version: ProtocolVersion,
    message_type: str,
    *,
    packet: int = PacketTypes.PUBLISH,
    expiry: int | None = None,
) -> Properties | None:
    """The MQTT 5.0 properties of a message (OPC 10000-14 §7.3.4.8); None in MQTT 3.1.1.

    ``expiry`` is the Message Expiry Interval in seconds.
    """
    if version is not ProtocolVersion.V5:
        return None
    made: Any = Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves its constructor bare
    made.ContentType = "application/json"
    made.UserProperty = ("UAMessageType", message_type)
    if expiry is not None:
        made.MessageExpiryInterval = expiry
    return cast("Properties", made)


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when we vanish."""

    topic: str
    payload: bytes


class Dialler:
    """Connects to the broker of the settings as their publisher.

    MQTT 5.0 where the broker speaks it, else 3.1.1; the embedded broker speaks 3.1.1 only.
    """

    def __init__(self, settings: MqttSettings, *, url: str, base: Path, will: Callable[[], Will]) -> None:
        """``url`` is the broker's; relative paths of secrets and certificates are taken from ``base``."""
        parts = urlsplit(url)
        self.url = url
        self._settings = settings
        self._base = base
        self._will = will
        self._host = parts.hostname or "127.0.0.1"
        self._tls = parts.scheme == "mqtts"
        self._port = parts.port or (8883 if self._tls else 1883)
        self._version = ProtocolVersion.V311 if settings.broker == EMBEDDED else None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        """A connected client; left with a DISCONNECT. Raises BrokerError.

        A cancellation waits until the system gives up dialling, at most some 10 s with a
        broker that is not there at all: a thread dials, and nothing can stop it.
        """
        client = await self._dial()
        try:
            yield client
        finally:
            await client.leave()

    async def _dial(self) -> Client:
        try:
            password, context = await asyncio.to_thread(self._credentials)
        except (SecretError, OSError, ValueError) as error:
            raise BrokerRefused(str(error)) from error
        versions = [self._version] if self._version else [ProtocolVersion.V5, ProtocolVersion.V311]
        refusal = BrokerError()
        for version in versions:
            client = Client(
                self._host,
                self._port,
                identifier=self._settings.publisher_id,
                username=self._settings.user,
                password=password,
                tls_context=context,
                protocol=version,
                keepalive=keep_alive(self._settings),
                will=self._as_will(version),
            )
            try:
                await client.enter()
            except _MaybeWrongVersion as error:
                refusal = error.meaning
                continue
            self._version = version
            return client
        if self._settings.broker != EMBEDDED:
            # The next broker at this address may be of another version.
            self._version = None
        raise refusal

    def _as_will(self, version: ProtocolVersion) -> aiomqtt.Will:
        will = self._will()
        made = properties(version, "ua-status", packet=PacketTypes.WILLMESSAGE)
        return aiomqtt.Will(will.topic, will.payload, qos=1, retain=True, properties=made)

    def _credentials(self) -> tuple[str | None, ssl.SSLContext | None]:
        """Password and TLS context, read anew for each connection: both may be renewed while we run."""
        settings = self._settings
        password = read_secret(settings.password, self._base) if settings.password else None
        if not self._tls:
            return password, None
        ca = self._base / settings.ca if settings.ca else None
        try:
            context = ssl.create_default_context(cafile=ca)
        except ssl.SSLError as error:
            raise ValueError(f"ca: {ca} holds no certificate in PEM: {error.reason or error}") from error
        except OSError as error:
            raise ValueError(f"ca: {ca} cannot be read: {error.strerror}") from error
        context.sslsocket_class = _TlsSocket
        if settings.certificate and settings.key:
            _load_pair(context, self._base / settings.certificate, self._base / settings.key)
        return password, context


def keep_alive(settings: MqttSettings) -> int:
    """The MQTT keep-alive in seconds: slightly above the KeepAliveTime (OPC 10000-14 §7.3.4.4)."""
    return min(int(settings.keep_alive) + 5, 0xFFFF)


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    def no_passphrase() -> str:
        raise ValueError(f"key: {key} is encrypted; give a key without a passphrase, readable by us alone")

    for name, path in (("certificate", certificate), ("key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ValueError(f"{name}: {path} cannot be read: {error.strerror}") from error
    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except ssl.SSLError as error:
        raise ValueError(
            f"certificate and key: {certificate} and {key} are no pair in PEM: {error.reason or error}"
        ) from error


class _TlsSocket(ssl.SSLSocket):
    """Closes itself where the handshake fails; the MQTT library would leave it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class _Overheard(logging.Handler):
    """Keeps the last complaint of the MQTT library, which often is the only reason given."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()
        log.debug("%s", self.last)


class Client(aiomqtt.Client):
    """An aiomqtt client that is entered and left without leaving a socket, a task or a doubt behind.

    aiomqtt itself waits for its timeout where a broker hangs up instead of answering,
    keeps socket and task where a broker does not answer at all, and may miss that it was
    cancelled; all three need its inside.
    """

    def __init__(self, hostname: str, port: int, **options: Any) -> None:
        """Options as for aiomqtt.Client."""
        self.version: ProtocolVersion = options["protocol"]
        self.largest = _LARGEST
        """Bytes of a packet that the broker takes, as far as it says so (MQTT 5.0 §3.2.2.3.6)."""
        self._end: int | None = None
        self._end_text = ""
        self._overheard = _Overheard()
        logger = logging.Logger("mqtt client")  # noqa: LOG001 (its own: what it says belongs to this client)
        logger.addHandler(self._overheard)
        super().__init__(
            hostname,
            port,
            logger=logger,
            timeout=_GREETING,
            max_inflight_messages=WINDOW,
            max_queued_incoming_messages=100_000,
            **options,
        )
        self.pending_calls_threshold = 10 * WINDOW

    async def enter(self) -> None:
        """Connect. Raises BrokerError."""
        entering = asyncio.ensure_future(self.__aenter__())
        try:
            await asyncio.shield(entering)
        except (aiomqtt.MqttError, ValueError) as error:
            await self._abandon()
            raise self._why(error) from error
        except asyncio.CancelledError:
            # Dialling happens in a thread: only when it has ended is there a socket to close.
            self._give_up()
            await asyncio.wait({entering})
            if entering.exception() is None:
                await self.leave()
            else:
                await self._abandon()
            raise
        self.timeout = _ANSWER

    async def leave(self) -> None:
        """Disconnect, by force where the broker does not take it."""
        self.timeout = _LEAVE
        with contextlib.suppress(aiomqtt.MqttError):
            await self.__aexit__(None, None, None)
        await self._abandon()

    def lost(self, error: aiomqtt.MqttError) -> BrokerError:
        """What the loss of an established connection means."""
        if self._end == _SESSION_TAKEN_OVER:
            return BrokerRefused(
                "another client with the same id took the connection over; "
                "publisher_id must be unique at a broker"
            )
        if self._overheard.last:
            return BrokerUnreachable(self._overheard.last)
        if self._end == _UNSPECIFIED:
            return BrokerUnreachable("the connection was closed")
        if self._end is not None:
            return BrokerUnreachable(f"it ended the connection: {self._end_text}")
        return BrokerUnreachable(f"no answer within {self.timeout:g} s ({error})")

    async def _wait_for(self, fut: Awaitable[_T], timeout: float | None) -> _T:  # noqa: ASYNC109 (aiomqtt's)
        """As aiomqtt's, without asyncio.wait_for, which in Python 3.11 may swallow a cancellation."""
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                return await fut
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        self.largest = min(getattr(properties, "MaximumPacketSize", _LARGEST), _LARGEST)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, *more: Any) -> None:
        self._end, self._end_text = reason_code.value, str(reason_code)
        self._loop.call_soon_threadsafe(self._give_up)
        super()._on_disconnect(client, userdata, flags, reason_code, *more)
        # Whoever awaits it sees the exception; where nobody does, it is no news.
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()

    def _give_up(self) -> None:
        """End the wait for an answer to the CONNECT, if that is what we do."""
        if not self._connected.done():
            self._connected.set_exception(_ClosedEarly("it hung up instead of answering"))

    async def _abandon(self) -> None:
        """Close the socket if it is still there, and see the library's task to its end."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        task = self._misc_task
        if task is not None:
            # The reader sees the end of the stream and closes; the task ends with that.
            await asyncio.wait({task}, timeout=_LEAVE)
            task.cancel()
            await asyncio.wait({task})
        if self._connected.done() and not self._connected.cancelled():
            self._connected.exception()

    def _why(self, error: aiomqtt.MqttError | ValueError) -> BrokerError:
        code = _code(error)
        if code == _WRONG_VERSION:
            return _MaybeWrongVersion(BrokerRefused("it speaks neither MQTT 5.0 nor 3.1.1"))
        if code is not None:
            said = _REFUSALS.get(code)
            return BrokerRefused(said) if said else BrokerUnreachable(f"it answered {error}")
        cause = error.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = _CERTIFICATE_HINTS.get(cause.verify_code)
            return BrokerRefused(
                f"its certificate is not accepted: {cause.verify_message}{f'; {hint}' if hint else ''}"
            )
        if isinstance(cause, ssl.SSLError):
            return BrokerRefused(f"TLS failed: {cause.reason or cause}; is this the port for TLS?")
        if isinstance(cause, OSError) and (cause.strerror or str(cause)):
            return BrokerUnreachable(cause.strerror or str(cause))
        if "SSL" in self._overheard.last:
            return _MaybeWrongVersion(
                BrokerRefused(f"it ended TLS: {self._overheard.last}; look at ca, certificate and key")
            )
        if isinstance(error, _ClosedEarly):
            return _MaybeWrongVersion(BrokerUnreachable(str(error)))
        # Some brokers of 3.1.1 wait for ever for the rest of a CONNECT of 5.0.
        return _MaybeWrongVersion(BrokerUnreachable("it does not answer"))


def _code(error: BaseException) -> int | None:
    code = getattr(error, "rc", None)
    return code.value if isinstance(code, ReasonCode) else None
