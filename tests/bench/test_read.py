"""That what is said of Reads is of real values, counted right, and of the right process."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import socket
import subprocess
import sys
import time
from typing import Any, Self

import pytest
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary
from support.uaclient import ua

from bench.accounting import cpu_seconds
from bench.poller import Nodes, NotWhatWasAskedFor, Poller, check
from bench.read import CASES, Case, measure, table
from bench.reader import LOAD, MOST, Polling, Task
from bench.subjects import node

PROMISED = {
    "1000.repeated",
    "1000.fresh",
    "100.repeated",
    "1",
    "1000.hundred",
    "1000.changing",
    "1000.registered",
}
HEADER = 24


def good(value: float) -> Any:
    now = ua.DateTime.now()
    return ua.DataValue(ua.Variant(value, ua.VariantType.Double), SourceTimestamp=now, ServerTimestamp=now)


def response(handle: int, results: list[Any], *, result: int = 0) -> bytes:
    answer = ua.ReadResponse()
    answer.ResponseHeader.RequestHandle = handle
    answer.ResponseHeader.ServiceResult = ua.StatusCode(result)
    answer.Results = results
    return bytes(ua_binary.struct_to_binary(answer))


def chunk(body: bytes, kind: bytes = b"MSGF") -> bytes:
    return kind + (len(body) + HEADER).to_bytes(4, "little") + bytes(16) + body


class Ends:
    """A poller and the other end of its socket."""

    def __init__(self) -> None:
        mine, self.server = socket.socketpair()
        self.poller = Poller(mine, bytes(8), 50, ua.NodeId(7, 1))
        self.nodes = Nodes(200, 4)
        self.request = self.poller.read_request(self.nodes.all[:3], 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()
        self.poller._socket.close()


async def test_reads_are_measured_beside_the_peers() -> None:
    # Requests enough that what they cost stands out of what a server at rest does now and then.
    cases = (
        Case("100.repeated", "one", Task(100, "one", most_per_s=1_000)),
        Case(
            "100.registered", "registered", Task(100, "one", registered=True, most_per_s=1_000), peers=False
        ),
        Case("1", "single", Task(1, "hundred", times="source", most_per_s=1_000), peers=False),
        Case("100.changing", "changing", Task(100, "ten", most_per_s=1_000), changing=True),
    )
    metrics = await asyncio.to_thread(measure, 1, 1, variables=200, period_ms=200, cases=cases)
    names = {f"read.{case.name}" for case in cases}
    peers = ("asyncua.", "node-opcua.") if node() else ("asyncua.",)
    names |= {f"{peer}read.{case.name}" for case in cases if case.peers for peer in peers}
    keys = ("us", "per_s", "cpu_percent", "idle_percent")
    assert set(metrics) == {f"{name}.{key}" for name in names for key in keys}
    # A server whose values stand still may take nothing at all while nobody asks.
    assert all(
        value > 0 or (name.endswith(".idle_percent") and value == 0) for name, value in metrics.items()
    )
    assert all(metrics[f"{name}.cpu_percent"] <= 100 * MOST for name in names)
    # Asyncua's take on 100 values: milliseconds, of which 45 ought to be enough.
    assert 200 < metrics["asyncua.read.100.repeated.us"] * 100 < 45_000


def test_every_promised_number_is_taken_of_all_servers() -> None:
    assert {case.name for case in CASES if case.peers} >= PROMISED
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_table_shows_what_there_is_and_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.read.node", lambda: None)
    metrics = {
        f"{prefix}read.1.{key}": value
        for prefix, us in (("", 20.0), ("node-opcua.", 160.0))
        for key, value in (("us", us), ("per_s", 3000.0), ("cpu_percent", 33.3))
    }
    rows = table(metrics).splitlines()
    assert rows[2] == (
        "| 1 value, the same (µs a request) | 20.0 | 3,000 | 33 % |  |  | 160.0 | 3,000 | 8.0 |"
    )
    assert rows[-1].startswith("node-opcua is not measured")


def test_requests_that_are_sent_together_have_each_its_response() -> None:
    with Ends() as ends:
        both = b"".join(chunk(response(number, [good(1.0)] * 3)) for number in (51, 52))
        ends.server.sendall(both)
        assert ends.poller.ask([ends.request, ends.request], 3) == len(both) // 2
        sent = ends.server.recv(1 << 16)
        half = len(sent) // 2
        assert [int.from_bytes(sent[at : at + 4], "little") for at in (16, half + 16)] == [51, 52]
        ends.server.sendall(b"".join(chunk(response(number, [good(1.0)] * 3)) for number in (53, 55)))
        with pytest.raises(NotWhatWasAskedFor, match="request 54"):
            ends.poller.ask([ends.request, ends.request], 3)


def test_a_request_asks_for_the_values_and_is_numbered() -> None:
    with Ends() as ends:
        for number in (51, 52):
            ends.server.sendall(chunk(response(number, [good(1.0)] * 3)))
            ends.poller.ask([ends.request], 3)
            sent = ends.server.recv(1 << 16)
            assert sent[:4] == b"MSGF"
            assert int.from_bytes(sent[4:8], "little") == len(sent)
            assert [int.from_bytes(sent[at : at + 4], "little") for at in (16, 20)] == [number, number]
            buffer = Buffer(sent[HEADER:])
            assert ua_binary.nodeid_from_binary(buffer).Identifier == 631
            request = ua_binary.struct_from_binary(ua.ReadRequest, Buffer(sent[HEADER:]))
            assert request.RequestHeader.RequestHandle == number
            assert request.RequestHeader.AuthenticationToken == ua.NodeId(7, 1)
            assert request.Parameters.MaxAge == 2**31
            assert request.Parameters.TimestampsToReturn == ua.TimestampsToReturn.Both
            wanted = [(item.NodeId.Identifier, item.AttributeId) for item in request.Parameters.NodesToRead]
            assert wanted == [(f"Bench/M1.V{index}", ua.AttributeIds.Value) for index in range(3)]
            assert not any(
                item.IndexRange or item.DataEncoding.Name for item in request.Parameters.NodesToRead
            )


def test_a_response_in_chunks_is_one() -> None:
    body = response(51, [good(1.5), good(2.5), good(3.5)])
    with Ends() as ends:
        ends.server.sendall(chunk(body[:40], b"MSGC") + chunk(body[40:]))
        assert ends.poller.ask([ends.request], 3) == len(body) + 2 * HEADER
        assert [result.Value.Value for result in ends.poller.results()] == [1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    "answer",
    [
        response(51, [good(1.0)] * 2),
        response(50, [good(1.0)] * 3),
        response(51, [good(1.0)] * 3, result=ua.StatusCodes.BadTooManyOperations),
    ],
    ids=["fewer values", "to another request", "bad"],
)
def test_only_a_full_answer_counts(answer: bytes) -> None:
    with Ends() as ends:
        ends.server.sendall(chunk(answer))
        with pytest.raises(NotWhatWasAskedFor):
            ends.poller.ask([ends.request], 3)


def test_an_error_message_and_an_end_are_no_answers() -> None:
    with Ends() as ends:
        ends.server.sendall(b"ERRF" + (16).to_bytes(4, "little") + bytes(8))
        with pytest.raises(NotWhatWasAskedFor):
            ends.poller.ask([ends.request], 3)
        ends.server.close()
        with pytest.raises((NotWhatWasAskedFor, BrokenPipeError)):
            ends.poller.ask([ends.request], 3)


@pytest.mark.parametrize(
    "change",
    [
        {"StatusCode": ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)},
        {"Value": ua.Variant(None, ua.VariantType.Null)},
        {"Value": ua.Variant(1.0, ua.VariantType.Float)},
        {"SourceTimestamp": None},
        {"ServerTimestamp": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_only_good_doubles_with_their_times_are_real(change: dict[str, Any]) -> None:
    value = good(1.0)
    check([value, value], "both")
    with pytest.raises(NotWhatWasAskedFor):
        check([value, dataclasses.replace(value, **change)], "both")


def test_lists_are_new_whole_and_in_order_where_they_should_be() -> None:
    nodes = Nodes(500, 4)
    lists = {tuple(nodes.some(100, in_order=False)) for _ in range(50)}
    assert len(lists) == 50
    assert all(len(set(one)) == 100 for one in lists)
    assert sorted(itertools.chain(*nodes.parts(100))) == sorted(nodes.all)
    ordered = nodes.some(150, in_order=True)
    first = nodes.all.index(ordered[0])
    assert ordered[:100] == nodes.all[first : first + 100]
    assert len(set(ordered)) == 150


class Costly:
    """A server within this process: so many seconds of CPU a request."""

    session: Any = None

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = 0

    def read_request(self, nodes: list[bytes], times: int) -> bytearray:
        return bytearray(b"%d %d" % (len(nodes), times))

    def ask(self, requests: list[bytearray], values: int) -> int:
        self.asked += 1
        assert requests == [b"%d 2" % values]
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            pass
        return 100

    def results(self) -> list[Any]:
        return [good(float(self.asked))] * 10


def test_the_cost_is_the_servers_and_the_pace_bearable() -> None:
    server: Any = Costly(0.004)
    result = Polling(server, Nodes(100, 4), Task(10, "fresh", rounds=3, seconds=0.3), os.getpid()).run()
    assert 4_000 <= result.us_per_request < 6_000
    assert 0.5 * LOAD / 0.004 < result.per_s <= LOAD / 0.004
    assert result.cpu <= MOST
    assert result.changed == 1.0
    assert result.requests < server.asked


def test_a_pace_that_is_given_is_kept() -> None:
    server: Any = Costly(0.0001)
    task = Task(10, "one", most_per_s=50, rounds=1, seconds=0.4)
    result = Polling(server, Nodes(100, 4), task, os.getpid()).run()
    assert result.requests == 20
    assert result.per_s == pytest.approx(50, rel=0.2)


def test_the_accounting_is_of_that_process() -> None:
    code = (
        "import time\nwhile time.process_time() < 0.2: pass\nprint(time.process_time(), flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        said = float(child.stdout.readline())
        assert said <= cpu_seconds(child.pid) < said + 0.05
        child.communicate(b"\n")
