"""The way from an Ethernet port to a controller, over backplanes and networks (CIP Vol. 1, appendix C-1.4.1).

A route is pairs of port and address, from the outermost in: ``1/0`` is slot 0 of the
backplane behind the port, ``1/2/2/10.0.0.9/1/3`` goes by the module in slot 2 out to its
port 2, to the address 10.0.0.9 there, and in that chassis to slot 3. Commas do as well as
slashes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

_PORTS: Final[Mapping[str, int]] = {"backplane": 1, "bp": 1, "enet": 2, "cnet": 2, "dnet": 2}
_EXTENDED: Final = 0x10
"""Set in a port segment whose address is longer than a byte."""
_LONGEST: Final = 40
"""Bytes of a route that leave room for a request in an unconnected message."""


def parse_route(text: str) -> str:
    """The route as the configuration writes it, with slashes. Raises ValueError, its text for people."""
    parts = [part.strip() for part in text.replace(",", "/").split("/")] if text.strip() else []
    if len(parts) % 2:
        raise ValueError(
            f"{text!r} is not a route; write pairs of port and address, as 1/0 for slot 0 of the "
            'backplane, or "" for a controller that is addressed directly'
        )
    for port, link in zip(parts[::2], parts[1::2], strict=True):
        if port not in _PORTS and not (port.isdecimal() and 1 <= int(port) <= 14):
            raise ValueError(f"{text!r}: {port!r} is no port; write 1 (or backplane), 2 (or enet), … 14")
        if link.isdecimal() and int(link) <= 255:
            continue
        try:
            ipaddress.IPv4Address(link)
        except ValueError:
            raise ValueError(f"{text!r}: {link!r} is neither a slot (0 to 255) nor an IPv4 address") from None
    route = "/".join(parts)
    if len(encode_route(route)) > _LONGEST:
        raise ValueError(f"{text!r} is too long a way for a message: at most {_LONGEST} bytes of segments")
    return route


def encode_route(route: str) -> bytes:
    """The segments of a route that `parse_route` returned."""
    parts = route.split("/") if route else []
    return b"".join(
        _segment(_PORTS.get(port) or int(port), link)
        for port, link in zip(parts[::2], parts[1::2], strict=True)
    )


def _segment(port: int, link: str) -> bytes:
    if link.isdecimal():
        return bytes((port, int(link)))
    address = link.encode("ascii")
    return bytes((port | _EXTENDED, len(address))) + address + b"\0" * (len(address) % 2)
