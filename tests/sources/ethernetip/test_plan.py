from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from support.logix_memory import GUARD
from support.logix_tags import BY_NAME, symbol, table, tag, text_type
from support.scanning import FAST, NORMAL

from sources.ethernetip.bindings import bind
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.plan import Limits, Packet, plan, singly
from sources.ethernetip.symbols import Member, Structure, SymbolTable

LARGE = Limits(4000, multiple=True, guard=GUARD)
SMALL = Limits(500, multiple=True, guard=GUARD)


def planned(
    tags: Iterable[LogixTag],
    limits: Limits = LARGE,
    its: SymbolTable | None = None,
    alone: Iterable[str] = (),
) -> list[Packet]:
    tags = list(tags)
    found = bind(tags, its or table())
    assert not found.refused
    return plan([(one, found.places[one.name]) for one in tags], limits, frozenset(alone))


def reads(packets: Iterable[Packet]) -> list[str]:
    return [str(read) for packet in packets for read in packet.reads]


def test_a_single_tag_is_asked_for_by_itself() -> None:
    (packet,) = planned([tag("Count")])
    assert packet.request[0] == 0x4C
    assert str(packet) == "Count"


def test_several_share_a_packet_unless_the_controller_takes_one_at_a_time() -> None:
    tags = [tag("Count"), tag("Speed", "real"), tag("Word", "int")]
    (packet,) = planned(tags)
    assert packet.request[0] == 0x0A
    assert str(packet) == "Count and 2 more"
    assert [packet.request[0] for packet in planned(tags, Limits(4000, multiple=False))] == [0x4C] * 3


def test_scan_classes_do_not_share_packets() -> None:
    packets = planned([tag("Count", scan=FAST), tag("Speed", "real", scan=NORMAL)])
    assert [packet.scan for packet in packets] == [FAST, NORMAL]


def test_neighbours_in_an_array_are_read_as_one_run() -> None:
    assert reads(planned([tag(f"Counts[{index}]") for index in (10, 12, 13, 11, 14)])) == [
        "Counts[10] (5 elements)"
    ]


def test_a_run_ends_where_it_would_be_mostly_unwanted() -> None:
    tags = [tag(f"Counts[{index}]") for index in (0, 1, 2, 60, 61, 99)]
    assert reads(planned(tags)) == ["Counts[0] (3 elements)", "Counts[60] (2 elements)", "Counts[99]"]


def test_a_whole_array_is_read_where_a_third_of_it_is_wanted() -> None:
    assert reads(planned([tag(f"Counts[{index}]") for index in range(0, 100, 3)])) == [
        "Counts[0] (100 elements)"
    ]
    sparse = reads(planned([tag(f"Counts[{index}]") for index in range(0, 100, 7)]))
    assert len(sparse) == 15


def test_a_run_goes_on_through_the_rows_of_a_grid() -> None:
    assert reads(
        planned([tag(f"Grid[{a},{b},{c}]", "int") for a in (0, 1) for b in range(3) for c in (0, 3)])
    ) == ["Grid[0,0,0] (24 elements)"]


def test_bits_of_one_word_are_one_read() -> None:
    tags = [tag("Word.0"), tag("Word.15"), tag("Word", "int"), tag("WORD", "int", name="again")]
    (packet,) = planned(tags)
    assert reads([packet]) == ["Word"]
    assert {its.name for its in packet.tags} == {"Word.0", "Word.15", "Word", "again"}


def test_elements_of_a_bool_array_are_read_by_the_dword() -> None:
    assert reads(planned([tag("Flags[1]", "bool"), tag("Flags[30]", "bool")])) == ["Flags[0]"]
    assert reads(planned([tag("Flags[1]", "bool"), tag("Flags[40]", "bool")])) == ["Flags[0] (2 elements)"]


