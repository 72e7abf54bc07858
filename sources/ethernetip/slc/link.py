"""One connection to an SLC 500 or MicroLogix, through pycomm3's SLCDriver, for one thread.

pycomm3 registers the session, opens the connection and builds the PCCC requests. What comes
back is held against them here, for it checks neither the transaction, nor whose reply it is,
nor how many bytes came; its own masks for bits of longs and data for texts are wrong, so
whole values are handed to it as bytes. It can read the file directory as well, but prints
to the standard output, loops without end at an empty reply, and counts files wrongly where
there is one of a type it does not know: here the requests are its own, and nothing else.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from pycomm3 import SLCDriver
from pycomm3.exceptions import PycommError
from pycomm3.packets.ethernetip import SendUnitDataRequestPacket

from sources.ethernetip import status as cip
from sources.ethernetip.channel import Channel
from sources.ethernetip.client import SMALL
from sources.ethernetip.failures import Rejected
from sources.ethernetip.framing import HEADER
from sources.ethernetip.guarded import GuardedLink, why_refused
from sources.ethernetip.identity import Identity, parse_list_identity
from sources.ethernetip.slc import status as pccc
from sources.ethernetip.slc.config import SlcSettings
from sources.quality import Quality

_PYCOMM3: Any = SLCDriver

_EXECUTE: Final = 0x4B
_IN_REQUEST: Final = 6
"""Bytes of a request before the requestor's id: service and path."""
_ID: Final = 7
_HEAD: Final = 4
"""Bytes of a reply before the requestor's id: service, reserved, status, size of the additional status."""
_COMMAND_REPLY: Final = 0x40
_WRITE: Final = 0xAB
_DIAGNOSTIC: Final = (0x06, 0x03)
"""Command and function."""
_READ_TWO: Final = (0x0F, 0xA1)
"""Protected typed logical read with two address fields."""
_LONG: Final = 0xFF
"""An address field of two further bytes."""
_MESSAGE: Final = 46


class Refused(Exception):
    """The controller answered and said no; ``quality`` and the text say why."""

    def __init__(self, message: str, quality: Quality) -> None:
        super().__init__(message)
        self.quality = quality


class SlcLink(GuardedLink):
    """A connection while it lasts. All of it but `abort` belongs to one thread."""

    answers = Refused

    def __init__(self, settings: SlcSettings, host: str) -> None:
        self._timeout = settings.timeout
        channel = Channel(host, settings.port, settings.timeout)
        super().__init__(channel, _Driver(settings.path, channel))

    @property
    def sent(self) -> int:
        """How many requests were sent, or begun to be."""
        return self._channel.sent

    def open(self) -> Identity:
        """Connect, register, open the connection; who answers. Raises Broken and Rejected."""
        self._channel.allow(10 * self._timeout)
        if not self._run(self._driver.open):
            raise Rejected("the device gave no session")
        identity: Identity = self._run(self._driver.list_it)
        if not self._run(self._driver.open_connection):
            raise Rejected(f"the controller refused the connection: {why_refused(self._channel)}")
        return identity

    def read(self, request: str, size: int) -> bytes:
        """The bytes at an address, as pycomm3 writes it with a count. Raises Broken and Refused."""
        self._channel.allow(self._timeout)
        self._run(lambda: self._driver.read(request))
        data: bytes = self._driver.data
        if len(data) != size:
            raise self._channel.fail(f"{len(data)} bytes came for {request}, where {size} were asked for")
        return data

    def write(self, request: str, data: bytes) -> None:
        """Write once: a mask of two bytes, and the bytes of the element. Raises Broken and Refused."""
        self._channel.allow(self._timeout)
        self._run(lambda: self._driver.write((request, data)))

    def status(self) -> bytes:
        """The diagnostic status. Raises Broken and Refused."""
        self._channel.allow(self._timeout)
        self._run(lambda: self._driver.execute(_DIAGNOSTIC, b""))
        data: bytes = self._driver.data
        return data

    def file_zero(self, kind: int, word: int, size: int) -> bytes:
        """So many bytes of file 0, of a type, from a word on. Raises Broken and Refused."""
        self._channel.allow(self._timeout)
        place = bytes((word,)) if word < _LONG else struct.pack("<BH", _LONG, word)
        self._run(lambda: self._driver.execute(_READ_TWO, bytes((size, 0, kind)) + place))
        data: bytes = self._driver.data
        if len(data) != size:
            raise self._channel.fail(f"{len(data)} bytes of file 0 came, where {size} were asked for")
        return data

    def ping(self) -> None:
        """Show the controller that we are there, and see that it is. Raises Broken."""
        self._channel.allow(self._timeout)
        self._run(self._driver.list_it)

    @staticmethod
    def _words(error: Exception) -> str:
        return str(error) if isinstance(error, PycommError) else repr(error)


class _Driver(_PYCOMM3):  # type: ignore[misc] # untyped
    """pycomm3's driver on our channel; ``data`` is what the last reply brought."""

    _auto_slot_cip_path = False

    def __init__(self, path: str, channel: Channel) -> None:
        super().__init__(f"controller/{path}" if path else "controller")
        self._sock = channel
        self._channel = channel
        self._cfg["extended forward open"] = False
        self._cfg["connection_size"] = SMALL
        self.data = b""
        self._raw = b""
        """The last reply, whole."""

    def open_connection(self) -> bool:
        return bool(self._forward_open())

    def list_it(self) -> Identity:
        self._list_identity()
        try:
            return parse_list_identity(self._raw[HEADER:])
        except ValueError as error:
            raise self._channel.fail(f"the device's answer to who it is: {error}") from None

    def execute(self, what: tuple[int, int], body: bytes) -> None:
        """Send a command of PCCC that pycomm3 has no sound way to send; ``data`` is what it brings."""
        command, function = what
        request = SendUnitDataRequestPacket(self._sequence)
        head = struct.pack("<BBHB", command, 0, next(self._sequence), function)
        request.add(self._msg_start() + head + body)
        self.send(request)

    def send(self, request: Any) -> Any:
        response = super().send(request)
        self._raw = response.raw or b""
        asked = b"".join(request._added)  # noqa: SLF001 - pycomm3 has no other way to see it
        if asked[:1] == bytes((_EXECUTE,)):
            self.data = self._check(asked, response.raw)
        return response

    def _check(self, asked: bytes, frame: bytes) -> bytes:
        """The data of the PCCC reply. Raises Broken where it is none to what was asked, and Refused."""
        message = frame[
            _MESSAGE : _MESSAGE - 2 + int.from_bytes(frame[_MESSAGE - 4 : _MESSAGE - 2], "little")
        ]
        if message[2] != cip.SUCCESS:
            extended = int.from_bytes(message[4:6], "little") if message[3] else 0
            raise Refused(cip.describe(message[2], extended), cip.quality_of(message[2], extended))
        reply = message[_HEAD:]
        mine, command = asked[_IN_REQUEST : _IN_REQUEST + _ID], asked[_IN_REQUEST + _ID :]
        if len(reply) < _ID + 4 or reply[:_ID] != mine:
            raise self._channel.fail("a PCCC reply that is not to this requestor")
        answer = reply[_ID:]
        if answer[0] != command[0] | _COMMAND_REPLY or answer[2:4] != command[2:4]:
            raise self._channel.fail("a PCCC reply to another request: late, or never asked for")
        if answer[1]:
            quality, words = pccc.meaning(answer[1], answer[4] if len(answer) > 4 else 0)
            raise Refused(words, quality)
        if command[4] == _WRITE and len(answer) > 4:
            raise self._channel.fail("a PCCC reply to a write that carries data")
        return answer[4:]
