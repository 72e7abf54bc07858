"""Every tag is read once and rightly, and no packet is larger than the connection, whatever the types."""

from __future__ import annotations

import math
import struct
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from support.logix_memory import GUARD, Memory, each_quality, read_at_once
from support.logix_tags import BY_NAME, tag, text_type
from support.scanning import FAST, NORMAL

from sources.ethernetip.bindings import bind
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.plan import Limits, plan
from sources.ethernetip.symbols import BOOL, DWORD, Atomic, Member, Structure, Symbol, SymbolTable, Type
from sources.quality import BAD_DECODING_ERROR, BAD_USER_ACCESS_DENIED, GOOD
from sources.tag import Value

ATOMIC = st.sampled_from(
    [kind for name, kind in BY_NAME.items() if name not in {"BOOL", "DWORD", "BYTE", "WORD", "LWORD"}]
)
TEXT = st.sampled_from([text_type("STRING", 82), text_type("STR9", 9, 0x2001)])


@st.composite
def structures(draw: st.DrawFn, depth: int = 2) -> Structure:
    """A structure laid out as Logix does it, BOOLs in hidden bytes."""
    members: list[Member] = []
    offset = 0
    for number in range(draw(st.integers(1, 5))):
        choice = draw(st.integers(0, 5 if depth else 4))
        name = f"M{number}"
        if choice == 0:
            members.append(Member(f"ZZZZZZZZZZ{number}", BY_NAME["SINT"], offset, hidden=True))
            bits = draw(st.integers(1, 8))
            members += [Member(f"{name}b{bit}", BOOL, offset, bit=bit) for bit in range(bits)]
            offset += 1
            continue
        kind: Type
        if choice == 1:
            kind, count = DWORD, draw(st.integers(1, 3))
        elif choice == 2:
            kind, count = draw(TEXT), 0
        elif choice == 5:
            kind, count = draw(structures(depth - 1)), draw(st.integers(0, 3))
        else:
            kind, count = draw(ATOMIC), draw(st.integers(0, 4))
        offset = math.ceil(offset / 4) * 4
        members.append(Member(name, kind, offset, count))
        offset += kind.size * max(count, 1)
    size = math.ceil(offset / 4) * 4
    handle = draw(st.integers(1, 0xFFFF))
    return Structure(f"T{handle}", handle, size, members)


@st.composite
def addresses(
    draw: st.DrawFn, name: str, kind: Type, dimensions: tuple[int, ...], *, arrays: bool
) -> tuple[str, str, int | None]:
    """A value inside a tag, its type, and how many elements it has where it is an array."""
    while True:
        last = kind is DWORD
        plain = not isinstance(kind, Structure) or kind.capacity is not None
        if arrays and len(dimensions) == 1 and plain and draw(st.booleans()):
            size = 32 * dimensions[0] if last else dimensions[0]
            first = draw(st.integers(0, size - 1))
            encoding = "bool" if last else kind.encodings[0].value if isinstance(kind, Atomic) else "string"
            return f"{name}[{first}]", encoding, draw(st.integers(1, size - first))
        if dimensions:
            indexes = [draw(st.integers(0, (32 * size if last else size) - 1)) for size in dimensions]
            name += "[" + ",".join(map(str, indexes)) + "]"
        if last:
            return name, "bool", None
        if not isinstance(kind, Structure):
            if kind.is_integer and draw(st.booleans()):
                return f"{name}.{draw(st.integers(0, 8 * kind.size - 1))}", "bool", None
            return name, kind.encodings[0].value, None
        if kind.capacity is not None:
            return name, "string", None
        member = draw(st.sampled_from(list(kind.by_name.values())))
        assert member.type is not None
        name, kind, dimensions = f"{name}.{member.name}", member.type, (member.count,) if member.count else ()


