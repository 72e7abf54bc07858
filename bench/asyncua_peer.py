"""Stock asyncua's server with the variables of the bench's plant, to be measured beside ours.

Run as ``python -m bench.asyncua_peer VARIABLES PEM``, with a file of its key and certificate;
prints ``ready URL``. It serves SecurityPolicy None, and Basic256Sha256 encrypted, to whoever comes.
A line ``moving MS COUNT`` on its standard input has it write another value to so many variables
each period: the same ones `REPEATED` times, then the next. ``still`` ends that. Names, NodeIds and
folders are those of the plant; all is made and written as asyncua's documentation shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

import asyncua
import asyncua.ua
from asyncua.server.server import Server

from bench.plant import PLANT_URI, keys

REPEATED: Final = 4

# Its annotations do not say what its own callers pass.
ua: Any = asyncua.ua


class Peer:
    """The server and its variables."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._nodes: list[Any] = []
        self._mover: asyncio.Task[None] | None = None

    async def build(self, variables: int) -> None:
        """A folder a machine, its variables in it."""
        namespace = await self._server.register_namespace(PLANT_URI)
        folders: dict[str, Any] = {}
        for key in keys(variables)[1:]:
            machine, _, name = key.partition(".")
            if machine not in folders:
                folders[machine] = await self._server.nodes.objects.add_folder(
                    ua.NodeId(machine, namespace), f"{namespace}:{machine}"
                )
            self._nodes.append(
                await folders[machine].add_variable(
                    ua.NodeId(key, namespace), f"{namespace}:{name}", 0.0, ua.VariantType.Double
                )
            )

    def order(self, words: list[str]) -> None:
        """``moving MS COUNT`` or ``still``."""
        if self._mover is not None:
            self._mover.cancel()
            self._mover = None
        if words[0] == "moving":
            self._mover = asyncio.create_task(self._move(float(words[1]) / 1000, int(words[2])))

    async def _move(self, period: float, count: int) -> None:
        loop = asyncio.get_running_loop()
        number = 0
        due = loop.time()
        while True:
            due = max(due + period, loop.time())
            await asyncio.sleep(due - loop.time())
            first = number // REPEATED * count % len(self._nodes)
            number += 1
            now = datetime.now(UTC)
            for index, node in enumerate(self._nodes[first : first + count], first):
                value = ua.Variant(index % 1000 + number % 8 / 8, ua.VariantType.Double)
                await self._server.write_attribute_value(
                    node.nodeid, ua.DataValue(value, SourceTimestamp=now, ServerTimestamp=now)
                )


async def _serve(variables: int, identity: str) -> None:
    server: Any = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    await server.load_certificate(identity)
    await server.load_private_key(identity)
    server.set_security_policy(
        [ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
    )
    peer = Peer(server)
    await peer.build(variables)
    async with server:
        print(f"ready opc.tcp://127.0.0.1:{server.bserver.port}/", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            peer.order(line.split())
        peer.order(["still"])


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1]), sys.argv[2]))
