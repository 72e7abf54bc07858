"""A Logix controller that answers what it was asked before from memory, so that it costs next to nothing.

It is the simulated one; its values stand still. Run as ``python -m bench.logix_device SPEC``;
prints ``ready PORT``, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from sources.simulators.logix.build import build
from sources.simulators.logix.connections import ConnectionManager
from sources.simulators.logix.device import Device
from sources.simulators.logix.identity import Identity
from sources.simulators.logix.points import Points
from sources.simulators.logix.server import LogixServer
from sources.simulators.logix.spec import LogixSpec


class Remembering(Device):
    """A device that computes each reply to a connected request once."""

    def __init__(self, spec: LogixSpec) -> None:
        database = build(spec)
        super().__init__(Identity(), database, Points((), database))
        self._known: dict[tuple[bytes, int], bytes] = {}

    def answer(self, message: bytes, room: int, connections: ConnectionManager | None = None) -> bytes:
        """See Device."""
        if connections is not None:
            return super().answer(message, room, connections)
        key = message, room
        if key not in self._known:
            self._known[key] = super().answer(message, room)
        return self._known[key]


async def _serve(device: Device) -> None:
    async with LogixServer(device).listening("127.0.0.1", 0) as (_, port):
        print("ready", port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Remembering(LogixSpec.model_validate_json(Path(sys.argv[1]).read_bytes()))))
