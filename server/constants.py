"""Constant values that clients wrote: kept over restarts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from server.datadir import DataDirectory, DataDirectoryError
from server.plant.convert import ConversionError, fit_whole
from server.plant.model import Property
from server.plant.values import ValueStore
from sources.tag import Value

log = logging.getLogger(__name__)

_NAME = "constants"


class KeptConstants:
    """``state/constants.json``: the last written value of every writable constant, by the property's key."""

    def __init__(self, data: DataDirectory) -> None:
        """Raises DataDirectoryError where the file cannot be read."""
        self._data = data
        self._lock = asyncio.Lock()
        content = data.read_json(_NAME, {"values": {}})
        values = content.get("values") if isinstance(content, dict) else None
        if not isinstance(values, dict):
            raise DataDirectoryError(
                f"{data.state / _NAME}.json: not a list of kept values; restore it from a backup, or delete "
                "it to start again from the configuration's values"
            )
        self._values: dict[str, Any] = values

    def restore(self, properties: Iterable[Property], store: ValueStore) -> None:
        """Give those that are constants their kept values; one that no longer fits is named and left out."""
        for key, value in self.of(properties).items():
            store.set(key, value)

    def of(self, properties: Iterable[Property]) -> dict[str, Value]:
        """The kept values that count, by the property's key; what no longer fits is named and left out."""
        found = {}
        for prop in properties:
            if prop.binding is not None or prop.type.write is None or prop.key not in self._values:
                continue
            try:
                found[prop.key] = fit_whole(self._values[prop.key], prop.type.type, prop.type.length)
            except ConversionError as error:
                log.warning("%s: kept value dropped, the configuration's is used: %s", prop.key, error)
        return found

    async def keep(self, key: str, value: Value) -> None:
        """Store one value; returns when it is on the disk. Raises DataDirectoryError."""
        async with self._lock:
            before = dict(self._values)
            self._values[key] = value
            try:
                await asyncio.to_thread(self._data.write_json, _NAME, {"values": dict(self._values)})
            except DataDirectoryError:
                self._values = before
                raise
