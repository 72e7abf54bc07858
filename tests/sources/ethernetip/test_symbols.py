from __future__ import annotations

import pytest
from support.logix_tags import BY_NAME, MOTOR, STRING, TIMER, symbol, table, tag

from sources.ethernetip.bindings import bind, wanted
from sources.ethernetip.config import Segment
from sources.ethernetip.symbols import (
    BOOL,
    DWORD,
    BindingError,
    Member,
    Structure,
    SymbolTable,
    Type,
    unlocated,
)


@pytest.mark.parametrize(
    ("address", "encoding", "kind", "bit"),
    [
        ("Speed", "real", BY_NAME["REAL"], None),
        ("SPEED", "real", BY_NAME["REAL"], None),
        ("program:packer.state", "dint", BY_NAME["DINT"], None),
        ("Count.31", "bool", BY_NAME["DINT"], 31),
        ("Counts[99]", "dint", BY_NAME["DINT"], None),
        ("Counts[3].7", "bool", BY_NAME["DINT"], 7),
        ("Grid[1,2,3]", "int", BY_NAME["INT"], None),
        ("Flags[40]", "bool", DWORD, 8),
        ("Recipe", "string", STRING, None),
        ("Recipe.LEN", "dint", BY_NAME["DINT"], None),
        ("Recipe.DATA[0]", "sint", BY_NAME["SINT"], None),
        ("Pump.Running", "bool", BOOL, None),
        ("Motors[19].Run.ACC", "dint", BY_NAME["DINT"], None),
        ("Motors[0].Alarms[31]", "bool", DWORD, 31),
        ("Motors[0].Word.15", "bool", BY_NAME["INT"], 15),
        ("Cycle.DN", "bool", BOOL, None),
        ("Local:1:I.Speed", "real", BY_NAME["REAL"], None),
    ],
)
def test_an_address_leads_to_a_value(address: str, encoding: str, kind: Type, bit: int | None) -> None:
    place = table().locate(tag(address, encoding).address)
    assert place.type is kind
    assert place.bit == bit


def test_an_element_of_a_bool_array_lies_in_a_dword() -> None:
    place = table().locate(tag("Flags[40]", "bool").address)
    assert place.segments == (Segment("Flags", (1,)),)
    assert place.steps == (1,)


def test_elements_are_counted_through_all_dimensions() -> None:
    assert table().locate(tag("Grid[1,2,3]", "int").address).steps == (23,)


@pytest.mark.parametrize(
    ("address", "encoding", "complaint"),
    [
        ("Spede", "real", "no tag 'Spede' in the controller; did you mean 'Speed'?"),
        ("State", "dint", "no tag 'State' in the controller; did you mean 'Program:Packer.State'?"),
        ("Stade", "dint", "no tag 'Stade' in the controller; did you mean 'Program:Packer.State'?"),
        ("Qqqqqq", "dint", "no tag 'Qqqqqq' in the controller"),
        ("Program:Packer.Spede", "real", "no tag 'Spede' in Program:Packer; did you mean 'Speed'?"),
        ("Program:Paker.Speed", "real", "no program 'Paker' in the controller; did you mean 'Packer'?"),
        ("Program:Packer.Count", "dint", "no tag 'Count' in Program:Packer; did you mean 'Count'?"),
        ("Cycle.ACD", "dint", "Cycle is a TIMER and has no member 'ACD'; did you mean 'ACC'?"),
        ("Cycle.CTL", "dint", "Cycle is a TIMER and has no member 'CTL'"),
        ("Motors[0].Run.Q", "dint", "Motors[0].Run is a TIMER and has no member 'Q'"),
        ("Speed.X", "dint", "Speed is a REAL and has no members"),
        ("Uptime.X", "dint", "Uptime is of type LTIME, which cannot be looked into"),
        ("Uptime", "lint", "Uptime is of type LTIME, which has no counterpart here"),
        ("Pump.Odd", "dint", "Pump.Odd is of type a type not known here, which has no counterpart here"),
        ("Counts[100]", "dint", "Counts[100] is beyond the array, whose last element is 99"),
        ("Grid[1,3,0]", "int", "Grid[1,3,0] is beyond the array, whose last element is 2"),
        ("Flags[64]", "bool", "Flags[64] is beyond the array, whose last element is 63"),
        ("Counts", "dint", "Counts is an array [100]; say which element, as Counts[0]"),
        ("Grid[1]", "int", "Grid is an array [2,3,4]; say which element, as Grid[0,0,0]"),
        ("Flags", "bool", "Flags is an array [64]; say which element, as Flags[0]"),
        ("Speed[0]", "real", "Speed[0] is not an array; write Speed without an index"),
        ("Cycle.ACC[1]", "dint", "Cycle.ACC[1] is not an array; write ACC without an index"),
        ("Speed", "dint", "Speed is a REAL; write as: real"),
        ("Count", "udint", "Count is a DINT; write as: dint"),
        ("Count", "string", "Count is a DINT; write as: dint"),
        ("Recipe", "dint", "Recipe is a STRING; write as: string"),
        ("Pump", "string", "Pump is a Motor; bind its members, as Running, Faulted, Speed, Run"),
        ("Flags[1]", "udint", "Flags[1] is a BOOL; write as: bool"),
        ("Pump.Running", "dint", "Pump.Running is a BOOL; write as: bool"),
        ("Speed.3", "bool", "Speed is a REAL; only integers have bits"),
        ("Recipe.3", "bool", "Recipe is a STRING; only integers have bits"),
        ("Flags[1].3", "bool", "Flags[1] is a BOOL; only integers have bits"),
        ("Word.16", "bool", "Word is a INT; its last bit is 15"),
    ],
)
def test_a_wrong_address_is_told_with_what_is_near(address: str, encoding: str, complaint: str) -> None:
    with pytest.raises(BindingError) as error:
        table().locate(tag(address, encoding).address)
    assert str(error.value) == complaint


