"""A client that polls a server with prebuilt Read requests and says what they cost it.

Run as ``python -m bench.reader URL PID VARIABLES`` against a server that runs as process
PID. Each line on its standard input is a `Task` as JSON, answered by ``result`` and a
`Result` as JSON. Requests come at an even pace, one or `Task.together` under way. Responses are counted
by their head and size; the first, and one after each round, are decoded and must hold what
was asked for, so that it is known that real values came.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import asyncua.ua

from bench.accounting import cpu_seconds
from bench.client import Connection
from bench.plant import PLANT_URI
from bench.poller import Nodes, NotWhatWasAskedFor, Poller, check

# Its annotations do not say what its own callers pass.
ua: Any = asyncua.ua

LOAD: Final = 0.45
"""The share of a core that the requests of a task are meant to take."""
MOST: Final = 0.70
"""The share that no server passes while it is measured: what it does without requests counts too."""

_PICOSECONDS: Final = 4
"""Bytes a value may have more or less: node-opcua gives its times with or without them."""
_RATE_DOWN: Final = 0.6
_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Task:
    """What to ask for, how often and how long.

    ``lists``: "one" again and again, "ten" that hold every variable once between them,
    a "hundred" in rotation, or "fresh": another with every request. Each is a random
    selection in random order, or, ``in_order``, one machine's variables after the other's.
    """

    batch: int
    lists: str
    in_order: bool = False
    times: str = "both"
    registered: bool = False
    together: int = 1
    """Requests that are sent in one go, before their responses are awaited."""
    most_per_s: float = 1e9
    rounds: int = 3
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a task came to; a ratio of CPU is of one core."""

    us_per_request: float
    """The server's CPU; the median of the rounds."""
    requests: int
    per_s: float
    cpu: float
    idle_cpu: float
    response_bytes: int
    changed: float
    """The share of the values of one list that another round found changed."""


class Polling:
    """One task on one session."""

    def __init__(self, poller: Poller, nodes: Nodes, task: Task, pid: int) -> None:
        self._poller, self._nodes, self._task, self._pid = poller, nodes, task, pid
        self._times = {"source": 0, "both": 2}[task.times]
        self._requests = self._source()
        self._size = 0
        self._seen: list[float] = []
        self._changed: set[int] = set()

    def run(self) -> Result:
        """Find a rate, then measure rounds of requests and of none."""
        control = self._request(self._list())
        self._seen = self._look(control)
        self._size = self._poller.ask([next(self._requests)], self._task.batch)
        rounds = self._rounds(self._rate(), control)
        rounds.sort(key=lambda one: one.us_per_request)
        return dataclasses.replace(
            rounds[len(rounds) // 2],
            requests=sum(one.requests for one in rounds),
            changed=len(self._changed) / self._task.batch,
        )

    def _rounds(self, per_s: float, control: bytearray) -> list[Result]:
        """All rounds, anew at a lower rate as long as the server is too busy in one."""
        for _ in range(_TRIES):
            rounds = []
            for _ in range(self._task.rounds):
                rounds.append(self._round(per_s))
                before, self._seen = self._seen, self._look(control)
                pairs = enumerate(zip(before, self._seen, strict=True))
                self._changed.update(index for index, (old, new) in pairs if old != new)
            if all(one.cpu <= MOST for one in rounds):
                return rounds
            per_s *= _RATE_DOWN
        raise NotWhatWasAskedFor(f"more than {MOST:.0%} of a core goes even at {per_s:.1f} requests a second")

    def _round(self, per_s: float) -> Result:
        """Requests for a while, then none for as long: the difference is theirs."""
        task = self._task
        count = max(1, int(task.seconds * per_s))
        requests = list(itertools.islice(self._requests, count))
        idle_cpu, _ = self._spent(lambda: time.sleep(task.seconds))
        cpu, wall = self._spent(lambda: self._paced(requests))
        return Result(
            us_per_request=(cpu - idle_cpu) * wall / count * 1e6,
            requests=count,
            per_s=count / wall,
            cpu=cpu,
            idle_cpu=idle_cpu,
            response_bytes=self._size,
            changed=0.0,
        )

    def _paced(self, requests: list[bytearray]) -> None:
        seconds, batch, together = self._task.seconds, self._task.batch, self._task.together
        ask = self._poller.ask
        begin = time.monotonic()
        for index in range(0, len(requests), together):
            wait = begin + seconds * index / len(requests) - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            size = ask(requests[index : index + together], batch)
            if abs(size - self._size) > _PICOSECONDS * batch:
                raise NotWhatWasAskedFor(f"a response of {size} bytes, where the first had {self._size}")
        time.sleep(max(0.0, begin + seconds - time.monotonic()))

    def _rate(self) -> float:
        """Requests a second that make the server busy, not too busy."""
        done, together = 0, self._task.together

        def hurry() -> None:
            nonlocal done
            end = time.monotonic() + self._task.seconds
            while time.monotonic() < end:
                self._poller.ask(list(itertools.islice(self._requests, together)), self._task.batch)
                done += together

        share, wall = self._spent(hurry)
        return max(min(LOAD * done / (share * wall), self._task.most_per_s), 1 / self._task.seconds)

    def _spent(self, work: Callable[[], None]) -> tuple[float, float]:
        """The server's CPU while that is done, as a share of the time it took; and that time."""
        before, begin = cpu_seconds(self._pid), time.monotonic()
        work()
        used, wall = cpu_seconds(self._pid) - before, time.monotonic() - begin
        return used / wall, wall

    def _source(self) -> Iterator[bytearray]:
        task = self._task
        if task.lists == "fresh":
            return (self._request(self._list()) for _ in itertools.count())
        lists = {
            "one": lambda: [self._list()],
            "ten": lambda: self._nodes.parts(task.batch)[:10],
            "hundred": lambda: [self._list() for _ in range(100)],
        }[task.lists]()
        return itertools.cycle([self._request(nodes) for nodes in lists])

    def _list(self) -> list[bytes]:
        nodes = self._nodes.some(self._task.batch, in_order=self._task.in_order)
        return self._poller.register(nodes) if self._task.registered else nodes

    def _request(self, nodes: list[bytes]) -> bytearray:
        return self._poller.read_request(nodes, self._times)

    def _look(self, request: bytearray) -> list[float]:
        """The values it gives; raises NotWhatWasAskedFor when they are not real."""
        self._poller.ask([request], self._task.batch)
        results = self._poller.results()
        check(results, self._task.times)
        return [result.Value.Value for result in results]


async def _connect(url: str, variables: int) -> tuple[Poller, Nodes]:
    connection = await Connection.open(url)
    request = ua.ReadRequest()
    request.Parameters.NodesToRead = [
        ua.ReadValueId(
            NodeId=ua.NodeId(ua.ObjectIds.Server_NamespaceArray), AttributeId=ua.AttributeIds.Value
        )
    ]
    answer = await connection.call(request, ua.ReadResponse)
    nodes = Nodes(variables, answer.Results[0].Value.Value.index(PLANT_URI))
    return Poller(*connection.detach(), connection.session), nodes


def run(url: str, pid: int, variables: int, task: Task) -> Result:
    """One task, on a session of its own."""
    poller, nodes = asyncio.run(_connect(url, variables))
    try:
        return Polling(poller, nodes, task, pid).run()
    finally:
        poller.close()


def _main(url: str, pid: int, variables: int) -> None:
    for line in sys.stdin:
        result = run(url, pid, variables, Task(**json.loads(line)))
        print("result", json.dumps(dataclasses.asdict(result)), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
