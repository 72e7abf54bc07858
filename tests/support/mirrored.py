"""Imports of a source without an address space of ours: what it shows is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sources.opcua.address import UA_URI
from sources.opcua.connection import Connection
from sources.opcua.driver import OpcUaSource
from sources.opcua.importing import Importing
from sources.opcua.imports import Model, Wanted
from sources.opcua.wire import Raw
from sources.quality import Quality


class Mirrored:
    """See `sources.opcua.imports.Mirror`."""

    def __init__(self) -> None:
        self.uris = [UA_URI]
        self.models: dict[str, Model] = {}
        """By the holder."""
        self.values: dict[bytes, Raw] = {}
        """The latest of each variable, by its key here."""
        self.lost: list[Quality] = []

    def index(self, uri: str) -> int:
        if uri not in self.uris:
            self.uris.append(uri)
        return self.uris.index(uri)

    async def show(self, _device: Any, model: Model, values: Mapping[bytes, Raw]) -> None:
        self.models[model.holder] = model
        self.values.update(values)

    def take(self, _device: Any, values: Sequence[tuple[bytes, Raw]]) -> None:
        self.values.update(values)

    def lose(self, _device: Any, quality: Quality) -> None:
        self.lost.append(quality)

    def miss(self, _device: Any) -> None:
        pass

    def named(self, holder: str) -> dict[str, Raw]:
        """The values of an import, by the text of their BrowseNames."""
        nodes = self.models[holder].nodes
        return {
            node.browse_name[6:].decode(): self.values[key]
            for key, node in nodes.items()
            if key in self.values
        }


async def imported(
    device: OpcUaSource, connection: Connection, wanted: Wanted
) -> tuple[Mirrored, list[tuple[bytes, Any]]]:
    """Carry one import out over a connection; what is shown, and what would be watched."""
    mirror = Mirrored()
    importing = Importing(device, device.device.settings, mirror)
    importing.connection = connection
    return mirror, await importing.run(wanted)
