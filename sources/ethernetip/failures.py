"""How a conversation with a controller can fail."""

from __future__ import annotations

from sources.quality import BAD_COMMUNICATION_ERROR, Quality


class Broken(Exception):
    """The connection is of no use any more; ``quality`` is what that makes of the values asked for."""

    def __init__(self, message: str, quality: Quality = BAD_COMMUNICATION_ERROR) -> None:
        super().__init__(message)
        self.quality = quality


class NotSent(Broken):
    """It was of no use before anything was sent: the controller cannot have seen the request."""


class Rejected(Exception):
    """The controller answered and said no; the connection still stands."""
