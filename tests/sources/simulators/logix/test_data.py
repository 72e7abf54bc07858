from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.logix import (
    INTEGERS,
    MANY,
    RawClient,
    Serving,
    everything,
    instance,
    multiple,
    packer,
    parse_reply,
    path,
    raw_client,
    read,
    replies,
    serving,
    write,
)

from sources.simulators.logix.controller import LogixController
from sources.simulators.logix.faults import Mode

DINT = 0xC4


@pytest.fixture(scope="module")
def controller() -> LogixController:
    return LogixController(everything())


def ask(controller: LogixController, message: bytes, room: int = 4000) -> tuple[int, tuple[int, ...], bytes]:
    reply = parse_reply(controller._device.answer(message, room))
    assert reply.service == message[0]
    return reply.status, reply.extended, reply.data


@pytest.mark.parametrize(
    ("message", "status", "extended"),
    [
        pytest.param(read(path("Nothing")), 0x04, (0,), id="unknown tag"),
        pytest.param(read(path("Program:Nobody.Speed")), 0x04, (0,), id="unknown program"),
        pytest.param(read(path("Program:Packer.Nothing")), 0x04, (0,), id="unknown program tag"),
        pytest.param(read(path("Unit.One.Nothing")), 0x04, (0,), id="unknown member"),
        pytest.param(read(path("Unit.ZZZZZZZZZZOuter0")), 0x04, (0,), id="hidden member"),
        pytest.param(read(path("A_DINT.Nothing")), 0x04, (0,), id="member of a number"),
        pytest.param(read(instance(0x6B, 40_000)), 0x05, (0,), id="unknown instance"),
        pytest.param(read(instance(0x6B, 8)), 0x05, (0,), id="instance of a program"),
        pytest.param(read(path("A_DINT[0]")), 0x05, (0,), id="index on a number"),
        pytest.param(read(path("Grid[1,2]")), 0x05, (0,), id="too few indices"),
        pytest.param(read(path("Units.Flag")), 0x05, (0,), id="member of an array"),
        pytest.param(read(path("Dints[1100]")), 0xFF, (0x2105,), id="index beyond the end"),
        pytest.param(read(path("Dints[1099]"), 2), 0xFF, (0x2105,), id="elements beyond the end"),
        pytest.param(read(path("A_DINT"), 0), 0xFF, (0x2105,), id="no elements"),
        pytest.param(read(path("Grid[2,0,0]")), 0xFF, (0x2105,), id="beyond one dimension"),
        pytest.param(b"\x4c" + path("A_DINT"), 0x13, (), id="no count"),
        pytest.param(b"\x52" + path("A_DINT") + b"\1\0\0", 0x13, (), id="no offset"),
        pytest.param(b"\x52" + path("A_DINT") + b"\1\0\4\0\0\0", 0xFF, (0x2104,), id="read beyond the end"),
        pytest.param(write(path("A_DINT"), 0xC3, 1, b"\1\0"), 0xFF, (0x2107,), id="another type"),
        pytest.param(b"\x4d" + path("Unit") + b"\xa0\2\1\0\1\0", 0xFF, (0x2107,), id="another structure"),
        pytest.param(write(path("A_DINT"), DINT, 1, b"\1\0\0"), 0x13, (), id="too little data"),
        pytest.param(
            write(path("Dints[1099]"), DINT, 2, bytes(8)), 0xFF, (0x2105,), id="write beyond the end"
        ),
        pytest.param(b"\x4d" + path("A_DINT") + b"\xc4", 0x13, (), id="no type"),
        pytest.param(b"\x4d" + path("A_DINT") + b"\xc4\0\1", 0x13, (), id="no element count"),
        pytest.param(b"\x53" + path("Dints") + struct.pack("<HHI", DINT, 2, 8), 0xFF, (0x2104,), id="offset"),
        pytest.param(
            b"\x53" + path("Dints") + struct.pack("<HHI", DINT, 2, 4) + bytes(8),
            0xFF,
            (0x2105,),
            id="overlong part",
        ),
        pytest.param(b"\x53" + path("Dints") + struct.pack("<HHI", DINT, 2, 4), 0x13, (), id="empty part"),
        pytest.param(write(path("Shown"), DINT, 1, bytes(4)), 0x0F, (), id="read only"),
        pytest.param(read(path("Secret")), 0x0F, (), id="no access"),
        pytest.param(write(path("Pi"), 0xCA, 1, bytes(4)), 0x0E, (), id="constant"),
        pytest.param(b"\x4e" + path("A_DINT") + struct.pack("<H6s", 3, bytes(6)), 0x03, (), id="odd mask"),
        pytest.param(
            b"\x4e" + path("A_INT") + struct.pack("<H8s", 4, bytes(8)), 0x03, (), id="mask too wide"
        ),
        pytest.param(b"\x4e" + path("A_DINT") + struct.pack("<H4s", 4, bytes(4)), 0x13, (), id="half a mask"),
        pytest.param(
            b"\x4e" + path("A_REAL") + struct.pack("<H8s", 4, bytes(8)), 0xFF, (0x2107,), id="mask a REAL"
        ),
        pytest.param(b"\x4b" + path("A_DINT"), 0x08, (), id="unknown service"),
        pytest.param(b"\x4b" + instance(1, 1), 0x08, (), id="unknown service of an object"),
        pytest.param(b"\x01" + instance(0x1234, 1), 0x05, (0,), id="unknown class"),
        pytest.param(b"\x01" + instance(1, 2), 0x05, (0,), id="unknown object"),
        pytest.param(b"\x4c\x09\x91\x01A\0\1\0", 0x26, (), id="path longer than the request"),
        pytest.param(b"\x4c\x01\x91\x05\1\0", 0x26, (), id="path cut in a name"),
        pytest.param(b"\x4c\x01\xe0\x00\1\0", 0x04, (0,), id="unknown segment"),
        pytest.param(b"\x4c\x00\1\0", 0x04, (0,), id="no path"),
        pytest.param(b"\x4c", 0x13, (), id="no request"),
    ],
)
def test_errors_are_a_controllers(
    controller: LogixController, message: bytes, status: int, extended: tuple[int, ...]
) -> None:
    assert ask(controller, message) == (status, extended, b"")


