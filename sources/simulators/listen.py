"""A socket to listen on, or a word why not."""

from __future__ import annotations

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
