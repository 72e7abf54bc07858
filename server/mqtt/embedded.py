"""The broker beside the server, on loopback, in a process of its own: for a demo and a first look."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Callable, Iterator
from typing import Final

from server.mqtt.errors import EmbeddedBrokerError
from server.process import ChildProcess, ProcessError
from sources import backoff

log = logging.getLogger(__name__)

_MODULE: Final = "server.mqtt.broker_process"


class EmbeddedBroker:
    """amqtt on 127.0.0.1, MQTT 3.1.1, anonymous. It leaves when this process does, however that ends.

    From `start` to `stop` a task of this object sees to it: a broker that dies is started
    again on the same port.
    """

    def __init__(self, port: int = 1883, *, delays: Callable[[], Iterator[float]] = backoff.delays) -> None:
        """Port 0 picks a free one; ``delays`` are the seconds to wait before each new start."""
        self._port = port
        self._delays = delays
        self._child: ChildProcess | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens; once it was started, never 0."""
        return self._port

    @property
    def url(self) -> str:
        """What clients on this machine connect to."""
        return f"mqtt://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The broker's process, the last one if it has just died. Raises ProcessError before `start`."""
        if self._child is None:
            raise ProcessError("the MQTT broker has not been started")
        return self._child.pid

    async def start(self) -> None:
        """Start the broker; returns when it listens. Raises EmbeddedBrokerError."""
        if importlib.util.find_spec("amqtt") is None:
            raise EmbeddedBrokerError(
                "mqtt.broker: embedded needs the package amqtt; install it with pip install 'isthmus[demo]', "
                "or name a broker of your own"
            )
        try:
            await self._launch()
        except ProcessError as error:
            raise EmbeddedBrokerError(str(error)) from error
        self._keeper = asyncio.create_task(self._keep(), name="mqtt broker")

    async def stop(self) -> None:
        """End it, within 2 s; does nothing where it was not started."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        if self._child is not None:
            await self._child.stop()
        if keeper is not None and not keeper.cancelled():
            keeper.result()

    async def _launch(self) -> None:
        child = ChildProcess("MQTT broker", _MODULE, ["--port", str(self._port)])
        self._port = int(await child.start("ready"))
        self._child = child

    async def _keep(self) -> None:
        while self._child is not None:
            code = await self._child.watch()
            log.error("MQTT broker (pid %d) ended with exit code %d", self._child.pid, code)
            for delay in self._delays():
                await asyncio.sleep(delay)
                try:
                    await self._launch()
                except ProcessError as error:
                    log.error("%s", error)  # noqa: TRY400 (the text says all there is)
                else:
                    break
            log.info("MQTT broker runs again (pid %d)", self._child.pid)
