"""What is large is looked at beside the loop, or in pieces between which others get their turns."""

from __future__ import annotations

import struct
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.downstream import settings, source
from support.large import text, texts
from support.mirrored import Mirrored
from support.opcua_messages import Line, header
from support.turns import counting_turns

from sources.opcua import wire
from sources.opcua.address import UA_URI
from sources.opcua.connection import Connection
from sources.opcua.definitions import Defined, layouts, structure
from sources.opcua.importing import Importing
from sources.opcua.mapping import Mapper, Unmappable, key_of
from sources.opcua.moving import moved_beside
from sources.opcua.reading import read_raw
from sources.opcua.stack import encode_variant, ua
from sources.opcua.wire import Raw

HERE = threading.get_ident


@pytest.mark.parametrize(("variant", "beside"), [(text(100), False), (texts(100_000), True)])
async def test_large_answers_to_a_read_are_decoded_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, variant: bytes, *, beside: bool
) -> None:
    threads: list[int] = []
    real = wire.read_results

    def read_results(data: bytes, most: int) -> Any:
        threads.append(HERE())
        return real(data, most)

    monkeypatch.setattr(wire, "read_results", read_results)
    line = Line()
    line.answers["ReadRequest"] = lambda _: (
        header(634) + struct.pack("<i", 1) + b"\x01" + variant + b"\xff" * 4
    )
    there = Connection(cast("Any", line), settings(4840))
    assert await read_raw(there, [(ua.NodeId(1, 1), 13)]) == [Raw(variant, 0, 0)]
    assert [one != HERE() for one in threads] == [beside]


def names(count: int) -> bytes:
    """A Variant of an array of NodeIds of two namespaces."""
    each = b"\x01\x01\x05\x00" + b"\x03\x02\x00\x01\x00\x00\x00A"
    return b"\x91" + struct.pack("<i", 2 * count) + each * count


async def test_names_within_a_large_value_are_moved_beside_the_loop() -> None:
    """But namespaces are added in the loop, where the address space is."""
    asked: list[tuple[int, int]] = []

    def index(there: int) -> int | None:
        asked.append((there, HERE()))
        return there + 6 if there < 3 else None

    mapper = Mapper(index, {})
    async with counting_turns() as turns:
        moved = await moved_beside(mapper, Raw(names(20_000), 0, 7))
        assert turns.count > 1
    assert moved == Raw(Mapper({1: 7, 2: 8}.get, {}).variant(names(20_000)), 0, 7)
    assert asked == [(1, HERE()), (2, HERE())]
    told: list[str] = []
    unknown = names(20_000)[:-8] + b"\x03\x09\x00\x01\x00\x00\x00A"
    assert await moved_beside(mapper, Raw(unknown, 0, 7), told.append) == Raw(b"", 0x80390000, 7)
    assert len(told) == 1


async def test_many_values_are_taken_in_between_which_others_get_their_turns() -> None:
    device, mirror = source(4840, []), Mirrored()
    importing = Importing(device, device.device.settings, mirror)
    importing.connection = cast("Any", SimpleNamespace(namespaces=(UA_URI,)))
    keys = [struct.pack("<BBH", 1, 1, number) for number in range(5_000)]
    async with counting_turns() as turns:
        await importing.receive(keys, [(place, Raw(text(1), 0, 0)) for place in range(6_000)])
        assert turns.count >= 5
    assert mirror.values.keys() == set(keys)


def definition(number: int, *fields: Any) -> Any:
    return ua.StructureDefinition(
        DefaultEncodingId=ua.NodeId(number, 2),
        BaseDataType=ua.NodeId(22),
        StructureType=ua.StructureType.Structure,
        Fields=[ua.StructureField(Name="A", DataType=one, ValueRank=-1) for one in fields],
    )


@pytest.mark.parametrize(("last", "understood"), [(ua.NodeId(11), 2_001), (ua.NodeId(9, 9), 1)])
async def test_structures_within_structures_are_understood_in_the_time_their_fields_take(
    last: Any, understood: int
) -> None:
    """Two thousand, each a field of the one before it; where the last is not understood, none of them is."""
    count = 2_000
    number = ua.NodeId(11)
    structures = {
        key_of(ua.NodeId(n, 1)): Defined(
            definition(n, *[number] * 5, ua.NodeId(n + 1, 1) if n < count else last), ()
        )
        for n in range(1, count + 1)
    }
    structures[key_of(ua.NodeId(1, 3))] = Defined(definition(5_000, number), (key_of(ua.NodeId(1, 4)),))
    async with counting_turns() as turns:
        began = time.process_time()
        found = await layouts(structures, {})
        assert time.process_time() - began < 2.0  # a hundred times what it takes; by the square of them, more
        assert turns.count > 10
    assert len(found) == understood + 1
    beside = found[key_of(ua.NodeId(5_000, 2))]
    assert found[key_of(ua.NodeId(1, 4))] is beside
    if understood > 1:
        first, second = found[key_of(ua.NodeId(1, 2))], found[key_of(ua.NodeId(2, 2))]
        assert first.fields[5].layout is second


async def test_a_definition_with_countless_fields_is_none() -> None:
    for count, known in ((5_000, True), (5_001, False)):
        given = definition(1, *[ua.NodeId(11)] * count)
        encoded = encode_variant(ua.Variant(given, ua.VariantType.ExtensionObject))
        assert (await structure(Raw(encoded, 0, 0)) is not None) is known


def test_one_apart_asks_for_no_name() -> None:
    mapper = Mapper({1: 7, 2: 8}.get, {})
    assert mapper.node_id(b"\x01\x01\x05\x00") == b"\x01\x07\x05\x00"
    apart = mapper.apart()
    assert apart.node_id(b"\x01\x01\x05\x00") == b"\x01\x07\x05\x00"
    with pytest.raises(Unmappable, match="not known yet"):
        apart.node_id(b"\x01\x02\x05\x00")
