from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Never

import pytest
from support.libmodbus import libmodbus_server, start
from support.modbus_peer import excepting, honest, modbus_peer, mute
from support.modbus_tags import settings, tag
from support.net import free_port, until
from support.scanning import FAST, NORMAL, SLOW, Listener

from sources.batch import Batch, Emit
from sources.errors import ConnectionLost, Refused, Unreachable
from sources.modbus.driver import ModbusSource
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_INTERNAL_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NOT_CONNECTED,
    BAD_TIMEOUT,
    GOOD,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    Quality,
    is_good,
)
from sources.supervisor import SourceState, Supervisor, judge
from sources.tag import ScanClass, Stale, Tag

UNCERTAIN = UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE


def quick() -> Iterator[float]:
    return itertools.repeat(0.02)


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[Never]]:
    task: asyncio.Task[Never] = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))
    assert task.cancelled(), "nothing but a cancellation ends a source's life"
    assert supervisor.status.state is SourceState.Stopped


def _told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(r.levelno, r.getMessage()) for r in caplog.records if r.name == "sources.supervisor"]


def _transitions(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [level for level, _ in _told(caplog) if level > logging.DEBUG]


class Scripted:
    """A source whose sessions do what a test says: faults no real device makes at will."""

    name, address = "Scripted", "nowhere"

    def __init__(self, *acts: Callable[[Emit], None] | Exception, tags: Sequence[Tag[Any]] = ()) -> None:
        self.tags: Sequence[Tag[Any]] = tags or (tag("holding:0"),)
        self.acts = list(acts)
        self.dialled = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Scripted]:
        self.dialled += 1
        if self.acts and isinstance(self.acts[0], Unreachable | Refused):
            raise self.acts.pop(0)  # type: ignore[misc]  # narrowed above, through an index
        yield self

    async def scan(self, emit: Emit) -> Never:
        while self.acts and not isinstance(self.acts[0], Unreachable | Refused):
            act = self.acts.pop(0)
            if isinstance(act, Exception):
                raise act
            act(emit)
        if self.acts:
            raise ConnectionLost("the next act is a call")
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        return Batch(tuple(tags), [1] * len(tags), GOOD, None, 0)

    async def write(self, pairs: Sequence[tuple[Tag[Any], Any]]) -> list[Quality]:
        return [GOOD] * len(pairs)

    def retag(self, tags: Sequence[Tag[Any]]) -> None:
        self.tags = tuple(tags)

    def good(self, emit: Emit) -> None:
        """A batch of values of all tags."""
        emit(Batch(tuple(self.tags), [1] * len(self.tags), GOOD, None, 0))


async def test_a_device_that_is_not_there_is_marked_and_told_once_and_found_when_it_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "sources")
    listener, tags = Listener(), [tag("holding:0"), tag("coil:0", scan=NORMAL)]
    async with modbus_peer() as peer:
        await peer.stop()
        supervisor = Supervisor(ModbusSource("PLC", settings(peer.port), tags), listener, delays=quick)
        assert supervisor.status.state is SourceState.Stopped
        async with running(supervisor):
            await until(lambda: len(_told(caplog)) > 8)
            assert [listener.quality(its) for its in tags] == [BAD_NOT_CONNECTED] * 2
            assert len(listener.batches) == 2
            status = supervisor.status
            assert (status.state, status.last_error) == (SourceState.Disconnected, "connection refused")
            assert (status.connects, status.reads, status.tags) == (0, 0, 2)
            assert status.errors["BadNotConnected"] >= 3
            await peer.start()
            await until(lambda: all(is_good(listener.quality(its)) for its in tags))
            status = supervisor.status
            assert (status.state, status.connects) == (SourceState.Connected, 1)
            assert status.connected_since >= status.last_error_time > 0
            assert (status.last_error, status.last_error_cause) == ("connection refused", BAD_NOT_CONNECTED)
    assert _transitions(caplog) == [logging.WARNING, logging.INFO]
    (_, gone), *_, (_, back) = [entry for entry in _told(caplog) if entry[0] > logging.DEBUG]
    assert gone == f"PLC (127.0.0.1:{peer.port}) cannot be reached: connection refused"
    assert back == f"PLC (127.0.0.1:{peer.port}) is connected again"