@st.composite
def plants(draw: st.DrawFn, *, arrays: bool = True) -> tuple[Memory, SymbolTable, list[LogixTag]]:
    """A controller with its memory, and tags in two scan classes."""
    symbols: dict[str, Symbol] = {}
    images: dict[str, bytes] = {}
    tags: list[LogixTag] = []
    for number in range(draw(st.integers(1, 4))):
        kind: Type = draw(st.one_of(ATOMIC, TEXT, structures(), structures(), st.just(DWORD)))
        most = 1 if kind is DWORD else 3
        sizes = draw(st.lists(st.integers(1, 12), min_size=1 if kind is DWORD else 0, max_size=most))
        name = draw(st.sampled_from(["Tag{}", "Program:Main.Tag{}"])).format(number)
        symbols[name] = Symbol(name, kind, kind.name, tuple(sizes))
        size = kind.size * math.prod(sizes)
        images[name] = draw(st.binary(min_size=1, max_size=64)) * (size // 1 + 1)
        images[name] = images[name][:size]
        for _ in range(draw(st.integers(0, 25))):
            address, encoding, length = draw(addresses(name, kind, tuple(sizes), arrays=arrays))
            scan = draw(st.sampled_from([FAST, NORMAL]))
            tags.append(tag(address, encoding, scan, name=f"{len(tags)}", length=length))
    size = draw(st.sampled_from([500, 4000, 300]))
    return Memory(symbols, images, size), SymbolTable(symbols.values(), ["Main"]), tags


def _same(value: Value, truth: Value) -> bool:
    if isinstance(value, float) and isinstance(truth, float):
        return struct.pack("<d", value) == struct.pack("<d", truth) or (
            math.isnan(value) and math.isnan(truth)
        )
    if isinstance(value, tuple) and isinstance(truth, tuple):
        return len(value) == len(truth) and all(map(_same, value, truth))
    return type(value) is type(truth) and value == truth


@settings(max_examples=150, deadline=None)
@given(plants(), st.booleans(), st.booleans(), st.booleans())
def test_every_tag_is_read_once_and_rightly(
    plant: tuple[Memory, SymbolTable, list[LogixTag]], multiple: bool, whole: bool, guarded: bool
) -> None:
    memory, table, tags = plant
    memory.multiple = multiple
    limits = Limits(memory.size, multiple, GUARD if guarded else b"")
    found = bind(tags, table)
    assert not found.refused
    alone = set() if whole else {its.name for its in tags[::2]}
    packets = plan([(its, found.places[its.name]) for its in tags], limits, alone)
    assert Counter(its.name for packet in packets for its in packet.tags) == Counter(its.name for its in tags)
    for packet in packets:
        assert {its.scan for its in packet.tags} == {packet.scan}
        answer = read_at_once(memory, packet, limits)
        assert not answer.stale
        for its, value, quality in zip(packet.tags, answer.values, each_quality(answer), strict=True):
            truth = memory.truth(its)
            assert _same(value, truth), f"{its.address}: {value!r} is not {truth!r}"
            assert quality == (BAD_DECODING_ERROR if truth is None else GOOD)


@settings(max_examples=60, deadline=None)
@given(plants(arrays=False), st.booleans())
def test_wholes_that_are_refused_are_read_value_by_value(
    plant: tuple[Memory, SymbolTable, list[LogixTag]], multiple: bool
) -> None:
    memory, table, tags = plant
    memory.wholes_refused, memory.multiple = True, multiple
    limits = Limits(memory.size, multiple=True, guard=GUARD)
    found = bind(tags, table)
    located = [(its, found.places[its.name]) for its in tags]
    alone: set[str] = set()
    for packet in plan(located, limits):
        answer = read_at_once(memory, packet, limits)
        alone |= answer.alone
        for its, value, quality in zip(packet.tags, answer.values, each_quality(answer), strict=True):
            assert _same(value, memory.truth(its))
            assert quality != BAD_USER_ACCESS_DENIED
    for packet in plan(located, limits, alone):
        assert not read_at_once(memory, packet, limits).alone


@settings(max_examples=60, deadline=None)
@given(plants())
def test_without_a_tag_list_each_tag_is_read_by_its_name(
    plant: tuple[Memory, SymbolTable, list[LogixTag]],
) -> None:
    memory, _, tags = plant
    limits = Limits(memory.size, multiple=True, guard=GUARD)
    found = bind(tags, None)
    for packet in plan([(its, found.places[its.name]) for its in tags], limits):
        answer = read_at_once(memory, packet, limits)
        assert len(answer.values) == len(packet.tags)
        for its, value in zip(packet.tags, answer.values, strict=True):
            if its.address.encoding.value != "string":  # a text's own capacity is not known then
                assert _same(value, memory.truth(its)), its.address