def test_a_structure_is_read_whole_where_enough_of_it_is_wanted() -> None:
    some = [tag("Cycle.ACC"), tag("Cycle.DN", "bool")]
    assert reads(planned(some)) == ["Cycle"]
    assert reads(planned(some[:1])) == ["Cycle.ACC"]


def test_a_structure_stays_apart_where_most_of_its_bytes_are_not_wanted() -> None:
    bulky = Structure(
        "Bulky",
        7,
        1008,
        (
            *(Member(f"N{index}", BY_NAME["DINT"], 4 * index) for index in range(4)),
            *(Member(f"T{index}", text_type("STRING", 82), 16 + 88 * index) for index in range(4)),
        ),
    )
    its = SymbolTable([symbol("B", bulky)], [])
    assert reads(planned([tag(f"B.N{index}") for index in range(3)], its=its)) == ["B.N0", "B.N1", "B.N2"]


def test_elements_that_are_structures_are_read_as_a_run_too() -> None:
    tags = [
        tag(f"Motors[{index}].{name}", encoding)
        for index in range(4)
        for name, encoding in (
            ("Speed", "real"),
            ("Running", "bool"),
            ("Run.ACC", "dint"),
            ("Name", "string"),
            ("Word", "int"),
        )
    ]
    assert reads(planned(tags)) == ["Motors[0] (4 elements)"]
    assert reads(planned([its for its in tags if its.name.startswith("Motors[2]")])) == ["Motors[2]"]


def test_a_text_and_its_length_are_one_read() -> None:
    assert reads(planned([tag("Recipe", "string"), tag("Recipe.LEN")])) == ["Recipe"]


def test_tags_that_must_be_alone_are_not_read_in_wholes() -> None:
    tags = [tag(f"Counts[{index}]") for index in range(6)]
    assert reads(planned(tags, alone={"Counts[2]"})) == ["Counts[0] (6 elements)", "Counts[2]"]
    assert reads(planned(tags, alone={its.name for its in tags})) == [its.name for its in tags]


def test_a_refused_whole_is_taken_apart() -> None:
    (packet,) = planned([tag(f"Counts[{index}]") for index in range(3)] + [tag("Counts[0].5")])
    (read,) = packet.reads
    assert read.whole
    apart = singly(read, FAST, LARGE)
    assert reads(apart) == ["Counts[0]", "Counts[1]", "Counts[2]"]
    assert not any(one.whole for part in apart for one in part.reads)


@pytest.mark.parametrize("limits", [LARGE, SMALL])
@pytest.mark.parametrize("count", [997, 998, 999, 1000, 1001])
def test_runs_are_cut_to_what_a_packet_takes(limits: Limits, count: int) -> None:
    its = SymbolTable([symbol("Big", BY_NAME["DINT"], 2000)], [])
    packets = planned([tag(f"Big[{index}]") for index in range(count)], limits, its)
    most = (limits.size - 2 - 4 - 2) // 4
    assert [read.elements for packet in packets for read in packet.reads] == [
        min(most, count - start) for start in range(0, count, most)
    ]
    for packet in packets:
        assert packet.fragments == 1
        assert len(packet.request) + 2 <= limits.size
        assert sum(read.reply_size for read in packet.reads) + 2 <= limits.size


def test_what_no_packet_takes_whole_comes_in_fragments() -> None:
    long = text_type("Long", 2000, 9)
    its = SymbolTable([symbol("Text", long), symbol("Other", BY_NAME["DINT"])], [])
    packets = planned([tag("Text", "string"), tag("Other")], SMALL, its)
    assert sorted(packet.fragments for packet in packets) == [1, 5]


def test_ten_thousand_elements_are_planned_in_no_time() -> None:
    its = SymbolTable([symbol("Big", BY_NAME["DINT"], 20000)], [])
    tags = [tag(f"Big[{index}]") for index in range(0, 20000, 2)]
    began = time.process_time()
    packets = planned(tags, LARGE, its)
    assert time.process_time() - began < 5
    assert len(packets) == 21
