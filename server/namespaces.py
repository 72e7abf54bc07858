"""Namespaces that imported nodes added: kept, so that they have the same indexes after the next start."""

from __future__ import annotations

import logging

from server.datadir import DataDirectory, DataDirectoryError

log = logging.getLogger(__name__)

_NAME = "namespaces"


class KeptNamespaces:
    """``state/namespaces.json``: the URIs in the order they were added."""

    def __init__(self, data: DataDirectory) -> None:
        """Raises DataDirectoryError where the file cannot be read."""
        self._data = data
        content = data.read_json(_NAME, {"imported": []})
        uris = content.get("imported") if isinstance(content, dict) else None
        if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
            raise DataDirectoryError(
                f"{data.state / _NAME}.json: not a list of namespaces; restore it from a backup, or delete "
                "it, and clients will see the namespaces of imported nodes by other indexes"
            )
        self.uris: list[str] = list(uris)

    def add(self, uri: str) -> None:
        """Keep one more. It is rare, at the first sight of a device, and small: the loop waits for it."""
        if uri in self.uris:
            return
        self.uris.append(uri)
        try:
            self._data.write_json(_NAME, {"imported": self.uris})
        except DataDirectoryError as error:
            log.error("the namespace %s may have another index after the next start: %s", uri, error)  # noqa: TRY400  # the text says it all
