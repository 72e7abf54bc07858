"""What is counted of imports on their way from a server to where they are shown."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sources import clock
from sources.insight import ImportFigures
from sources.opcua.imports import Device, Mirror, Model, Wanted
from sources.opcua.wire import Raw
from sources.quality import Quality

if TYPE_CHECKING:
    from sources.opcua.kept import Plan

_VARIABLE: Final = 2


class Counts:
    """See `sources.opcua.imports.Mirror`: passes everything on, and counts."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._of: dict[str, ImportFigures] = {}
        """By the path of the holder."""
        self._shown: set[str] = set()
        self.values = 0
        """Values that came, over all connections."""

    def index(self, uri: str) -> int:
        """See Mirror."""
        return self._mirror.index(uri)

    async def show(self, device: Device, model: Model, values: Mapping[bytes, Raw]) -> None:
        """See Mirror."""
        await self._mirror.show(device, model, values)
        nodes = model.nodes.values()
        variables = sum(node.node_class == _VARIABLE and not node.is_type for node in nodes)
        known = self._of.get(model.holder, ImportFigures(model.holder))
        self._of[model.holder] = replace(known, nodes=len(nodes), variables=variables)
        if model.nodes:
            self._shown.add(model.holder)

    def take(self, device: Device, values: Sequence[tuple[bytes, Raw]]) -> None:
        """See Mirror."""
        self.values += len(values)
        self._mirror.take(device, values)

    def lose(self, device: Device, quality: Quality) -> None:
        """See Mirror."""
        self._mirror.lose(device, quality)

    def miss(self, device: Device) -> None:
        """See Mirror."""
        self._mirror.miss(device)

    @asynccontextmanager
    async def walking(self, wanted: Wanted) -> AsyncIterator[None]:
        """An import is carried out meanwhile."""
        self._shown.discard(wanted.holder)
        began, error = time.perf_counter(), "it was not carried out to its end"
        try:
            yield
            error = "" if wanted.holder in self._shown else "the device has nothing there; the log says more"
        except Exception as failure:
            error = str(failure)
            raise
        finally:
            self._of[wanted.holder] = replace(
                self._of.get(wanted.holder, ImportFigures(wanted.holder)),
                walked=clock.now(),
                seconds=time.perf_counter() - began,
                error=error,
            )

    def figures(self, imports: Iterable[Wanted], plan: Plan | None) -> Sequence[ImportFigures]:
        """Of these imports, by the plan of the last connection."""
        refused: dict[str, int] = {}
        for one in plan.subscriptions if plan is not None else ():
            if one.wanted is not None:
                refused[one.wanted.holder] = refused.get(one.wanted.holder, 0) + len(one.refused)
        return [
            replace(
                self._of.get(wanted.holder, ImportFigures(wanted.holder)),
                refused=refused.get(wanted.holder, 0),
            )
            for wanted in imports
        ]
