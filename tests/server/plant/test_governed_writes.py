"""Rate of change, rate, interlock, queue, verification and records of a write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from support.devices import OneName
from support.net import until

from server.audit.errors import AuditError
from server.plant.commands import Caller, Commands
from server.plant.commands.attempt import Outcome
from server.plant.commands.govern import ONE_USERS
from server.plant.commands.queue import DeviceQueue, Full
from server.plant.convert import Linear
from server.plant.difference import PropertyChange
from server.plant.interlock import Comparison, Condition
from server.plant.model import (
    Binding,
    Enumeration,
    Equipment,
    EquipmentLevel,
    Plant,
    Property,
    PropertyType,
    Range,
    Rate,
    Role,
    WriteRule,
)
from server.plant.values import ValueStore
from sources.asking import Asker
from sources.batch import Batch
from sources.clock import now
from sources.errors import ConnectionLost, Denied, Unreachable
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_INVALID_STATE,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_CONNECTED,
    BAD_OPERATION_ABANDONED,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    BAD_TOO_MANY_OPERATIONS,
    BAD_USER_ACCESS_DENIED,
    GOOD,
    GOOD_CLAMPED,
    GOOD_COMPLETES_ASYNCHRONOUSLY,
    UNCERTAIN,
    Quality,
    quality_name,
)
from sources.tag import ScanClass, Tag, Value, ValueType

ANNA = Caller("anna", frozenset({Role.AuthenticatedUser, Role.Operator}), "10.0.0.7:4711")
GUEST = Caller("guest", frozenset({Role.AuthenticatedUser}), "10.0.0.8:4711")
A = "Acme/A"
FAST = ScanClass("fast", 0.2)


def bound(name: str, kind: ValueType, rule: WriteRule | None = None, **more: Any) -> Property:
    tag: Tag[Any] = Tag(f"{A}.{name}", None, more.pop("raw", kind), FAST, rule is not None)
    binding = Binding(more.pop("source", "PLC"), tag, more.pop("conversion", None))
    return Property(A, PropertyType(name, kind, write=rule), binding=binding, **more)


class Device(OneName):
    """A device that is a dict, and does as it is told with what is written."""

    def __init__(self) -> None:
        self.held: dict[str, Value] = {}
        self.writes: list[tuple[str, Value]] = []
        self.makes: Callable[[Value], Value] = lambda value: value
        self.error: Exception | None = None
        self.answer: Quality = GOOD
        self.read_error: Exception | None = None
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, pairs: Sequence[tuple[Tag[Any], Any]]) -> list[Quality]:
        ((tag, value),) = pairs
        self.writes.append((tag.name.rpartition(".")[2], value))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.held[tag.name] = self.makes(value)
        return [self.answer]

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        self.reads += 1
        if self.read_error is not None:
            raise self.read_error
        return Batch(tuple(tags), [self.held.get(tag.name) for tag in tags], GOOD, None, now())


class Book:
    """Keeps what is recorded, unless its disk is full."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.full = False
        self.open = asyncio.Event()
        self.open.set()

    async def record(self, event: str, fields: Mapping[str, Any], *, durable: bool = False) -> int:
        assert durable is (fields["outcome"] == "asked")
        await self.open.wait()
        if self.full:
            raise AuditError("no space left on device")
        self.note(event, fields)
        return len(self.entries)

    def note(self, event: str, fields: Mapping[str, Any]) -> None:
        self.entries.append({"event": event, **fields})

    @property
    def outcomes(self) -> list[str]:
        return [entry["outcome"] for entry in self.entries]


class Bench:
    def __init__(self, *properties: Property, **settings: Any) -> None:
        plant = Plant(
            "urn:p",
            "urn:t",
            (Equipment("Acme", EquipmentLevel.Site), Equipment(A, EquipmentLevel.WorkUnit, properties)),
        )
        self.device, self.other, self.book = Device(), Device(), Book()
        self.store = ValueStore(plant)
        self.time = 1000.0
        self.commands = Commands(
            self.store,
            {"PLC": self.device, "Other": self.other},
            enabled=True,
            keep=self._keep,
            recorder=self.book,
            **settings,
        )
        self.commands._rules._clock = self.commands._rules._pace._clock = lambda: self.time

    async def _keep(self, key: str, value: Value) -> None:
        pass

    def feed(self, name: str, value: Value, quality: Quality = GOOD) -> None:
        binding = self.store.points[f"{A}.{name}"].property.binding
        assert binding is not None
        self.store.ingest(Batch((binding.tag,), [value], quality, None, now()))
        self.device.held[binding.tag.name] = value

    def lose(self, name: str, quality: Quality) -> None:
        binding = self.store.points[f"{A}.{name}"].property.binding
        assert binding is not None
        self.store.ingest(Batch((binding.tag,), None, quality, None, now()))

    async def write(self, name: str, value: Value, caller: Caller = ANNA, **more: Any) -> Quality:
        return await self.commands.write(caller, f"{A}.{name}", value, **more)

    def start(self, name: str, value: Value, **more: Any) -> asyncio.Task[Quality]:
        return asyncio.create_task(self.write(name, value, **more))

    @property
    def last(self) -> dict[str, Any]:
        return self.book.entries[-1]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


# --- Rate of change


