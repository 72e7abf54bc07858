"""A downstream OPC UA server on asyncua, with a control port like the simulators'.

``python opcua_server.py --spec FILE --port PORT`` prints ``ready opcua 127.0.0.1:PORT control
127.0.0.1:PORT``. The spec is a JSON object of names and first values; the nodes are
``nsu=urn:contract;s=NAME``. Ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import sys
from pathlib import Path
from typing import Any

import asyncua.ua
from asyncua.server.server import Server  # noqa: TID251  # a peer, not the product

URI = "urn:contract"
MOVING = "C99"
"""Counts by itself, and begins again well before its values could be another's."""
EVERY = 0.05
MOST = 50_000
ua: Any = asyncua.ua


class Nodes:
    """The variables, and the orders of the control port."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._nodes: dict[str, Any] = {}
        self._first: dict[str, int] = {}

    async def fill(self, first: dict[str, int]) -> None:
        """Make them."""
        self._first = first
        index = await self._server.register_namespace(URI)
        for name, value in first.items():
            node = await self._server.nodes.objects.add_variable(
                ua.NodeId(name, index), f"{index}:{name}", value, ua.VariantType.UInt32
            )
            await node.set_writable()
            self._nodes[name] = node

    async def move(self) -> None:
        """Have the one that moves do so, for ever."""
        for number in itertools.cycle(range(MOST)):
            await asyncio.sleep(EVERY)
            value = ua.Variant(self._first[MOVING] + number, ua.VariantType.UInt32)
            await self._write(MOVING, ua.DataValue(value))

    async def answer(self, command: dict[str, Any]) -> Any:
        """Carry out one order."""
        match command:
            case {"show": {"name": name, "value": value}}:
                await self._write(name, ua.DataValue(ua.Variant(value, ua.VariantType.UInt32)))
            case {"get": name}:
                return (await self._nodes[name].read_data_value(raise_on_bad_status=False)).Value.Value
            case {"fail": name}:
                bad = ua.StatusCode(ua.StatusCodes.BadDeviceFailure)
                await self._write(name, ua.DataValue(ua.Variant(0, ua.VariantType.UInt32), bad))
            case {"clients": _}:
                return len(self._server.bserver.clients)
            case _:
                raise ValueError(f"what is {command}?")
        return None

    async def _write(self, name: str, value: Any) -> None:
        await self._server.write_attribute_value(self._nodes[name].nodeid, value)


def _transfer_whole(server: Any) -> None:
    """Have a subscription that is transferred be published to the new session.

    As it is (2.1.0) it goes on taking the Publish requests of the connection it was made on.
    """
    service = server.iserver.subscription_service
    transfer = service.transfer_subscriptions

    async def whole(params: Any, session: Any, callback: Any) -> Any:
        results = await transfer(params, session, callback)
        for number in params.SubscriptionIds:
            if (subscription := service.subscriptions.get(int(number))) is not None:
                subscription.pub_request_callback = callback.__self__.get_publish_request
        return results

    service.transfer_subscriptions = whole


async def _serve(spec: Path, port: int) -> None:
    # Nothing of what is made now is rubbish, and to look through it takes half of the start.
    gc.disable()
    server: Any = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    _transfer_whole(server)
    nodes = Nodes(server)
    await nodes.fill(json.loads(spec.read_text(encoding="utf-8")))
    gc.freeze()
    gc.enable()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            answer = {"ok": True, "value": await nodes.answer(json.loads(line))}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    listening = await asyncio.start_server(control, "127.0.0.1", 0)
    async with server, listening as its, asyncio.TaskGroup() as group:
        at, there = server.bserver.port, its.sockets[0].getsockname()[1]
        print(f"ready opcua 127.0.0.1:{at} control 127.0.0.1:{there}", flush=True)  # noqa: T201
        moving = group.create_task(nodes.move())
        await asyncio.to_thread(sys.stdin.read)
        moving.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--exit-with-parent", action="store_true")
    options = parser.parse_args()
    asyncio.run(_serve(options.spec, options.port))
