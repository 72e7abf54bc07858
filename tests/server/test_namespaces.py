"""Namespaces of imported nodes keep their order over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.datadir import DataDirectory, DataDirectoryError
from server.namespaces import KeptNamespaces


def kept(folder: Path) -> KeptNamespaces:
    data = DataDirectory(folder)
    data.prepare()
    return KeptNamespaces(data)


def test_what_was_added_is_there_after_the_next_start(tmp_path: Path) -> None:
    first = kept(tmp_path)
    assert first.uris == []
    for uri in ("urn:b#F1", "urn:a#F1", "urn:b#F1"):
        first.add(uri)
    assert kept(tmp_path).uris == ["urn:b#F1", "urn:a#F1"]


def test_a_file_that_makes_no_sense_stops_the_start(tmp_path: Path) -> None:
    kept(tmp_path)
    (tmp_path / "state" / "namespaces.json").write_text('{"imported": [1]}', encoding="utf-8")
    with pytest.raises(DataDirectoryError, match="restore it from a backup"):
        kept(tmp_path)


def test_a_disk_that_is_full_is_told_and_the_server_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = kept(tmp_path)
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    one.add("urn:a#F1")
    assert "may have another index after the next start" in caplog.text
    assert one.uris == ["urn:a#F1"]