@pytest.mark.parametrize(
    "message",
    [
        read(path("A_DINT")) + b"\0",
        b"\x52" + path("A_DINT") + b"\1\0\0\0\0\0\0",
        write(path("A_DINT"), DINT, 1, bytes(4)) + b"\0",
        b"\x4e" + path("A_DINT") + struct.pack("<H8s", 4, bytes(8)) + b"\0",
    ],
)
def test_strict_rejects_what_follows_a_request(message: bytes) -> None:
    controller = LogixController(everything())
    assert ask(controller, message)[0] == 0
    controller.faults.strict = True
    assert ask(controller, message) == (0x15, (), b"")
    assert ask(controller, message[:-1])[0] == 0


def test_the_keyswitch_in_run_refuses_writes() -> None:
    controller = LogixController(everything())
    controller.faults.mode = Mode.RUN
    assert ask(controller, write(path("A_DINT"), DINT, 1, bytes(4))) == (0x10, (0x2101,), b"")
    assert ask(controller, read(path("A_DINT")))[0] == 0
    assert ask(controller, b"\x0e\x03\x20\x01\x24\x01\x30\x05")[2] == b"\x60\x10"


@pytest.mark.parametrize("name", INTEGERS)
def test_limits_of_integers_come_back(controller: LogixController, name: str) -> None:
    for value in INTEGERS[name]:
        controller.write_tag(f"A_{name}", value)
        assert controller.read_tag(f"A_{name}") == value
        with pytest.raises(ValueError, match=name):
            controller.write_tag(f"A_{name}", value + (1 if value > 0 else -1))


