"""Whatever is recorded verifies; whatever is changed afterwards does not, or is what only an anchor finds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from server.audit.errors import BrokenRecord
from server.audit.record import GENESIS, LONGEST, seal, unseal
from server.audit.verify import verify

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50)
FIELDS = st.dictionaries(st.text(max_size=12), VALUES, max_size=6)


def log_of(folder: Path, fields: list[dict[str, Any]], per_file: int) -> list[Path]:
    """A log with one record for each, so many a file, as the server writes it."""
    seq, head, paths = 0, GENESIS, []
    for number, start in enumerate(range(0, len(fields), per_file), 1):
        path = folder / f"audit-{number:06d}.jsonl"
        events = [("segment", {"log": "a", "segment": number})]
        events += [("write", each) for each in fields[start : start + per_file]]
        with path.open("wb") as file:
            for event, each in events:
                seq += 1
                line, head = seal(seq, 116_444_736_000_000_000 + seq, event, each, head)
                file.write(line)
        paths.append(path)
    return paths


@settings(max_examples=60)
@given(FIELDS, st.integers(min_value=1), st.integers(0, 2**63))
def test_a_record_is_read_as_it_was_written(fields: dict[str, Any], seq: int, time: int) -> None:
    line, digest = seal(seq, time % 10**18, "write", fields, GENESIS)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found = unseal(line[:-1])
    assert (found.seq, found.event, found.hash, found.previous) == (seq, "write", digest, GENESIS)
    for key, value in fields.items():
        if key not in {"seq", "time", "event", "prev", "hash"} and not isinstance(value, float):
            assert found.fields[key] == value


def test_a_record_that_is_too_long_says_so() -> None:
    fields = {"user": "eve", "node": "Acme.Text", "asked": "x" * LONGEST, "old": [0.5] * 100_000, "of": 7}
    line, _ = seal(1, 0, "write", fields, GENESIS)
    found = unseal(line[:-1]).fields
    assert found["oversize"] > LONGEST
    assert {key: found[key] for key in ("user", "node", "of")} == {
        "user": "eve",
        "node": "Acme.Text",
        "of": 7,
    }
    assert found["asked"] == f"{'x' * 200}... of {LONGEST} characters"
    assert found["old"].startswith("[0.5, 0.5, ")
    assert len(found["old"]) < 300


def test_a_record_of_many_long_fields_is_cut_to_what_fits() -> None:
    line, _ = seal(1, 0, "write", {f"field {n}": "\U0001f600" * 1_000 for n in range(1_000)}, GENESIS)
    assert len(line) < LONGEST
    assert unseal(line[:-1]).fields["field 0"].endswith("of 1000 characters")


@given(st.binary(max_size=300))
def test_no_bytes_that_were_not_sealed_are_a_record(line: bytes) -> None:
    try:
        unseal(line)
    except BrokenRecord:
        return
    raise AssertionError("it was taken for a record")


@settings(max_examples=60)
@given(st.lists(FIELDS, min_size=1, max_size=12), st.integers(1, 5), st.data())
def test_one_byte_changed_is_found_where_it_is(
    fields: list[dict[str, Any]], per_file: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        paths = log_of(Path(name), fields, per_file)
        report = verify(Path(name), [])
        assert report.broken is None
        assert report.records == len(fields) + len(paths)
        victim = data.draw(st.sampled_from(paths))
        content = bytearray(victim.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        victim.write_bytes(content)
        found = verify(Path(name), [report.head])
        assert found.broken is not None
        if at != len(content) - 1:  # without its last end of line a file looks cut, which the next one denies
            assert found.broken.path == victim
            assert found.broken.line == bytes(content[:at]).count(b"\n") + 1


@settings(max_examples=60)
@given(st.lists(FIELDS, min_size=3, max_size=12), st.integers(1, 5), st.data())
def test_a_line_removed_doubled_or_moved_is_found(
    fields: list[dict[str, Any]], per_file: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        paths = log_of(Path(name), fields, per_file)
        head = verify(Path(name)).head
        victim = data.draw(st.sampled_from(paths))
        lines = victim.read_bytes().splitlines(keepends=True)
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["removed", "doubled", "swapped", "file removed"]))
        if kind == "removed":
            del lines[at]
        elif kind == "doubled":
            lines.insert(at, lines[at])
        elif kind == "swapped":
            other = (at + 1) % len(lines)
            lines[at], lines[other] = lines[other], lines[at]
        victim.write_bytes(b"".join(lines))
        if kind == "file removed":
            victim.unlink()
            if len(paths) == 1:
                return
        assert verify(Path(name), [head]).broken is not None


@settings(max_examples=50)
@given(st.lists(FIELDS, min_size=1, max_size=8), st.integers(1, 40))
def test_a_log_that_was_cut_at_its_end_is_found_by_an_anchor_alone(
    fields: list[dict[str, Any]], away: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        (path,) = log_of(Path(name), fields, 100)
        head = verify(Path(name)).head
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: max(1, len(lines) - away)]))
        assert verify(Path(name)).broken is None
        broken = verify(Path(name), [head]).broken
        assert broken is not None
        assert head in broken.what
