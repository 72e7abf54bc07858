from __future__ import annotations

import asyncio
import gzip
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.net import until
from support.scanning import FAST, SLOW, Listener, scanning

from sources.batch import Batch
from sources.errors import ConnectionLost, Refused
from sources.insight import TellsChanges
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_TIMEOUT,
    GOOD,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
)
from sources.replay.config import ReplaySettings, parse_tag
from sources.replay.driver import ReplaySource
from sources.replay.recorder import EVERY, NOBODY, Recorder, retap, tapped
from sources.replay.recording import Reader, RecordingError
from sources.spec import TagSpec
from sources.tag import Tag, Value, ValueType

LIMIT = 10**9


def tag(name: str, kind: ValueType = ValueType.Float, address: str = "holding:0") -> Tag[Any]:
    return Tag(name, address, kind, FAST)


SPEED, COUNT, NAME, ON = (
    tag("Acme.Speed"),
    tag("Acme.Count", ValueType.UInt64, "holding:9 as uint64"),
    tag("Acme.Name", ValueType.String, "holding:20 as string(8)"),
    tag("Acme.On", ValueType.Boolean, "coil:3"),
)
TAGS = (SPEED, COUNT, NAME, ON)


async def record(
    path: Path, batches: Sequence[Batch], tags: Sequence[Tag[Any]] = TAGS, source: str = "PLC"
) -> Recorder:
    recorder = Recorder(path, LIMIT)
    passed: list[Batch] = []
    emit = recorder.tap(source, tags, passed.append)
    await recorder.start()
    for batch in batches:
        emit(batch)
    await recorder.stop()
    assert passed == list(batches)
    return recorder


def replayed(path: Path, *specs: TagSpec, **more: Any) -> ReplaySource:
    settings = ReplaySettings.model_validate({"driver": "replay", "file": path, "speed": 1000.0} | more)
    tags = [parse_tag(spec, settings) for spec in specs or SPECS]
    return ReplaySource("PLC", settings, tags)


SPECS = (
    TagSpec("Acme.Speed", "holding:0", ValueType.Double, SLOW, "float32"),
    TagSpec("Acme.Count", "holding:9", ValueType.UInt64, SLOW),
    TagSpec("Acme.Name", "holding:20", ValueType.String, SLOW, "string(8)"),
    TagSpec("Acme.On", "coil:3", ValueType.Boolean, SLOW),
)


def columns(batch: Batch) -> tuple[list[str], list[Value] | None, Any, list[int] | None]:
    values = None if batch.values is None else list(batch.values)
    times = None if batch.device_times is None else list(batch.device_times)
    qualities = batch.qualities if isinstance(batch.qualities, int) else list(batch.qualities)
    return [its.name for its in batch.tags], values, qualities, times


async def test_what_was_recorded_is_played_back(tmp_path: Path) -> None:
    """Values with their types, qualities and device times, in order, block by block."""
    path = tmp_path / "rec.gz"
    first = [
        Batch(TAGS, [0.1, 2**64 - 1, "Füller", True], GOOD, None, 1000),
        Batch((SPEED, COUNT), [1.5, 7], [GOOD, 0x40000000], [11, 12], 2000),
        Batch(TAGS, None, BAD_TIMEOUT, None, 3000),
        Batch(TAGS, [-math.inf, 0, "", False], [GOOD, GOOD, GOOD, BAD_NOT_CONNECTED], None, 4000),
    ]
    recorder = await record(path, first)
    assert (recorder.recorded, recorder.dropped) == (4, 0)
    async with scanning(replayed(path)) as playing:
        await playing.bad(UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE, *TAGS)
        *played, end = playing.listener.batches
    assert [columns(batch) for batch in played] == [columns(batch) for batch in first]
    assert [[type(v) for v in b.values or ()] for b in played] == [
        [type(v) for v in b.values or ()] for b in first
    ]
    assert played[0].tags is played[2].tags, "receivers look a block up by its identity"
    assert end.values is None


