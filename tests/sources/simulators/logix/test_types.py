from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.simulators.logix.template import definition, definition_words
from sources.simulators.logix.types import (
    ATOMICS,
    BOOL,
    COUNTER,
    DWORD,
    SINT,
    STRING,
    TIMER,
    DataType,
    Declared,
    Structure,
    string,
    structure,
)

INT, DINT, REAL, LINT = (ATOMICS[name] for name in ("INT", "DINT", "REAL", "LINT"))


def layout(kind: Structure) -> list[tuple[str, int, int | None]]:
    return [(member.name, member.offset, member.bit) for member in kind.members if not member.hidden]


def test_the_example_of_the_data_access_manual() -> None:
    """STRUCT_B of 1756-PM020: its layout, and its definition byte for byte."""
    kind = structure(
        "STRUCT_B", (Declared("pilot_on", BOOL), Declared("hourlyCount", INT, 12), Declared("rate", REAL))
    )
    assert kind.size == 0x20
    assert layout(kind) == [("pilot_on", 0, 0), ("hourlyCount", 4, None), ("rate", 0x1C, None)]
    body = definition(kind, lambda _: 0)
    rows = [struct.unpack_from("<HHI", body, at) for at in range(0, 32, 8)]
    assert rows == [(0, 0xC2, 0), (0, 0xC1, 0), (12, 0x20C3, 4), (0, 0xCA, 0x1C)]
    name, *members, after = body[32:].split(b"\0")
    assert name.startswith(b"STRUCT_B;n")
    assert members == [b"ZZZZZZZZZZSTRUCT_B0", b"pilot_on", b"hourlyCount", b"rate"]
    assert (len(body), definition_words(body), after) == (97, 0x1E, b"")


def test_bools_share_hidden_sints_and_others_end_the_sharing() -> None:
    bools = [Declared(f"B{index}", BOOL) for index in range(10)]
    kind = structure("Bits", (*bools, Declared("Small", SINT), Declared("Last", BOOL)))
    assert layout(kind)[:8] == [(f"B{index}", 0, index) for index in range(8)]
    assert layout(kind)[8:] == [("B8", 1, 0), ("B9", 1, 1), ("Small", 2, None), ("Last", 3, 0)]
    assert kind.size == 4
    hidden = [member.name for member in kind.members if member.hidden]
    assert hidden == ["ZZZZZZZZZZBits0", "ZZZZZZZZZZBits9", "ZZZZZZZZZZBits13"]


def test_members_start_at_multiples_of_their_size() -> None:
    kind = structure(
        "Mixed",
        (
            Declared("A", SINT),
            Declared("B", INT),
            Declared("C", SINT),
            Declared("D", DINT),
            Declared("E", INT),
        ),
    )
    assert layout(kind) == [("A", 0, None), ("B", 2, None), ("C", 4, None), ("D", 8, None), ("E", 12, None)]
    assert kind.size == 16


def test_eight_byte_values_align_themselves_and_what_holds_them() -> None:
    inner = structure("Wide", (Declared("A", DINT), Declared("B", LINT), Declared("C", DINT)))
    assert (layout(inner)[1], inner.size, inner.alignment) == (("B", 8, None), 24, 8)
    outer = structure("Holder", (Declared("A", DINT), Declared("W", inner), Declared("Z", BOOL)))
    assert (layout(outer), outer.size) == ([("A", 0, None), ("W", 8, None), ("Z", 32, 0)], 40)


def test_arrays_of_bool_stand_in_whole_words() -> None:
    kind = structure("Flags", (Declared("A", SINT), Declared("Bits", BOOL, 40)))
    member = kind.by_name["bits"]
    assert (member.type, member.count, member.offset, kind.size) == (DWORD, 2, 4, 12)


def test_predefined_types_are_as_every_controller_has_them() -> None:
    assert (STRING.size, STRING.predefined, STRING.handle, STRING.text_capacity) == (88, 0xFCE, 0xFCE, 82)
    assert (TIMER.size, COUNTER.size) == (12, 12)
    assert layout(TIMER) == [("PRE", 4, None), ("ACC", 8, None), ("EN", 3, 7), ("TT", 3, 6), ("DN", 3, 5)]
    assert [bit for _, _, bit in layout(COUNTER)[2:]] == [7, 6, 5, 4, 3]
    assert string("STRING_20", 20).size == 24
    assert string("STRING_5", 5).text_capacity == 5
    assert definition(STRING, lambda _: 0)[16:] == b"ASCIISTRING82\0LEN\0DATA\0"


@pytest.mark.parametrize(
    ("declared", "told"),
    [([], "no members"), ([Declared("A", DINT), Declared("a", BOOL)], "two members a")],
)
def test_a_type_that_cannot_be(declared: list[Declared], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        structure("Bad", declared)


leaves: st.SearchStrategy[DataType] = st.sampled_from([*ATOMICS.values(), STRING, TIMER])


def declare(kinds: list[tuple[DataType, int]]) -> Structure:
    return structure("T", [Declared(f"M{index}", *kind) for index, kind in enumerate(kinds)])


@given(
    st.recursive(
        leaves,
        lambda inner: st.lists(st.tuples(inner, st.integers(0, 3)), min_size=1, max_size=6).map(declare),
        max_leaves=12,
    )
)
def test_no_two_members_share_memory_and_all_are_aligned(kind: DataType) -> None:
    if not isinstance(kind, Structure):
        return
    taken: set[int] = set()
    for member in kind.members:
        if member.bit is not None:
            host = next(
                m for m in kind.members if m.hidden and m.offset <= member.offset < m.offset + m.type.size
            )
            assert member.bit < 8
            assert host.offset <= member.offset
            continue
        span = range(member.offset, member.offset + member.type.size * max(member.count, 1))
        assert taken.isdisjoint(span)
        taken.update(span)
        assert member.offset % member.type.alignment == 0
        assert span.stop <= kind.size
    assert kind.size % kind.alignment == 0
