"""Whether the controller's program is still the one whose tags were uploaded.

A Logix controller has counters that change with its tags and types (class 0xAC; 1756-PM020,
"Determine when tags or types have changed"). They travel in the same packet as whatever
could be misread after a download: a structure read whole, a run through a grid. Values read
by their own names need none of it.
"""

from __future__ import annotations

import struct
from typing import Final

from sources.ethernetip import status
from sources.ethernetip.codec import Reply

SERVICE: Final = 0x03
_ATTRIBUTES: Final = (1, 2, 3, 4, 10)
REQUEST: Final = b"\x03\x02\x20\xac\x24\x01" + struct.pack("<6H", len(_ATTRIBUTES), *_ATTRIBUTES)
"""Get_Attribute_List of the one instance."""

_LONGEST: Final = 64


def state_of(reply: Reply) -> bytes:
    """The counters, as the reply carries them; empty where the controller has none."""
    if reply.status != status.SUCCESS or not 2 < len(reply.data) <= _LONGEST:
        return b""
    return reply.data
