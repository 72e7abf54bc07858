"""What a controller, or what is between, can do wrong: it costs the connection, never a wrong value."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import threading
import time
from pathlib import Path

import pytest
from support.eip_proxy import Spoil, proxy, service, with_message
from support.logix import serving
from support.logix_tags import settings, tag
from support.net import free_port, until
from support.scanning import SLOW, Listener, scanning

from sources.errors import ConnectionLost, Unreachable
from sources.ethernetip import codec
from sources.ethernetip.driver import LogixSource
from sources.ethernetip.symbols import SymbolTable
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_CONNECTION_CLOSED,
    BAD_TIMEOUT,
    GOOD,
)
from sources.simulators.logix.spec import LogixSpec, TagSpec
from sources.supervisor import SourceState, Supervisor

PATIENT = "20s"
TELLING = 1_000_000
"""Each tag of the tests holds its own number times this, so that a value says whose it is."""


def telling() -> LogixSpec:
    """Ten tags, each of which holds a number that no other holds."""
    tags = tuple(TagSpec(name=f"T{number}", type="DINT") for number in range(10))
    return LogixSpec(name="Telling", tags=tags, values={f"T{n}": n * TELLING for n in range(10)})


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("logix ")]


def open_files() -> int:
    """How many descriptors this process has open; 0 where the system does not tell."""
    there = Path("/proc/self/fd")
    return len(list(there.iterdir())) if there.is_dir() else 0


async def all_quiet() -> None:
    """No thread of the driver is left."""
    await until(lambda: not threads(), what="no thread left")


async def test_a_late_reply_never_gives_another_tags_value() -> None:
    async with serving(telling()) as plc:
        tags = [tag(f"T{number}", scan=SLOW) for number in range(10)]
        source = LogixSource("PLC", settings(plc.port, timeout="500ms"), tags)
        wrong: list[object] = []
        for _ in range(3):
            async with source.connect() as session:
                plc.controller.faults.delay_once = 1.0
                for number, its in enumerate(tags):
                    with contextlib.suppress(ConnectionLost):
                        batch = await session.read([its])
                        wrong += [batch.values] if batch.values != [number * TELLING] else []
        assert wrong == []
    await all_quiet()


def doubled() -> Spoil:
    """Each reply comes together with the one before it: late ones, as after a time-out, or a bad gateway."""
    before: list[bytes] = []

    def spoil(request: bytes, reply: bytes) -> list[bytes]:
        if service(request) != codec.READ_TAG:
            return [reply]
        late = before[-1:] or [reply]
        before.append(reply)
        return [*late, reply]

    return spoil


def of_sequence(change: int) -> Spoil:
    def spoil(request: bytes, reply: bytes) -> list[bytes]:
        if service(request) != codec.READ_TAG:
            return [reply]
        sequence = int.from_bytes(reply[44:46], "little") + change & 0xFFFF
        return [reply[:44] + sequence.to_bytes(2, "little") + reply[46:]]

    return spoil


def changed_at(at: int) -> Spoil:
    def spoil(request: bytes, reply: bytes) -> list[bytes]:
        if service(request) != codec.READ_TAG:
            return [reply]
        return [reply[:at] + bytes((reply[at] ^ 0x55,)) + reply[at + 1 :]]

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        doubled(),
        of_sequence(-1),
        of_sequence(1),
        changed_at(0),  # another command
        changed_at(4),  # another session
        changed_at(36),  # another connection
        changed_at(46),  # another service
    ],
)
async def test_a_reply_to_another_request_ends_the_connection(spoil: Spoil) -> None:
    async with serving(telling()) as plc, proxy(plc.port) as between:
        tags = [tag(f"T{number}", scan=SLOW) for number in range(10)]
        source = LogixSource("PLC", settings(between.port, timeout=PATIENT), tags)
        async with source.connect() as session:
            between.spoil = spoil
            values: list[object] = []

            async def read_all() -> None:
                for its in tags:
                    values.extend((await session.read([its])).values or [])

            with pytest.raises(ConnectionLost) as error:
                await read_all()
            assert error.value.quality == BAD_COMMUNICATION_ERROR
            assert values == [number * TELLING for number in range(len(values))]
    await all_quiet()


@pytest.mark.parametrize("kept", [0, 1, 23, 24, 30, 46, 50])
async def test_a_peer_that_closes_within_a_frame_is_lost_at_once(kept: int) -> None:
    async with serving() as plc:
        its = tag("A_DINT")
        async with scanning(LogixSource("PLC", settings(plc.port, timeout=PATIENT), [its])) as scan:
            await scan.good(its)
            began = time.monotonic()
            plc.controller.faults.cut = kept
            assert (await scan.lost()).quality == BAD_CONNECTION_CLOSED
            assert time.monotonic() - began < 10
    await all_quiet()


@pytest.mark.parametrize("kept", [0, 10, 24, 28])
async def test_a_peer_that_closes_within_the_opening_is_unreachable(kept: int) -> None:
    async with serving() as plc:
        for _ in range(5):
            plc.controller.faults.cut = kept
            with pytest.raises(Unreachable, match=r"closed the connection|was lost"):
                async with LogixSource("PLC", settings(plc.port, timeout=PATIENT), []).connect():
                    pass
    await all_quiet()


async def test_a_mute_controller_is_lost_after_one_time_out_and_its_values_say_so() -> None:
    async with serving() as plc:
        its, slow = tag("A_DINT"), tag("A_INT", "int", SLOW)
        async with scanning(LogixSource("PLC", settings(plc.port, timeout="1s"), [its, slow])) as scan:
            await scan.good(its, slow)
            plc.controller.faults.mute = True
            began = time.monotonic()
            assert (await scan.lost()).quality == BAD_TIMEOUT
            assert scan.listener.saw(its, BAD_TIMEOUT)
            assert scan.listener.quality(slow) == GOOD
            left = time.monotonic()
        # Nobody to take leave of: hanging up takes no time.
        assert time.monotonic() - left < 5
        assert left - began < 15
    await all_quiet()


async def test_leaving_a_mute_controller_takes_no_longer_than_taking_leave_may() -> None:
    async with serving() as plc:
        its = tag("A_DINT", scan=SLOW)
        source = LogixSource("PLC", settings(plc.port, timeout="60s"), [its])
        async with scanning(source) as scan:
            await scan.good(its)
            plc.controller.faults.mute = True
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert source.threads_abandoned == 0
    await all_quiet()


async def test_the_loop_runs_on_while_a_controller_is_mute() -> None:
    async with serving() as plc:
        its = tag("A_DINT")
        async with scanning(LogixSource("PLC", settings(plc.port, timeout="60s"), [its])) as scan:
            await scan.good(its)
            plc.controller.faults.mute = True
            worst = 0.0
            for _ in range(50):
                began = time.monotonic()
                await asyncio.sleep(0.01)
                worst = max(worst, time.monotonic() - began)
            assert worst < 5
            assert not scan.task.done()
    await all_quiet()


@pytest.mark.parametrize("status", [0x64, 0x65])
async def test_a_session_that_is_not_known_any_more_is_a_closed_connection(status: int) -> None:
    async with serving() as plc, proxy(plc.port) as between:
        its = tag("A_DINT")
        async with scanning(LogixSource("PLC", settings(between.port), [its])) as scan:
            await scan.good(its)
            between.spoil = lambda _, reply: [
                reply[:2] + b"\0\0" + reply[4:8] + bytes((status, 0, 0, 0)) + reply[12:24]
            ]
            assert (await scan.lost()).quality == BAD_CONNECTION_CLOSED
    await all_quiet()


@pytest.mark.parametrize(
    ("more", "complaint"),
    [({"path": "1/5"}, "check path"), ({"path": "2/10.0.0.9"}, "check path")],
)
async def test_a_route_that_leads_nowhere_is_told(more: dict[str, str], complaint: str) -> None:
    async with serving() as plc:
        with pytest.raises(Unreachable, match=complaint):
            async with LogixSource("PLC", settings(plc.port, **more), []).connect():
                pass
    await all_quiet()


async def test_a_large_connection_that_is_insisted_upon_and_refused_is_told() -> None:
    async with serving() as plc:
        plc.controller.faults.refuse_large = True
        with pytest.raises(Unreachable, match="refused the connection: CIP status 08"):
            async with LogixSource("PLC", settings(plc.port, connection="large"), []).connect():
                pass
    await all_quiet()


async def test_nobody_at_the_port_is_told() -> None:
    with pytest.raises(Unreachable, match=r"^connection refused$"):
        async with LogixSource("PLC", settings(free_port()), []).connect():
            pass
    await all_quiet()


async def test_a_controller_that_takes_calls_and_says_nothing_is_unreachable() -> None:
    async with serving() as plc:
        plc.controller.faults.mute = True
        with pytest.raises(Unreachable, match=r"no reply within 0\.2 s"):
            async with LogixSource("PLC", settings(plc.port, timeout="200ms"), []).connect():
                pass
    await all_quiet()


@pytest.mark.parametrize("after", [0.0, 0.02, 0.1, 0.3])
async def test_a_connect_that_is_cancelled_leaves_nothing_behind(after: float) -> None:
    async with serving() as plc:
        plc.controller.faults.delay = 0.05
        source = LogixSource("PLC", settings(plc.port, timeout="60s"), [tag("A_DINT")])

        async def connect() -> None:
            async with source.connect():
                await asyncio.sleep(60)

        task = asyncio.create_task(connect())
        await asyncio.sleep(after)
        began = time.monotonic()
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        assert time.monotonic() - began < 10
        await all_quiet()
        await until(lambda: plc.controller.status()["clients"] == 0)
        assert source.threads_abandoned == 0


async def test_another_layout_than_was_uploaded_is_not_decoded() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        tags = [tag("Cycle.ACC"), tag("Cycle.PRE"), tag("Cycle.DN", "bool")]
        plc.controller.write_tag("Cycle.ACC", 123)
        source = LogixSource("PLC", settings(between.port), tags, recheck=0.2)

        def relaid(request: bytes, reply: bytes) -> list[bytes]:
            before, is_whole, data = reply[46:].partition(b"\xcc\0\0\0" + codec.STRUCTURE)
            if service(request) == codec.MULTIPLE_SERVICE and is_whole:
                # Another handle, and the members elsewhere; the counters say nothing of it.
                return [with_message(reply, before + is_whole + b"\x99\x99" + data[2:][::-1])]
            return [reply]

        async with scanning(source) as scan:
            await scan.good(*tags)
            assert len(scan.session._plan.packets[0].reads) == 1
            between.spoil = relaid
            await until(lambda: len(scan.session._plan.alone) == 3)
            plc.controller.write_tag("Cycle.ACC", 456)
            await until(lambda: scan.listener.value(tags[0]) == 456)
            assert {scan.listener.value(its) for its in tags} <= {0, 123, 456}
            assert {scan.listener.quality(its) for its in tags} == {GOOD}
            # The tag list was looked at again, over a line of its own.
            await until(lambda: between.accepted > 1)
    await all_quiet()


async def test_a_tag_that_is_gone_is_looked_for_now_and_then_not_all_the_time() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        well, gone = tag("A_DINT"), tag("A_INT", "int")
        source = LogixSource("PLC", settings(between.port), [well, gone], recheck=0.15)
        async with scanning(source) as scan:
            await scan.good(well, gone)
            plc.controller.fail_tag("A_INT", (0x05,))
            await scan.bad(BAD_CONFIGURATION_ERROR, gone)
            await until(lambda: between.accepted >= 3)
            reads = source.statistics["fast"].reads
            looked = between.accepted
            await until(lambda: source.statistics["fast"].reads > reads + 20)
            # 20 scans of 50 ms are a second: at doubling intervals from 0.15 s on, few looks.
            assert between.accepted - looked < 8
            assert scan.listener.quality(well) == GOOD
            plc.controller.fail_tag("A_INT", None)
            await scan.good(gone)
    assert source.threads_abandoned == 0
    await all_quiet()


async def test_a_hang_beside_the_socket_costs_its_own_thread_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def endless(*_: object) -> SymbolTable:
        while True:
            pass

    async with serving() as plc:
        monkeypatch.setattr("sources.ethernetip.link.symbol_table", endless)
        its = tag("A_DINT")
        source = LogixSource("PLC", settings(plc.port, upload_timeout="1s"), [its])
        with caplog.at_level(logging.ERROR), pytest.raises(Unreachable, match="upload"):
            async with source.connect():
                pass
        assert (source.threads_cut, source.threads_abandoned) == (1, 0)
        monkeypatch.undo()
        async with scanning(source) as scan:
            await scan.good(its)
    await all_quiet()


async def test_a_resolver_that_hangs_is_asked_once_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release, asked = threading.Event(), 0

    def hang(*_: object, **__: object) -> list[object]:
        nonlocal asked
        asked += 1
        release.wait()
        return []

    monkeypatch.setattr("sources.resolve.socket.getaddrinfo", hang)
    source = LogixSource("PLC", settings(host="plc.example", timeout="10ms"), [])
    try:
        for _ in range(6):
            with pytest.raises(Unreachable, match=r"not resolved within 0\.01 s"):
                async with source.connect():
                    pass
        assert asked == 1
    finally:
        monkeypatch.undo()
        release.set()
    await until(lambda: not any(thread.name == "resolver plc.example" for thread in threading.enumerate()))


async def test_hanging_threads_of_uploads_are_not_piled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object) -> SymbolTable:
        release.wait()
        raise KeyError

    monkeypatch.setattr("sources.ethernetip.link.symbol_table", hang)
    monkeypatch.setattr("sources.ethernetip.worker.GRACE", 0.05)
    messages = []
    async with serving() as plc:
        source = LogixSource("PLC", settings(plc.port, upload_timeout="50ms"), [])
        try:
            for _ in range(6):
                with pytest.raises(Unreachable) as error:
                    async with source.connect():
                        pass
                messages.append(str(error.value))
            assert source.threads_abandoned == 4
            assert "4 threads of earlier uploads hang" in messages[-1]
            assert len(threads()) == 4
        finally:
            monkeypatch.undo()
            release.set()
        await all_quiet()


async def test_two_hundred_connections_leave_no_thread_and_no_socket() -> None:
    async with serving(telling()) as plc:
        source = LogixSource("PLC", settings(plc.port), [tag("T3", scan=SLOW)])
        gc.collect()
        before = open_files()
        for number in range(200):
            async with source.connect() as session:
                if number % 10 == 0:
                    assert (await session.read(source.tags)).values == [3 * TELLING]
        await all_quiet()
        await until(lambda: plc.controller.status()["clients"] == 0)
        assert plc.controller.status()["connections"] == 0
        assert open_files() <= before + 2
        assert (source.threads_cut, source.threads_abandoned) == (0, 0)


async def test_a_controller_that_restarts_comes_back_by_itself_with_fresh_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = Listener()
    port = free_port()
    its = tag("Speed")
    source = LogixSource("PLC", settings(port, timeout="1s"), [its])
    supervisor = Supervisor(source, listener, delays=lambda: itertools.repeat(0.05))
    run = None
    with caplog.at_level(logging.INFO, logger="sources.supervisor"):
        try:
            for value in (11, 22):
                spec = LogixSpec(
                    name="One", port=port, tags=(TagSpec(name="Speed", type="DINT"),), values={"Speed": value}
                )
                async with serving(spec):
                    run = run or asyncio.create_task(supervisor.run())
                    await until(lambda value=value: listener.value(its) == value)  # type: ignore[misc]
                    await until(lambda: supervisor.status.state is SourceState.Connected)
                await until(lambda: supervisor.status.state is SourceState.Disconnected)
                assert listener.quality(its) != GOOD
        finally:
            assert run is not None
            run.cancel()
            await asyncio.wait((run,))
    told = [record.getMessage().partition(") ")[2].partition(":")[0] for record in caplog.records]
    assert told == ["is connected", "is lost", "is connected again", "is lost"]
    await all_quiet()
