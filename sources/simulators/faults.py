"""Faults to order, whatever the protocol: what is set here, a simulator's server obeys."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Faults:
    """The faults every simulator has, as they are set now; a protocol's own come on top.

    ``mute``: requests are taken and never answered. ``delay``: seconds every reply waits;
    ``delay_once``: seconds the next reply waits, then 0 again. ``refuse``: new connections
    are closed at once.
    """

    mute: bool = False
    delay: float = 0.0
    delay_once: float = 0.0
    refuse: bool = False

    def take_delay(self) -> float:
        """How long the reply at hand waits; uses up ``delay_once``."""
        once, self.delay_once = self.delay_once, 0.0
        return self.delay + once
