"""What keeps the OPC UA server from starting, or the users' file from being used."""

from __future__ import annotations


class ServerStartError(Exception):
    """The server cannot start; the text says why and what to do."""


class SpaceError(Exception):
    """The nodes of another configuration cannot be made; the text says why."""


class UserStoreError(Exception):
    """The users' file cannot be used, or a change to it makes no sense; the text says what to do."""
