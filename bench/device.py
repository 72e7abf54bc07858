"""A Modbus TCP device that answers from prerendered images, so that it costs next to nothing.

Every value differs from one read of its block to the next. The registers 0-3 hold the
device's clock: nanoseconds, as an int64, taken when the reply leaves.

Run as ``python -m bench.device REGISTERS``; prints ``ready PORT``. A line ``still`` on its
standard input stops all values and the clock, ``moving`` lets them go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
import time
from typing import Final

_IMAGES: Final = 8
STAMP_REGISTERS: Final = 4


def images(registers: int) -> list[bytes]:
    """Several pictures of the whole register table, no float32 of one equal to that of the next."""
    floats = (registers + 1) // 2
    return [
        struct.pack(f">{floats}f", *(index % 1000 + picture / _IMAGES for index in range(floats)))
        for picture in range(_IMAGES)
    ]


class Device(asyncio.Protocol):
    """One connection: function code 3 only."""

    moving = True

    def __init__(self, pictures: list[bytes]) -> None:
        self._pictures = pictures
        self._reads: dict[int, int] = {}
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        if isinstance(transport, asyncio.WriteTransport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        data = self._rest + data
        while len(data) >= 12:
            transaction, _, _, unit, function, start, count = struct.unpack_from(">HHHBBHH", data)
            data = data[12:]
            if self._transport is None or function != 3:
                return
            number = self._reads[start] = self._reads.get(start, 0) + 1
            picture = self._pictures[number % _IMAGES if Device.moving else 0]
            body = picture[2 * start : 2 * (start + count)]
            if start == 0 and Device.moving:
                body = struct.pack(">q", time.time_ns()) + body[2 * STAMP_REGISTERS :]
            head = struct.pack(">HHHBBB", transaction, 0, len(body) + 3, unit, function, len(body))
            self._transport.write(head + body)
        self._rest = data


async def _serve(registers: int) -> None:
    pictures = images(registers)
    server = await asyncio.get_running_loop().create_server(lambda: Device(pictures), "127.0.0.1", 0)
    async with server:
        print("ready", server.sockets[0].getsockname()[1], flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            Device.moving = line.strip() != "still"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1])))
