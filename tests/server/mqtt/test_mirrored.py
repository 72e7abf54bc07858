"""Data sets beside the plant's on a broker: they come late, change, and are not taken for gone before."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.mosquitto import Mosquitto
from support.mqtt_observer import observe
from support.net import until
from support.publishing import CONNECTION, PUBLISHER, Rig, make, settings
from support.pubsub_schema import validate, validate_data
from support.small_plant import small_plant

from server.mqtt import discovery, publisher
from server.mqtt.dataset import ConfigurationVersion
from server.mqtt.mirrored import MirroredDataSet
from server.mqtt.state import FILE_NAME, WriterIdentity
from server.mqtt.writer import DataSetWriter
from server.plant.mirrored import Cell, DataTypes, MirroredField, MirroredSet, Mirroring
from server.plant.values import ValueStore
from sources.clock import now

pytestmark = pytest.mark.interop

TOPIC = f"opcua/json/metadata/{PUBLISHER}/plant/Acme__Lyon__Packer__Drive"
DATA = TOPIC.replace("metadata", "data")
PENDING = Mirroring(pending={"Acme/Lyon/Packer@": "Acme/Lyon/Packer"})


class Held:
    """A Cell."""

    def __init__(self, value: float) -> None:
        self.value: bytes | None = b"\x0b" + struct.pack("<d", value)
        self.status = 0
        self.source_time = now()


class Beside:
    """See `server.plant.mirrored.Mirrored`."""

    def __init__(self, known: Mirroring) -> None:
        self.known = known
        self.asked: set[threading.Thread] = set()
        """Threads in which values were encoded that have names."""
        self.values: Callable[[Sequence[Cell]], None] = lambda _: None
        self.sets: Callable[[], None] = lambda: None

    async def mirroring(self) -> Mirroring:
        return self.known

    def name_of(self, index: int) -> str:
        self.asked.add(threading.current_thread())
        return ("http://opcfoundation.org/UA/", "urn:maker")[index]

    def follow(self, values: Callable[[Sequence[Cell]], None], sets: Callable[[], None]) -> None:
        self.values, self.sets = values, sets

    def be(self, known: Mirroring) -> None:
        self.known = known
        self.sets()


def drive(*cells: Held, names: Sequence[str] = "AB", name: str = "Acme/Lyon/Packer/Drive") -> Mirroring:
    """One set, a field for each cell."""
    fields = tuple(
        MirroredField(name, f"nsu=urn:maker;s=Drive.{name}", cell, 11, "i=11")
        for name, cell in zip(names, cells, strict=False)
    )
    key = "Acme/Lyon/Packer@nsu=urn:maker;s=Drive"
    return Mirroring([MirroredSet(key, name, fields, DataTypes(), f"{name}/@Drive")])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@asynccontextmanager
async def publishing(broker: Mosquitto, state: Path, beside: Beside) -> AsyncIterator[Rig]:
    plant = small_plant()
    store = ValueStore(plant)
    made = make(settings(broker.url, key_frame_every=1000), plant, store, state)
    made.mirror(beside)
    rig = Rig(made, store, asyncio.create_task(made.run(), name="publisher"))
    try:
        yield rig
    finally:
        await rig.stop()


def kept(state: Path) -> dict[str, dict[str, int]]:
    found = json.loads((state / FILE_NAME).read_text(encoding="utf-8"))["writers"]
    return {key: one for key, one in found.items() if "@" in key}


async def test_it_comes_late_and_keeps_its_number(broker: Mosquitto, tmp_path: Path) -> None:
    one, two = Held(1.5), Held(2.5)
    async with observe(broker.port) as observer:
        beside = Beside(PENDING)
        async with publishing(broker, tmp_path, beside) as rig:
            await until(lambda: rig.publisher.status.connected)
            beside.be(drive(one))
            first = await observer.first("ua-metadata", TOPIC)
            frame = await observer.first("ua-keyframe", DATA)
            validate(first.body)
            validate_data(frame.body, first.body)
            assert observer.seen.index(first) < observer.seen.index(frame)
            assert frame.part["Payload"]["A"]["Value"] == 1.5
            # A value alone is a delta frame; a value that JSON does not hold is none, and counted.
            one.value = None
            one.status = 0x80310000
            beside.values([one])
            lost = await observer.first("ua-deltaframe", DATA)
            assert lost.part["Payload"]["A"]["Status"]["Symbol"] == "BadNoCommunication"
            one.value, one.status = b"\x16\x01\x00\x05\x00\x01\x01\x00\x00\x00\x00", 0
            beside.values([one])
            odd = await observer.first("ua-deltaframe", DATA, after=observer.seen.index(lost) + 1)
            assert odd.part["Payload"]["A"]["Value"] is None
            assert odd.part["Payload"]["A"]["Status"]["Code"] == 0x80060000
            assert rig.publisher.status.unencodable == 1
            # One field more at its end is a minor change, and the sequence goes on.
            one.value = Held(1.5).value
            beside.be(drive(one, two))
            second = await observer.first("ua-metadata", TOPIC, after=observer.seen.index(odd))
            before, after = (s.body["MetaData"]["ConfigurationVersion"] for s in (first, second))
            assert after["MajorVersion"] == before["MajorVersion"]
            assert after["MinorVersion"] > before["MinorVersion"]
            frame = await observer.first("ua-keyframe", DATA, after=observer.seen.index(second))
            assert frame.part["SequenceNumber"] > odd.part["SequenceNumber"]
            status = rig.publisher.status
            assert (status.mirrored, status.data_sets) == (2, 3)
        book = kept(tmp_path)

        # At the next start it is not there yet: its number and its metadata wait for it.
        beside = Beside(PENDING)
        async with publishing(broker, tmp_path, beside) as rig:
            await until(lambda: rig.publisher.status.connected)
            async with observe(broker.port, TOPIC) as late:
                await until(lambda: late.seen)
                assert late.seen[0].body == second.body
            assert kept(tmp_path) == book
            seen = len(observer.seen)
            beside.be(drive(Held(3.5), Held(4.5)))
            again = await observer.first("ua-keyframe", DATA, after=seen)
            assert again.part["DataSetWriterId"] == second.body["DataSetWriterId"]
            assert again.part["MinorVersion"] == after["MinorVersion"]
            # The same names with other values behind them are published all the same.
            other = Held(5.5)
            seen = len(observer.seen)
            beside.be(drive(Held(3.5), other))
            fresh = await observer.first("ua-keyframe", DATA, after=seen)
            assert fresh.part["Payload"]["B"]["Value"] == 5.5


async def test_an_equipment_of_the_same_name_keeps_its_topics(broker: Mosquitto, tmp_path: Path) -> None:
    metadata = TOPIC.replace("Packer__Drive", "Line1__Filler")
    beside = Beside(PENDING)
    async with publishing(broker, tmp_path, beside) as rig, observe(broker.port) as observer:
        own = await observer.first("ua-metadata", metadata)
        await until(lambda: rig.publisher.status.connected)
        beside.be(drive(Held(1.5), name="Acme/Lyon/Line1/Filler"))
        other = await observer.first("ua-metadata", f"{metadata}___x0040_Drive")
        assert other.body["MetaData"]["Name"] == "Acme/Lyon/Line1/Filler/@Drive"
        frame = await observer.first("ua-keyframe", other.topic.replace("metadata", "data"))
        assert frame.part["Payload"]["A"]["Value"] == 1.5
        assert [seen.body for seen in observer.seen if seen.topic == metadata] == [own.body]


def names(count: int) -> bytes:
    """That many NodeIds in a Variant."""
    return b"\x91" + struct.pack("<i", count) + b"\x01\x01\x07\x00" * count


async def test_a_large_message_is_encoded_beside_the_loop(broker: Mosquitto, tmp_path: Path) -> None:
    one, two = Held(1.5), Held(2.5)
    one.value = names(1)
    beside = Beside(drive(one, two))
    async with publishing(broker, tmp_path, beside), observe(broker.port) as observer:
        await observer.first("ua-keyframe", DATA)
        assert beside.asked == {threading.main_thread()}
        beside.asked.clear()
        one.value = names(20_000)
        beside.values([one])
        # What it becomes meanwhile comes after it.
        large = await observer.first("ua-deltaframe", DATA)
        assert len(large.part["Payload"]["A"]["Value"]) == 20_000
        assert threading.main_thread() not in beside.asked
        one.value = names(2)
        beside.values([one])
        small = await observer.first("ua-deltaframe", DATA, after=observer.seen.index(large) + 1)
        assert small.part["SequenceNumber"] == large.part["SequenceNumber"] + 1


async def test_what_a_broker_does_not_take_does_not_end_the_connection(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", options=("max_packet_size 20000",)) as broker:
        one, two = Held(1.5), Held(2.5)
        one.value = names(5000)
        beside = Beside(drive(one, two))
        async with publishing(broker, tmp_path, beside) as rig, observe(broker.port) as observer:
            described = await observer.first("ua-metadata", TOPIC)
            frame = await observer.first("ua-keyframe", DATA)
            validate_data(frame.body, described.body)
            payload = frame.part["Payload"]
            assert payload["A"]["Value"] is None
            assert payload["A"]["Status"]["Code"] == 0x80080000
            assert payload["B"]["Value"] == 2.5
            # Metadata that is too large for it is not sent, and counted.
            status = rig.publisher.status
            assert (status.connected, status.unencodable, status.dropped) == (True, 1, 0)
            many = [Held(float(number)) for number in range(200)]
            beside.be(drive(*many, names=[f"V{number}" for number in range(200)]))
            await until(lambda: rig.publisher.status.dropped > 0)
            two.value = Held(3.5).value
            await until(lambda: rig.publisher.status.mirrored == 200)
            seen = len(observer.seen)
            beside.be(drive(one, two))
            again = await observer.first(
                "ua-keyframe", DATA, after=seen, where=lambda one: "B" in one.part["Payload"]
            )
            assert again.part["Payload"]["B"]["Value"] == 3.5
            assert "oversize" not in broker.log


async def test_what_a_publisher_with_too_many_sets_said_of_them_is_cleared(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_NAMED", 2)
    beside = Beside(PENDING)
    async with publishing(broker, tmp_path, beside), observe(broker.port) as observer:
        told = await observer.first("ua-connection", CONNECTION)
        assert len(told.body["Connection"]["WriterGroups"][0]["DataSetWriters"]) == 2
        beside.be(drive(Held(1.5)))
        await until(lambda: any(seen.topic == CONNECTION and seen.body is None for seen in observer.seen))


def test_of_a_message_that_is_too_large_the_largest_values_are_left_out() -> None:
    cells = [Held(float(number)) for number in range(4)]
    for cell, count in zip(cells, (20_000, 3, 30_000, 25_000), strict=True):
        cell.value = b"\x8b" + struct.pack("<i", count) + struct.pack("<d", 0.5) * count
    (made,) = drive(*cells, names="ABCD").sets
    dataset = MirroredDataSet(made, lambda _: "", lambda *_: None)
    identity = WriterIdentity(0x8000, ConfigurationVersion(1, 2))
    writer = DataSetWriter(dataset, identity, dataset.cells, publisher_id="p", key_frame_every=9)
    draft = writer.draft(1, 0.0, monotonic=1.0, time=now())
    assert draft is not None
    for most, left_out in ((10**6, ""), (200_000, "C"), (100_000, "CD"), (1000, "ACD"), (10, "ACD")):
        message, without = draft.encoded(most)
        payload = json.loads(message)["Messages"][0]["Payload"]
        none = [name for name, one in payload.items() if one["Value"] is None]
        assert ("".join(sorted(none)), without, len(payload)) == (left_out, len(left_out), 4)
        assert len(message) <= most or most == 10


async def test_what_did_not_come_back_is_cleared(broker: Mosquitto, tmp_path: Path) -> None:
    beside = Beside(drive(Held(1.5)))
    async with publishing(broker, tmp_path, beside), observe(broker.port) as observer:
        await observer.first("ua-keyframe", DATA)
    beside = Beside(PENDING)
    async with publishing(broker, tmp_path, beside) as rig, observe(broker.port) as observer:
        await until(lambda: rig.publisher.status.connected)
        await observer.first("ua-metadata", TOPIC)
        beside.be(Mirroring())
        await until(lambda: any(seen.topic == TOPIC and seen.body is None for seen in observer.seen))
        (record,) = kept(tmp_path).values()
        assert record["retired"] > 0


async def test_a_number_that_cannot_be_kept_leaves_all_as_it_is(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_AGAIN", 0.2)
    state = tmp_path / "state"
    beside = Beside(drive(Held(1.5)))
    async with publishing(broker, state, beside) as rig, observe(broker.port) as observer:
        await observer.first("ua-keyframe", DATA)
        good = (state / FILE_NAME).read_text(encoding="utf-8")
        (state / FILE_NAME).write_text("spoilt", encoding="utf-8")
        beside.be(drive(Held(1.5), Held(2.5)))
        await until(lambda: "published as before" in caplog.text)
        assert rig.publisher.status.mirrored == 1
        (state / FILE_NAME).write_text(good, encoding="utf-8")
        # Nobody has to tell of them again.
        await until(lambda: rig.publisher.status.mirrored == 2)