async def test_a_step_is_measured_from_the_present_value() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule(max_step=10.0)))
    bench.feed("Speed", 100.0)
    assert await bench.write("Speed", 110.5) == BAD_OUT_OF_RANGE
    assert "more than 10 away from 100.0" in bench.last["reason"]
    assert await bench.write("Speed", 110.0) == GOOD
    assert await bench.write("Speed", 120.0) == GOOD
    assert await bench.write("Speed", 109.9) == BAD_OUT_OF_RANGE
    assert bench.device.writes == [("Speed", 110.0), ("Speed", 120.0)]


@pytest.mark.parametrize("quality", [UNCERTAIN, BAD_NO_COMMUNICATION])
async def test_without_a_good_value_there_is_no_step(quality: Quality) -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule(max_step=10.0)))
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    bench.feed("Speed", 1.0)
    bench.lose("Speed", quality)
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    bench.feed("Speed", float("nan"))
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    assert bench.device.writes == []


RATE = WriteRule(max_rate=Rate(5.0, 1.0))


async def test_a_change_is_no_faster_than_allowed_since_the_last_write() -> None:
    bench = Bench(bound("Speed", ValueType.Double, RATE))
    bench.feed("Speed", 100.0)
    # Nobody knows since when it is so: as far as in one second.
    assert await bench.write("Speed", 105.1) == BAD_OUT_OF_RANGE
    assert bench.last["reason"] == "faster than 5 per second: at most 5 away from 100.0"
    assert await bench.write("Speed", 105.0) == GOOD
    bench.time += 0.5
    assert await bench.write("Speed", 107.6) == BAD_OUT_OF_RANGE
    assert bench.last["reason"] == (
        "faster than 5 per second: at most 2.5 away from 105.0, 0.5 s after the last write"
    )
    assert await bench.write("Speed", 102.5) == GOOD
    bench.time += 3600  # what was not used is not saved up
    assert await bench.write("Speed", 107.6) == BAD_OUT_OF_RANGE
    assert await bench.write("Speed", 107.5) == GOOD
    assert await bench.write("Speed", 107.5) == GOOD
    assert [value for _, value in bench.device.writes] == [105.0, 102.5, 107.5, 107.5]


async def test_what_changes_nothing_holds_up_no_change() -> None:
    bench = Bench(bound("Speed", ValueType.Double, RATE))
    bench.feed("Speed", 100.0)
    for _ in range(10):
        assert await bench.write("Speed", 100.0) == GOOD
    assert await bench.write("Speed", 105.0) == GOOD


async def test_what_the_device_has_been_given_by_others_is_where_a_change_begins() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule(max_rate=Rate(300.0, 60.0))))
    bench.feed("Speed", 100.0)
    assert await bench.write("Speed", 200.0) == GOOD
    bench.feed("Speed", 500.0)
    bench.time += 6
    assert await bench.write("Speed", 231.0) == BAD_OUT_OF_RANGE
    assert "faster than 300 per minute: at most 30 away from 500.0, 6 s" in bench.last["reason"]
    assert await bench.write("Speed", 530.0) == GOOD


async def test_after_an_unknown_outcome_a_change_is_measured_from_both_values() -> None:
    bench = Bench(bound("Speed", ValueType.Double, RATE))
    bench.feed("Speed", 100.0)
    bench.device.error = ConnectionLost("cut", BAD_COMMUNICATION_ERROR)
    assert await bench.write("Speed", 104.0) == BAD_COMMUNICATION_ERROR
    bench.device.error = None
    bench.time += 0.6
    assert await bench.write("Speed", 97.5) == BAD_OUT_OF_RANGE  # 6.5 away from what it may hold
    assert "away from 104.0" in bench.last["reason"]
    assert await bench.write("Speed", 102.5) == GOOD


@pytest.mark.parametrize("quality", [UNCERTAIN, BAD_NO_COMMUNICATION])
async def test_without_a_good_value_there_is_no_rate(quality: Quality) -> None:
    bench = Bench(bound("Speed", ValueType.Double, RATE))
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    bench.feed("Speed", 1.0)
    bench.lose("Speed", quality)
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    assert "no rate can be measured" in bench.last["reason"]
    bench.feed("Speed", float("nan"))
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    assert bench.device.writes == []


# --- Rate


async def test_no_more_writes_a_minute_than_allowed() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule(max_per_minute=2)))
    bench.device.answer = BAD_DEVICE_FAILURE
    assert await bench.write("Speed", 1.0) == BAD_DEVICE_FAILURE
    bench.device.answer = GOOD
    bench.time += 30
    assert await bench.write("Speed", 1.0) == GOOD
    assert await bench.write("Speed", 1.0, GUEST) == BAD_USER_ACCESS_DENIED
    bench.time += 29.9
    assert await bench.write("Speed", 1.0) == BAD_TOO_MANY_OPERATIONS
    bench.time += 0.1
    assert await bench.write("Speed", 1.0) == GOOD
    assert await bench.write("Speed", 1.0) == BAD_TOO_MANY_OPERATIONS
    bench.time += 30
    assert await bench.write("Speed", 1.0) == GOOD
    assert len(bench.device.writes) == 4


