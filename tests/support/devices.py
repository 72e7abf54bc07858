"""Devices that know no users."""

from __future__ import annotations

from typing import Self

from sources.asking import Asker


class OneName:
    """What is the device of `Commands` and, whoever asks, the way to itself."""

    acts_as = ""

    def acting(self, _asker: Asker, /) -> Self:
        return self

    async def ready(self) -> None:
        """It always is."""
