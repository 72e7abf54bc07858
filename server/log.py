"""Logging: text on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import logging
import math
import queue
import re
import sys
import threading
import time
from typing import Any, Final, TextIO

from sources.clock import UNIX_EPOCH_TICKS, to_iso

_FAREWELL: Final = 1.0
"""Seconds the last lines have at the end."""

_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What ends a line, commands a terminal or changes the direction of a text: strangers can send it."""

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What ``extra`` gave a record."""
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


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
        entry.update(extras(record))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        finite = {key: _finite(value) for key, value in entry.items()}
        return _on_its_line(json.dumps(finite, default=str, ensure_ascii=False))


class WriterHandler(logging.Handler):
    """Writes from a thread of its own: a reader that stalls holds up no event loop.

    At most ``limit`` lines wait; further ones are dropped, counted, and told of once the
    reader goes on. At the end the last lines get a second.
    """

    def __init__(self, stream: TextIO, limit: int = 10_000) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(limit)
        self._told = 0
        self.dropped = 0
        # A daemon: the process ends even where nobody reads any more.
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a record, its caller goes on
            line = f"a log record cannot be formatted ({error}): {record.name}: {record.msg!r}"
        try:
            self._lines.put_nowait(line)
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
                self._put(line)
            except (OSError, ValueError):
                # A full disk, or a stream that is closed.
                self.dropped += 1
            finally:
                self._lines.task_done()

    def _put(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
        except UnicodeEncodeError:
            self._stream.write(ascii(line) + "\n")
        missed = self.dropped - self._told
        if missed:
            text = f"{missed} log lines were dropped: they could not be written"
            self._stream.write(
                self.format(logging.makeLogRecord({"msg": text, "levelname": "WARNING"})) + "\n"
            )
        self._stream.flush()
        self._told += missed


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinities: they become text, in lists too."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class TextFormatter(logging.Formatter):
    """A line for people: local time, level, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # as logging calls it
        """See logging.Formatter; a traceback comes behind it, on lines of its own."""
        return _on_its_line(super().formatMessage(record))


def _on_its_line(text: str) -> str:
    """The text with what is not to be seen in it escaped, as JSON does it."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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
