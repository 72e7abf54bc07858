"""Values within values: decoded to a depth nobody needs, refused beyond, and never for long."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable

import pytest
from asyncua import ua
from support.attack import Flood, unharmed
from support.prober import probing
from support.rawclient import RawClient, message, raw
from support.victim import MIB, Victim

from server.opcua.transport.limits import LIMITS
from server.opcua.types import ObjectIds, StatusCodes

OPERATOR = ("operator", "line-one-runs")
REFUSED = {
    StatusCodes.BadDecodingError,
    StatusCodes.BadEncodingLimitsExceeded,
    StatusCodes.BadEventFilterInvalid,
}
_EVENT_FILTER = ObjectIds.EventFilter_Encoding_DefaultBinary
_LITERAL = ObjectIds.LiteralOperand_Encoding_DefaultBinary


NO_SIGNATURE = struct.pack("<iiii", -1, -1, -1, -1)
"""What stands before the UserIdentityToken: no signature, no certificates, no locales."""


def extension(number: int, body: bytes) -> bytes:
    return b"\x01\x00" + struct.pack("<HBi", number, 1, len(body)) + body


def variants(depth: int) -> bytes:
    """An array of one Variant, which holds an array of one Variant, and so on."""
    return b"\x98\x01\0\0\0" * depth + b"\x01\x01"


def data_values(depth: int) -> bytes:
    return b"\x17\x01" * depth + b"\x01\x01"


def diagnostics(depth: int) -> bytes:
    """A DiagnosticInfo with an InnerDiagnosticInfo, and so on."""
    return b"\x19" + b"\x40" * depth + b"\x00"


def structures(depth: int) -> bytes:
    """A structure that holds a Variant, which holds such a structure, and so on."""
    inner = b"\x01\x01"
    for _ in range(depth):
        inner = b"\x16" + extension(_LITERAL, inner)
    return inner


def matrices(depth: int) -> bytes:
    """One element, in as many dimensions."""
    return b"\xc1\x01\0\0\0\x01" + struct.pack(f"<i{depth}i", depth, *[1] * depth)


NESTED: list[Callable[[int], bytes]] = [variants, data_values, diagnostics, structures]


def written(value: bytes) -> bytes:
    """The parameters of a Write of that Variant."""
    return struct.pack("<i", 1) + b"\0\x01" + struct.pack("<Ii", 13, -1) + b"\x01" + value


def called(value: bytes) -> bytes:
    """The parameters of a Call with that input argument."""
    return struct.pack("<i", 1) + b"\x00\x01\x00\x02" + struct.pack("<i", 1) + value


def monitored(value: bytes, subscription: int = 1) -> bytes:
    """The parameters of a CreateMonitoredItems whose event filter has that operand."""
    operand = extension(_LITERAL, value)
    where = struct.pack("<iIi", 1, 0, 1) + operand
    filtered = extension(_EVENT_FILTER, struct.pack("<i", 0) + where)
    item = (
        b"\x01\0\xcd\x08"
        + struct.pack("<Ii", 12, -1)
        + b"\0\0"
        + struct.pack("<i", -1)
        + struct.pack("<I", 2)
    )
    return (
        struct.pack("<IIi", subscription, 3, 1) + item + struct.pack("<Id", 1, 0.0) + filtered + b"\1\0\0\0\1"
    )


@pytest.fixture
async def session(strict: Victim) -> AsyncIterator[RawClient]:
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.ready(OPERATOR)
        yield client


@pytest.mark.parametrize("nested", NESTED)
@pytest.mark.parametrize("depth", [150, 1_000, 4_000, 100_000])
async def test_what_is_nested_too_deeply_is_refused(
    strict: Victim, session: RawClient, nested: Callable[[int], bytes], depth: int
) -> None:
    """In the value of a Write, in an argument of a Call, in the filter of a monitored item."""
    if nested is structures:
        depth = min(depth, 4_000)  # it is built from the inside
    before, began = strict.memory, strict.cpu
    made = (await session.call("CreateSubscription", ua.CreateSubscriptionParameters())).of(
        ua.CreateSubscriptionResult
    )
    value = nested(depth)
    for service, body in (("Write", written), ("Call", called)):
        assert (await session.call(service, body(value))).fault in REFUSED, service
    answer = await session.call("CreateMonitoredItems", monitored(value, made.SubscriptionId))
    # The item may be refused alone, for its filter is decoded by itself.
    code = answer.code or struct.unpack_from("<I", answer.body, 4)[0]
    assert code in REFUSED, hex(code)
    assert strict.memory - before < 30 * MIB
    assert strict.cpu - began < 2


@pytest.mark.parametrize("nested", NESTED)
async def test_what_is_nested_within_reason_is_understood(
    session: RawClient, nested: Callable[[int], bytes]
) -> None:
    """Ten levels: the value is not written, but for its type."""
    for service, body in (("Write", written), ("Call", called)):
        answer = await session.call(service, body(nested(10)))
        assert answer.code == 0, service


@pytest.mark.parametrize("nested", NESTED)
async def test_a_user_token_is_not_decoded_to_any_depth(
    lenient: Victim, nested: Callable[[int], bytes]
) -> None:
    """What ActivateSession carries is decoded before anybody is known."""
    async with raw(lenient.port) as client:
        await client.open()
        await client.create()
        token = extension(_LITERAL, nested(2_000))
        body = NO_SIGNATURE + token + struct.pack("<ii", -1, -1)
        answer = await client.call("ActivateSession", body)
        assert answer.fault in REFUSED
        await client.activate()


async def test_an_additional_header_is_not_looked_into(strict: Victim) -> None:
    for nested in NESTED:
        async with raw(strict.port) as client:
            await client.open()
            additional = extension(_LITERAL, nested(4_000))
            answer = await client.call("GetEndpoints", struct.pack("<iii", -1, -1, -1), additional=additional)
            assert answer.code == 0


async def test_one_value_of_many_dimensions_is_no_work(strict: Victim, session: RawClient) -> None:
    began = strict.cpu
    for depth in (33, 1_000, 500_000):
        answer = await session.call("Write", written(matrices(depth)))
        assert answer.kind
    assert strict.cpu - began < 2


# --- Little that becomes much


@pytest.mark.parametrize(
    ("element", "kind"),
    [(b"\0", 24), (b"\0\0", 17), (b"\0", 23), (b"\0", 25), (b"\0\0\0", 22), (b"\xff\xff\xff\xff", 12)],
    ids=["Variant", "NodeId", "DataValue", "DiagnosticInfo", "ExtensionObject", "String"],
)
async def test_the_smallest_elements_there_are_fill_no_memory(
    strict: Victim, session: RawClient, element: bytes, kind: int
) -> None:
    """A byte on the wire may be an object of some hundred when it is decoded."""
    before, began = strict.memory, strict.cpu
    count = (LIMITS.message - 1000) // len(element)
    value = bytes((0x80 | kind,)) + struct.pack("<i", count) + element * count
    answer = await session.call("Write", written(value))
    assert answer.kind
    assert strict.memory - before < 100 * MIB
    assert strict.cpu - began < 2


async def test_the_smallest_elements_there_are_are_not_even_looked_at_before_anybody_is_known(
    lenient: Victim,
) -> None:
    count = LIMITS.early_message - 1000
    token = extension(_LITERAL, b"\x98" + struct.pack("<i", count) + b"\0" * count)
    began = lenient.cpu
    async with raw(lenient.port) as client:
        await client.open()
        await client.create()
        for _ in range(20):
            answer = await client.call("ActivateSession", NO_SIGNATURE + token + struct.pack("<ii", -1, -1))
            assert answer.fault == StatusCodes.BadEncodingLimitsExceeded
    assert lenient.cpu - began < 0.5


async def test_large_values_of_one_client_do_not_slow_the_others(strict: Victim) -> None:
    count = 100_000
    value = b"\x98" + struct.pack("<i", count) + b"\0" * count

    async def write(flood: Flood, _: int) -> None:
        async with raw(strict.port, peer=strict.peer(), source="127.0.2.1") as client:
            await client.ready(OPERATOR)
            body = message("Write", written(value), token=client.token)
            while not flood.over:
                client.say(body, 7)
                await client.answer()
                flood.done += 1
                await asyncio.sleep(0)

    async with probing(strict) as prober:
        await unharmed(strict, prober, write, memory=100)