def test_only_so_many_names_are_compared_with_all_others() -> None:
    its = table()
    complaints = set()
    for _ in range(40):
        with pytest.raises(BindingError) as error:
            its.locate(tag("Spede", "real").address)
        complaints.add(str(error.value))
    assert complaints == {
        "no tag 'Spede' in the controller; did you mean 'Speed'?",
        "no tag 'Spede' in the controller",
    }


def test_the_fingerprint_follows_names_types_and_access_not_order() -> None:
    def fingerprint(*symbols: object) -> str:
        return SymbolTable(symbols, []).fingerprint  # type: ignore[arg-type] # written short

    one, two = symbol("A", BY_NAME["DINT"]), symbol("B", TIMER)
    other_layout = Structure("TIMER", 0x1111, 12, TIMER.members)
    assert fingerprint(one, two) == fingerprint(two, one)
    assert (
        len(
            {
                fingerprint(one, two),
                fingerprint(one),
                fingerprint(one, symbol("B", TIMER, 2)),
                fingerprint(one, symbol("B", other_layout)),
                fingerprint(one, symbol("B", TIMER, access="Read Only")),
                fingerprint(symbol("A", BY_NAME["REAL"]), two),
            }
        )
        == 6
    )


def test_leaves_are_what_a_person_sees() -> None:
    assert TIMER.leaves == 5
    assert STRING.leaves == 1
    assert MOTOR.leaves == 2 + 1 + 5 + 1 + 1 + 1 + 1
    assert Structure("Empty", 1, 4, (Member("H", BOOL, 0, hidden=True),)).leaves == 1


def test_without_a_tag_list_addresses_are_taken_on_trust() -> None:
    assert unlocated(tag("Any.Thing[3]", "dint").address).segments == (Segment("Any"), Segment("Thing", (3,)))
    flags = unlocated(tag("Flags[40]", "bool").address)
    assert (flags.segments, flags.bit) == ((Segment("Flags", (1,)),), 8)
    assert unlocated(tag("Word.3").address).bit == 3


def test_bindings_part_into_places_and_what_is_wrong() -> None:
    tags = [
        tag("Count", writable=True),
        tag("Shown", writable=True),
        tag("Shown", name="seen"),
        tag("Secret"),
        tag("Nothing"),
    ]
    found = bind(tags, table())
    assert set(found.places) == {"Count", "Shown", "seen"}
    assert set(found.refused) == {"Secret", "Nothing"}
    assert "External Access of Secret is None" in found.refused["Secret"]
    assert set(found.unwritable) == {"Shown"}
    assert "Read Only" in found.unwritable["Shown"]
    assert set(bind(tags, None).places) == {"Count", "Shown", "seen", "Secret", "Nothing"}


def test_what_bindings_want_of_an_upload() -> None:
    names, programs = wanted([tag("Pump.Speed", "real"), tag("Program:Packer.PML.State"), tag("Counts[3]")])
    assert names == {"pump", "program:packer.pml", "counts"}
    assert programs == {"packer"}
