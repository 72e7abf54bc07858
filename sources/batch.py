"""Batch: what one block read brought, in columns. A frozen object per value would cost ten times more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sources.quality import Quality
from sources.tag import Tag, Value


@dataclass(frozen=True, slots=True)
class Batch:
    """Values of several tags at one moment.

    ``tags`` is the same tuple object each time the same block is read: receivers may key
    on its identity. ``values`` stands in the order of ``tags``, or is None where no value
    came (``qualities`` then says why, and the receiver keeps or drops its last value as
    the quality demands). ``qualities`` is one code for all, or one for each tag.
    ``device_times`` is None unless the device itself gave times: a driver never invents
    one. Times are ticks (`sources.clock`); ``received`` is when the reply arrived, or,
    where nothing arrived, when that was noticed. A device time of 0 is one it did not give.

    ``places`` is None where the batch says something of every tag. A device that reports
    changes brings some: ``places`` are where these stand in ``tags``, each once, and ``values``,
    ``qualities`` and ``device_times`` are as many. The other tags are unchanged, and as fresh
    as ``received``.

    A batch of no tags says that the device answered, and nothing more; it has values, none of them.
    """

    tags: tuple[Tag[Any], ...]
    values: Sequence[Value] | None
    qualities: Quality | Sequence[Quality]
    device_times: Sequence[int] | None
    received: int
    places: Sequence[int] | None = None


Emit: TypeAlias = Callable[[Batch], None]
"""Takes a batch. Synchronous, so that it is never cancelled midway; must not block."""
