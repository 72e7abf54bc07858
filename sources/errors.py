"""What can go wrong with a device.

SourceError
├── Unreachable        nobody answered the call: dial again later
├── Refused            the device answered and said no (credentials, identity): a person must act
├── Denied             nothing was sent, for this user may not or is not let in there: his to hear why
├── ConnectionLost     it was there and is no longer, or stopped making sense: dial again
└── AddressError       an address or type the driver cannot mean: a configuration error
"""

from __future__ import annotations

from sources.quality import BAD_COMMUNICATION_ERROR, BAD_NOT_CONNECTED, Quality


class SourceError(Exception):
    """Base of all errors a source raises; its text is meant for people."""


class Unreachable(SourceError):
    """The device could not be reached; dialling again may help."""


class Refused(SourceError):
    """The device refused for a reason that dialling again will not change soon.

    ``quality`` is the StatusCode it gave, where it gave one.
    """

    def __init__(self, message: str, quality: Quality = BAD_NOT_CONNECTED) -> None:
        super().__init__(message)
        self.quality = quality


class Denied(SourceError):
    """Nothing was sent for whoever asked; ``quality`` is what he is told, the text is for the log."""

    def __init__(self, message: str, quality: Quality) -> None:
        super().__init__(message)
        self.quality = quality


class ConnectionLost(SourceError):
    """A live connection ended or broke its protocol.

    ``quality`` is the StatusCode that says why (timeout, framing, closed).
    """

    def __init__(self, message: str, quality: Quality = BAD_COMMUNICATION_ERROR) -> None:
        super().__init__(message)
        self.quality = quality


class AddressError(SourceError):
    """An address, type or option that cannot be meant; the text says what would be right."""
