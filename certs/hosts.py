"""The names and addresses of this machine, for the SubjectAltName of its certificate."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SIOCGIFADDR: Final = 0x8915
_NOWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Documentation addresses: connecting a datagram socket sends nothing, and names the way out."""


def host_name() -> str:
    """This machine's name in lower case; ``localhost`` where it has none."""
    return socket.gethostname().lower() or "localhost"


def default_application_uri() -> str:
    """``urn:<host name>:isthmus``, with nothing in the host name that a URN forbids."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in host_name())
    return f"urn:{name}:isthmus"


def own_hosts() -> tuple[str, ...]:
    """Every host name and address this machine knows of itself; loopback always, link-local never."""
    names = {"localhost", host_name()}
    addresses = {"127.0.0.1", "::1", *_interface_addresses(), *_outward_addresses()}
    try:
        found = socket.getaddrinfo(host_name(), None, flags=socket.AI_CANONNAME)
    except OSError:
        found = []
    for _family, _type, _protocol, canonical, address in found:
        addresses.add(str(address[0]))
        if canonical:
            names.add(canonical.lower())
    usable = {a for a in addresses if _is_usable(a)}
    return (*sorted(n for n in names if n.isascii() and not is_address(n)), *sorted(usable))


def is_address(host: str) -> bool:
    """True for an IP address, false for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_usable(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not parsed.is_link_local and not parsed.is_unspecified and not parsed.is_multicast


def _outward_addresses() -> Iterator[str]:
    for family, nowhere in _NOWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((nowhere, 9))
                yield str(probe.getsockname()[0])
        except OSError:
            continue


def _interface_addresses() -> Iterator[str]:
    """Linux tells the addresses of all interfaces; elsewhere the other ways must do."""
    if sys.platform != "linux":
        return
    import fcntl  # noqa: PLC0415  # does not exist on every platform

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            yield socket.inet_ntoa(answer[20:24])
    try:
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in lines:
        yield str(ipaddress.IPv6Address(int(line.split()[0], 16)))
