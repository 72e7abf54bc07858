"""Write: what reaches a device or a stored value, and what is refused for which reason."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from support.devices import OneName
from support.line import MACHINE, line
from support.nodes import ANYBODY, OPERATOR, access, point_key, request, session, variable

from server.opcua.services.datatypes import DataTypes
from server.opcua.services.write import Writing
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import Permission, RolePermissions
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue
from server.opcua.tokens import Identity
from server.opcua.types import AttributeIds, ServiceFault, StatusCodes, status_name
from server.opcua.wire import structs
from server.opcua.wire.nodeid import Key, key, numeric, to_ua
from server.opcua.wire.writer import int32, localized_text, qualified_name, string, variant, variant_array
from server.plant.commands import Commands
from server.plant.model import Role
from server.plant.values import ValueStore
from sources.batch import Batch
from sources.clock import now, to_datetime
from sources.quality import GOOD, Quality
from sources.tag import Tag, Value

T = ua.VariantType
EVERYBODY = RolePermissions({ANYBODY: Permission.Browse | Permission.Read | Permission.Write})
OPERATORS = RolePermissions(
    {ANYBODY: Permission.Browse | Permission.Read, OPERATOR: Permission.Browse | Permission.Write}
)


class Device(OneName):
    def __init__(self) -> None:
        self.held: dict[str, Value] = {}
        self.log: list[tuple[str, Value]] = []
        self.slow: set[Value] = set()
        self.go = asyncio.Event()

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        return Batch(tuple(tags), [self.held[tag.name] for tag in tags], GOOD, None, now())

    async def write(self, pairs: Sequence[tuple[Tag[Any], Any]]) -> list[Quality]:
        for tag, value in pairs:
            if value in self.slow:
                await self.go.wait()
            self.held[tag.name] = value
            self.log.append((tag.name.rpartition(".")[2], value))
        return [GOOD for _ in pairs]


class Bench:
    def __init__(self) -> None:
        self.space, self.store, self.device = Space(), ValueStore(line()), Device()
        for number in (*range(1, 26), 26, 29):
            self.space.add(Node(numeric(number), 64, qualified_name("T"), localized_text("T"), {}, EVERYBODY))
        for name, point in self.store.points.items():
            short = name.rpartition(".")[2]
            writable = point.property.type.write is not None
            attributes = {
                int(AttributeIds.DataType): variant(17, numeric(point.kind)),
                int(AttributeIds.AccessLevel): variant(3, b"\x43" if writable else b"\x01"),
            }
            self.space.add(
                variable(point_key(short), short, point, permissions=OPERATORS, attributes=attributes)
            )
        commands = Commands(self.store, {"PLC": self.device}, enabled=True, keep=self._keep)
        self.writing = Writing(self.space, commands, DataTypes(self.space))
        self.session = self.user(Role.Operator)

    async def _keep(self, key_: str, value: Value) -> None:
        pass

    def user(self, *roles: Role) -> Session:
        made = session(Role.Anonymous, *roles)
        made.identity = Identity("anna", frozenset({Role.Anonymous, *roles}))
        return made

    def add(
        self, name: str, value: bytes, data_type: int, rank: int = -1, level: int = 3, **more: Any
    ) -> Key:
        node = key(name, 4)
        attributes = {
            int(AttributeIds.DataType): variant(17, numeric(data_type)),
            int(AttributeIds.ValueRank): variant(6, int32(rank)),
            int(AttributeIds.AccessLevel): variant(3, bytes((level,))),
        }
        self.space.add(
            variable(node, name, StoredValue(value), permissions=EVERYBODY, attributes=attributes, **more)
        )
        return node

    async def write(self, *wanted: ua.WriteValue, whose: Session | None = None) -> list[str]:
        parameters = ua.WriteParameters(NodesToWrite=list(wanted))
        answer = await self.writing.write(whose or self.session, request(struct_to_binary(parameters)))
        data = b"".join(answer)
        count = int.from_bytes(data[:4], "little")
        return [status_name(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "little")) for i in range(count)]

    def held(self, node: Key) -> Any:
        found = self.space.nodes[node].value
        assert isinstance(found, StoredValue)
        return structs.decode_variant(found.variant).Value


def value(
    node: Key,
    content: Any,
    kind: ua.VariantType,
    *,
    index_range: str | None = None,
    attribute: int = 13,
    **more: Any,
) -> ua.WriteValue:
    data = ua.DataValue(cast("Any", ua.Variant)(content, kind), **more)
    return cast("ua.WriteValue", cast("Any", ua.WriteValue)(to_ua(node), attribute, index_range, data))


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_value_reaches_the_device_and_what_it_holds_is_told(bench: Bench) -> None:
    assert await bench.write(value(point_key("SpeedSP"), 500.0, T.Double)) == ["Good"]
    assert bench.device.log == [("SpeedSP", 500.0)]
    assert bench.store.points[f"{MACHINE}.SpeedSP"].value == 500.0


async def test_each_write_is_refused_for_its_own_reason(bench: Bench) -> None:
    speed_sp, speed = point_key("SpeedSP"), point_key("Speed")
    assert await bench.write(
        value(numeric(9, 9), 1.0, T.Double),
        value(speed, 1.0, T.Double),
        value(speed_sp, 1.0, T.Double, attribute=4),
        value(speed_sp, 1.0, T.Double, attribute=99),
        value(speed_sp, 1, T.Int32),
        value(speed_sp, [1.0], T.Double),
        value(speed_sp, 900.0, T.Double),
        value(speed_sp, 1.0, T.Double, index_range="0"),
        value(speed_sp, 1.0, T.Double, index_range="x"),
        value(speed_sp, 1.0, T.Double, StatusCode=ua.StatusCode(cast("Any", 0x40000000))),
        value(speed_sp, 1.0, T.Double, ServerTimestamp=cast("Any", datetime.now(UTC))),
        ua.WriteValue(to_ua(speed_sp), cast("Any", AttributeIds.Value), None, ua.DataValue()),
    ) == [
        "BadNodeIdUnknown",
        "BadNotWritable",
        "BadNotWritable",
        "BadAttributeIdInvalid",
        "BadTypeMismatch",
        "BadTypeMismatch",
        "BadOutOfRange",
        "BadWriteNotSupported",
        "BadIndexRangeInvalid",
        "BadWriteNotSupported",
        "BadWriteNotSupported",
        "BadTypeMismatch",
    ]
    assert bench.device.log == []


async def test_a_byte_string_is_an_array_of_bytes(bench: Bench) -> None:
    node = bench.add("Bytes", variant_array(3, [b"\1", b"\2", b"\3"]), 3, rank=1)
    assert await bench.write(value(node, b"\4\5\6", T.ByteString)) == ["Good"]
    assert bench.held(node) == [4, 5, 6]
    assert await bench.write(value(node, b"\7", T.ByteString, index_range="1")) == ["Good"]
    assert bench.held(node) == [4, 7, 6]
    words = bench.add("Words", variant_array(5, [b"\1\0"]), 5, rank=1)
    assert await bench.write(value(words, b"\1\2", T.ByteString)) == ["BadTypeMismatch"]
    one = bench.add("Byte", variant(3, b"\1"), 3)
    assert await bench.write(value(one, b"\1", T.ByteString)) == ["BadTypeMismatch"]


async def test_who_lacks_the_role_is_refused_and_the_audit_tells(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    observer = bench.user(Role.Observer)
    with caplog.at_level(logging.INFO, "isthmus.audit"):
        assert await bench.write(value(point_key("SpeedSP"), 1.0, T.Double), whose=observer) == [
            "BadUserAccessDenied"
        ]
    assert observer.unauthorized == 1
    (line_,) = [record for record in caplog.records if record.name == "isthmus.audit"]
    assert "SpeedSP by anna" in line_.getMessage()
    assert "BadUserAccessDenied" in line_.getMessage()
    assert bench.device.log == []


async def test_what_never_reaches_a_device_is_audited_too(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "isthmus.audit"):
        await bench.write(value(point_key("Speed"), 1.0, T.Double), value(numeric(9, 9), 1.0, T.Double))
    told = [record.getMessage() for record in caplog.records if record.name == "isthmus.audit"]
    assert "Speed by anna" in told[0]
    assert "BadNotWritable" in told[0]
    assert "ns=9;i=9 by anna: BadNodeIdUnknown" in told[1]


async def test_the_source_timestamp_of_a_client_is_taken(bench: Bench) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    wanted = value(point_key("SpeedSP"), 7.0, T.Double, SourceTimestamp=cast("Any", moment))
    assert await bench.write(wanted) == ["Good"]
    assert to_datetime(bench.store.points[f"{MACHINE}.SpeedSP"].source_time) == moment


# Ranges, types and ranks of stored values


async def test_a_range_of_an_array_is_written_and_the_rest_stays(bench: Bench) -> None:
    node = bench.add("Array", variant_array(6, [int32(n) for n in (1, 2, 3, 4)]), 6, rank=1)
    assert await bench.write(value(node, [8, 9], T.Int32, index_range="1:2")) == ["Good"]
    assert bench.held(node) == [1, 8, 9, 4]


async def test_a_range_of_a_matrix_is_written(bench: Bench) -> None:
    make = cast("Any", ua.Variant)
    whole = structs.encode_variant(make([[1, 2], [3, 4]], T.Int32, [2, 2], True))
    node = bench.add("Matrix", whole, 6, rank=2)
    wanted = value(node, 0, T.Int32, index_range="0:1,1")
    wanted.Value.Value = make([[8], [9]], T.Int32, [2, 1], True)
    assert await bench.write(wanted) == ["Good"]
    assert bench.held(node) == [[1, 8], [3, 9]]


async def test_a_part_of_a_text_is_written(bench: Bench) -> None:
    node = bench.add("Text", variant(12, string("Orange")), 12)
    assert await bench.write(value(node, "o", T.String, index_range="0")) == ["Good"]
    assert bench.held(node) == "orange"


@pytest.mark.parametrize(
    ("content", "kind", "index_range", "code"),
    [
        ([8, 9], T.Int32, "3:4", "BadIndexRangeNoData"),
        ([8], T.Int32, "1:2", "BadIndexRangeDataMismatch"),
        (8, T.Int32, "1", "BadIndexRangeDataMismatch"),
        ([8.0], T.Double, "1", "BadTypeMismatch"),
        ([8], T.Int32, "0,0", "BadIndexRangeNoData"),
        ([8], T.Int32, "2:1", "BadIndexRangeInvalid"),
    ],
)
async def test_a_range_that_does_not_fit_changes_nothing(
    bench: Bench, content: Any, kind: ua.VariantType, index_range: str, code: str
) -> None:
    node = bench.add("Array", variant_array(6, [int32(n) for n in (1, 2, 3, 4)]), 6, rank=1)
    assert await bench.write(value(node, content, kind, index_range=index_range)) == [code]
    assert bench.held(node) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("data_type", "rank", "content", "kind", "code"),
    [
        (6, -1, 5, T.Int32, "Good"),
        (6, -1, [5], T.Int32, "BadTypeMismatch"),
        (6, 1, [5], T.Int32, "Good"),
        (6, 1, 5, T.Int32, "BadTypeMismatch"),
        (6, -2, [5], T.Int32, "Good"),
        (6, -3, 5, T.Int32, "Good"),
        (6, 0, 5, T.Int32, "BadTypeMismatch"),
        (26, -1, 5.0, T.Float, "Good"),
        (26, -1, "5", T.String, "BadTypeMismatch"),
        (24, -2, "5", T.String, "Good"),
        (29, -1, 5, T.Int32, "Good"),
        (29, -1, 5, T.Int64, "BadTypeMismatch"),
    ],
)
async def test_types_and_ranks_are_checked(
    bench: Bench, data_type: int, rank: int, content: Any, kind: ua.VariantType, code: str
) -> None:
    node = bench.add("V", variant(6, int32(1)), data_type, rank=rank)
    assert await bench.write(value(node, content, kind)) == [code]


@pytest.mark.parametrize(("level", "code"), [(0x03, "BadWriteNotSupported"), (0x23, "Good")])
async def test_the_status_is_written_where_the_access_level_says_so(
    bench: Bench, level: int, code: str
) -> None:
    node = bench.add("V", variant(6, int32(1)), 6, level=level)
    uncertain = ua.StatusCode(cast("Any", 0x40000000))
    assert await bench.write(value(node, 2, T.Int32, StatusCode=uncertain)) == [code]


@pytest.mark.parametrize(("level", "code"), [(0x03, "BadWriteNotSupported"), (0x43, "Good")])
async def test_the_time_is_written_where_the_access_level_says_so(
    bench: Bench, level: int, code: str
) -> None:
    node = bench.add("V", variant(6, int32(1)), 6, level=level)
    moment = cast("Any", datetime(2026, 1, 1, tzinfo=UTC))
    assert await bench.write(value(node, 2, T.Int32, SourceTimestamp=moment)) == [code]


async def test_what_only_an_encrypted_channel_may_change(bench: Bench) -> None:
    node = bench.add("V", variant(6, int32(1)), 6, restrictions=2)
    signed = bench.user(Role.Operator)
    signed.access = access(Role.Anonymous, encrypted=False)
    assert await bench.write(value(node, 2, T.Int32), whose=signed) == ["BadSecurityModeInsufficient"]


# Order


async def test_writes_of_a_session_to_one_device_keep_their_order(bench: Bench) -> None:
    bench.device.slow = {1.0}
    first = asyncio.create_task(
        bench.write(value(point_key("SpeedSP"), 1.0, T.Double), value(point_key("Level"), 2.0, T.Double))
    )
    await asyncio.sleep(0)
    second = asyncio.create_task(bench.write(value(point_key("Level"), 3.0, T.Double)))
    await asyncio.sleep(0.01)
    assert bench.device.log == []
    bench.device.go.set()
    await asyncio.gather(first, second)
    assert [name for name, _ in bench.device.log] == ["SpeedSP", "Level", "Level"]
    assert bench.device.log[1][1] != bench.device.log[2][1]


async def test_a_constant_does_not_wait_for_a_device(bench: Bench) -> None:
    bench.device.slow = {1.0}
    slow = asyncio.create_task(bench.write(value(point_key("SpeedSP"), 1.0, T.Double)))
    await asyncio.sleep(0)
    node = bench.add("V", variant(6, int32(1)), 6)
    assert await asyncio.wait_for(bench.write(value(node, 2, T.Int32)), 1) == ["Good"]
    bench.device.go.set()
    await slow


async def test_a_write_nobody_waits_for_any_more_moves_nothing(bench: Bench) -> None:
    parameters = ua.WriteParameters(NodesToWrite=[value(point_key("SpeedSP"), 1.0, T.Double)])
    late = request(struct_to_binary(parameters))
    late.deadline = 0.0
    with pytest.raises(ServiceFault) as refused:
        await bench.writing.write(bench.session, late)
    assert refused.value.code == StatusCodes.BadTimeout
    assert bench.device.log == []


@pytest.mark.parametrize("lost", ["session", "role", "user"])
async def test_a_write_that_waits_for_its_turn_is_not_made_once_its_user_may_not(
    bench: Bench, lost: str
) -> None:
    bench.device.slow = {1.0}
    other = bench.user(Role.Operator)
    first = asyncio.create_task(bench.write(value(point_key("SpeedSP"), 1.0, T.Double), whose=other))
    await asyncio.sleep(0)
    second = asyncio.create_task(bench.write(value(point_key("SpeedSP"), 2.0, T.Double)))
    for _ in range(20):
        await asyncio.sleep(0)
    if lost == "session":
        bench.session.closed = True
    else:
        bench.session.access = access(Role.Observer) if lost == "role" else None
    bench.device.go.set()
    assert await first == ["Good"]
    assert await second == ["BadTimeout"]
    assert bench.device.log == [("SpeedSP", 1.0)]


async def test_what_is_left_of_a_request_is_not_written_once_its_session_has_ended(bench: Bench) -> None:
    """Its user may be gone, or its certificate no longer trusted."""
    bench.device.slow = {1.0}
    writing = asyncio.create_task(
        bench.write(value(point_key("SpeedSP"), 1.0, T.Double), value(point_key("Level"), 2.0, T.Double))
    )
    await asyncio.sleep(0.01)
    bench.session.end()
    bench.device.go.set()
    assert await writing == ["Good", "BadSessionClosed"]
    assert [name for name, _ in bench.device.log] == ["SpeedSP"]


def test_types_in_a_ring_are_looked_at_once(bench: Bench) -> None:
    """A downstream server may give any types."""
    space = bench.space
    for number, name in ((38, "HasEncoding"), (45, "HasSubtype")):
        space.add(Node(numeric(number), 32, qualified_name(name), localized_text(name), {}, EVERYBODY))
    made = {}
    for name in ("Wanted", "One", "Two", "Encoding"):
        made[name] = Node(key(name, 4), 64, qualified_name(name), localized_text(name), {}, EVERYBODY)
        space.add(made[name])
    encoding, subtype = space.number(38), space.number(45)
    space.link(space.number(22), subtype, made["Wanted"])
    space.link(made["One"], subtype, made["Two"])
    space.link(made["Two"], subtype, made["One"])
    space.link(made["One"], encoding, made["Encoding"])
    given = ua.Variant(cast("Any", ua.ExtensionObject)(to_ua(key("Encoding", 4)), b""), T.ExtensionObject)
    assert not DataTypes(space).accepts(key("Wanted", 4), given)


async def test_a_node_id_of_any_length_is_a_line_of_the_audit_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "isthmus.audit"):
        assert await bench.write(value(key("x" * 1_000_000, 4), 1.0, T.Double)) == ["BadNodeIdUnknown"]
    (line_,) = [record for record in caplog.records if record.name == "isthmus.audit"]
    assert len(line_.getMessage()) + len(vars(line_)["node"]) < 1000


@pytest.mark.parametrize(("count", "code"), [(0, "BadNothingToDo"), (1001, "BadTooManyOperations")])
async def test_nothing_and_too_much_are_refused(bench: Bench, count: int, code: str) -> None:
    with pytest.raises(ServiceFault) as refused:
        await bench.write(*[value(numeric(9, 9), 1.0, T.Double)] * count)
    assert refused.value.code == getattr(StatusCodes, code)
