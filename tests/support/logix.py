"""Simulated Logix controllers for tests: specs, a server in this process, a client that speaks in bytes."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import JsonValue

from sources.simulators.logix.controller import LogixController
from sources.simulators.logix.derive import spec_from_paths
from sources.simulators.logix.spec import LogixSpec, MemberSpec, TagAddress, TagPoint, TagSpec, TypeSpec

PACKER = "Acme/Lyon/Packaging/Line1/Packer"

INTEGERS = {
    "SINT": (-(2**7), 2**7 - 1),
    "INT": (-(2**15), 2**15 - 1),
    "DINT": (-(2**31), 2**31 - 1),
    "LINT": (-(2**63), 2**63 - 1),
    "USINT": (0, 2**8 - 1),
    "UINT": (0, 2**16 - 1),
    "UDINT": (0, 2**32 - 1),
    "ULINT": (0, 2**64 - 1),
}
MANY = 250


def everything(**more: Any) -> LogixSpec:
    """A controller with every type, arrays, nested structures, access rights, and a program."""
    inner = _type("Inner", A="DINT", On="BOOL", Off="BOOL", Label="STRING")
    outer = _type(
        "Outer",
        Flag="BOOL",
        Total="LINT",
        One="Inner",
        Several="Inner[3]",
        Delay="TIMER",
        Bits="BOOL[40]",
        Rates="REAL[5]",
        Code="STRING(12)",
    )
    tags = [
        *(TagSpec(name=f"A_{kind}", type=kind) for kind in (*INTEGERS, "BOOL", "REAL", "LREAL", "STRING")),
        TagSpec(name="Dints", type="DINT[1100]"),
        TagSpec(name="Reals", type="REAL[300]"),
        TagSpec(name="Grid", type="INT[2,3,4]"),
        TagSpec(name="Flags", type="BOOL[64]"),
        TagSpec(name="Texts", type="STRING[20]"),
        TagSpec(name="Short", type="STRING(20)"),
        TagSpec(name="Cycle", type="TIMER"),
        TagSpec(name="Boxes", type="COUNTER"),
        TagSpec(name="Unit", type="Outer"),
        TagSpec(name="Units", type="Outer[12]"),
        TagSpec(name="Shown", type="DINT", access="read only"),
        TagSpec(name="Secret", type="DINT", access="none"),
        TagSpec(name="Pi", type="REAL", constant=True),
        *(TagSpec(name=f"Many{index:03}", type="DINT") for index in range(MANY)),
        TagSpec(name="Speed", type="REAL", program="Packer"),
        TagSpec(name="Unit", type="Outer", program="Packer"),
        TagSpec(name="Count", type="UDINT", program="Palletizer"),
    ]
    values: dict[str, JsonValue] = {
        "Shown": 7,
        "Dints": list(range(1100)),
        "Grid[1,2,3]": 123,
        "Texts[3]": "third",
        "Pi": 3.0,
    }
    values |= {f"Many{index:03}": index * 3 for index in range(MANY)}
    return LogixSpec(name="Everything", types=(inner, outer), tags=tuple(tags), values=values, **more)


def _type(name: str, **members: str) -> TypeSpec:
    return TypeSpec(name=name, members=tuple(MemberSpec(name=n, type=t) for n, t in members.items()))


def packer_point(name: str, tag: str, of: str, **more: Any) -> TagPoint:
    """A moving point of the packer, in its program."""
    address = TagAddress(tag=f"Program:Packer.{tag}", type=of)
    return TagPoint(machine=PACKER, name=name, address=address, **more)


def packer(**more: Any) -> LogixSpec:
    """The packer of the demo's line, with PackML tags, made from its points alone."""
    points = (
        packer_point("State", "PML.Status.StateCurrent", "DINT", members=tuple(range(1, 18))),
        packer_point("Mode", "PML.Status.UnitModeCurrent", "DINT", members=(1, 2, 3), writable=True),
        packer_point("Speed", "PML.Status.CurMachSpeed", "REAL", low=0, high=120),
        packer_point("SpeedSP", "PML.Command.MachSpeed", "REAL", low=0, high=120, writable=True),
        packer_point("InCount", "PML.Admin.ProdConsumedCount[0].Count", "DINT", kind="counter"),
        packer_point("GoodCount", "PML.Admin.ProdProcessedCount[0].Count", "DINT", kind="counter"),
        packer_point("RejectCount", "PML.Admin.ProdDefectiveCount[0].Count", "DINT", kind="counter"),
        packer_point("CaseSize", "CaseSize", "INT", low=6, high=24, writable=True),
        packer_point("GlueTemp", "GlueTemp", "REAL", low=120, high=180),
        packer_point("Recipe", "Recipe", "STRING", writable=True),
        packer_point("DoorClosed", "Safety.3", "BOOL"),
    )
    return spec_from_paths("PackerPLC", [], points=points, **more)


