"""The ready file: tells another program that a server is up, and where."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from server.datadir import DataDirectory
from server.observe.observer import Running


@contextmanager
def ready_file(path: Path | None) -> Iterator[None]:
    """See to it that the file is there only while the server is up: an old one would be believed."""
    if path is None:
        yield
        return
    path.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def write_ready_file(
    path: Path, running: Running, data: DataDirectory, pids: Mapping[str, int] | None = None
) -> None:
    """Write ``{"pid", "opcua", "mqtt", "data", "sources": {name: {"address", "pid"}}}``, all or not at all.

    ``mqtt`` is null without a broker; a source has a ``pid`` where ``pids`` names its simulator.
    Raises OSError.
    """
    sources = {
        s.status.name: {"address": s.status.address, "pid": (pids or {}).get(s.status.name)}
        for s in running.supervisors
    }
    content = {
        "pid": os.getpid(),
        "opcua": running.server.endpoints[0].url,
        "mqtt": running.publisher.status.broker if running.publisher else None,
        "data": str(data.root.resolve()),
        "sources": sources,
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content), encoding="utf-8")
    part.replace(path)
