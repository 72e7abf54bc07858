"""Spoiled frames on every Modbus link: what is taken for a reply stood on the line whole, and as the reply.

No sockets: here it is the framing that is tried, with thousands of inputs; the drivers behind
sockets are tried in ``tests/contract/test_fuzz.py``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz.budget import INPUTS, budget
from support.fuzz.mutate import cut, mutated

from sources.insight import Traffic
from sources.modbus import codec
from sources.modbus.codec import DeviceException, MalformedReply, Request
from sources.modbus.exchange import Exchange, Failure
from sources.modbus.link import Link
from sources.modbus.mbap import MbapDatagrams, MbapStream
from sources.modbus.serialframe import Ascii, Framing, Rtu
from sources.modbus.serialline import SerialLink
from sources.modbus.tables import Table
from sources.quality import BAD_CONNECTION_CLOSED, Quality

UNIT: Final = 3
ROUNDS: Final = 12
PATIENCE: Final = 0.3


class Clock:
    """A loop that only tells the time; what it is to call is called when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, asyncio.get_running_loop())
        self.timers.append((when, handle))
        return handle

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args)

    def pass_by(self, seconds: float) -> None:
        """Let so much time pass, and ring what is due."""
        end = self.now + seconds
        while due := sorted((entry for entry in self.timers if entry[0] <= end), key=lambda entry: entry[0]):
            entry = due[0]
            self.timers.remove(entry)
            self.now = max(self.now, entry[0])
            if not entry[1].cancelled():
                entry[1]._run()
        self.now = end


class Wire:
    """A transport that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(bytes(data))

    sendto = write

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Nobody:
    """Who is told of a lost link."""

    def lost(self, reason: str, quality: Quality) -> None:
        del reason, quality


class Kept(Exchange):
    """An exchange that keeps what became of it."""

    __slots__ = ("error", "reply")

    def __init__(self, request: Request, frame: bytes) -> None:
        super().__init__(request, frame, Traffic())
        self.reply: bytes | None = None
        self.error: Failure | None = None

    def answered(self, reply: bytes) -> None:
        assert self.reply is None
        assert self.error is None
        self.reply = reply

    def failed(self, error: Failure) -> None:
        assert self.reply is None
        assert self.error is None
        self.error = error


class Line(Protocol):
    """One way to carry frames: how its link is made, and how a device answers on it."""

    def link(self) -> Link: ...

    def reply(self, sent: bytes, pdu: bytes) -> bytes:
        """The whole frame of a reply to what was sent."""
        ...

    def feed(self, link: Any, piece: bytes) -> None: ...


class Serial:
    """RTU or ASCII."""

    def __init__(self, framing: Framing) -> None:
        self.framing = framing

    def link(self) -> SerialLink:
        return SerialLink(Nobody(), self.framing, silence=0.004, character=0.001)

    def reply(self, sent: bytes, pdu: bytes) -> bytes:
        del sent
        return self.framing.wrap(UNIT, pdu)

    def feed(self, link: SerialLink, piece: bytes) -> None:
        link.data_received(piece)


class Mbap:
    """Transactions, in a stream or in datagrams."""

    def __init__(self, kind: type[MbapStream | MbapDatagrams]) -> None:
        self.kind = kind

    def link(self) -> Link:
        return self.kind(Nobody())

    def reply(self, sent: bytes, pdu: bytes) -> bytes:
        return sent[:2] + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((UNIT,)) + pdu

    def feed(self, link: Any, piece: bytes) -> None:
        if isinstance(link, MbapDatagrams):
            link.datagram_received(piece, None)
        else:
            link.data_received(piece)


LINES: Final[dict[str, Line]] = {
    "rtu": Serial(Rtu()),
    "ascii": Serial(Ascii()),
    "stream": Mbap(MbapStream),
    "datagrams": Mbap(MbapDatagrams),
}


def stood(line: Line, sent: bytes, pdu: bytes, came: bytes) -> bool:
    """Whether a reply of that PDU was among what came, whole and rightly framed."""
    frame = line.reply(sent, pdu)
    return frame in came or frame.lower() in came.lower()


async def converse(name: str, seed: int) -> None:
    """A conversation on one link, each reply of which may be spoiled, late, twice or never there."""
    line, rng = LINES[name], random.Random(seed)
    made, clock, wire = connected(line)
    earlier: list[bytes] = []
    came = b""
    for _ in range(ROUNDS):
        if not made.stands:
            assert made.in_flight == 0
            made, clock, wire = connected(line)
        came = came[-2000:]
        size = 2 * rng.choice((1, 2, 10, 125))
        request = codec.read(UNIT, Table.holding, rng.randrange(1000), size // 2)
        exchange = Kept(request, made.render(request))
        made.ask(exchange, PATIENCE)
        clock.pass_by(rng.choice((0.0, 0.0, PATIENCE / 2, 4 * PATIENCE)))
        sent = wire.sent[-1] if wire.sent else exchange.frame
        honest = line.reply(sent, bytes((3, size)) + rng.randbytes(size))
        earlier = [*earlier[-20:], honest]
        frame = honest if rng.random() < 0.4 else mutated(rng, honest, earlier)
        INPUTS[f"modbus, frames over {name}"] += 1
        for piece in [frame] if name == "datagrams" else cut(rng, frame):
            came += piece
            if made.stands:
                line.feed(made, piece)
        clock.pass_by(20 * PATIENCE)
        # One outcome it has, within its time: `Kept` sees to it that there is no second.
        assert (exchange.reply is None) is not (exchange.error is None)
        if exchange.reply is not None:
            assert stood(line, sent, exchange.reply, came), (exchange.reply, came)
            try:
                assert len(codec.check_read(request, exchange.reply, size)) == size
            except (MalformedReply, DeviceException):
                continue
    made.close("the end", BAD_CONNECTION_CLOSED)
    assert made.in_flight == 0


def connected(line: Line) -> tuple[Link, Clock, Wire]:
    """A link on a wire, with a clock of its own."""
    made, clock, wire = line.link(), Clock(), Wire()
    link: Any = made
    link._loop, link._time = clock, clock.time
    link.connection_made(wire)
    return made, clock, wire


@pytest.mark.parametrize("name", LINES)
def test_what_is_taken_for_a_reply_is_one(name: str) -> None:
    @budget(150, shrink=False)
    @given(st.integers(0, 2**63))
    def spoil(seed: int) -> None:
        asyncio.run(converse(name, seed))

    spoil()
