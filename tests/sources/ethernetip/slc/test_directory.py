"""The file directory and diagnostic status of an SLC: read right, or not believed."""

from __future__ import annotations

import asyncio
from typing import Any

import pycomm3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.slc import device, serving, tag

from sources.ethernetip.slc.directory import (
    DataFile,
    Directory,
    differences,
    find_directory,
    parse_processor,
)
from sources.simulators.slc.directory import Processor, directory

FILES = {0: (0x82, 8), 1: (0x83, 8), 2: (0x84, 64), 3: (0x85, 32), 7: (0x89, 400), 9: (0x8D, 252)}
FOUND = ["O0 of 4", "I1 of 4", "S2 of 32", "B3 of 16", "N7 of 200", "ST9 of 3"]


def listed(found: Directory | None) -> list[str]:
    assert found is not None
    return [str(its) for its in found.files]


@pytest.mark.parametrize("bulletin", ["5/05", "1763-LEC", "1766-LEC"])
def test_files_keep_their_numbers_over_holes(bulletin: str) -> None:
    assert listed(find_directory(directory(Processor(bulletin), FILES), whole=True)) == FOUND


def test_modules_by_slot_and_types_not_known_here_are_counted_too() -> None:
    files = FILES | {0: (0x8B, 8), 1: (0x8C, 8), 8: (0x97, 20)}
    found = find_directory(directory(Processor(), files), whole=True)
    assert listed(found) == [*FOUND[:5], "?8 of 10", FOUND[5]]


def test_rows_of_eight_bytes_are_found_as_well() -> None:
    codes = [0x82, 0x83, 0x84, 0x85, 0x81, 0x87]
    data = bytearray(93)
    data[0x34] = 5
    for code in codes:
        data += bytes((code, 12, 0)) + bytes(5)
    assert listed(find_directory(bytes(data), whole=True)) == [
        *("O0 of 6", "I1 of 6", "S2 of 6", "B3 of 6", "C5 of 2")
    ]


def test_a_part_of_it_is_none_until_the_last_file_has_come() -> None:
    data = directory(Processor(), FILES)
    last = 79 + 10 * 10  # behind the row of file 9
    assert find_directory(data[:last], whole=False) is None
    assert listed(find_directory(data[: last + 1], whole=False)) == FOUND
    assert listed(find_directory(data[:last], whole=True)) == FOUND


@pytest.mark.parametrize("highest", range(4, 30))
def test_no_part_of_it_passes_for_the_whole(highest: int) -> None:
    """Not even one that ends where as many numbers have been as there are files."""
    files = {number: its for number, its in FILES.items() if number < 3}
    files |= dict.fromkeys(range(max(3, highest // 2), highest), (0x89, 20))
    data = directory(Processor(), files)
    whole = find_directory(data, whole=True)
    assert whole is not None
    assert len(whole.files) == len(files)
    for length in range(0, len(data), 2):
        assert find_directory(data[:length], whole=False) in (None, whole)


@pytest.mark.parametrize("wrong", [5, 7, 0])
def test_another_number_of_files_than_its_head_says_is_not_believed(wrong: int) -> None:
    data = bytearray(directory(Processor(), FILES))
    data[0x34] = wrong
    assert find_directory(bytes(data), whole=True) is None


@given(st.binary(max_size=400), st.booleans())
def test_whatever_comes_is_a_directory_or_none(data: bytes, whole: bool) -> None:
    found = find_directory(data, whole=whole)
    assert found is None or [its.letters for its in found.files[:3]] == ["O", "I", "S"]


def test_the_diagnostic_status_tells_processor_program_and_mode() -> None:
    told = parse_processor(Processor("1766-LEC", program=77, mode=1).status())
    assert (told.bulletin, told.program, told.mode, told.directory_type) == ("1766-LEC", 77, "program", 3)
    assert told.same == parse_processor(Processor("1766-LEC", program=77).status()).same
    assert told.same != parse_processor(Processor("1766-LEC", program=78).status()).same


@given(st.binary(max_size=40))
def test_whatever_comes_is_a_status_or_an_error(data: bytes) -> None:
    try:
        told = parse_processor(data)
    except ValueError:
        return
    assert told.bulletin.isprintable()


def test_what_changed_is_said_file_by_file() -> None:
    before = Directory((DataFile("N", 7, 200), DataFile("F", 8, 10), DataFile("B", 3, 1)))
    now = Directory((DataFile("N", 7, 100), DataFile("N", 8, 20), DataFile("L", 9, 4)))
    assert list(differences(before, now)) == [
        *("B3 is gone", "N7 has 100 elements instead of 200", "F8 is N8 now", "L9 of 4 is new")
    ]
    assert before.conflict(tag("N8:0").address) == "file 8 is F8, not N8"
    assert before.conflict(tag("N7:255").address) == ""
    assert before.remark(tag("N7:200").address) == "N7 has 200 elements"


async def test_pycomm3_used_plainly_sees_the_same_files(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as plc:
        slc: Any = pycomm3.SLCDriver

        def theirs() -> Any:
            with slc(f"127.0.0.1:{plc.port}") as driver:
                return driver.get_processor_type(), driver.get_file_directory()

        bulletin, files = await asyncio.to_thread(theirs)
    capsys.readouterr()  # it prints
    data = directory(device().processor, {n: (its.code, len(its.data)) for n, its in device().files.items()})
    ours = find_directory(data, whole=True)
    assert ours is not None
    assert bulletin == "5/05"
    assert {name: its["elements"] for name, its in files.items()} == {
        its.name: its.elements for its in ours.files
    }