@dataclass(frozen=True, slots=True)
class Serving:
    """A controller that listens, in this process."""

    controller: LogixController
    port: int

    @property
    def address(self) -> str:
        """As pycomm3 takes it."""
        return f"127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serving(spec: LogixSpec | None = None) -> AsyncIterator[Serving]:
    """A controller of ``spec``, `everything` by default, that serves while inside."""
    controller = LogixController(spec or everything())
    async with controller.listening() as (_, port):
        yield Serving(controller, port)


class Reply(NamedTuple):
    """A CIP reply taken apart."""

    service: int
    status: int
    extended: tuple[int, ...]
    data: bytes


class Encapsulated(NamedTuple):
    """An encapsulation reply taken apart."""

    command: int
    session: int
    status: int
    context: bytes
    data: bytes


class RawClient:
    """Says exactly what it is told. Every wait has an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.session = 0
        self.connection = 0
        self.sequence = 0

    def frame(
        self, command: int, data: bytes = b"", *, session: int | None = None, options: int = 0
    ) -> bytes:
        handle = self.session if session is None else session
        return struct.pack("<HHII8sI", command, len(data), handle, 0, b"contexts", options) + data

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def receive(self) -> Encapsulated:
        async with asyncio.timeout(20):
            header = await self.reader.readexactly(24)
            command, length, session, status, context, options = struct.unpack("<HHII8sI", header)
            assert options == 0
            return Encapsulated(command, session, status, context, await self.reader.readexactly(length))

    async def ask(self, command: int, data: bytes = b"", **more: Any) -> Encapsulated:
        await self.send(self.frame(command, data, **more))
        reply = await self.receive()
        assert (reply.command, reply.context) == (command, b"contexts")
        return reply

    async def closed(self) -> bytes:
        """What still comes until the other side closes."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def register(self) -> None:
        reply = await self.ask(0x65, struct.pack("<HH", 1, 0))
        assert reply.status == 0
        assert reply.session != 0
        self.session = reply.session

    async def unconnected(self, message: bytes) -> Reply:
        """A request by SendRRData."""
        packet = struct.pack("<IHHHHHH", 0, 10, 2, 0, 0, 0xB2, len(message)) + message
        reply = await self.ask(0x6F, packet)
        assert reply.status == 0, reply
        interface, timeout, count, kind, length, data_kind, size = struct.unpack_from("<IHHHHHH", reply.data)
        assert (interface, timeout, count, kind, length, data_kind) == (0, 0, 2, 0, 0, 0xB2)
        assert size == len(reply.data) - 16
        return parse_reply(reply.data[16:])

    async def open(self, size: int = 4000, **more: Any) -> Reply:
        """A Forward Open, a large one where the size asks for it."""
        reply = await self.unconnected(forward_open(size, **more))
        if reply.status == 0:
            (self.connection,) = struct.unpack_from("<I", reply.data)
        return reply

    async def connected(self, message: bytes, *, sequence: int | None = None) -> Reply:
        """A request by SendUnitData, with the next sequence number."""
        return parse_reply(await self.connected_bytes(message, sequence=sequence))

    async def connected_bytes(self, message: bytes, *, sequence: int | None = None) -> bytes:
        await self.send(self.unit_data(message, sequence=sequence))
        reply = await self.receive()
        assert (reply.command, reply.status) == (0x70, 0), reply
        kind, length, _, data_kind, size, back = struct.unpack_from("<HHIHHH", reply.data, 8)
        assert (kind, length, data_kind, back) == (0xA1, 4, 0xB1, self.sequence)
        assert size == len(reply.data) - 20
        return reply.data[22:]

    def unit_data(self, message: bytes, *, sequence: int | None = None) -> bytes:
        self.sequence = self.sequence + 1 if sequence is None else sequence
        packet = struct.pack(
            "<IHHHHIHHH", 0, 10, 2, 0xA1, 4, self.connection, 0xB1, len(message) + 2, self.sequence
        )
        return self.frame(0x70, packet + message)


