from __future__ import annotations

import random
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.logix import everything, instance, packer, parse_reply, path

from sources.simulators.logix.controller import LogixController

ATTRIBUTES = (1, 2, 3, 5, 6, 8, 10)


@pytest.fixture(scope="module")
def controller() -> LogixController:
    return LogixController(everything())


def ask(controller: LogixController, message: bytes, room: int = 4000) -> tuple[int, tuple[int, ...], bytes]:
    raw = controller._device.answer(message, room)
    assert len(raw) <= room
    reply = parse_reply(raw)
    return reply.status, reply.extended, reply.data


def numbers(*values: int) -> bytes:
    return struct.pack(f"<H{len(values)}H", len(values), *values)


def symbol_path(program: str, start: int) -> bytes:
    segments = (path(f"{program}.x")[1:-4] if program else b"") + instance(0x6B, start)[1:]
    return bytes((len(segments) // 2,)) + segments


def upload(
    controller: LogixController, program: str = "", room: int = 500
) -> dict[int, tuple[str, int, tuple[int, ...], int]]:
    """Instance to name, type, dimensions and access, page by page."""
    found: dict[int, tuple[str, int, tuple[int, ...], int]] = {}
    start, status = 0, 6
    while status == 6:
        status, _, data = ask(controller, b"\x55" + symbol_path(program, start) + numbers(*ATTRIBUTES), room)
        assert status in {0, 6}
        assert data or status == 0
        at = 0
        while at < len(data):
            number, length = struct.unpack_from("<IH", data, at)
            name = data[at + 6 : at + 6 + length].decode()
            at += 6 + length
            kind, _, _, control, *dimensions, access = struct.unpack_from("<HIIIIIIB", data, at)
            at += 27
            assert number >= start
            assert control == 1 << 26
            found[number] = (name, kind, tuple(dimensions), access)
            start = number + 1
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(60, 4000))
def test_every_page_size_brings_every_symbol(controller: LogixController, room: int) -> None:
    symbols = upload(controller, room=room)
    assert list(symbols) == sorted(symbols)
    by_name = {name: rest for name, *rest in symbols.values()}
    assert len(by_name) == len(symbols) == controller.status()["tags"] - 3 + 3
    assert by_name["Dints"] == [0x20C4, (1100, 0, 0), 0]
    assert by_name["Grid"] == [0x60C3, (2, 3, 4), 0]
    assert by_name["Flags"] == [0x20D3, (2, 0, 0), 0]
    assert by_name["A_BOOL"] == [0xC1, (0, 0, 0), 0]
    assert by_name["Cycle"] == [0x8F83, (0, 0, 0), 0]
    assert by_name["A_STRING"] == [0x8FCE, (0, 0, 0), 0]
    assert by_name["Shown"][2] == 2
    assert by_name["Secret"][2] == 3
    assert by_name["Program:Packer"][0] == 0x1068
    assert by_name["Task:MainTask"][0] == 0x1070


def test_programs_have_symbols_of_their_own(controller: LogixController) -> None:
    assert [name for name, *_ in upload(controller, "Program:Packer").values()] == [
        "Routine:MainRoutine",
        "Speed",
        "Unit",
    ]
    assert [name for name, *_ in upload(controller, "Program:palletizer").values()][1:] == ["Count"]
    assert ask(controller, b"\x55" + symbol_path("Program:Nobody", 0) + numbers(1))[0] == 0x04


def test_symbols_beyond_the_last_are_none_and_bad_lists_are_refused(controller: LogixController) -> None:
    assert ask(controller, b"\x55" + instance(0x6B, 60_000) + numbers(1)) == (0, (), b"")
    assert ask(controller, b"\x55" + instance(0x6B, 0) + numbers(1, 99)) == (0x14, (), b"")
    assert ask(controller, b"\x55" + instance(0x6B, 0) + b"\2\0\1\0") == (0x1C, (), b"")
    assert ask(controller, b"\x55" + instance(0x6B, 0) + numbers(1), 12) == (0x11, (), b"")


def test_one_symbols_attributes(controller: LogixController) -> None:
    number = next(n for n, (name, *_) in upload(controller).items() if name == "Dints")
    status, _, data = ask(controller, b"\x03" + instance(0x6B, number) + numbers(2, 7))
    assert (status, data) == (0, struct.pack("<HHHHHHH", 2, 2, 0, 0x20C4, 7, 0, 4))
    assert ask(controller, b"\x03" + instance(0x6B, 60_000) + numbers(2))[0] == 0x05


def template_of(controller: LogixController, name: str) -> int:
    return next(kind & 0xFFF for tag, kind, *_ in upload(controller).values() if tag == name)


def definition(controller: LogixController, number: int, room: int) -> tuple[int, int, bytes]:
    """Size, member count and definition of a template, read in parts."""
    status, _, data = ask(controller, b"\x03" + instance(0x6C, number) + numbers(4, 5, 2, 1))
    count, _, _, words, _, _, size, _, _, members, _, _, handle = struct.unpack("<HHHIHHIHHHHHH", data)
    assert (status, count) == (0, 4)
    assert handle
    wanted, body, status = words * 4 - 23, b"", 6
    while status == 6:
        part = struct.pack("<IH", len(body), wanted - len(body))
        status, _, data = ask(controller, b"\x4c" + instance(0x6C, number) + part, room)
        assert data
        body += data
    assert status == 0
    assert len(body) == wanted
    return size, members, body


@pytest.mark.parametrize("room", [40, 500, 4000])
def test_a_structures_definition_comes_in_parts_that_fit(controller: LogixController, room: int) -> None:
    size, members, body = definition(controller, template_of(controller, "Unit"), room)
    rows = [struct.unpack_from("<HHI", body, 8 * row) for row in range(members)]
    name, *names = body[8 * members :].decode().split("\0")[: members + 1]
    assert name.startswith("Outer;n")
    assert len(name) == len("Outer;n") + 2 * members
    by_name = dict(zip(names, rows, strict=True))
    assert by_name["Total"] == (0, 0xC5, 8)
    assert by_name["Several"][:2] == (3, 0xA000 | by_name["One"][1] & 0xFFF)
    assert by_name["Delay"][1] == 0x8F83
    assert by_name["Bits"][:2] == (2, 0x20D3)
    inner = definition(controller, by_name["One"][1] & 0xFFF, room)
    assert inner[2][8 * inner[1] :].startswith(b"Inner;n")
    assert inner[0] == 4 + 4 + 88
    assert size % 8 == 0


def test_a_definition_is_padded_to_what_was_asked(controller: LogixController) -> None:
    number = template_of(controller, "Unit")
    _, _, body = definition(controller, number, 4000)
    status, _, data = ask(controller, b"\x4c" + instance(0x6C, number) + struct.pack("<IH", 0, 3000))
    assert (status, len(data)) == (0, 3000)
    assert data[: len(body)] == body
    assert not any(data[len(body) :])
    assert ask(controller, b"\x4c" + instance(0x6C, number) + struct.pack("<IH", 9000, 4))[1] == (0x2104,)
    assert ask(controller, b"\x03" + instance(0x6C, 0xEEE) + numbers(1))[0] == 0x05


def test_attributes_that_are_not_there_are_told_in_the_list(controller: LogixController) -> None:
    number = template_of(controller, "Unit")
    status, _, data = ask(controller, b"\x03" + instance(0x6C, number) + numbers(4, 3, 2, 1))
    assert status == 0
    assert len(data) == 2 + 8 + 6 + 6 + 6
    status, _, data = ask(controller, b"\x03" + instance(0x6C, number) + numbers(9))
    assert (status, data) == (0x0A, struct.pack("<HHH", 1, 9, 0x14))


def test_identity_and_program_name(controller: LogixController) -> None:
    status, _, data = ask(controller, b"\x01" + instance(1, 1))
    assert (status, data) == (
        0,
        struct.pack("<HHHBBHI", 1, 0x0E, 166, 33, 11, 0x3160, 0xC0FFEE) + b"\x0b1756-L83E/B",
    )
    assert ask(controller, b"\x0e\x03\x20\x01\x24\x01\x30\x06")[2] == struct.pack("<I", 0xC0FFEE)
    assert ask(controller, b"\x0e\x03\x20\x01\x24\x01\x30\x63")[0] == 0x14
    assert ask(controller, b"\x0e" + instance(1, 1))[0] == 0x04
    assert ask(controller, b"\x01" + instance(0x64, 1))[2] == b"\x09\0Simulated"


def test_the_wall_clock_can_be_read_and_set(controller: LogixController) -> None:
    def clock() -> int:
        status, _, data = ask(controller, b"\x03" + instance(0x8B, 1) + numbers(11))
        assert status == 0
        return int(struct.unpack("<HHHQ", data)[3])

    assert abs(clock() - time.time() * 1e6) < 60e6
    status, _, data = ask(
        controller, b"\x04" + instance(0x8B, 1) + struct.pack("<HHQHB", 2, 6, 1_000_000, 10, 1)
    )
    assert (status, data) == (0, struct.pack("<HHHHH", 2, 6, 0, 10, 0))
    assert 1_000_000 <= clock() < 61_000_000
    assert ask(controller, b"\x04" + instance(0x8B, 1) + numbers(99))[0] == 0x0A
    assert ask(controller, b"\x04" + instance(0x8B, 1) + numbers(6))[0] == 0x13


@pytest.mark.parametrize("seed", range(5))
def test_a_download_gives_every_number_to_another(seed: int) -> None:
    controller = LogixController(everything())
    before, changes = (
        upload(controller),
        ask(controller, b"\x03" + instance(0xAC, 1) + numbers(1, 2, 3, 4, 10)),
    )
    packer_before = upload(controller, "Program:Packer")
    unit = template_of(controller, "Unit")
    controller.write_tag("Many007", 4711)
    controller._device.database.renumber(random.Random(seed))
    after = upload(controller)
    assert list(before) == list(after)
    assert sorted(name for name, *_ in before.values()) == sorted(name for name, *_ in after.values())
    assert all(before[number][0] != after[number][0] for number in before)
    assert all(packer_before[n][0] != rest[0] for n, rest in upload(controller, "Program:Packer").items())
    assert template_of(controller, "Unit") != unit
    assert template_of(controller, "Cycle") == 0xF83
    definition(controller, template_of(controller, "Unit"), 4000)
    assert controller.read_tag("Many007") == 4711
    again = ask(controller, b"\x03" + instance(0xAC, 1) + numbers(1, 2, 3, 4, 10))
    assert changes[0] == again[0] == 0
    assert changes[2] != again[2]


def test_template_numbers_are_none_that_clients_take_for_a_type() -> None:
    controller = LogixController(packer())
    kinds = [kind for _, kind, *_ in upload(controller, "Program:Packer").values() if kind & 0x8000]
    assert kinds
    assert all(not 0xA0 <= kind & 0xFF <= 0xDF or kind & 0xFFF >= 0xF00 for kind in kinds)
