from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
from collections.abc import Iterator

import pytest

from server.log import JsonFormatter, TextFormatter, WriterHandler, configure


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message, "levelname": "INFO", "name": "isthmus.test", **extra})


def test_json_has_time_level_message_and_what_was_given() -> None:
    entry = json.loads(JsonFormatter().format(record("hello", source="PLC", created=0.5)))
    assert entry["time"] == "1970-01-01T00:00:00.500000Z"
    assert (entry["level"], entry["message"], entry["source"]) == ("INFO", "hello", "PLC")


@pytest.mark.parametrize(("style", "is_json"), [("json", True), ("text", False), ("auto", True)])
def test_what_is_no_terminal_gets_json(style: str, is_json: bool) -> None:
    stream = io.StringIO()
    configure(stream=stream, style=style)
    logging.getLogger("isthmus.test").info("hello")
    logging.getLogger().handlers[0].flush()
    assert stream.getvalue().startswith("{") is is_json
    logging.getLogger().handlers[0].close()


def test_a_reader_that_stalls_holds_nobody_up_and_learns_what_it_missed() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, True)
    with os.fdopen(reading, encoding="utf-8") as reader, os.fdopen(writing, "w", encoding="utf-8") as writer:
        handler = WriterHandler(writer, limit=50)
        handler.setFormatter(TextFormatter())
        begin = time.monotonic()
        for _ in range(500):
            handler.emit(record("x" * 1000))
        assert time.monotonic() - begin < 5, "a pipe holds 64 kB, nobody reads: emit must not wait for it"
        assert handler.dropped >= 300
        for line in reader:
            if "were dropped" in line:
                break
        else:
            pytest.fail("nothing was said of the lines that were dropped")
        # To close a stream waits for whoever writes to it, and that one for whoever reads.
        rest = threading.Thread(target=reader.read)
        rest.start()
        handler.close()
        writer.close()
        rest.join()


def test_a_stream_that_is_closed_ends_nothing() -> None:
    stream = io.StringIO()
    handler = WriterHandler(stream)
    handler.setFormatter(TextFormatter())
    stream.close()
    handler.emit(record("hello"))
    handler.flush()
    handler.emit(record("again"))
    handler.close()
    assert handler.dropped == 2


class _FullDisk(io.StringIO):
    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_lines_a_full_disk_swallowed_are_told_of_when_there_is_room() -> None:
    disk = _FullDisk()
    handler = WriterHandler(disk)
    handler.setFormatter(TextFormatter())
    for _ in range(3):
        handler.emit(record("lost"))
    handler.flush()
    disk.full = False
    handler.emit(record("kept"))
    handler.close()
    assert "kept" in disk.getvalue()
    assert "3 log lines were dropped" in disk.getvalue()


def test_a_record_that_makes_no_sense_hurts_nobody() -> None:
    stream = io.StringIO()
    handler = WriterHandler(stream)
    handler.setFormatter(TextFormatter())
    handler.emit(logging.makeLogRecord({"msg": "%d", "args": ("x",), "name": "library", "levelname": "INFO"}))
    handler.close()
    assert "cannot be formatted" in stream.getvalue()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(value: float) -> None:
    line = JsonFormatter().format(record("write", new=value))
    entry = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert entry["new"] == str(value)


@pytest.mark.parametrize("bad", ["\n", "\r", "\x1b[31m", "\x9b31m", "\x85", "\u2028", "\u2029", "\u202e"])
def test_what_a_stranger_sends_stays_on_its_line_and_commands_no_terminal(bad: str) -> None:
    told = record(f"refused: {bad}12:00:00 INFO all is well", name_=bad)
    text, line = TextFormatter().format(told), JsonFormatter().format(told)
    for shown in (text, line):
        assert bad[0] not in shown
        assert len(shown.splitlines()) == 1
    assert f"\\u{ord(bad[0]):04x}" in text
    assert json.loads(line)["name_"] == bad


def test_a_traceback_has_lines_of_its_own() -> None:
    with pytest.raises(ValueError, match="wrong") as caught:
        int("wrong")
    told = record("failed", exc_info=(caught.type, caught.value, caught.tb))
    assert TextFormatter().format(told).splitlines()[-1].startswith("ValueError: ")
