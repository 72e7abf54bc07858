"""Whatever is recorded comes back: every value with its type, every quality, every time."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sources.batch import Batch
from sources.replay.recording import Reader, Writer
from sources.tag import ScanClass, Tag, ValueType

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), TEXT, st.binary())
VALUE = st.one_of(SCALAR, st.lists(SCALAR, max_size=3))
TAGS = st.lists(
    st.builds(Tag, TEXT, TEXT, st.sampled_from(ValueType), st.just(ScanClass("normal", 1.0)), st.booleans()),
    min_size=1,
    max_size=5,
).map(tuple)
QUALITY = st.integers(0, 2**32 - 1)
TIME = st.integers(0, 2**63 - 1)


@st.composite
def batches(draw: st.DrawFn) -> list[Batch]:
    blocks = draw(st.lists(TAGS, min_size=1, max_size=3))
    found = []
    for _ in range(draw(st.integers(0, 6))):
        tags: Any = draw(st.sampled_from(blocks))
        size = len(tags)

        def column(of: st.SearchStrategy[Any], size: int = size) -> st.SearchStrategy[list[Any]]:
            return st.lists(of, min_size=size, max_size=size)

        found.append(
            Batch(
                tags,
                draw(st.none() | column(VALUE)),
                draw(QUALITY | column(QUALITY)),
                draw(st.none() | column(TIME)),
                draw(TIME),
            )
        )
    return found


def same(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


@settings(max_examples=60, deadline=None)
@given(batches())
def test_what_is_written_is_read(given: list[Batch]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rec"
        writer = Writer(path, 0, {"PLC": given[0].tags if given else ()})
        for batch in given:
            writer.batch("PLC", batch)
        writer.close()
        reader = Reader(path)
        frames = list(reader.frames())
        reader.close()
    assert not reader.cut
    assert len(frames) == len(given)
    for frame, batch in zip(frames, given, strict=True):
        assert [(tag.name, tag.address, tag.type) for tag in frame.tags] == [
            (tag.name, tag.address, tag.type) for tag in batch.tags
        ]
        assert same(frame.values, batch.values)
        assert same(frame.qualities, batch.qualities)
        assert same(frame.device_times, batch.device_times)
        assert frame.received == batch.received


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_damaged_file_is_read_or_refused(noise: bytes, at: int) -> None:
    from sources.replay.recording import RecordingError

    tag: Tag[Any] = Tag("A", "holding:0", ValueType.Float, ScanClass("normal", 1.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rec"
        writer = Writer(path, 0, {"PLC": (tag,)})
        for number in range(20):
            writer.batch("PLC", Batch((tag,), [float(number)], 0, None, number))
        writer.close()
        whole = path.read_bytes()
        at %= len(whole)
        path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
        try:
            reader = Reader(path)
        except RecordingError:
            return
        try:
            for frame in reader.frames():
                assert frame.values is None or len(frame.values) == len(frame.tags)
        except RecordingError:
            pass
        finally:
            reader.close()