async def test_another_rate_holds_from_now_on_for_what_was_written_before() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule(max_per_minute=3)))

    def change(most: int) -> None:
        old = bench.store.points[f"{A}.Speed"].property
        new = replace(old, type=replace(old.type, write=WriteRule(max_per_minute=most)))
        bench.store.change(changed=[PropertyChange(old, new, keeps=True)])

    for _ in range(3):
        assert await bench.write("Speed", 1.0) == GOOD
        bench.time += 10
    change(2)
    bench.time += 31  # the first is more than a minute old, the two after it are not
    assert await bench.write("Speed", 1.0) == BAD_TOO_MANY_OPERATIONS
    change(4)
    for _ in range(2):
        assert await bench.write("Speed", 1.0) == GOOD
    assert await bench.write("Speed", 1.0) == BAD_TOO_MANY_OPERATIONS


# --- Interlock


def interlocked(*conditions: tuple[str, Comparison, Value]) -> Bench:
    interlock = tuple(
        Condition(f"{A}.{n}", sign, value, f"{n} {sign.value} {value}") for n, sign, value in conditions
    )
    return Bench(
        bound("Speed", ValueType.Double, WriteRule(), interlock=interlock),
        bound("State", ValueType.Int32),
        bound("Closed", ValueType.Boolean),
    )


async def test_all_comparisons_must_hold_at_the_moment_of_the_write() -> None:
    bench = interlocked(("State", Comparison.NotEqual, 6), ("Closed", Comparison.Equal, True))
    bench.feed("State", 6)
    bench.feed("Closed", True)
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    assert bench.last["reason"] == f"State != 6: {A}.State is 6"
    bench.feed("State", 2)
    assert await bench.write("Speed", 1.0) == GOOD
    bench.feed("Closed", False)
    assert await bench.write("Speed", 2.0) == BAD_INVALID_STATE
    assert bench.device.writes == [("Speed", 1.0)]


@pytest.mark.parametrize("quality", [UNCERTAIN, BAD_NO_COMMUNICATION])
async def test_a_value_that_is_not_good_locks(quality: Quality) -> None:
    bench = interlocked(("State", Comparison.NotEqual, 6))
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    bench.feed("State", 2)
    bench.lose("State", quality)
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    assert "State is" in bench.last["reason"]
    assert bench.device.writes == []


async def test_a_write_that_waited_is_judged_when_its_turn_comes() -> None:
    bench = interlocked(("State", Comparison.NotEqual, 6))
    bench.feed("State", 2)
    bench.device.open.clear()
    first, second = bench.start("Speed", 1.0), bench.start("Speed", 2.0)
    await settle()
    bench.feed("State", 6)
    bench.device.open.set()
    assert (await first, await second) == (GOOD, BAD_INVALID_STATE)
    assert bench.device.writes == [("Speed", 1.0)]


async def test_an_interlock_that_fell_while_the_write_was_recorded_holds_it_back() -> None:
    bench = interlocked(("State", Comparison.NotEqual, 6))
    bench.feed("State", 2)
    bench.book.open.clear()
    write = bench.start("Speed", 1.0)
    await settle()
    bench.feed("State", 6)
    bench.book.open.set()
    assert await write == BAD_INVALID_STATE
    assert bench.device.writes == []
    assert bench.book.outcomes == ["asked", "refused"]
    assert bench.last["of"] == 1


async def test_an_interlock_whose_property_is_no_more_locks() -> None:
    bench = interlocked(("State", Comparison.NotEqual, 6))
    bench.feed("State", 2)
    cast("Any", bench.store.points).pop(f"{A}.State")
    assert await bench.write("Speed", 1.0) == BAD_INVALID_STATE
    assert "is no more" in bench.last["reason"]


# --- The queue


async def test_writes_to_one_device_wait_for_each_other_and_not_for_another() -> None:
    bench = Bench(
        bound("Speed", ValueType.Double, WriteRule()),
        bound("Level", ValueType.Double, WriteRule(), source="Other"),
    )
    bench.device.open.clear()
    tasks = [bench.start("Speed", float(n)) for n in range(5)]
    await settle()
    assert bench.device.writes == [("Speed", 0.0)]
    assert bench.commands.waiting == {"PLC": 4}
    assert await bench.write("Level", 7.0) == GOOD
    bench.device.open.set()
    assert await asyncio.gather(*tasks) == [GOOD] * 5
    assert bench.device.writes == [("Speed", float(n)) for n in range(5)]


async def test_the_queue_has_an_end() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    bench.device.open.clear()
    bert = replace(ANNA, user="bert")
    tasks = [bench.start("Speed", float(n)) for n in range(60)]
    await settle()
    done = [task for task in tasks if task.done()]
    assert [task.result() for task in done] == [BAD_RESOURCE_UNAVAILABLE] * 11
    assert bench.last["reason"] == "48 writes of this user wait for this device already"
    more = [bench.start("Speed", float(n), caller=bert) for n in range(20)]
    await settle()
    assert [task.result() for task in more if task.done()] == [BAD_RESOURCE_UNAVAILABLE] * 4
    assert bench.last["reason"] == "64 writes wait for this device already"
    bench.device.open.set()
    assert (await asyncio.gather(*tasks)).count(GOOD) == 49
    assert (await asyncio.gather(*more)).count(GOOD) == 16


