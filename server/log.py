"""Logging: text on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from typing import Any, Final, TextIO

from sources.clock import UNIX_EPOCH_TICKS, to_iso

_FAREWELL: Final = 1.0
"""Seconds the last lines have at the end."""

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


class WriterHandler(logging.Handler):
    """Writes from a thread of its own: a reader that stalls holds up no event loop.

    At most ``limit`` lines wait; further ones are dropped, counted, and told of once the
    reader goes on. At the end the last lines get a second.
    """

    def __init__(self, stream: TextIO, limit: int = 10_000) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(limit)
        self._lost = 0
        self.dropped = 0
        # A daemon: the process ends even where nobody reads any more.
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait until all is written, at most a second."""
        end = time.monotonic() + _FAREWELL
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def close(self) -> None:
        """See logging.Handler."""
        self.flush()
        super().close()

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            try:
                self._stream.write(line + "\n")
                if self.dropped > self._lost:
                    missed, self._lost = self.dropped - self._lost, self.dropped
                    lost = logging.makeLogRecord(
                        {"msg": f"{missed} log lines were dropped: nobody read them", "levelname": "WARNING"}
                    )
                    self._stream.write(self.format(lost) + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # The stream is closed: there is nobody left to tell.
                self._lost = self.dropped
            finally:
                self._lines.task_done()


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
    handler = WriterHandler(target)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers:
        old.close()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in ("asyncua", "pymodbus", "mqtt", "amqtt", "transitions", "asyncio"):
        logging.getLogger(library).setLevel(max(level, logging.ERROR))
