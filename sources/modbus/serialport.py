"""A serial port as an asyncio transport.

Needs pyserial (extra ``serial``), and a system whose ports have file descriptors: not Windows.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from sources.errors import Refused, Unreachable

_CHUNK: Final = 4096


def open_port(device: str, *, baud: int, data_bits: int, parity: str, stop_bits: int) -> Any:
    """The open port, for this process alone. Raises Unreachable, and Refused without pyserial."""
    if os.name == "nt":
        raise Refused(
            "serial lines are not served on Windows; use a serial server and transport: rtu-over-tcp"
        )
    try:
        # An extra: most plants have no serial line on the server itself.
        import termios  # noqa: PLC0415 - not on Windows

        import serial  # noqa: PLC0415
    except ImportError:
        raise Refused("serial lines need pyserial: install isthmus with the extra serial") from None
    try:
        return serial.Serial(
            device,
            baudrate=baud,
            bytesize=data_bits,
            parity={"none": "N", "even": "E", "odd": "O"}[parity],
            stopbits=stop_bits,
            timeout=0,
            exclusive=True,
        )
    except serial.SerialException as error:
        raise Unreachable(_cause(device, error)) from None
    except (ValueError, termios.error) as error:
        raise Refused(
            f"{device} cannot be set to {baud} baud, {data_bits}{parity[0].upper()}{stop_bits}: {error}"
        ) from None


def _cause(device: str, error: OSError) -> str:
    if "exclusively lock" in str(error):
        return (
            f"{device} is in use, by another program or by a source with other settings of the line; "
            "sources on one line have the same"
        )
    if error.errno:
        return f"{device}: {os.strerror(error.errno).lower()}"
    return f"{device}: {error}"


class SerialTransport(asyncio.Transport):
    """Reads and writes an open port from within the loop."""

    def __init__(self, port: Any, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._port = port
        self._fd: int = port.fileno()
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._out = b""
        self._waiting = False
        """Whether the loop tells when the port takes more."""
        self._closed = False
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._readable)
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See asyncio; what the port does not take at once follows when it does."""
        if self._closed:
            return
        self._out += bytes(data)
        if not self._waiting:
            self._writable()

    def close(self) -> None:
        """See asyncio; what is not written yet is dropped, as the next to use the line asks anew."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        if self._waiting:
            self._loop.remove_writer(self._fd)
        self._port.close()

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._closed

    def abort(self) -> None:
        """See asyncio."""
        self.close()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._gone(error)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._gone(None)

    def _writable(self) -> None:
        try:
            written = os.write(self._fd, self._out)
        except (BlockingIOError, InterruptedError):
            written = 0
        except OSError as error:
            self._gone(error)
            return
        self._out = self._out[written:]
        if bool(self._out) is not self._waiting:
            self._waiting = not self._waiting
            if self._waiting:
                self._loop.add_writer(self._fd, self._writable)
            else:
                self._loop.remove_writer(self._fd)

    def _gone(self, error: Exception | None) -> None:
        """The adapter was pulled, or whoever held the other end of a pseudo terminal left."""
        self.close()
        self._protocol.connection_lost(error)
