"""What the requests of a plan that is no more leave to those of the next one: each tag's place in time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from sources.tag import Tag

T = TypeVar("T")


class Heritage(Generic[T]):
    """When each tag would have been read, and by what; tags count by their identity."""

    def __init__(self, former: Iterable[tuple[T, Iterable[Tag[Any]], float]]) -> None:
        """``former`` are what was planned, its tags, and when it would have come due."""
        self._of = {id(tag): (due, item) for item, tags, due in former for tag in tags}

    def of(self, tags: Iterable[Tag[Any]]) -> tuple[float, T] | None:
        """The first that would have read one of these, and when; None where all of them are new."""
        found = [self._of[id(tag)] for tag in tags if id(tag) in self._of]
        return min(found, key=_due) if found else None


def _due(heir: tuple[float, Any]) -> float:
    return heir[0]
