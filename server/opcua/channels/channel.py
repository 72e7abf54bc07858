"""The secure channel of a connection."""

from __future__ import annotations


class SecureChannel:
    """A secure channel."""
