"""One MonitoredItem (OPC 10000-4 §5.13)."""

from __future__ import annotations

from abc import ABC, abstractmethod


class MonitoredItem(ABC):
    """What a value tells of its changes."""

    @abstractmethod
    def changed(self) -> None:
        """The value it watches has another head now. Synchronous; must neither block nor raise."""