async def test_the_latest_wins_only_where_that_is_configured() -> None:
    bench = Bench(
        bound("Speed", ValueType.Double, WriteRule(latest_wins=True)),
        bound("Count", ValueType.Int32, WriteRule()),
    )
    bench.device.open.clear()
    tasks = [bench.start("Speed", 1.0), bench.start("Speed", 2.0), bench.start("Count", 3)]
    tasks += [bench.start("Count", 4), bench.start("Speed", 5.0)]
    await settle()
    assert await tasks[1] == BAD_OPERATION_ABANDONED
    assert bench.last["outcome"] == "refused"
    bench.device.open.set()
    assert [await tasks[n] for n in (0, 2, 3, 4)] == [GOOD] * 4
    assert bench.device.writes == [("Speed", 1.0), ("Count", 3), ("Count", 4), ("Speed", 5.0)]


async def test_a_write_that_is_refused_takes_nobodys_place() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule(latest_wins=True, limits=Range(0, 10))))
    bench.device.open.clear()
    tasks = [bench.start("Speed", 1.0), bench.start("Speed", 2.0)]
    await settle()
    assert await bench.write("Speed", 11.0) == BAD_OUT_OF_RANGE
    bench.device.open.set()
    assert await asyncio.gather(*tasks) == [GOOD, GOOD]


async def test_a_write_nobody_waits_for_any_more_is_not_sent() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    bench.device.open.clear()
    first, second = bench.start("Speed", 1.0), bench.start("Speed", 2.0, wanted=lambda: False)
    await settle()
    bench.device.open.set()
    assert (await first, await second) == (GOOD, BAD_TIMEOUT)
    assert bench.device.writes == [("Speed", 1.0)]
    assert {entry["outcome"] for entry in bench.book.entries if entry["asked"] == 2.0} == {"refused"}


@pytest.mark.parametrize("how", ["removed", "changed"])
async def test_a_property_that_changes_while_a_write_waits_is_not_written(how: str) -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    bench.device.open.clear()
    first, second = bench.start("Speed", 1.0), bench.start("Speed", 2.0)
    await settle()
    point = bench.store.points[f"{A}.Speed"]
    if how == "removed":
        cast("Any", bench.store.points).pop(f"{A}.Speed")
    else:
        point.property = replace(point.property)
    bench.device.open.set()
    assert (await first, await second) == (GOOD, BAD_NODE_ID_UNKNOWN)
    assert bench.device.writes == [("Speed", 1.0)]
    if how == "removed":
        assert await bench.write("Speed", 3.0) == BAD_NODE_ID_UNKNOWN
        assert await bench.commands.refuse(ANNA, f"{A}.Speed", 3.0, BAD_OUT_OF_RANGE) == BAD_NODE_ID_UNKNOWN


async def test_whoever_is_cancelled_while_waiting_leaves_the_line() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    bench.device.open.clear()
    tasks = [bench.start("Speed", float(n)) for n in range(4)]
    await settle()
    tasks[1].cancel()
    tasks[0].cancel()
    await settle()
    assert bench.commands.waiting == {"PLC": 1}
    tasks[3].cancel()
    bench.device.open.set()
    assert await tasks[2] == GOOD
    assert bench.commands.waiting == {"PLC": 0}
    # What was on its way when it was cancelled may have moved something: nobody knows.
    assert bench.book.outcomes == ["asked", "unknown", "asked", "done"]
    assert await bench.write("Speed", 9.0) == GOOD


async def test_a_write_that_is_broken_off_before_it_is_sent_says_so() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    bench.book.open.clear()
    write = bench.start("Speed", 1.0)
    await settle()
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    bench.book.open.set()
    assert bench.device.writes == []
    assert (bench.last["outcome"], bench.last["status"]) == ("refused", "BadOperationAbandoned")
    assert await bench.write("Speed", 2.0) == GOOD


async def test_a_turn_that_comes_at_the_moment_of_a_cancellation_is_passed_on() -> None:
    queue = DeviceQueue(limit=2)
    holder = queue.join("a")

    async def take(key: str) -> str:
        async with queue.join(key):
            return key

    first, second = asyncio.create_task(take("b")), asyncio.create_task(take("c"))
    await settle()
    with pytest.raises(Full):
        queue.join("d")
    queue.leave(holder)
    first.cancel()
    assert await second == "c"
    assert len(queue) == 0
    async with queue.join("e") as place:
        assert not place.superseded


# --- Unknown outcomes


@pytest.mark.parametrize("quality", [BAD_TIMEOUT, BAD_COMMUNICATION_ERROR])
async def test_an_ambiguous_write_is_not_repeated_and_told_as_unknown(quality: Quality) -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    bench.feed("Speed", 1.0)
    bench.device.error = ConnectionLost("no reply to the write: it may have been carried out", quality)
    assert await bench.write("Speed", 5.0) == quality
    assert bench.device.writes == [("Speed", 5.0)]
    assert bench.device.reads == 0
    assert bench.book.outcomes == ["asked", "unknown"]
    assert bench.last["reason"] == "no reply to the write: it may have been carried out"
    # Nothing is told while the device is away, or of what was read before.
    bench.lose("Speed", UNCERTAIN)
    assert len(bench.book.entries) == 2
    bench.feed("Speed", 5.0)
    assert bench.book.outcomes == ["asked", "unknown", "seen"]
    assert (bench.last["held"], bench.last["of"], bench.last["user"]) == (5.0, 1, "anna")
    bench.feed("Speed", 6.0)
    assert len(bench.book.entries) == 3
    assert bench.device.writes == [("Speed", 5.0)]


