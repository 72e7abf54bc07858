"""ServerStatus: what the server is, what it does, and when it ends (OPC 10000-5 §6.3.1, §12.10)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from server import __version__
from server.opcua.endpoints import PRODUCT_URI
from server.opcua.space import encode
from server.opcua.space.setting import live, store
from server.opcua.space.space import Space
from server.opcua.types import ObjectIds
from server.opcua.wire.writer import int32, localized_text, string, ticks, uint32
from sources.clock import now

RUNNING, SHUTDOWN = 0, 4
"""Of ServerState (OPC 10000-5 §12.6)."""

_PRODUCT: Final = "Isthmus"
_NO_TEXT: Final = localized_text(None)


class Status:
    """The ServerStatus variable and its parts, which always say the same."""

    def __init__(self, space: Space, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = now()
        self._ends: float | None = None
        self._state = RUNNING
        self._left = 0
        self._reason = _NO_TEXT
        prefix = ObjectIds.Server_ServerStatus
        store(space, ObjectIds.Server_ServerStatus_StartTime, encode.time(self._started))
        live(space, ObjectIds.Server_ServerStatus_CurrentTime, lambda: encode.time(now()))
        self._shown_state = store(space, ObjectIds.Server_ServerStatus_State, encode.int32(RUNNING))
        self._shown_left = store(space, ObjectIds.Server_ServerStatus_SecondsTillShutdown, encode.uint32(0))
        self._shown_reason = store(
            space, ObjectIds.Server_ServerStatus_ShutdownReason, encode.localized_text(_NO_TEXT)
        )
        self._build_info = self._show_build_info(space)
        live(space, prefix, self._whole)

    @staticmethod
    def _show_build_info(space: Space) -> bytes:
        """BuildInfo (OPC 10000-5 §12.4) and its parts; returns its body. No build has a date."""
        strings = {
            "ProductUri": PRODUCT_URI,
            "ManufacturerName": _PRODUCT,
            "ProductName": _PRODUCT,
            "SoftwareVersion": __version__,
            "BuildNumber": __version__,
        }
        for name, text in strings.items():
            store(space, getattr(ObjectIds, f"Server_ServerStatus_BuildInfo_{name}"), encode.string(text))
        store(space, ObjectIds.Server_ServerStatus_BuildInfo_BuildDate, encode.time(0))
        body = b"".join(string(text) for text in strings.values()) + ticks(0)
        store(
            space,
            ObjectIds.Server_ServerStatus_BuildInfo,
            encode.structure(ObjectIds.BuildInfo_Encoding_DefaultBinary, body),
        )
        return body

    def _whole(self) -> bytes:
        body = b"".join(
            (
                ticks(self._started),
                ticks(now()),
                int32(self._state),
                self._build_info,
                uint32(self._left),
                self._reason,
            )
        )
        return encode.structure(ObjectIds.ServerStatusDataType_Encoding_DefaultBinary, body)

    def shut_down(self, within: float, reason: str) -> None:
        """Say that the server ends in so many seconds; `tick` counts them down."""
        self._ends = self._clock() + within
        self._state = SHUTDOWN
        self._reason = localized_text(reason)
        self.tick()
        self._shown_reason.set(encode.localized_text(self._reason))
        self._shown_state.set(encode.int32(SHUTDOWN))

    def tick(self) -> None:
        """To be called about every second."""
        if self._ends is None:
            return
        left = max(0, math.ceil(self._ends - self._clock()))
        if left != self._left:
            self._left = left
            self._shown_left.set(encode.uint32(left))
