"""How far a long piece of work is, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias, TypeVar

Progress: TypeAlias = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and of how much, 0 where nobody knows. Must not raise."""

T = TypeVar("T")

_STEPS: Final = 200
"""So many times progress is told of, however much there is to do."""


def silent(_what: str, _done: int, _of: int) -> None:
    """For whoever does not want to know."""


def followed(items: Sequence[T], what: str, progress: Progress) -> Iterator[T]:
    """The items, one after the other, telling how far it is."""
    of = len(items)
    step = max(of // _STEPS, 1)
    for done, item in enumerate(items):
        if done % step == 0:
            progress(what, done, of)
        yield item
    progress(what, of, of)
