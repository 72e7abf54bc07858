"""Decoding beside the loop: what a device sends at once may be large, and others want their turns.

The threads are few and shared by all sources, so that no device takes those that logins and files need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")

_THREADS: Final = 2
MANY: Final = 10_000
"""Values that the loop decodes itself: about 5 ms."""
_LARGE: Final = 64 << 10
_PLAIN: Final = 32
"""Bytes of a number with its times."""

_pool: Final = ThreadPoolExecutor(_THREADS, "decoding")


class Turns:
    """Lets others run after so much work, in whatever unit it is counted."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    async def take(self, work: int) -> None:
        """Do so much more."""
        self._left -= work
        if self._left < 0:
            self._left = self._most
            await asyncio.sleep(0)


async def beside(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in one of the threads; it may touch nothing of the loop's. Raises what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_pool, partial(function, *arguments))


async def beside_if_long(decode: Callable[[bytes], T], data: bytes, count: int = 1) -> T:
    """What bytes that hold so many values decode to: at once, or beside the loop where that takes long.

    Raises what the decoder raises.
    """
    if count > MANY or len(data) > _LARGE + _PLAIN * count:
        return await beside(decode, data)
    return decode(data)