@pytest.mark.interop
async def test_a_device_that_dies_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sources")
    listener = Listener()
    fast, slow = tag("holding:0", scan=FAST), tag("holding:1", scan=SLOW)
    async with libmodbus_server() as server:
        supervisor = Supervisor(
            ModbusSource("PLC", settings(server.port), [fast, slow]), listener, delays=quick
        )
        async with running(supervisor):
            await until(lambda: is_good(listener.quality(fast)) and is_good(listener.quality(slow)))
            await server.kill()
            await until(lambda: listener.saw(slow, UNCERTAIN), every=0.001)
            assert listener.saw(fast, UNCERTAIN)
            # Three scans of its own class later a last value is no longer usable; a slow one's still is.
            await until(lambda: listener.quality(fast) == BAD_NO_COMMUNICATION)
            assert listener.quality(slow) == UNCERTAIN
            assert supervisor.status.state is SourceState.Disconnected
            with pytest.raises(Unreachable):
                await supervisor.read([fast])
            with pytest.raises(Unreachable):
                await supervisor.write([(fast, 1)])
            again = await start(server.port)
            try:
                await until(lambda: is_good(listener.quality(fast)) and is_good(listener.quality(slow)))
                assert supervisor.status.connects == 2
                assert (await supervisor.read([fast])).values == [0]
            finally:
                await again.kill()
            await until(lambda: listener.quality(slow) == UNCERTAIN)
    assert _transitions(caplog) == [logging.INFO, logging.WARNING, logging.INFO, logging.WARNING]
    assert "PLC" in _told(caplog)[1][1]
    assert "is lost: the device closed the connection" in _told(caplog)[1][1]


@pytest.mark.interop
async def test_a_device_that_hangs_leaves_good_in_time_and_others_go_on() -> None:
    listener, other_listener = Listener(), Listener()
    tags = [
        tag("holding:0", scan=ScanClass("quick", 0.2)),
        tag("input:0", scan=ScanClass("one", 1.0)),
        tag("coil:0", scan=SLOW),
    ]
    its = tag("holding:0")
    async with libmodbus_server() as server, libmodbus_server() as healthy:
        supervisor = Supervisor(ModbusSource("PLC", settings(server.port), tags), listener, delays=quick)
        other = Supervisor(ModbusSource("Other", settings(healthy.port), [its]), other_listener, delays=quick)
        async with running(supervisor), running(other):
            await until(lambda: all(is_good(listener.quality(one)) for one in tags))
            await until(lambda: is_good(other_listener.quality(its)))
            server.process.send_signal(signal.SIGSTOP)
            stopped, heard = time.monotonic(), len(other_listener.batches)
            await until(lambda: not any(is_good(listener.quality(one)) for one in tags), every=0.005)
            took = time.monotonic() - stopped
            assert took < 2.0 + 1.0, "two seconds are promised, one is given to the machine"
            assert len(other_listener.batches) > heard + 5
            assert set(other_listener.qualities.values()) == {GOOD}
            assert BAD_TIMEOUT in {batch.qualities for batch in listener.batches}
            assert supervisor.status.errors["BadTimeout"] >= 2
            server.process.send_signal(signal.SIGCONT)
            await until(lambda: all(is_good(listener.quality(one)) for one in tags))


async def test_a_device_that_takes_the_call_and_never_answers_is_not_connected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "sources")
    listener, its = Listener(), tag("holding:0")
    async with modbus_peer() as peer:
        peer.spoil = mute
        source = ModbusSource("PLC", settings(peer.port, timeout="50ms"), [its])
        supervisor = Supervisor(source, listener, delays=quick)
        async with running(supervisor):
            await until(lambda: peer.accepted >= 3)
            assert supervisor.status.state is SourceState.Disconnected
            assert not is_good(listener.quality(its))
            assert supervisor.status.connects >= 2
    assert _transitions(caplog) == [logging.WARNING]
    assert "cannot be reached: no reply to 2 requests in a row" in next(
        text for level, text in _told(caplog) if level == logging.WARNING
    )


@pytest.mark.parametrize(("code", "quality"), [(4, BAD_DEVICE_FAILURE), (2, BAD_CONFIGURATION_ERROR)])
async def test_a_device_that_answers_with_exceptions_alone_is_connected(code: int, quality: Quality) -> None:
    listener, its = Listener(), tag("holding:0")
    async with modbus_peer() as peer:
        peer.spoil = excepting(code)
        supervisor = Supervisor(ModbusSource("PLC", settings(peer.port), [its]), listener, delays=quick)
        async with running(supervisor):
            await until(lambda: supervisor.status.state is SourceState.Connected)
            assert listener.quality(its) == quality
            assert supervisor.status.errors


async def test_a_source_without_tags_is_connected_when_the_call_is_taken() -> None:
    async with modbus_peer() as peer:
        supervisor = Supervisor(ModbusSource("PLC", settings(peer.port), []), Listener(), delays=quick)
        async with running(supervisor):
            await until(lambda: supervisor.status.state is SourceState.Connected)