@contextlib.asynccontextmanager
async def raw_client(port: int) -> AsyncIterator[RawClient]:
    """A raw client with a session registered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        client = RawClient(reader, writer)
        await client.register()
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def parse_reply(raw: bytes) -> Reply:
    """Take a CIP reply apart."""
    service, reserved, status, words = struct.unpack_from("<BBBB", raw)
    assert reserved == 0
    assert service & 0x80
    extended = struct.unpack_from(f"<{words}H", raw, 4)
    return Reply(service & 0x7F, status, extended, raw[4 + 2 * words :])


def path(text: str) -> bytes:
    """The EPATH of a tag path, with its length in words."""
    head, _, rest = text.partition(".") if text.startswith("Program:") else ("", "", text)
    segments = _symbol(head) if head else b""
    for part in rest.split("."):
        name, _, indices = part.partition("[")
        segments += _symbol(name)
        for index in filter(None, indices.rstrip("]").split(",")):
            segments += _logical(0x28, int(index))
    return bytes((len(segments) // 2,)) + segments


def instance(class_id: int, number: int, *indices: int) -> bytes:
    """The EPATH of a class and an instance, with its length in words."""
    segments = _logical(0x20, class_id) + _logical(0x24, number)
    segments += b"".join(_logical(0x28, index) for index in indices)
    return bytes((len(segments) // 2,)) + segments


def _symbol(name: str) -> bytes:
    raw = name.encode()
    return bytes((0x91, len(raw))) + raw + bytes(len(raw) % 2)


def _logical(kind: int, value: int) -> bytes:
    if value < 0x100:
        return bytes((kind, value))
    if value < 0x10000:
        return struct.pack("<BxH", kind + 1, value)
    return struct.pack("<BxI", kind + 2, value)


def forward_open(
    size: int,
    *,
    serial: int = 1,
    transport: int = 0xA3,
    route: bytes = b"\x01\x00\x20\x02\x24\x01",
    interval: int = 2_000_000,
    multiplier: int = 3,
) -> bytes:
    """A Forward Open of class 3 to the message router."""
    large = size > 511
    parameters = struct.pack("<I", 0x42000000 | size) if large else struct.pack("<H", 0x4200 | size)
    return b"".join(
        (
            bytes((0x5B if large else 0x54,)),
            instance(6, 1),
            struct.pack("<BBIIHHIB3x", 10, 5, 0, 0x11223344, serial, 0x1337, 42, multiplier),
            struct.pack("<I", interval),
            parameters,
            struct.pack("<I", interval),
            parameters,
            bytes((transport, len(route) // 2)),
            route,
        )
    )


def forward_close(serial: int = 1) -> bytes:
    """A Forward Close of what `forward_open` opened."""
    route = b"\x01\x00\x20\x02\x24\x01"
    return b"\x4e" + instance(6, 1) + struct.pack("<BBHHIBB", 10, 5, serial, 0x1337, 42, 3, 0) + route


def multiple(*messages: bytes) -> bytes:
    """A Multiple Service Packet."""
    offset = 2 + 2 * len(messages)
    offsets = []
    for message in messages:
        offsets.append(offset)
        offset += len(message)
    head = struct.pack(f"<{1 + len(messages)}H", len(messages), *offsets)
    return b"\x0a" + instance(2, 1) + head + b"".join(messages)


def replies(data: bytes) -> list[Reply]:
    """The replies within a Multiple Service Packet's."""
    (count,) = struct.unpack_from("<H", data)
    offsets = struct.unpack_from(f"<{count}H", data, 2)
    ends = (*offsets[1:], len(data))
    return [parse_reply(data[start:end]) for start, end in zip(offsets, ends, strict=True)]


def read(where: bytes, count: int = 1) -> bytes:
    """A Read Tag request."""
    return b"\x4c" + where + struct.pack("<H", count)


def write(where: bytes, kind: int, count: int, value: bytes) -> bytes:
    """A Write Tag request of an atomic type."""
    return b"\x4d" + where + struct.pack("<HH", kind, count) + value
