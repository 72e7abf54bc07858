"""Logging: text on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final, TextIO

from sources.clock import UNIX_EPOCH_TICKS, to_iso

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and what ``extra`` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        entry: dict[str, Any] = {
            "time": to_iso(int(record.created * 10_000_000) + UNIX_EPOCH_TICKS),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update({key: value for key, value in record.__dict__.items() if key not in _STANDARD})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for people: local time, level, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")


def configure(level: int = logging.INFO, stream: TextIO | None = None, style: str = "auto") -> None:
    """Send every log record to one stream, standard error by default.

    ``style`` is ``text``, ``json`` or ``auto``: text where the stream is a terminal.
    Libraries speak from WARNING on; their chatter about a connection is told by our own
    transitions instead.
    """
    target = sys.stderr if stream is None else stream
    text = style == "text" or (style == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in ("asyncua", "pymodbus", "mqtt", "amqtt", "transitions", "asyncio"):
        logging.getLogger(library).setLevel(max(level, logging.ERROR))
