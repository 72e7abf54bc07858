"""How much memory the imports of one source may take together, whatever the device sends."""

from __future__ import annotations

from typing import Final

NODE: Final = 400
ATTRIBUTE: Final = 50
REFERENCE: Final = 150
"""Bytes beside what is encoded, about."""
DESCRIPTION: Final = 800
"""Bytes of a ReferenceDescription as the stack has it, about."""


class NoRoom(Exception):
    """What comes would take more memory than there may be."""


class Room:
    """Bytes that are left of so many."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._left = most

    def take(self, size: int) -> bool:
        """Have so many more; False where they are not left. What was given up is taken as a negative size."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def need(self, size: int) -> None:
        """As `take`. Raises NoRoom."""
        if not self.take(size):
            raise NoRoom
