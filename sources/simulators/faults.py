"""Faults to order, whatever the protocol: what is set here, a simulator's server obeys."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """All faults of one simulator, as they are set now.

    ``mute``: requests are taken and never answered. ``delay``: seconds every reply waits;
    ``delay_once``: seconds the next reply waits, then 0 again. ``refuse``: new connections
    are closed at once. ``short_reply``: reads bring about half of what was asked.
    ``exceptions``: exception codes by table and address, for every request that touches it.
    """

    mute: bool = False
    delay: float = 0.0
    delay_once: float = 0.0
    refuse: bool = False
    short_reply: bool = False
    exceptions: dict[tuple[str, int], int] = field(default_factory=dict)

    def take_delay(self) -> float:
        """How long the reply at hand waits; uses up ``delay_once``."""
        once, self.delay_once = self.delay_once, 0.0
        return self.delay + once

    def exception_in(self, table: str, address: int, count: int) -> int | None:
        """The exception code that a request touching these addresses gets, if any."""
        for (its_table, at), code in self.exceptions.items():
            if its_table == table and address <= at < address + count:
                return code
        return None
