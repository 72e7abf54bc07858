"""What stands in an audit log."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.audit.verify import each


def last(folder: Path, count: int, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """The last records that have the ``wanted`` texts, up to the first break. Raises AuditError."""
    found: deque[dict[str, Any]] = deque(maxlen=count)
    each(folder, wanted, found.append)
    return list(found)
