"""One connection to an SLC 500 or MicroLogix, through pycomm3's SLCDriver, for one thread.

pycomm3 registers the session, opens the connection and builds the PCCC requests. What comes
back is held against them here, for it checks neither the transaction, nor whose reply it is,
nor how many bytes came; its own masks for bits of longs and data for texts are wrong, so
whole values are handed to it as bytes.
"""

from __future__ import annotations

from typing import Any, Final

from pycomm3 import SLCDriver
from pycomm3.exceptions import PycommError

from sources.ethernetip import status as cip
from sources.ethernetip.channel import Channel
from sources.ethernetip.client import SMALL
from sources.ethernetip.failures import Rejected
from sources.ethernetip.guarded import GuardedLink, why_refused
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
_READ: Final = 0xA2
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

    def open(self) -> str:
        """Connect, register, open the connection; who answers. Raises Broken and Rejected."""
        self._channel.allow(10 * self._timeout)
        if not self._run(self._driver.open):
            raise Rejected("the device gave no session")
        identity = self._run(self._driver.list_it)
        if not self._run(self._driver.open_connection):
            raise Rejected(f"the controller refused the connection: {why_refused(self._channel)}")
        return str(identity.get("product_name", "?"))

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

    def open_connection(self) -> bool:
        return bool(self._forward_open())

    def list_it(self) -> dict[str, Any]:
        found: dict[str, Any] = self._list_identity()
        return found

    def send(self, request: Any) -> Any:
        response = super().send(request)
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
        if command[4] != _READ and len(answer) > 4:
            raise self._channel.fail("a PCCC reply to a write that carries data")
        return answer[4:]
