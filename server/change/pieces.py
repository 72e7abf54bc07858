"""Large heaps taken in small pieces, so that nobody waits for the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

_PIECE: Final = 50


def in_parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, at most so many at a time."""
    return (items[begin : begin + size] for begin in range(0, len(items), size))


def let_go(*heaps: list[Any]) -> None:
    """Empty lists whose items nobody else holds, for a thread.

    To free a large plant in one go takes tenths of a second in which no other thread runs.
    """
    for heap in heaps:
        while heap:
            del heap[-_PIECE:]