async def test_what_told_of_some_tags_tells_of_these(tmp_path: Path) -> None:
    """As sources do whose devices report changes."""
    some = [
        Batch(TAGS, [7, 1.5], [GOOD, 0x40000000], [11, 12], 1000, (1, 0)),
        Batch(TAGS, (), GOOD, None, 2000, ()),
        Batch(TAGS, None, BAD_TIMEOUT, None, 3000, (2,)),
        Batch(TAGS, [2.5], GOOD, None, 4000, (0,)),
    ]
    await record(tmp_path / "rec", some)
    async with scanning(replayed(tmp_path / "rec", SPECS[2], SPECS[0])) as playing:
        await until(lambda: len(playing.listener.batches) == 5)
        *played, _end = playing.listener.batches
    assert [its.name for its in played[0].tags] == ["Acme.Speed", "Acme.Name"]
    told = [(batch.places, batch.values, batch.qualities, batch.device_times) for batch in played]
    assert told == [
        ([0], [1.5], [0x40000000], [12]),
        ([], [], GOOD, None),
        ([1], None, BAD_TIMEOUT, None),
        ([0], [2.5], GOOD, None),
    ]


@pytest.mark.parametrize("places", ["[4]", "[-1]", "[0,0]", "[true]", "0", "[0],[1]"])
async def test_places_that_are_none_are_no_recording(tmp_path: Path, places: str) -> None:
    await record(tmp_path / "rec", [Batch(TAGS, [1.5], GOOD, None, 1000, (0,))])
    text = gzip.decompress((tmp_path / "rec").read_bytes())
    spoiled = text.replace(b",[0]]\n", f",{places}]\n".encode())
    assert spoiled != text
    (tmp_path / "rec").write_bytes(gzip.compress(spoiled))
    reader = Reader(tmp_path / "rec")
    with pytest.raises(RecordingError, match="the batch makes no sense"):
        list(reader.frames())
    reader.close()


async def test_not_a_number_stays_one(tmp_path: Path) -> None:
    await record(tmp_path / "rec", [Batch((SPEED,), [math.nan], GOOD, None, 1)])
    async with scanning(replayed(tmp_path / "rec")) as playing:
        await until(lambda: playing.listener.batches, what="the batch")
        assert math.isnan(playing.listener.batches[0].values[0])  # type: ignore[index, arg-type]


async def test_the_timing_is_that_of_the_recording(tmp_path: Path) -> None:
    second = 10_000_000
    batches = [Batch((SPEED,), [float(n)], GOOD, None, n * second) for n in range(4)]
    await record(tmp_path / "rec", batches)
    loop = asyncio.get_running_loop()
    times: list[float] = []
    async with replayed(tmp_path / "rec", speed=10.0).connect() as session:
        task = asyncio.create_task(session.scan(lambda _: times.append(loop.time())))
        await until(lambda: len(times) == 5, every=0.005)
        task.cancel()
        await asyncio.wait((task,))
    assert times[3] - times[0] >= 0.29, "three seconds, ten times faster"


def test_what_grew_stale_is_the_recordings_own_affair(tmp_path: Path) -> None:
    source = replayed(tmp_path / "rec")
    assert isinstance(source, TellsChanges)
    assert source.tells_changes


async def test_a_loop_begins_again(tmp_path: Path) -> None:
    await record(tmp_path / "rec", [Batch((SPEED,), [float(n)], GOOD, None, n) for n in range(3)])
    async with scanning(replayed(tmp_path / "rec", loop=True)) as playing:
        await until(lambda: len(playing.listener.batches) >= 7, every=0.005)
        values = [batch.values[0] for batch in playing.listener.batches[:7] if batch.values]
    assert values == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0]


async def test_a_tag_is_found_by_its_address_where_its_name_is_another(tmp_path: Path) -> None:
    await record(tmp_path / "rec", [Batch(TAGS, [1.0, 2, "x", True], GOOD, None, 1)])
    moved = TagSpec("Other.Count", "holding:9", ValueType.UInt64, SLOW, "uint64")
    async with scanning(replayed(tmp_path / "rec", moved)) as playing:
        await until(lambda: playing.listener.values.get("Other.Count") == 2)


async def test_a_tag_that_came_while_it_was_recorded_is_played_from_then_on(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "rec", LIMIT)
    first = recorder.tap("PLC", (SPEED,), lambda _: None)
    await recorder.start()
    first(Batch((SPEED,), [1.0], GOOD, None, 1))
    second = recorder.tap("PLC", (SPEED, COUNT), lambda _: None)
    second(Batch((SPEED, COUNT), [2.0, 7], GOOD, None, 2))
    await recorder.stop()
    source = replayed(tmp_path / "rec", *SPECS[:2])
    async with scanning(source) as playing:
        await until(lambda: playing.listener.values.get("Acme.Count") == 7)
        await playing.bad(UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE, *source.tags)
        assert playing.listener.saw(source.tags[1], BAD_CONFIGURATION_ERROR)