async def test_what_was_never_sent_is_not_unknown() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    bench.device.error = Unreachable("not connected")
    assert await bench.write("Speed", 5.0) == BAD_NOT_CONNECTED
    assert bench.book.outcomes == ["asked", "refused"]


# --- Verification


def verifying(rule: WriteRule, **more: Any) -> Bench:
    return Bench(bound("Speed", ValueType.Double, rule, **more), bound("Start", ValueType.Boolean, rule))


@pytest.mark.parametrize(
    ("old", "holds", "expected", "outcome"),
    [
        (100.0, 200.0, GOOD, Outcome.Done),
        (100.0, 180.0, GOOD_CLAMPED, Outcome.Done),
        (300.0, 220.0, GOOD_CLAMPED, Outcome.Done),
        (100.0, 100.0, BAD_DEVICE_FAILURE, Outcome.Failed),
        (100.0, 50.0, BAD_DEVICE_FAILURE, Outcome.Failed),
        (100.0, 210.0, BAD_DEVICE_FAILURE, Outcome.Failed),
        (100.0, float("nan"), BAD_DEVICE_FAILURE, Outcome.Failed),
    ],
)
async def test_what_is_read_back_decides(
    old: float, holds: float, expected: Quality, outcome: Outcome
) -> None:
    bench = verifying(WriteRule())
    bench.feed("Speed", old)
    bench.device.makes = lambda _value: holds
    assert await bench.write("Speed", 200.0) == expected
    assert bench.last["outcome"] == outcome.value
    assert bench.last["held"] == pytest.approx(holds, nan_ok=True)
    assert bench.store.points[f"{A}.Speed"].value == pytest.approx(holds, nan_ok=True)


async def test_the_states_of_an_enumeration_have_no_way_between_them() -> None:
    states = Enumeration("mode", {1: "Auto", 2: "Hand", 3: "Off"})
    tag: Tag[Any] = Tag(f"{A}.Mode", None, ValueType.Int16, FAST, True)
    kind = PropertyType("Mode", ValueType.Int32, enumeration=states, write=WriteRule())
    bench = Bench(Property(A, kind, binding=Binding("PLC", tag)))
    bench.feed("Mode", 1)
    bench.device.makes = lambda _value: 2
    assert await bench.write("Mode", 3) == BAD_DEVICE_FAILURE


@pytest.mark.parametrize(("holds", "expected"), [(200.5, GOOD), (199.5, GOOD), (200.6, BAD_DEVICE_FAILURE)])
async def test_a_tolerance_is_in_engineering_units(holds: float, expected: Quality) -> None:
    conversion = Linear(ValueType.Int32, ValueType.Double, 0.1, 0.0)
    bench = verifying(WriteRule(tolerance=0.5), raw=ValueType.Int32, conversion=conversion)
    bench.feed("Speed", 1000)
    bench.device.makes = lambda _value: round(holds * 10)
    assert await bench.write("Speed", 200.0) == expected
    assert bench.device.writes == [("Speed", 2000)]
    assert bench.last["held"] == pytest.approx(holds)


async def test_a_command_bit_that_is_reset_at_once_is_not_read_back() -> None:
    bench = verifying(WriteRule(read_back=False))
    bench.device.makes = lambda _value: False
    assert await bench.write("Start", True) == GOOD
    assert bench.device.reads == 0
    assert (bench.last["outcome"], bench.last["held"]) == ("done", None)
    bench = verifying(WriteRule())
    bench.device.makes = lambda _value: False
    assert await bench.write("Start", True) == BAD_DEVICE_FAILURE


async def test_what_cannot_be_read_back_is_not_called_verified() -> None:
    bench = verifying(WriteRule())
    bench.device.read_error = ConnectionLost("gone")
    assert await bench.write("Speed", 5.0) == GOOD_COMPLETES_ASYNCHRONOUSLY
    assert bench.last["reason"] == "it could not be read back"


# --- Records


async def test_what_is_recorded_of_a_write() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    bench.feed("Speed", 1.0)
    bench.device.open.clear()
    write = bench.start("Speed", 2.0)
    await settle()
    asked = {
        "event": "write",
        "user": "anna",
        "client": "10.0.0.7:4711",
        "node": f"{A}.Speed",
        "source": "PLC",
        "old": 1.0,
        "asked": 2.0,
        "outcome": "asked",
    }
    assert bench.book.entries == [asked]
    bench.device.open.set()
    await write
    done = {"held": 2.0, "outcome": "done", "status": "Good", "of": 1}
    assert bench.book.entries == [asked, asked | done]


async def test_refused_attempts_are_recorded_too() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()), bound("State", ValueType.Int32))
    await bench.write("Speed", 2.0, GUEST)
    await bench.write("State", 2)
    await bench.commands.refuse(ANNA, f"{A}.Speed", [1, 2], BAD_USER_ACCESS_DENIED)
    assert bench.book.outcomes == ["refused"] * 3
    assert [entry["status"] for entry in bench.book.entries] == [
        "BadUserAccessDenied",
        "BadNotWritable",
        "BadUserAccessDenied",
    ]
    assert bench.commands.outcomes == {"refused": 3}


