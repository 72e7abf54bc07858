from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from support.devices import OneName
from support.line import MACHINE, line

from server.plant.commands import MAX_TEXT, Caller, Commands
from server.plant.fresh import FreshReads
from server.plant.model import Role
from server.plant.values import ValueStore
from sources.batch import Batch
from sources.clock import now
from sources.errors import ConnectionLost, Unreachable
from sources.quality import (
    BAD_DEVICE_FAILURE,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_OUT_OF_RANGE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    BAD_TYPE_MISMATCH,
    BAD_USER_ACCESS_DENIED,
    GOOD,
    GOOD_CLAMPED,
    GOOD_COMPLETES_ASYNCHRONOUSLY,
    Quality,
)
from sources.tag import Tag, Value

OPERATOR = Caller("anna", frozenset({Role.Anonymous, Role.AuthenticatedUser, Role.Operator}), "10.0.0.7")
GUEST = Caller("guest", frozenset({Role.Anonymous, Role.AuthenticatedUser}))


class Memory(OneName):
    """A device that is a dict: takes what is written, unless told to misbehave."""

    def __init__(self) -> None:
        self.held: dict[str, Value] = {}
        self.writes: list[tuple[str, Value]] = []
        self.answer: Quality = GOOD
        self.write_error: Exception | None = None
        self.read_error: Exception | None = None
        self.holds: Value = None

    async def write(self, pairs: Sequence[tuple[Tag[Any], Any]]) -> list[Quality]:
        for tag, value in pairs:
            self.writes.append((tag.name.rpartition(".")[2], value))
            if self.write_error is not None:
                raise self.write_error
            self.held[tag.name] = value
        return [self.answer] * len(pairs)

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        if self.read_error is not None:
            raise self.read_error
        values = [self.held.get(tag.name) if self.holds is None else self.holds for tag in tags]
        return Batch(tuple(tags), values, GOOD, None, 200)


class Bench:
    def __init__(self, *, enabled: bool = True) -> None:
        self.device = Memory()
        self.store = ValueStore(line(), time=100)
        self.kept: list[tuple[str, Value]] = []
        self.disk_full = False
        self.commands = Commands(self.store, {"PLC": self.device}, enabled=enabled, keep=self._keep)

    async def _keep(self, key: str, value: Value) -> None:
        if self.disk_full:
            raise OSError("no space left on device")
        self.kept.append((key, value))

    async def write(self, name: str, value: Value, caller: Caller = OPERATOR) -> Quality:
        return await self.commands.write(caller, f"{MACHINE}.{name}", value)

    def value(self, name: str) -> Value:
        return self.store.points[f"{MACHINE}.{name}"].value


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_write_reaches_the_device_and_is_read_back(bench: Bench) -> None:
    assert await bench.write("SpeedSP", 450.0) == GOOD
    assert bench.device.writes == [("SpeedSP", 450.0)]
    assert bench.value("SpeedSP") == 450.0


async def test_a_property_that_was_removed_while_its_write_waited_is_unknown(bench: Bench) -> None:
    prop = bench.store.points[f"{MACHINE}.SpeedSP"].property
    bench.store.change(removed=[prop])
    assert await bench.write("SpeedSP", 450.0) == BAD_NODE_ID_UNKNOWN
    assert await bench.commands.refuse(OPERATOR, prop.key, 1, BAD_TYPE_MISMATCH) == BAD_NODE_ID_UNKNOWN
    assert bench.device.writes == []


async def test_a_constant_that_goes_while_its_value_is_kept_is_not_set(bench: Bench) -> None:
    prop = bench.store.points[f"{MACHINE}.Target"].property

    async def keep(_key: str, _value: Value) -> None:
        bench.store.change(removed=[prop])

    bench.commands = Commands(bench.store, {}, enabled=True, keep=keep)
    assert await bench.write("Target", 600) == BAD_NODE_ID_UNKNOWN
    assert prop.key not in bench.store.points


async def test_a_device_that_is_another_by_now_is_read_in_a_line_of_its_own(bench: Bench) -> None:
    devices = {"PLC": bench.device}
    reads = FreshReads(bench.store, devices)
    point = bench.store.points[f"{MACHINE}.Count"]
    bench.device.holds = 7
    assert await reads.read([point]) == {}
    other = devices["PLC"] = Memory()
    other.holds = 8
    assert await reads.read([point]) == {}
    assert point.value == 8
    del devices["PLC"]
    assert await reads.read([point]) == {"PLC": BAD_NOT_CONNECTED}


async def test_the_scaling_is_inverted(bench: Bench) -> None:
    assert await bench.write("Level", 12.3) == GOOD
    assert bench.device.writes == [("Level", 123)]
    assert bench.value("Level") == pytest.approx(12.3)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Speed", 1.0, BAD_NOT_WRITABLE),
        ("Spare", True, BAD_NOT_WRITABLE),
        ("SpeedSP", 801.0, BAD_OUT_OF_RANGE),
        ("SpeedSP", -0.1, BAD_OUT_OF_RANGE),
        ("SpeedSP", float("nan"), BAD_OUT_OF_RANGE),
        ("SpeedSP", 5, BAD_TYPE_MISMATCH),
        ("SpeedSP", "5", BAD_TYPE_MISMATCH),
        ("SpeedSP", None, BAD_TYPE_MISMATCH),
        ("Target", 65536, BAD_TYPE_MISMATCH),
        ("Target", True, BAD_TYPE_MISMATCH),
        ("Mode", 2, BAD_OUT_OF_RANGE),
        ("Level", 7000.0, BAD_OUT_OF_RANGE),
        ("Recipe", "x" * 4097, BAD_OUT_OF_RANGE),
    ],
)
async def test_what_must_not_be_written_never_reaches_the_device(
    bench: Bench, name: str, value: Value, expected: Quality
) -> None:
    assert await bench.write(name, value) == expected
    assert bench.device.writes == []
    assert bench.kept == []