async def test_a_number_of_a_type_not_known_here_is_taken_as_the_property_has_it(tmp_path: Path) -> None:
    packed = tag("Acme.Packed", ValueType.UInt16, "holding:5 as bcd16")
    await record(tmp_path / "rec", [Batch((packed,), [1234], GOOD, None, 1)], (packed,))
    spec = TagSpec("Acme.Packed", "holding:5", ValueType.Double, SLOW, "bcd16")
    async with scanning(replayed(tmp_path / "rec", spec)) as playing:
        await until(lambda: playing.listener.values.get("Acme.Packed") == 1234)
        assert type(playing.listener.values["Acme.Packed"]) is float


@pytest.mark.parametrize(
    "spec",
    [
        TagSpec("Acme.Torque", "holding:77", ValueType.Double, SLOW),
        TagSpec("Acme.Count", "holding:9", ValueType.Int16, SLOW),
        TagSpec("Acme.Name", "holding:20", ValueType.Double, SLOW),
    ],
)
async def test_what_the_recording_does_not_have_is_bad(
    tmp_path: Path, spec: TagSpec, caplog: pytest.LogCaptureFixture
) -> None:
    await record(tmp_path / "rec", [Batch(TAGS, [1.0, 2, "x", True], GOOD, None, 1)])
    source = replayed(tmp_path / "rec", SPECS[3], spec)
    async with scanning(source) as playing:
        await playing.bad(BAD_CONFIGURATION_ERROR, source.tags[1])
        await until(lambda: playing.listener.values.get("Acme.On") is True)
        answer = await playing.session.read(source.tags)
        assert answer.qualities == [GOOD, BAD_CONFIGURATION_ERROR] or answer.qualities[0] != GOOD  # type: ignore[index]
    assert spec.name in caplog.text


async def test_a_read_before_the_first_batch_tells_what_comes(tmp_path: Path) -> None:
    batches = [
        Batch(TAGS, None, BAD_NOT_CONNECTED, None, 1),
        Batch(TAGS, [1.0, 2, "x", True], GOOD, [5, 6, 7, 8], 2),
        Batch(TAGS, [9.0, 9, "y", False], GOOD, [9, 9, 9, 9], 3),
    ]
    await record(tmp_path / "rec", batches)
    source = replayed(tmp_path / "rec")
    async with source.connect() as session:
        answer = await session.read(source.tags)
        assert columns(answer)[1:] == ([1.0, 2, "x", True], [GOOD] * 4, [5, 6, 7, 8])
        assert await session.write([(source.tags[0], 1.0)]) == [BAD_NOT_WRITABLE]


async def test_files_that_cannot_be_played_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    with pytest.raises(Refused, match="cannot be read"):
        async with replayed(path).connect():
            pass
    path.write_bytes(b"model: 1\n")
    with pytest.raises(Refused, match="line 1"):
        async with replayed(path).connect():
            pass
    path.write_bytes(gzip.compress(b'{"isthmus-recording": 99}\n'))
    with pytest.raises(Refused, match="format 99"):
        async with replayed(path).connect():
            pass
    await record(path, [], source="Filler")
    with pytest.raises(Refused, match="has no source 'PLC'; it has Filler"):
        async with replayed(path).connect():
            pass
    async with replayed(path, source="Filler").connect() as session:
        with pytest.raises(ConnectionLost, match="holds nothing"):
            await session.scan(lambda _: None)