async def test_what_strangers_try_is_told_and_left_to_whoever_has_room(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    caplog.set_level(logging.INFO, "isthmus.audit")
    stranger = Caller("anonymous", frozenset({Role.Anonymous}))
    assert await bench.write("Speed", 2.0, stranger) == BAD_USER_ACCESS_DENIED
    assert await bench.write("Speed", 2.0, GUEST) == BAD_USER_ACCESS_DENIED
    first, second = (vars(record) for record in caplog.records)
    assert "record" not in first
    assert (second["record"], len(bench.book.entries)) == (1, 1)


async def test_long_texts_are_recorded_by_their_beginnings() -> None:
    bench = Bench(bound("Name", ValueType.String, WriteRule()))
    bench.feed("Name", "x" * 300_000)
    bench.device.makes = lambda _: "z" * 300_000
    await bench.write("Name", "y")
    asked, ended = bench.book.entries
    assert asked["old"] == f"{'x' * 64}... of 300000 characters"
    assert ended["held"] == f"{'z' * 64}... of 300000 characters"


async def test_a_write_that_cannot_be_recorded_is_not_made() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    bench.book.full = True
    assert await bench.write("Speed", 2.0) == BAD_RESOURCE_UNAVAILABLE
    assert bench.device.writes == []
    bench.book.full = False
    assert await bench.write("Speed", 2.0) == GOOD


async def test_unless_it_is_configured_to_be_made() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()), refuse_unrecorded=False)
    bench.book.full = True
    assert await bench.write("Speed", 2.0) == GOOD
    assert bench.device.writes == [("Speed", 2.0)]


SENT = {"node": "ns=5;s=One", "user": "anna"}


async def at_once() -> None:
    """Ready."""


@pytest.mark.parametrize(
    ("answer", "told", "outcome"),
    [
        (GOOD, GOOD, "done"),
        (BAD_DEVICE_FAILURE, BAD_DEVICE_FAILURE, "failed"),
        (Unreachable("away"), BAD_NOT_CONNECTED, "refused"),
        (Denied("not him", BAD_USER_ACCESS_DENIED), BAD_USER_ACCESS_DENIED, "refused"),
        (ConnectionLost("cut", BAD_COMMUNICATION_ERROR), BAD_COMMUNICATION_ERROR, "unknown"),
    ],
)
async def test_what_is_forwarded_stands_between_two_records(
    answer: Quality | Exception, told: Quality, outcome: str
) -> None:
    bench = Bench()

    async def send() -> Quality:
        assert bench.book.outcomes == ["asked"]
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await bench.commands.forward("call", SENT, at_once, send) == told
    assert bench.last == {
        "event": "call",
        **SENT,
        "outcome": outcome,
        "status": quality_name(told),
        "of": 1,
        **({"reason": str(answer)} if isinstance(answer, Exception) else {}),
    }
    assert bench.commands.outcomes[outcome] == 1


async def test_what_is_forwarded_and_cannot_be_recorded_is_not_sent() -> None:
    sent = []

    async def send() -> Quality:
        sent.append(1)
        return GOOD

    bench = Bench()
    bench.book.full = True
    assert await bench.commands.forward("call", SENT, at_once, send) == BAD_RESOURCE_UNAVAILABLE
    assert (sent, bench.last["outcome"]) == ([], "refused")
    bench = Bench(refuse_unrecorded=False)
    bench.book.full = True
    assert await bench.commands.forward("call", SENT, at_once, send) == GOOD
    assert (sent, bench.last["outcome"]) == ([1], "done")


@pytest.mark.parametrize("sent", [False, True])
async def test_what_is_forwarded_and_broken_off_has_its_second_record(sent: bool) -> None:
    bench = Bench()
    (bench.device if sent else bench.book).open.clear()

    async def send() -> Quality:
        await bench.device.open.wait()
        return GOOD

    task = asyncio.create_task(bench.commands.forward("call", SENT, at_once, send))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.last["outcome"] == ("unknown" if sent else "refused")


# --- In whose name


class Hall(Device):
    """A device that knows users, and takes its time until one may come in."""

    def __init__(self) -> None:
        super().__init__()
        self.acts_as = "user:line1"
        self.denied: Exception | None = None
        self.refused: Exception | None = None
        self.door = asyncio.Event()
        self.door.set()
        self.askers: list[Asker] = []

    def acting(self, asker: Asker) -> Hall:
        self.askers.append(asker)
        if self.denied is not None:
            raise self.denied
        return self

    async def ready(self) -> None:
        await self.door.wait()
        if self.refused is not None:
            raise self.refused


def hall(*properties: Property) -> tuple[Bench, Hall]:
    bench = Bench(*properties)
    bench.device = its = Hall()
    cast("dict[str, Device]", bench.commands._devices)["PLC"] = its
    return bench, its


