"""The embedded broker's process: ``python -m server.mqtt.broker_process --port N``.

Says ``ready <port>`` when it listens; leaves on SIGTERM and at the end of its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from typing import Final

from amqtt.adapters import (  # type: ignore[import-untyped]  # amqtt ships no annotations
    StreamReaderAdapter,
    StreamWriterAdapter,
)
from amqtt.broker import Broker  # type: ignore[import-untyped]  # as above

log = logging.getLogger(__name__)

_LISTENER: Final = "default"
_LEAVE: Final = 1.0


async def serve(port: int) -> None:
    """Serve MQTT 3.1.1 on 127.0.0.1 until told to leave. Exits with a sentence where the port is taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # A thread and a plain read: no lock of a stream to trip over when the interpreter ends.
    threading.Thread(target=_await_end_of_input, args=(loop, stop), daemon=True).start()
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGTERM, stop.set)
    broker = Broker(
        {
            # We listen ourselves: amqtt would neither tell its port nor speak plainly of one in use.
            "listeners": {_LISTENER: {"type": "external"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()

    async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await broker.external_connected(
                StreamReaderAdapter(reader), StreamWriterAdapter(writer), _LISTENER
            )
        except ConnectionError:
            log.debug("a client hung up")
        finally:
            writer.close()

    try:
        listener = await asyncio.start_server(serve_client, "127.0.0.1", port)
    except OSError as error:
        sys.exit(
            f"port {port} of 127.0.0.1 is not to be had ({os.strerror(error.errno or 0)}); "
            "set mqtt.embedded_port to another one, or to 0 for a free one"
        )
    sys.stdout.write(f"ready {listener.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stop.wait()
    listener.close()
    # What clients still hold open ends with the process.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LEAVE):
            await broker.shutdown()


def _await_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(stop.set)


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description="The MQTT broker beside an Isthmus server.")
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    logging.basicConfig(level=logging.CRITICAL)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