@pytest.mark.parametrize(
    "line",
    [
        b"[0,1,0,[1.0],null]\n",
        b'{"block":0,"source":"PLC","tags":[["a","b","Float"]]}\n[0,1,0,[1.0,2.0],null]\n',
        b'{"block":5000,"source":"PLC","tags":[]}\n',
        b'{"block":0,"source":"PLC","tags":[["a","b","Nonsense"]]}\n',
        b"[[[[\n",
        b"[0,true\n",
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "rec"
    path.write_bytes(gzip.compress(b'{"isthmus-recording":1,"begun":0}\n' + line))
    with pytest.raises(RecordingError, match=r"rec, line [23]: "):
        list(Reader(path).frames())


async def test_a_recording_of_a_server_that_was_killed_plays_to_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    recorder = Recorder(path, LIMIT)
    emit = recorder.tap("PLC", TAGS, lambda _: None)
    await recorder.start()
    emit(Batch((SPEED,), [1.0], GOOD, None, 1))

    def there() -> bool:
        copy = tmp_path / "copy"
        copy.write_bytes(path.read_bytes())
        try:
            reader = Reader(copy)
        except RecordingError:
            return False
        try:
            return len(list(reader.frames())) == 1 and reader.cut
        finally:
            reader.close()

    await until(there, what="the batch on disk while the recorder runs")
    await recorder.stop()
    async with scanning(replayed(tmp_path / "copy")) as playing:
        await until(lambda: playing.listener.values.get("Acme.Speed") == 1.0)


async def test_a_slow_disk_costs_batches_never_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The one fault that cannot be made with a real disk: a write that does not return."""
    gate = threading.Event()
    recorder = Recorder(tmp_path / "rec", LIMIT, queued_values=8)
    emit = recorder.tap("PLC", TAGS, lambda _: None)
    await recorder.start()
    assert recorder._writer is not None
    write = recorder._writer.batch
    monkeypatch.setattr(recorder._writer, "batch", lambda *of: (gate.wait(30), write(*of)))
    for number in range(10):
        emit(Batch(TAGS, [1.0, number, "x", True], GOOD, None, number))
    assert recorder.dropped >= 6
    assert caplog.text.count("does not keep up") == 1
    gate.set()
    await recorder.stop()
    assert recorder.recorded + recorder.dropped == 10


async def test_a_disk_that_stalls_does_not_keep_the_server_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    recorder = Recorder(tmp_path / "rec", LIMIT, patience=0.05)
    emit = recorder.tap("PLC", TAGS, lambda _: None)
    await recorder.start()
    thread = recorder._thread
    assert thread is not None
    assert recorder._writer is not None
    monkeypatch.setattr(recorder._writer, "batch", lambda *_: gate.wait(30))
    emit(Batch((SPEED,), [1.0], GOOD, None, 1))
    await recorder.stop()
    assert "has no end" in caplog.text
    gate.set()
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()


async def test_whose_recorder_a_source_has(tmp_path: Path) -> None:
    own, every = Recorder(tmp_path / "own", LIMIT), Recorder(tmp_path / "every", LIMIT)
    given = {"PLC": own, EVERY: every}
    await own.start()
    await every.start()
    tapped(given, "PLC", TAGS, lambda _: None)(Batch((SPEED,), [1.0], GOOD, None, 1))
    tapped(given, "Later", TAGS, lambda _: None)(Batch((SPEED,), [2.0], GOOD, None, 1))
    await own.stop()
    await every.stop()
    for path, source, value in ((own.path, "PLC", 1.0), (every.path, "Later", 2.0)):
        reader = Reader(path)
        assert [(frame.source, frame.values) for frame in reader.frames()] == [(source, [value])]
        reader.close()

    def emit(_: Batch) -> None:
        """Only itself."""

    assert tapped(NOBODY, "PLC", TAGS, emit) is emit


async def test_what_is_kept_is_the_newest_within_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    path.write_bytes(b"older")
    recorder = Recorder(path, 2)
    emit = recorder.tap("PLC", TAGS, lambda _: None)
    await recorder.start()
    assert (tmp_path / "rec.1").read_bytes() == b"older"
    emit(Batch((SPEED,), [1.0], GOOD, None, 1))
    await until(lambda: (tmp_path / "rec.1").read_bytes() != b"older", what="a new file begun")
    emit(Batch((SPEED,), [2.0], GOOD, None, 2))
    await recorder.stop()
    found = []
    for name in ("rec.1", "rec"):
        reader = Reader(tmp_path / name)
        assert reader.sources.keys() == {"PLC"}
        found += [frame.values for frame in reader.frames()]
        reader.close()
    assert found == [[1.0], [2.0]]


async def test_a_value_without_a_form_is_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd: Any = object()
    recorder = await record(tmp_path / "rec", [Batch((SPEED,), [odd], GOOD, None, n) for n in range(3)])
    assert (recorder.recorded, recorder.dropped) == (0, 3)
    assert caplog.text.count("are not recorded") == 1


async def test_cancelling_at_any_moment_leaves_nothing_open(tmp_path: Path) -> None:
    await record(tmp_path / "rec", [Batch((SPEED,), [float(n)], GOOD, None, n) for n in range(2000)])
    source = replayed(tmp_path / "rec")
    for turns in range(0, 40, 3):
        async with source.connect() as session:
            task = asyncio.create_task(session.scan(Listener()))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled()


async def test_other_tags_are_played_from_where_the_recording_is(tmp_path: Path) -> None:
    batches = [
        Batch(TAGS, [float(second), second, "x", True], GOOD, None, second * 10_000_000)
        for second in range(200)
    ]
    await record(tmp_path / "rec", batches)
    source = replayed(tmp_path / "rec", SPECS[0], SPECS[2], speed=100.0)
    speed, name = source.tags
    count = parse_tag(SPECS[1], source._settings)
    named_so = replace(count, name=name.name)
    astray = parse_tag(TagSpec("Acme.Nowhere", "holding:77", ValueType.UInt64, SLOW), source._settings)
    async with scanning(source) as playing:
        await until(lambda: len(playing.listener.batches) > 3)
        mark = len(playing.listener.batches)
        source.retag([speed, count, astray])
        assert playing.listener.quality(astray) == BAD_CONFIGURATION_ERROR
        await until(lambda: playing.listener.value(count) is not None)
        played = [batch.values[0] for batch in playing.listener.batches if batch.values is not None]
        assert played == [float(number) for number in range(len(played))]
        assert all(name not in batch.tags for batch in playing.listener.batches[mark:])
        # One of the name of another that went knows nothing of what that brought.
        source.retag([speed, named_so])
        batch = await playing.session.read([named_so])
        assert batch.values is None or not isinstance(batch.values[0], str)
    source.retag([count])
    async with scanning(source) as playing:
        await playing.good(count)


async def test_a_recorder_knows_the_tags_of_now(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "rec", LIMIT)
    tapped({EVERY: recorder}, "PLC", (SPEED,), lambda _: None)
    retap({EVERY: recorder}, "PLC", (COUNT,))
    retap(NOBODY, "PLC", (NAME,))
    await recorder.start()
    await recorder.stop()
    reader = Reader(tmp_path / "rec")
    reader.close()
    assert [its.name for its in reader.sources["PLC"]] == [COUNT.name]


ARRAYS = (
    Tag("Acme.Temps", "holding:40 as int16[3]", ValueType.Int16, FAST, length=3),
    Tag("Acme.Lamps", "Lamps[2..4]", ValueType.Boolean, FAST, length=3),
    Tag("Acme.Words", "N7:3..4", ValueType.Int16, FAST, length=2),
    Tag("Acme.Names", "i=5", ValueType.String, FAST, length=0),
)


async def test_arrays_are_recorded_and_played_back(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    first = [
        Batch(ARRAYS, [(1, -2, 3), (True, False, True), (7, 8), ("a", "b")], GOOD, None, 1000),
        Batch(ARRAYS, [None, (False,) * 3, (9, 8), ()], [BAD_TIMEOUT, GOOD, GOOD, GOOD], None, 2000),
    ]
    await record(path, first, ARRAYS)
    specs = (
        TagSpec("Acme.Temps", "holding:0", ValueType.Double, SLOW, length=3),
        # The plant calls these otherwise now.
        TagSpec("Acme.Lights", "Lamps[2]", ValueType.Boolean, SLOW, length=3),
        TagSpec("Acme.Numbers", "N7:3", ValueType.Int16, SLOW, length=2),
        TagSpec("Acme.Labels", "i=5", ValueType.String, SLOW, length=0),
    )
    async with scanning(replayed(path, *specs)) as playing:
        await until(lambda: len(playing.listener.batches) > 2, what="all that there is")
        played = playing.listener.batches[:2]
        assert [list(batch.values or ()) for batch in played] == [
            [(1.0, -2.0, 3.0), (True, False, True), (7, 8), ("a", "b")],
            [None, (False, False, False), (9, 8), ()],
        ]
        assert [type(value) for value in (played[0].values or [()])[0]] == [float] * 3  # type: ignore[union-attr]


async def test_an_array_of_another_length_and_a_scalar_are_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    await record(path, [Batch(ARRAYS[:1], [(1, 2, 3)], GOOD, None, 1000)], ARRAYS[:1])
    for length in (None, 4):
        spec = TagSpec("Acme.Temps", "holding:40", ValueType.Int16, SLOW, "int16", length=length)
        async with scanning(replayed(path, spec)) as playing:
            await until(lambda: playing.listener.batches, what="what is missing")
            assert playing.listener.batches[0].qualities == BAD_CONFIGURATION_ERROR


async def test_what_waits_for_the_disk_is_counted_by_elements(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "rec", LIMIT, queued_values=100)
    emit = recorder.tap("PLC", ARRAYS[:1], lambda _: None)
    emit(Batch(ARRAYS[:1], [tuple(range(200))], GOOD, None, 1))
    assert recorder.dropped == 1
