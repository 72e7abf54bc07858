"""What is audited beside writes: whatever the server tells the logger ``isthmus.audit``."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from server.audit.log import AuditLog
from server.log import extras

LOGGER: Final = "isthmus.audit"
PER_MINUTE: Final = 600
"""Records a minute on average: strangers can cause them, and must not fill the disk."""
_TEXT: Final = 1_000
"""Characters of a text."""


class Collector(logging.Handler):
    """Puts into the audit log what is told to the logger, but for what has its record already.

    Beyond `PER_MINUTE` no more is recorded than how many there were (``suppressed``).
    """

    def __init__(self, audit: AuditLog, per_minute: int = PER_MINUTE) -> None:
        super().__init__(logging.INFO)
        self._audit = audit
        self._rate = per_minute / 60
        self._most = self._room = float(per_minute)
        self._filled = time.monotonic()
        self.suppressed = 0

    def start(self) -> None:
        """Listen."""
        logging.getLogger(LOGGER).addHandler(self)

    def stop(self) -> None:
        """The opposite."""
        logging.getLogger(LOGGER).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        more = extras(record)
        if "record" in more:
            return
        now = time.monotonic()
        self._room = min(self._most, self._room + (now - self._filled) * self._rate)
        self._filled = now
        if self._room < 1:
            self.suppressed += 1
            return
        self._room -= 1
        event = str(more.pop("event", "message"))
        fields: dict[str, Any] = {key: _short(value) for key, value in more.items()}
        fields["message"] = _short(record.getMessage())
        if self.suppressed:
            fields["suppressed"], self.suppressed = self.suppressed, 0
        self._audit.note(event, fields)


def _short(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= _TEXT else text[:_TEXT] + "…"