def test_elements_of_every_dimension_are_where_they_should_be(controller: LogixController) -> None:
    assert ask(controller, read(path("Grid[1,2,3]")))[2] == struct.pack("<Hh", 0xC3, 123)
    # The last index runs fastest: [1,2,3] is the last of 24.
    assert ask(controller, read(path("Grid"), 24))[2][-2:] == struct.pack("<h", 123)
    controller.write_tag("Units[11].Several[2].A", -5)
    assert ask(controller, read(path("Units[11].Several[2].A")))[2] == struct.pack("<Hi", DINT, -5)
    assert ask(controller, read(path("units[11].SEVERAL[2].a")))[2] == struct.pack("<Hi", DINT, -5)


def test_bits_are_read_written_and_masked(controller: LogixController) -> None:
    controller.write_tag("Unit.One", {"On": False, "Off": True})
    assert ask(controller, write(path("Unit.One.On"), 0xC1, 1, b"\xff"))[0] == 0
    assert ask(controller, write(path("Unit.One.Off"), 0xC1, 1, b"\0"))[0] == 0
    assert ask(controller, read(path("Unit.One.On")))[2] == b"\xc1\0\1"
    assert controller.read_tag("Unit.One.Off") is False
    controller.write_tag("A_DINT", 0b1100)
    mask = b"\x4e" + path("A_DINT") + struct.pack("<Hii", 4, 0b0001, ~0b1000)
    assert ask(controller, mask)[0] == 0
    assert controller.read_tag("A_DINT") == 0b0101
    assert controller.read_tag("A_DINT.2") is True
    narrow = b"\x4e" + path("A_DINT") + struct.pack("<HBB", 1, 0x80, 0xFF)
    assert ask(controller, narrow)[0] == 0
    assert controller.read_tag("A_DINT") == 0b10000101


def test_arrays_of_bool_are_read_by_words(controller: LogixController) -> None:
    controller.write_tag("Flags", [index % 3 == 0 for index in range(64)])
    words = [sum(1 << bit for bit in range(32) if (bit + base) % 3 == 0) for base in (0, 32)]
    assert ask(controller, read(path("Flags"), 2))[2] == struct.pack("<HII", 0xD3, *words)
    assert ask(controller, read(path("Flags[1]")))[2] == struct.pack("<HI", 0xD3, words[1])
    assert controller.read_tag("Flags[33]") is True
    controller.write_tag("Unit.Bits[39]", True)
    assert ask(controller, read(path("Unit.Bits[1]")))[2] == struct.pack("<HI", 0xD3, 1 << 7)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["Dints", "Reals", "Units", "Texts", "Grid"]), st.integers(0, 1000), st.integers(20, 5000)
)
def test_fragments_are_the_whole(controller: LogixController, tag: str, start: int, room: int) -> None:
    place = controller._device.database.find([tag])
    count = place.available - start % place.available
    size = count * place.type.size
    dimensions = {"Grid": f"[{(i := start % 24) // 12},{i % 12 // 4},{i % 4}]"}
    where = path(tag + dimensions.get(tag, f"[{start % place.available}]"))
    got = b""
    while True:
        status, _, data = ask(controller, b"\x52" + where + struct.pack("<HI", count, len(got)), room)
        assert len(data) + 4 <= room
        part = data[4:] if data[:2] == b"\xa0\x02" else data[2:]
        assert part
        got += part
        if status == 0:
            break
        assert status == 6
    assert got == place.tag.data[len(place.tag.data) - size :]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_write_may_come_in_any_parts(controller: LogixController, data: st.DataObject) -> None:
    wanted = data.draw(st.binary(min_size=400, max_size=400))
    cuts = sorted(data.draw(st.sets(st.integers(1, 399), max_size=8)))
    for start, end in zip([0, *cuts], [*cuts, 400], strict=True):
        head = struct.pack("<HHI", DINT, 100, start)
        assert ask(controller, b"\x53" + path("Dints[50]") + head + wanted[start:end])[0] == 0
    assert ask(controller, read(path("Dints[50]"), 100))[2][2:] == wanted