async def test_who_lacks_the_role_is_denied(bench: Bench) -> None:
    assert await bench.write("SpeedSP", 1.0, GUEST) == BAD_USER_ACCESS_DENIED
    prop = bench.store.points[f"{MACHINE}.SpeedSP"].property
    assert bench.commands.may_write(OPERATOR, prop)
    assert not bench.commands.may_write(GUEST, prop)
    assert bench.device.writes == []


async def test_nothing_is_writable_where_writing_is_off() -> None:
    bench = Bench(enabled=False)
    assert await bench.write("SpeedSP", 1.0) == BAD_NOT_WRITABLE
    assert not bench.commands.may_write(OPERATOR, bench.store.points[f"{MACHINE}.SpeedSP"].property)
    assert bench.device.writes == []


async def test_a_constant_is_kept_before_it_is_served(bench: Bench) -> None:
    assert await bench.write("Target", 600) == GOOD
    assert bench.kept == [(f"{MACHINE}.Target", 600)]
    assert bench.value("Target") == 600


async def test_a_constant_that_cannot_be_kept_is_not_taken(bench: Bench) -> None:
    bench.disk_full = True
    assert await bench.write("Target", 600) == BAD_RESOURCE_UNAVAILABLE
    assert bench.value("Target") == 500


@pytest.mark.parametrize(
    ("error", "expected"),
    [(Unreachable("away"), BAD_NOT_CONNECTED), (ConnectionLost("mute", BAD_TIMEOUT), BAD_TIMEOUT)],
)
async def test_a_lost_device_is_told_and_the_write_not_repeated(
    bench: Bench, error: Exception, expected: Quality
) -> None:
    bench.device.write_error = error
    assert await bench.write("SpeedSP", 1.0) == expected
    assert len(bench.device.writes) == 1


async def test_the_devices_own_refusal_is_passed_on(bench: Bench) -> None:
    bench.device.answer = BAD_OUT_OF_RANGE
    assert await bench.write("SpeedSP", 1.0) == BAD_OUT_OF_RANGE


async def test_a_write_that_cannot_be_read_back_is_not_called_done(bench: Bench) -> None:
    bench.device.read_error = ConnectionLost("gone")
    assert await bench.write("SpeedSP", 1.0) == GOOD_COMPLETES_ASYNCHRONOUSLY


async def test_a_device_that_holds_another_value_is_told(bench: Bench) -> None:
    bench.device.holds = 700.0
    assert await bench.write("SpeedSP", 750.0) == GOOD_CLAMPED
    assert bench.value("SpeedSP") == 700.0


async def test_float32_rounding_is_no_difference(bench: Bench) -> None:
    bench.device.holds = 0.10000000149011612
    assert await bench.write("SpeedSP", 0.1) == GOOD


async def test_every_attempt_is_audited(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "isthmus.audit")
    await bench.write("SpeedSP", 450.0)
    await bench.write("SpeedSP", 460.0, GUEST)
    first, second = (vars(record) for record in caplog.records)
    assert (first["user"], first["client"], first["old"], first["new"]) == ("anna", "10.0.0.7", None, 450.0)
    assert (first["status"], first["held"]) == ("Good", 450.0)
    assert (second["user"], second["status"]) == ("guest", "BadUserAccessDenied")


class _Stranger:
    """Something that no property holds."""

    def __repr__(self) -> str:
        raise AssertionError("it may be of any size")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * MAX_TEXT, "x" * MAX_TEXT),
        ("x" * 1_000_000, "x" * 64 + "... of 1000000 characters"),
        ([1.5] * 1_000_000, "[1.5, 1.5, 1.5, 1.5, 1.5, 1.5, ...]"),
        ([[["y" * 1000] * 1000] * 1000] * 1000, None),
        ([b"z" * 1_000_000], "[<bytes>]"),
        (_Stranger(), "<_Stranger>"),
    ],
)
async def test_a_refused_value_of_any_size_is_a_line_of_the_audit_log(
    bench: Bench, caplog: pytest.LogCaptureFixture, value: object, shown: str | None
) -> None:
    caplog.set_level(logging.INFO, "isthmus.audit")
    await bench.commands.refuse(GUEST, f"{MACHINE}.Recipe", value, BAD_TYPE_MISMATCH)
    (record,) = caplog.records
    new = vars(record)["new"]
    assert shown is None or new == shown
    assert len(new) <= MAX_TEXT
    assert len(record.getMessage()) <= MAX_TEXT + 200


async def test_a_text_that_the_device_changed_is_a_failure(bench: Bench) -> None:
    bench.device.holds = "other"
    assert await bench.write("Recipe", "A-7") == BAD_DEVICE_FAILURE


async def test_the_time_a_client_gives_is_kept_unless_it_lies_ahead(bench: Bench) -> None:
    for name, value in (("SpeedSP", 450.0), ("Target", 600)):
        await bench.commands.write(OPERATOR, f"{MACHINE}.{name}", value, source_time=150)
        assert bench.store.points[f"{MACHINE}.{name}"].source_time == 150
    ahead = now() + 10**10
    await bench.commands.write(OPERATOR, f"{MACHINE}.Target", 601, source_time=ahead)
    assert bench.store.points[f"{MACHINE}.Target"].source_time < ahead
