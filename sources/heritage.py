"""What the requests of a plan that is no more leave to those of the next one: each tag's place in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sources.tag import Tag

T = TypeVar("T")


class Turn(NamedTuple, Generic[T]):
    """When a request of the new plan is to be made first, and then, by the caller's clock.

    ``then`` is None where its rhythm goes on from ``first``. ``heir_to`` is what was planned before for
    some of its tags; None where all are new, whose rhythm is the caller's to choose.
    """

    first: float
    then: float | None
    heir_to: T | None


class Heritage(Generic[T]):
    """When each tag would have been read, and by what; tags count by their identity."""

    def __init__(self, former: Iterable[tuple[T, Iterable[Tag[Any]], float]], now: float) -> None:
        """``former`` are what was planned, its tags, and when it would have come due."""
        self._of = {id(tag): (due, item) for item, tags, due in former for tag in tags}
        self._now = now

    def turn(self, tags: Sequence[Tag[Any]]) -> Turn[T]:
        """That of a request for these: none comes later than it would have, and who is new at once."""
        found = [self._of[id(tag)] for tag in tags if id(tag) in self._of]
        if not found:
            return Turn(self._now, None, None)
        due, item = min(found, key=_due)
        if len(found) == len(tags) or due <= self._now:
            return Turn(due, None, item)
        return Turn(self._now, due, item)


def _due(left: tuple[float, Any]) -> float:
    return left[0]
