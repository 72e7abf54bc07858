"""What clients make of the server, counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpcUaStatistics:
    """A moment's picture. ``notifications`` counts what was handed to clients since the start."""

    sessions: int = 0
    subscriptions: int = 0
    monitored_items: int = 0
    notifications: int = 0
