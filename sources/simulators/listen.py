"""A socket to listen on, or a word why not; and a server that has really ended."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import Final

_ADVICE: Final = {
    errno.EADDRINUSE: "; end what holds the port, or choose another",
    errno.EACCES: "; choose a port above 1023",
}


class ListenError(Exception):
    """A port cannot be listened on; the text says which and why."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises ListenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        # The text of create_server names the address a second time.
        why = (error.strerror or str(error)).partition(" (while")[0].lower()
        advice = _ADVICE.get(error.errno or 0, "")
        raise ListenError(f"cannot listen on {host}:{port}: {why}{advice}") from error


async def end(server: asyncio.Server, listener: socket.socket) -> None:
    """Close a server that aborts its connections, and see off those that were just coming in.

    asyncio cannot make a connection of a server that is closed: it would leave it half made,
    and say so. So accepting stops first, and a few turns of the loop later nothing is on
    its way any more.
    """
    with contextlib.suppress(NotImplementedError):  # the loop of Windows, which accepts otherwise
        asyncio.get_running_loop().remove_reader(listener.fileno())
    for _ in range(5):
        await asyncio.sleep(0)
    server.close()
    await server.wait_closed()