async def test_both_records_of_a_write_say_in_whose_name_it_goes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "isthmus.audit")
    bench, its = hall(bound("Speed", ValueType.Double, WriteRule()))
    assert await bench.write("Speed", 2.0) == GOOD
    assert [entry["as"] for entry in bench.book.entries] == ["user:line1"] * 2
    assert [vars(record)["as"] for record in caplog.records] == ["user:line1"]
    assert set(its.askers) == {Asker("anna", frozenset({"AuthenticatedUser", "Operator"}))}
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    assert await bench.write("Speed", 2.0) == GOOD
    assert all("as" not in entry for entry in bench.book.entries)


async def test_a_newer_write_in_another_name_takes_the_place_of_one_that_waits() -> None:
    bench, its = hall(bound("Speed", ValueType.Double, WriteRule(latest_wins=True)))
    its.door.clear()
    bert = replace(ANNA, user="bert")
    first = bench.start("Speed", 1.0)
    await until_recorded(bench)
    second, third = bench.start("Speed", 2.0), bench.start("Speed", 3.0, caller=bert)
    await settle()
    its.door.set()
    assert [await one for one in (first, second, third)] == [GOOD, BAD_OPERATION_ABANDONED, GOOD]
    sent = [(entry["user"], entry["asked"]) for entry in bench.book.entries if entry["outcome"] == "done"]
    assert sent == [("anna", 1.0), ("bert", 3.0)]
    assert its.askers[-1].user == "bert"  # asked when its turn had come


async def test_who_has_no_name_there_is_refused_before_he_takes_a_place() -> None:
    bench, its = hall(bound("Speed", ValueType.Double, WriteRule()))
    its.denied = Denied("no identity for anna", BAD_USER_ACCESS_DENIED)
    assert await bench.write("Speed", 2.0) == BAD_USER_ACCESS_DENIED
    assert (its.writes, bench.commands.waiting) == ([], {})
    assert (bench.book.outcomes, bench.last["reason"]) == (["refused"], "no identity for anna")


@pytest.mark.parametrize(
    ("error", "told"),
    [(Denied("wrong password", 0x80210000), 0x80210000), (Unreachable("away"), BAD_NOT_CONNECTED)],
)
async def test_what_keeps_a_name_out_is_told_and_nothing_is_sent(error: Exception, told: Quality) -> None:
    bench, its = hall(bound("Speed", ValueType.Double, WriteRule()))
    its.refused = error
    assert await bench.write("Speed", 2.0) == told
    assert (its.writes, bench.book.outcomes, bench.last["reason"]) == ([], ["asked", "refused"], str(error))


async def test_what_ceases_to_be_allowed_while_a_session_is_opened_is_not_sent() -> None:
    lock = Condition(f"{A}.Ready", Comparison.Equal, True, "Ready == true")
    speed = bound("Speed", ValueType.Double, WriteRule(), interlock=(lock,))
    bench, its = hall(speed, bound("Ready", ValueType.Boolean))
    bench.feed("Ready", True)
    its.door.clear()
    task = asyncio.create_task(bench.write("Speed", 2.0))
    await until_recorded(bench)
    bench.feed("Ready", False)
    its.door.set()
    assert await task == BAD_INVALID_STATE
    assert (its.writes, bench.book.outcomes) == ([], ["asked", "refused"])


async def test_a_client_that_goes_while_a_session_is_opened_has_nothing_sent() -> None:
    bench, its = hall(bound("Speed", ValueType.Double, WriteRule()))
    its.door.clear()
    there = [True]
    write = bench.commands.write(ANNA, f"{A}.Speed", 2.0, wanted=lambda: there[0])
    task = asyncio.create_task(write)
    await until_recorded(bench)
    there[0] = False
    its.door.set()
    assert await task == BAD_TIMEOUT
    assert (its.writes, bench.book.outcomes) == ([], ["asked", "refused"])


async def test_a_write_broken_off_while_a_session_is_opened_has_its_second_record() -> None:
    bench, its = hall(bound("Speed", ValueType.Double, WriteRule()))
    its.door.clear()
    task = asyncio.create_task(bench.write("Speed", 2.0))
    await until_recorded(bench)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (bench.book.outcomes, bench.last["of"]) == (["asked", "refused"], 1)
    its.door.set()
    assert await bench.write("Speed", 3.0) == GOOD  # the place is free again


async def until_recorded(bench: Bench) -> None:
    await until(lambda: bench.book.outcomes == ["asked"], every=0.001)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Denied("not him", BAD_USER_ACCESS_DENIED), BAD_USER_ACCESS_DENIED),
        (Unreachable("away"), BAD_NOT_CONNECTED),
    ],
)
async def test_what_is_forwarded_waits_until_its_way_is_ready(error: Exception, told: Quality) -> None:
    bench, its = hall()
    sent: list[int] = []

    async def send() -> Quality:
        sent.append(1)
        return GOOD

    its.door.clear()
    task = asyncio.create_task(bench.commands.forward("call", SENT, its.ready, send))
    await until_recorded(bench)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (sent, bench.last["outcome"], bench.last["of"]) == ([], "refused", 1)
    its.door.set()
    its.refused = error
    assert await bench.commands.forward("call", SENT, its.ready, send) == told
    assert (sent, bench.last["outcome"], bench.last["reason"]) == ([], "refused", str(error))
    its.refused = None
    assert await bench.commands.forward("call", SENT, its.ready, send) == GOOD
    assert sent == [1]


