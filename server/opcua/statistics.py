"""What clients make of the server, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OpcUaStatistics:
    """A moment's picture. What is counted is counted since the start."""

    sessions: int = 0
    subscriptions: int = 0
    monitored_items: int = 0
    notifications: int = 0
    """Handed to clients."""
    connections: int = 0
    accepted: int = 0
    """Connections."""
    ended: Mapping[str, int] = field(default_factory=dict)
    """Connections the server refused or ended, by the reason."""
    refused_requests: int = 0
    """Requests answered with a ServiceFault."""
    refused_sessions: int = 0
