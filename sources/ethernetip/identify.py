"""Who answers at an address, and what tags it has: for tools, without a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sources.errors import Unreachable
from sources.ethernetip.client import Client, dial
from sources.ethernetip.config import ENCAPSULATION_PORT, LogixSettings
from sources.ethernetip.failures import Broken, Rejected
from sources.ethernetip.identity import Identity
from sources.ethernetip.route import parse_route
from sources.ethernetip.symbols import SymbolTable
from sources.ethernetip.uploader import upload
from sources.ethernetip.worker import Counters
from sources.resolve import Resolver

TIMEOUT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Found:
    """Who answers: ``port`` at the end of the wire, ``controller`` at the end of the route.

    They are the same device where the controller has the Ethernet port itself.
    """

    port: Identity
    controller: Identity


async def identify(
    host: str,
    port: int = ENCAPSULATION_PORT,
    *,
    path: str = "1/0",
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - each request's own
) -> Found:
    """Ask a device and the controller behind it who they are (ListIdentity, Identity object).

    ``path`` is the route, with slashes or commas, ``""`` for a device that is addressed
    directly; a Micro800 is in any case. ``timeout`` is each request's, in seconds. Raises
    Unreachable, and ValueError for what is no route.
    """
    route = parse_route(path)
    client: Client | None = None
    try:
        client = await dial(Resolver(host, port), timeout)
        near = await client.list_identity()
        far = await client.identify("" if near.is_micro800 else route)
    except (Broken, Rejected) as error:
        raise Unreachable(str(error)) from None
    finally:
        if client is not None:
            await client.close()
    return Found(near, far)


async def browse(host: str, port: int = ENCAPSULATION_PORT, **settings: Any) -> SymbolTable:
    """All tags of a controller and of its programs, with the layout of every structure.

    ``settings`` are those of a source of ``driver: logix`` (``path``, ``timeout``,
    ``upload_timeout``, with their units). Ends within ``upload_timeout`` (60 s) and some
    requests. Raises Unreachable where there is no list to be had, and pydantic's
    ValidationError for wrong settings.
    """
    made = LogixSettings.model_validate({"driver": "logix", "host": host, "port": port} | settings)
    try:
        endpoints = await Resolver(host, port).resolve()
        return await upload(host, made, str(endpoints[0][1][0]), Counters())
    except (Broken, Rejected) as error:
        raise Unreachable(str(error)) from None