async def test_nobody_logs_in_for_what_cannot_be_recorded() -> None:
    bench, its = hall(bound("Speed", ValueType.Double, WriteRule()))
    its.refused = AssertionError("asked for a session")
    bench.book.full = True
    assert await bench.write("Speed", 2.0) == BAD_RESOURCE_UNAVAILABLE
    assert await bench.commands.forward("call", SENT, its.ready, at_once) == BAD_RESOURCE_UNAVAILABLE  # type: ignore[arg-type]


async def test_the_end_of_every_attempt_is_told() -> None:
    bench = Bench(bound("Speed", ValueType.Double, WriteRule()))
    heard: list[tuple[str, object, Outcome]] = []
    stop = bench.commands.listen(
        lambda attempt, result: heard.append((attempt.caller.user, attempt.asked, result.outcome))
    )
    await bench.write("Speed", 2.0)
    await bench.write("Speed", 3.0, GUEST)
    stop()
    await bench.write("Speed", 4.0)
    assert heard == [("anna", 2.0, Outcome.Done), ("guest", 3.0, Outcome.Refused)]


async def test_a_constant_is_governed_as_well() -> None:
    kind = PropertyType("Target", ValueType.Double, write=WriteRule(max_step=5.0))
    bench = Bench(Property(A, kind, constant=10.0))
    assert await bench.write("Target", 16.0) == BAD_OUT_OF_RANGE
    assert await bench.write("Target", 15.0) == GOOD
    assert bench.last["held"] == 15.0


async def test_what_a_stranger_was_about_to_have_sent_has_the_record_of_its_end() -> None:
    stranger = Caller("anonymous", frozenset({Role.Anonymous}))
    bench, its = hall(bound("Speed", ValueType.Double, WriteRule(stranger.roles)))
    its.refused = Unreachable("away")
    assert await bench.write("Speed", 2.0, caller=stranger) == BAD_NOT_CONNECTED
    assert bench.book.outcomes == ["asked", "refused"]
    assert bench.last["of"] == 1


@pytest.mark.parametrize("rule", [RATE, WriteRule(max_step=5.0)], ids=["rate", "step"])
async def test_what_others_of_a_block_report_says_nothing_of_what_was_written(rule: WriteRule) -> None:
    """A change of another tag comes in between, and ours is still what was reported before."""
    bench = Bench(
        bound("Speed", ValueType.Double, replace(rule, read_back=False)), bound("Level", ValueType.Double)
    )
    points = [bench.store.points[f"{A}.{name}"] for name in ("Speed", "Level")]
    tags = tuple(point.property.binding.tag for point in points if point.property.binding is not None)
    bench.store.ingest(Batch(tags, [100.0, 1.0], GOOD, None, now()))
    assert await bench.write("Speed", 105.0) == GOOD
    bench.store.ingest(Batch(tags, [2.0], GOOD, None, now(), (1,)))
    assert points[0].server_time == points[1].server_time
    bench.time += 0.3
    assert await bench.write("Speed", 98.9) == BAD_OUT_OF_RANGE
    assert "away from 105.0" in bench.last["reason"]
    bench.time += 1.0  # it was read more than once since: the device did not take it
    assert await bench.write("Speed", 98.9) == GOOD


async def test_a_clock_that_is_set_back_makes_nothing_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(bound("Speed", ValueType.Double, replace(RATE, read_back=False)))
    bench.feed("Speed", 100.0)
    monkeypatch.setattr("sources.clock.time.time_ns", lambda: 1_000_000_000 * 10**9)
    assert await bench.write("Speed", 105.0) == GOOD
    bench.time += 3600
    assert await bench.write("Speed", 98.0) == BAD_OUT_OF_RANGE
    assert "away from 105.0" in bench.last["reason"]


async def test_to_go_back_to_what_was_reported_before_is_a_change() -> None:
    bench = Bench(bound("Speed", ValueType.Double, replace(RATE, read_back=False)))
    bench.feed("Speed", 100.0)
    assert await bench.write("Speed", 105.0) == GOOD
    bench.time += 1.0
    assert await bench.write("Speed", 100.0) == GOOD
    bench.time += 0.1
    assert await bench.write("Speed", 105.0) == BAD_OUT_OF_RANGE


async def test_one_user_leaves_others_room_for_what_is_forwarded() -> None:
    bench, go = Bench(), asyncio.Event()

    async def send() -> Quality:
        await go.wait()
        return GOOD

    def start(user: str) -> asyncio.Task[Quality]:
        fields = {"node": "ns=2;s=Start", "user": user, "source": "There"}
        return asyncio.create_task(bench.commands.forward("call", fields, at_once, send))

    annas = [start("anna") for _ in range(ONE_USERS + 1)]
    await settle()
    assert annas[-1].done()
    assert await annas[-1] == BAD_RESOURCE_UNAVAILABLE
    assert "of this user are under way there" in bench.last["reason"]
    bert = start("bert")
    await settle()
    assert not bert.done()
    go.set()
    assert await asyncio.gather(bert, *annas[:-1]) == [GOOD] * (ONE_USERS + 1)
    assert await start("anna") == GOOD
    assert not bench.commands._under_way
