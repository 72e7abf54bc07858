"""Rows of a CSV file, with their line numbers and within limits."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from server.tools.errors import ImportProblem

MAX_BYTES: Final = 256 * 1024 * 1024
MAX_ROWS: Final = 1_000_000
MAX_CELLS: Final = 1_000


def rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not empty, and the line it ends at. Raises ImportProblem, and OSError.

    Text is UTF-8, or, where it is not, Windows-1252, as older tools write it.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ImportProblem(str(path), 0, f"the file is larger than {MAX_BYTES >> 20} MiB; split it")
    if b"\0" in data:
        raise ImportProblem(str(path), data.count(b"\n", 0, data.index(b"\0")) + 1, "this is not a text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    count = 0
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            count += 1
            if count > MAX_ROWS:
                raise ImportProblem(str(path), reader.line_num, f"more than {MAX_ROWS:,} rows")
            if len(row) > MAX_CELLS:
                raise ImportProblem(str(path), reader.line_num, f"more than {MAX_CELLS} columns")
            yield reader.line_num, row
    except csv.Error as error:
        raise ImportProblem(str(path), reader.line_num, f"this is not CSV: {error}") from None
