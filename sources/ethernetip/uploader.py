"""A controller's tag list, for the event loop: pycomm3 in a thread that a deadline ends."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Final

from sources.errors import Unreachable
from sources.ethernetip.client import FAREWELL
from sources.ethernetip.config import LogixSettings
from sources.ethernetip.failures import Broken, Rejected
from sources.ethernetip.link import Link
from sources.ethernetip.symbols import SymbolTable
from sources.ethernetip.worker import Counters, Worker
from sources.insight import Traffic
from sources.turns import Busy

MOST_HANGING: Final = 4
"""So many threads of earlier uploads may hang before no further one is begun."""

_OPENING: Final = 10
"""Requests that opening takes at most, each with its own time."""


async def upload(
    name: str,
    settings: LogixSettings,
    host: str,
    counters: Counters,
    wanted: tuple[Collection[str] | None, Collection[str] | None] = (None, None),
    traffic: Traffic | None = None,
) -> SymbolTable:
    """The tags and types of the controller at an address, over a connection of pycomm3's own.

    ``wanted`` bounds it to the types of these tags and to the tags of these programs, both
    by their names in lower case. What goes over the wire is added to ``traffic``. Raises
    Unreachable, and Rejected where the controller gives no list. Takes
    ``settings.upload_timeout`` at most, beside the opening.
    """
    if counters.hanging >= MOST_HANGING:
        raise Unreachable(
            f"{counters.hanging} threads of earlier uploads hang and do not end; "
            "no further one is begun until they do"
        )
    link = Link(settings, host)
    worker = Worker(name, link, counters)
    try:
        await worker.do(link.open, _OPENING * settings.timeout)
        table = await worker.do(lambda: link.upload(*wanted), settings.upload_timeout)
        with contextlib.suppress(Broken, Rejected):
            await worker.do(lambda: link.farewell(FAREWELL), FAREWELL)
    except (Broken, Busy) as error:
        raise Unreachable(f"the upload of the tag list failed: {error}") from None
    else:
        return table
    finally:
        await worker.stop()
        if traffic is not None:
            its = link.traffic
            traffic.requests += its.requests
            traffic.bytes_out += its.bytes_out
            traffic.bytes_in += its.bytes_in
