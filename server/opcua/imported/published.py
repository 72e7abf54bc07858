"""What of imported nodes is published beside OPC UA, and whoever publishes it told of what changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from server.opcua.ids import Namespaces
from server.opcua.imported.sets import Chosen, Sets
from server.opcua.imported.value import ImportedValue
from server.opcua.space.space import Space
from server.opcua.wire.nodeid import Key
from server.plant.mirrored import Cell, Mirroring
from sources.opcua.imports import Model

if TYPE_CHECKING:
    from server.opcua.imported.nodes import Holder


class Published:
    """See `server.plant.mirrored.Mirrored`."""

    def __init__(
        self,
        space: Space,
        namespaces: Namespaces,
        holders: Mapping[str, Holder],
        models: Mapping[tuple[str, str], Model],
        values: Mapping[str, Mapping[Key, ImportedValue]],
        showing: asyncio.Lock,
    ) -> None:
        """``holders`` and ``models`` are those of `ImportedNodes`, ``values`` its values by source.

        ``showing`` is held while they are others, step by step.
        """
        self._space = space
        self._namespaces = namespaces
        self._holders = holders
        self._models = models
        self._values = values
        self._showing = showing
        self._on_values: Callable[[Sequence[Cell]], None] | None = None
        self._on_sets: Callable[[], None] | None = None

    def follow(self, values: Callable[[Sequence[Cell]], None], sets: Callable[[], None]) -> None:
        """See Mirrored."""
        self._on_values, self._on_sets = values, sets

    def tell(self, values: Sequence[ImportedValue]) -> None:
        """These have other values, or other StatusCodes."""
        if self._on_values is not None and values:
            self._on_values(values)

    def changed(self) -> None:
        """Nodes came or went."""
        if self._on_sets is not None:
            self._on_sets()

    def name_of(self, index: int) -> str:
        """See Mirrored."""
        return self._namespaces.uris[index]

    async def mirroring(self) -> Mirroring:
        """See Mirrored. The most of it is done in a thread; of what is half shown nothing is told."""
        async with self._showing:
            return await self._mirroring()

    async def _mirroring(self) -> Mirroring:
        sets = Sets(self._space, self.name_of, self._values)
        pending: dict[str, str] = {}
        known: list[tuple[Chosen, Model]] = []
        for path, holder in sorted(self._holders.items()):
            wanted = holder.wanted
            if wanted.mqtt is False:
                continue
            patterns = wanted.mqtt if isinstance(wanted.mqtt, tuple) else ()
            chosen = Chosen(wanted.source, path, holder.name, patterns)
            model = self._models.get((wanted.source, path))
            if model is None:
                pending[chosen.prefix] = path
            else:
                known.append((chosen, model))
        await asyncio.to_thread(_add_all, sets, known)
        return Mirroring(sets.made, pending, sets.left_out, sets.hints)


def _add_all(sets: Sets, known: Sequence[tuple[Chosen, Model]]) -> None:
    for chosen, model in known:
        sets.add(chosen, model)