async def test_what_is_counted() -> None:
    listener, its = Listener(), tag("holding:0")
    async with modbus_peer() as peer:
        supervisor = Supervisor(ModbusSource("PLC", settings(peer.port), [its]), listener, delays=quick)
        async with running(supervisor):
            await until(lambda: supervisor.status.reads >= 3)
            peer.delay = 0.12
            await until(lambda: supervisor.status.overruns >= 2)
            peer.delay = 0.0
            peer.spoil = excepting(6)
            await until(lambda: supervisor.status.errors.get("BadResourceUnavailable", 0) >= 2)
            peer.spoil = honest
            status = supervisor.status
            assert status.values == status.reads == sum(b.values is not None for b in listener.batches)
            scan = status.scans["fast"]
            assert (scan.planned, scan.blocks) == (0.05, 1)
            assert scan.reads >= status.reads
            before = scan.reads
            await until(lambda: supervisor.status.scans["fast"].reads > before)
            assert scan.reads == before  # a picture of its moment


async def test_tags_may_be_replaced_while_the_source_lives() -> None:
    listener, before, after = Listener(), tag("holding:0"), tag("coil:0", scan=NORMAL)
    async with modbus_peer() as peer:
        source = ModbusSource("PLC", settings(peer.port), [before])
        supervisor = Supervisor(source, listener, delays=quick)
        async with running(supervisor):
            await until(lambda: is_good(listener.quality(before)))
            supervisor.retag([after])
            await until(lambda: is_good(listener.quality(after)))
            assert supervisor.status.connects == 1
            peer.hang_up()
            await until(lambda: listener.saw(after, UNCERTAIN))


async def test_a_fault_of_the_program_is_told_once_with_its_traceback_and_survived(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "sources")
    source, listener = Scripted(), Listener()
    source.acts = [*(ZeroDivisionError("a bug") for _ in range(3)), source.good]
    supervisor = Supervisor(source, listener, delays=quick)
    async with running(supervisor):
        await until(lambda: is_good(listener.quality(source.tags[0])))
    assert [batch.qualities for batch in listener.batches] == [BAD_INTERNAL_ERROR] * 3 + [GOOD]
    assert supervisor.status.errors == {"BadInternalError": 3}
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].exc_info is not None
    assert errors[0].exc_info[0] is ZeroDivisionError


async def test_a_receiver_that_fails_does_not_end_the_source() -> None:
    source = Scripted(tags=[tag("holding:0")])
    source.acts = [source.good, source.good]
    seen: list[Batch] = []

    def broken(batch: Batch) -> None:
        seen.append(batch)
        raise KeyError("nobody knows this tag")

    supervisor = Supervisor(source, broken, delays=quick)
    async with running(supervisor):
        await until(lambda: source.dialled >= 3)
        assert {batch.qualities for batch in seen} == {GOOD, BAD_INTERNAL_ERROR}


