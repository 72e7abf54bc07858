"""A serial port as an asyncio transport.

Needs pyserial (extra ``serial``). Where ports have file descriptors the loop watches them;
Windows has none that it could watch, so two threads wait there.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from contextlib import suppress
from typing import Any, ClassVar, Final

from sources.errors import Refused, Unreachable

THREADED: Final = os.name == "nt"
"""Whether ports are waited for by threads."""

_CHUNK: Final = 4096
_LOOK: Final = 0.2
"""Seconds after which a thread that reads looks whether it is still to, though it was told at once."""
_QUEUE: Final = 16
"""Frames that may wait for a port to take them: there is one at a time, so one that takes none is dead."""


def open_port(device: str, *, baud: int, data_bits: int, parity: str, stop_bits: int) -> Any:
    """The open port, for this process alone. Raises Unreachable, and Refused without pyserial."""
    try:
        # An extra: most plants have no serial line on the server itself.
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
            timeout=_LOOK if THREADED else 0,
            exclusive=True,
        )
    except serial.SerialException as error:
        raise Unreachable(_cause(error)) from None
    except _refusals() as error:
        raise Refused(
            f"the port cannot be set to {baud} baud, {data_bits}{parity[0].upper()}{stop_bits}: {error}"
        ) from None


def _refusals() -> tuple[type[Exception], ...]:
    """What pyserial and the system raise for settings that a port cannot have."""
    try:
        import termios  # noqa: PLC0415 - not on Windows
    except ImportError:
        return (ValueError,)
    return ValueError, termios.error


def _cause(error: OSError) -> str:
    # The former are Linux's words, the latter Windows's.
    if "exclusively lock" in str(error) or "PermissionError" in str(error):
        return (
            "the port is in use, by another program or by a source with other settings of the line; "
            "sources on one line have the same"
        )
    if error.errno:
        return os.strerror(error.errno).lower()
    return str(error)


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


def attach(port: Any, protocol: asyncio.Protocol) -> asyncio.Transport:
    """A transport of an open port, in the way of this system."""
    return ThreadedTransport(port, protocol) if THREADED else SerialTransport(port, protocol)


class ThreadedTransport(asyncio.Transport):
    """Reads and writes an open port by a thread for each, which end when it is closed."""

    leaving: ClassVar[dict[str, threading.Thread]] = {}
    """By the port's name: the thread that closes it, while it does."""

    def __init__(self, port: Any, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._port = port
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._out: queue.Queue[bytes | None] = queue.Queue(_QUEUE)
        self._writer = threading.Thread(target=self._write, name=f"serial writer {port.port}", daemon=True)
        self._reader = threading.Thread(target=self._read, name=f"serial reader {port.port}", daemon=True)
        protocol.connection_made(self)
        self._writer.start()
        self._reader.start()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See asyncio."""
        if self._closed:
            return
        try:
            self._out.put_nowait(bytes(data))
        except queue.Full:
            self._gone(None)

    def close(self) -> None:
        """See asyncio; what is not written yet is dropped. The port is free a moment later: `released`."""
        if self._closed:
            return
        self._closed = True
        self.leaving[self._port.port] = self._reader
        with suppress(queue.Full):  # then the writer is at work, and finds it closed after that
            self._out.put_nowait(None)
        # Where a port knows no better, its threads find out by themselves, in fifths of a second.
        for cancel in ("cancel_read", "cancel_write"):
            with suppress(AttributeError, OSError):
                getattr(self._port, cancel)()

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._closed

    def abort(self) -> None:
        """See asyncio."""
        self.close()

    def _read(self) -> None:
        """The life of the reading thread, which closes the port."""
        error: Exception | None = None
        try:
            while not self._closed:
                # As many as there are, and one at least.
                if data := self._port.read(1):
                    data += self._port.read(min(self._port.in_waiting, _CHUNK))
                    self._tell(self._arrived, data)
        except (OSError, TypeError) as failure:  # the latter from a port that was pulled, on some systems
            error = failure
        self._tell(self._gone, error)
        with suppress(queue.Full):
            self._out.put_nowait(None)
        self._writer.join()
        with suppress(OSError):
            self._port.close()

    def _write(self) -> None:
        """The life of the writing thread."""
        while (data := self._out.get()) is not None and not self._closed:
            try:
                self._port.write(data)
            except (OSError, TypeError) as error:
                self._tell(self._gone, error)
                return

    def _tell(self, what: Any, argument: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(what, argument)

    def _arrived(self, data: bytes) -> None:
        if not self._closed:
            self._protocol.data_received(data)

    def _gone(self, error: Exception | None) -> None:
        """The adapter was pulled, or whoever held the other end of a pseudo terminal left."""
        if not self._closed:
            self.close()
            self._protocol.connection_lost(error)


async def released(device: str, within: float) -> None:
    """Wait until the threads of an earlier transport have left a port, so long at most."""
    thread = ThreadedTransport.leaving.pop(device, None)
    if thread is not None and thread.is_alive():
        await asyncio.to_thread(thread.join, within)