def test_nothing_that_fits_is_an_error_and_no_endless_part(controller: LogixController) -> None:
    assert ask(controller, read(path("A_LINT")), 10) == (0x11, (), b"")
    assert ask(controller, b"\x52" + path("Dints") + struct.pack("<HI", 9, 0), 9) == (0x11, (), b"")


def test_many_services_in_one_packet_with_one_error(controller: LogixController) -> None:
    wanted = [read(path(f"Many{index:03}")) for index in range(MANY)]
    wanted[7] = read(path("Nothing"))
    status, _, data = ask(controller, multiple(*wanted), 4000)
    assert status == 0x1E
    answers = replies(data)
    assert [reply.status for reply in answers] == [0x04 if index == 7 else 0 for index in range(MANY)]
    assert [struct.unpack("<Hi", r.data)[1] for r in answers if not r.status] == [
        i * 3 for i in range(MANY) if i != 7
    ]
    status, _, data = ask(controller, multiple(*wanted[:5]))
    assert status == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(10, 600), st.integers(1, 30))
def test_a_packet_of_services_never_outgrows_its_room(
    controller: LogixController, room: int, count: int
) -> None:
    message = multiple(*(read(path("Dints"), 20) for _ in range(count)))
    raw = controller._device.answer(message, room)
    assert len(raw) <= room
    reply = parse_reply(raw)
    if reply.status == 0x11:
        assert room < 4 + 2 + 6 * count
        return
    for part in replies(reply.data):
        assert part.status in {0, 6, 0x11}
        assert len(part.data) == {0: 82, 0x11: 0}.get(part.status, len(part.data))
        assert part.status != 6 or len(part.data) > 2


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 0x13),
        (b"\0\0", 0x13),
        (b"\2\0\6\0", 0x13),
        (b"\1\0\2\0" + read(path("A_DINT")), 0x03),
        (b"\1\0\xff\0" + read(path("A_DINT")), 0x03),
        (struct.pack("<HHH", 2, 10, 6) + read(path("A_DINT")), 0x03),
    ],
)
def test_a_packet_with_bad_offsets_is_refused(controller: LogixController, data: bytes, status: int) -> None:
    assert ask(controller, b"\x0a" + instance(2, 1) + data)[0] == status


def test_packets_do_not_nest(controller: LogixController) -> None:
    status, _, data = ask(controller, multiple(multiple(read(path("A_DINT")))))
    assert status == 0x1E
    assert replies(data)[0][:2] == (0x0A, 0x08)
    assert ask(controller, b"\x01" + instance(2, 1))[0] == 0x08
    assert ask(controller, b"\x0a" + instance(2, 2))[0] == 0x05


async def test_one_connection_reads_and_writes_by_instance_and_name() -> None:
    async with serving(packer()) as serves, raw_client(serves.port) as client:
        await client.open()
        await _same_by_instance(serves, client)


async def _same_by_instance(serves: Serving, client: RawClient) -> None:
    program = path("Program:Packer.CaseSize")
    reply = await client.connected(write(program, 0xC3, 1, struct.pack("<h", 12)))
    assert reply.status == 0
    assert serves.controller.get("Acme/Lyon/Packaging/Line1/Packer", "CaseSize") == 12
    # Program scope by instance: the program's name, then its symbol class.
    named = path("Program:Packer.x")[1:-4]
    for number in range(2, 30, 3):
        segments = named + instance(0x6B, number)[1:]
        reply = await client.connected(read(bytes((len(segments) // 2,)) + segments))
        if reply.data == struct.pack("<Hh", 0xC3, 12):
            return
    pytest.fail("no instance of the program is CaseSize")