async def test_a_refusal_waits_for_a_person(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sources")
    source, listener = Scripted(Refused("wrong password"), Refused("wrong password")), Listener()
    supervisor = Supervisor(source, listener, delays=quick, refused_delay=3600)
    async with running(supervisor):
        await until(lambda: supervisor.status.state is SourceState.Refused)
        assert listener.quality(source.tags[0]) == BAD_NOT_CONNECTED
        assert supervisor.status.last_error == "wrong password"
        await asyncio.sleep(0.2)  # ten times the delay of what is transient
        assert source.dialled == 1
    supervisor = Supervisor(source, listener, delays=quick, refused_delay=0.01)
    async with running(supervisor):
        await until(lambda: source.dialled == 3)


async def test_a_last_value_grows_old_even_while_the_line_comes_and_goes() -> None:
    source = Scripted(tags=[tag("holding:0", scan=ScanClass("c", 0.1))])
    source.acts = [
        source.good,
        *(Unreachable("no") if index % 2 else ConnectionLost("gone") for index in range(60)),
    ]
    listener = Listener()
    async with running(Supervisor(source, listener, delays=quick)):
        await until(lambda: listener.quality(source.tags[0]) == BAD_NO_COMMUNICATION)
        assert source.acts, "the line still came and went"
        assert [batch.qualities for batch in listener.batches] == [GOOD, UNCERTAIN, BAD_NO_COMMUNICATION]


async def test_values_that_return_stop_the_ageing() -> None:
    source = Scripted(tags=[tag("holding:0", scan=ScanClass("c", 0.05))])
    source.acts = [source.good, ConnectionLost("gone"), source.good]
    listener = Listener()
    async with running(Supervisor(source, listener, delays=quick, stale=Stale(uncertain_after=1000))):
        await until(lambda: len(listener.batches) == 3)
        await asyncio.sleep(0.3)  # twice as long as a last value stays usable
        assert [batch.qualities for batch in listener.batches] == [GOOD, UNCERTAIN, GOOD]


async def test_a_block_that_is_no_longer_read_grows_stale_and_others_do_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The link stands and the scan goes on: only one block of it comes no more."""
    quick_class = ScanClass("c", 0.05, Stale(uncertain_after=4, bad_after=2, at_least=0.1))
    silent, lively = tag("holding:0", scan=quick_class), tag("holding:500", scan=quick_class)
    first, second = (silent,), (lively,)

    class Stuck(Scripted):
        async def scan(self, emit: Emit) -> Never:
            emit(Batch(first, [1], GOOD, None, 1))
            while True:
                emit(Batch(second, [1], GOOD, None, 1))
                await asyncio.sleep(0.02)

    listener = Listener()
    supervisor = Supervisor(Stuck(tags=[silent, lively]), listener, delays=quick)
    async with running(supervisor):
        await until(lambda: listener.quality(silent) == BAD_NO_COMMUNICATION)
        assert [b.qualities for b in listener.batches if b.tags is first] == [
            GOOD,
            UNCERTAIN,
            BAD_NO_COMMUNICATION,
        ]
        assert supervisor.status.state is SourceState.Connected
        assert supervisor.status.stale >= 1
        # What a client reads beside the scan grows stale anew.
        assert (await supervisor.read([silent])).qualities == GOOD
        told = len(listener.batches)
        await until(
            lambda: any(b.tags is first and b.qualities == UNCERTAIN for b in listener.batches[told:])
        )
    assert "holding:0 for 4 scans of c" in caplog.text


async def test_where_the_whole_loop_stood_still_what_came_meanwhile_is_taken_in_first() -> None:
    listener, emits = Listener(), list[Emit]()
    source = Scripted()
    source.acts = [source.good, emits.append]
    stale = Stale(uncertain_after=1, at_least=0.5)
    supervisor = Supervisor(source, listener, delays=quick, stale=stale)
    async with running(supervisor):
        await until(lambda: emits)
        look = supervisor._look
        source.good(emits[0])
        time.sleep(1.6)  # noqa: ASYNC251  # that is what it is about
        for _ in range(3):  # the look that was due comes before anything else
            await asyncio.sleep(0)
        assert supervisor._look is not look
        assert [batch.qualities for batch in listener.batches] == [GOOD, GOOD]
        source.good(emits[0])
        # Where the device alone is silent, it is the device.
        await until(lambda: listener.saw(source.tags[0], UNCERTAIN))


async def test_a_device_that_tells_changes_only_does_not_grow_stale() -> None:
    class Quiet(Scripted):
        tells_changes = True

    source = Quiet(tags=[tag("holding:0", scan=ScanClass("c", 0.05, Stale(at_least=0.1)))])
    source.acts = [lambda emit: emit(Batch(tuple(source.tags), [1], GOOD, None, 456))]
    listener = Listener()
    supervisor = Supervisor(source, listener, delays=quick)
    async with running(supervisor):
        await until(lambda: listener.batches)
        await asyncio.sleep(0.4)  # twice as long as it takes of other sources
        assert [batch.qualities for batch in listener.batches] == [GOOD]
        assert supervisor.status.last_success == 456


async def test_what_is_wrong_with_a_block_is_the_last_error_once() -> None:
    its, other = tag("holding:0"), tag("holding:1")
    tags = (its, other)
    source = Scripted(tags=tags)
    bad = Batch(tags, [1, None], [GOOD, BAD_DEVICE_FAILURE], None, 7)
    source.acts = [source.good, lambda emit: emit(bad), lambda emit: emit(bad)]
    listener = Listener()
    supervisor = Supervisor(source, listener, delays=quick, stale=Stale(uncertain_after=10_000))
    async with running(supervisor):
        await until(lambda: len(listener.batches) == 3)
        status = supervisor.status
        assert status.last_error == "holding:1 cannot be read: BadDeviceFailure"
        assert status.last_error_cause == BAD_DEVICE_FAILURE
        assert status.state is SourceState.Connected
        assert status.last_success == 7


@pytest.mark.parametrize(("steady", "asked"), [(0.0, 4), (3600.0, 1)])
async def test_the_delays_begin_anew_only_after_a_connection_that_stood(steady: float, asked: int) -> None:
    source = Scripted()
    source.acts = [source.good, ConnectionLost("gone")] * 3
    begun: list[int] = []

    def delays() -> Iterator[float]:
        begun.append(1)
        return quick()

    async with running(Supervisor(source, Listener(), delays=delays, steady=steady)):
        await until(lambda: source.dialled == 4)
    assert len(begun) == asked


async def test_commands_go_to_the_session_that_lives() -> None:
    source = Scripted()
    supervisor = Supervisor(source, Listener(), delays=quick)
    with pytest.raises(Unreachable, match=r"Scripted \(nowhere\) is not connected"):
        await supervisor.write([(source.tags[0], 1)])
    async with running(supervisor):
        await until(lambda: source.dialled)
        await until(lambda: supervisor.status.connects)
        assert await supervisor.write([(source.tags[0], 1)]) == [GOOD]
        assert (await supervisor.read(source.tags)).values == [1]
    with pytest.raises(Unreachable):
        await supervisor.read(source.tags)


async def test_a_hushed_source_passes_nothing_on() -> None:
    listener, late = Listener(), asyncio.Event()
    old = tag("holding:0")
    source = Scripted(tags=(old,))
    source.acts = [source.good, lambda _emit: late.set()]
    supervisor = Supervisor(source, listener, delays=quick)
    async with running(supervisor):
        await late.wait()
        assert [batch.tags for batch in listener.batches] == [(old,)]
        supervisor.hush()
        supervisor._take(Batch((old,), [1], GOOD, None, 0))
        assert len(listener.batches) == 1


async def test_values_of_a_class_that_was_read_are_not_worthless_when_tags_are_replaced() -> None:
    listener, there = Listener(), asyncio.Event()
    kept, other = tag("holding:0"), tag("coil:0", scan=SLOW)
    source = Scripted(tags=(kept,))
    source.acts = [source.good, lambda _emit: there.set(), ConnectionLost("gone", BAD_TIMEOUT)]
    supervisor = Supervisor(source, listener, delays=quick)
    async with running(supervisor):
        await there.wait()
        supervisor.retag((kept, other))
        await until(lambda: supervisor.status.errors)
        assert listener.saw(kept, UNCERTAIN)
        assert listener.quality(other) == BAD_NOT_CONNECTED


async def test_tags_that_come_while_nobody_answers_are_marked_as_the_others_are() -> None:
    listener = Listener()
    kept, alike, other = tag("holding:0"), tag("holding:1"), tag("coil:0", scan=SLOW)
    source = Scripted(tags=(kept,))
    source.acts = [source.good, ConnectionLost("gone", BAD_TIMEOUT)]
    supervisor = Supervisor(source, listener, delays=lambda: itertools.repeat(3600.0))
    async with running(supervisor):
        supervisor.retag((kept,))
        await until(lambda: listener.saw(kept, UNCERTAIN))
        count = len(listener.batches)
        supervisor.retag((kept, alike, other))
        told = [(batch.tags, batch.qualities) for batch in listener.batches[count:]]
        assert told == [((alike,), UNCERTAIN), ((other,), BAD_NOT_CONNECTED)]
        assert supervisor.scans == ["fast", "slow"]
        assert source.tags == (kept, alike, other)


async def test_a_port_nobody_listens_on_is_cancelled_while_waiting() -> None:
    source = ModbusSource("PLC", settings(free_port()), [tag("holding:0")])
    supervisor = Supervisor(source, Listener(), delays=lambda: itertools.repeat(3600.0))
    async with running(supervisor):
        await until(lambda: supervisor.status.state is SourceState.Disconnected)


def test_one_function_tells_what_is_final() -> None:
    lost, gone, refused = ConnectionLost("lost", BAD_TIMEOUT), Unreachable("gone"), Refused("no")
    assert (judge(lost).quality, judge(lost).final, judge(lost).fault) == (BAD_TIMEOUT, False, False)
    assert (judge(gone).quality, judge(gone).final, judge(gone).fault) == (BAD_NOT_CONNECTED, False, False)
    assert (judge(refused).quality, judge(refused).final, judge(refused).fault) == (
        BAD_NOT_CONNECTED,
        True,
        False,
    )
    assert judge(ValueError("bug")).fault
    assert judge(ExceptionGroup("", [lost, ExceptionGroup("", [lost])])) == judge(lost)
    assert judge(ExceptionGroup("", [lost, refused])).final
    assert judge(ExceptionGroup("", [lost, ValueError("bug")])).fault
