from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import AsyncIterator, Iterator

import pycomm3
import pylogix
import pytest
from support.logix import RawClient, Serving, everything, path, raw_client, read, serving, write
from support.net import until

from sources.simulators.logix.controller import LogixController


@pytest.fixture
async def plc() -> AsyncIterator[Serving]:
    async with serving() as serves:
        yield serves


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def silent(client: RawClient, seconds: float = 0.2) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await client.reader.readexactly(1)
    except TimeoutError:
        return True
    return False


async def test_mute_carries_out_and_says_nothing(plc: Serving) -> None:
    async with raw_client(plc.port) as client:
        await client.open()
        plc.controller.faults.mute = True
        await client.send(client.unit_data(write(path("A_DINT"), 0xC4, 1, struct.pack("<i", 5))))
        await until(lambda: plc.controller.read_tag("A_DINT") == 5)
        assert await silent(client)
        plc.controller.faults.mute = False
        assert (await client.connected(read(path("A_DINT")))).data == struct.pack("<Hi", 0xC4, 5)


async def test_a_mute_controller_times_out_a_client(plc: Serving) -> None:
    def work() -> str:
        with pylogix.PLC("127.0.0.1", port=plc.port, timeout=0.3) as client:
            client.conn.msg_socket.close()
            assert client.Read("A_DINT").Status == "Success"
            plc.controller.faults.mute = True
            return str(client.Read("A_DINT").Status)

    assert await asyncio.to_thread(work) != "Success"


async def test_a_delay_holds_every_reply_and_one_holds_one(plc: Serving) -> None:
    async with raw_client(plc.port) as client:
        plc.controller.faults.delay = 0.2
        for _ in range(2):
            begin = time.monotonic()
            await client.unconnected(read(path("A_DINT")))
            assert time.monotonic() - begin >= 0.2
        plc.controller.faults.delay = 0
        plc.controller.faults.delay_once = 0.2
        begin = time.monotonic()
        await client.unconnected(read(path("A_DINT")))
        assert time.monotonic() - begin >= 0.2
        assert plc.controller.faults.delay_once == 0


async def test_one_late_reply_gives_a_careless_driver_another_tags_value(plc: Serving) -> None:
    """What the knob is for: pycomm3 takes the late reply for the next one's, error free."""

    def work() -> tuple[object, object]:
        tag = None
        with pycomm3.LogixDriver(plc.address) as driver:
            link = driver._sock.sock
            link.settimeout(0.3)
            plc.controller.faults.delay_once = 1.0
            with pytest.raises(pycomm3.CommError):
                driver.read("Many001")
            link.settimeout(10)
            tag = driver.read("Many002")
        assert tag is not None
        return tag.value, tag.error

    assert await asyncio.to_thread(work) == (3, None)


@pytest.mark.parametrize("size", [0, 10, 24, 30])
async def test_a_reply_is_cut_once_and_its_connection_closed(plc: Serving, size: int) -> None:
    async with raw_client(plc.port) as client:
        plc.controller.faults.cut = size
        await client.send(client.frame(0x63))
        assert len(await client.closed()) == size
    async with raw_client(plc.port) as client:
        assert (await client.ask(0x63)).status == 0


async def test_large_connections_are_refused_and_small_ones_not(plc: Serving) -> None:
    plc.controller.faults.refuse_large = True
    async with raw_client(plc.port) as client:
        assert (await client.open(4000))[:2] == (0x5B, 0x08)
        assert (await client.open(500))[:2] == (0x54, 0)


async def test_a_tag_answers_a_status_until_it_is_healed(plc: Serving) -> None:
    def work() -> list[str | None]:
        told: list[str | None] = []
        with pycomm3.LogixDriver(plc.address) as driver:
            told += [driver.read("Many001").error, driver.read("Many002").error]
            told += [tag.error for tag in driver.write(("Many001", 1), ("Many002", 1))]
            plc.controller.fail_tag("Many001", None)
            told.append(driver.read("Many001").error)
        return told

    plc.controller.fail_tag("Many001", (0xFF, 0x2105))
    failed, other, written, other_written, healed = await asyncio.to_thread(work)
    assert failed is not None
    assert "2105" in failed
    assert written == failed
    assert (other, other_written, healed) == (None, None, None)
    with pytest.raises(KeyError):
        plc.controller.fail_tag("Nothing", (4, 0))


async def test_dropped_clients_may_come_back_and_refused_ones_not(plc: Serving) -> None:
    async with raw_client(plc.port) as one, raw_client(plc.port) as two:
        plc.controller.drop()
        assert await one.closed() == b""
        assert await two.closed() == b""
    plc.controller.faults.refuse = True
    reader, writer = await asyncio.open_connection("127.0.0.1", plc.port)
    assert await RawClient(reader, writer).closed() == b""
    writer.close()
    plc.controller.faults.refuse = False
    async with raw_client(plc.port) as client:
        assert (await client.unconnected(read(path("A_DINT")))).status == 0


async def test_a_download_makes_a_careless_driver_read_and_write_other_tags(plc: Serving) -> None:
    """What the knob is for: pycomm3 keeps the old instance numbers, error free."""

    def work() -> tuple[list[object], list[object]]:
        names = [f"Many{index:03}" for index in range(20)]
        before: list[object] = []
        after: list[object] = []
        with pycomm3.LogixDriver(plc.address) as driver:
            before += [tag.value for tag in driver.read(*names)]
            plc.controller.download(close_connections=False)
            after += [tag.value for tag in driver.read(*names)]
        return before, after

    before, after = await asyncio.to_thread(work)
    assert before == [index * 3 for index in range(20)]
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert plc.controller.read_tag("Many003") == 9


async def test_a_download_may_close_connections(plc: Serving) -> None:
    async with raw_client(plc.port) as client:
        await client.open()
        assert (await client.connected(read(path("Many003")))).status == 0
        plc.controller.download(close_connections=True)
        await client.send(client.unit_data(read(path("Many003"))))
        assert await silent(client)
        assert (await client.open(4000, serial=2)).status == 0
        assert (await client.connected(read(path("Many003")))).data == struct.pack("<Hi", 0xC4, 9)


async def test_tags_are_set_and_got_past_all_rights(plc: Serving) -> None:
    controller = plc.controller
    controller.write_tag("Shown", 8)
    controller.write_tag("Units[2].Several[1].Label", "set")
    controller.write_tag("Unit.Bits[37]", True)
    controller.write_tag("A_INT.15", True)
    assert controller.read_tag("Shown") == 8
    assert controller.read_tag("A_INT") == -(2**15)
    assert controller.read_tag("Unit.Bits")[37:] == [True, False, False, *[False] * 24]  # type: ignore[index]
    async with raw_client(plc.port) as client:
        reply = await client.unconnected(read(path("Units[2].Several[1].Label")))
        assert reply.data[:11] == struct.pack("<HHI3s", 0x02A0, 0xFCE, 3, b"set")


@pytest.mark.parametrize(
    ("tag", "value", "told"),
    [
        ("A_DINT", 1.5, "no whole number"),
        ("A_DINT", float("nan"), "no whole number"),
        ("A_DINT", "text", "no value of a DINT"),
        ("A_REAL", 1e300, "does not fit"),
        ("Short", "x" * 21, "longer than the 20 bytes"),
        ("Unit", 5, "no value of the structure Outer"),
        ("Unit", {"Nothing": 1}, "no member Nothing"),
        ("Dints", [0] * 1101, "at most as many"),
        ("Dints", 5, "array of 1100"),
        ("not a path", 5, "not a tag path"),
        ("A_BOOL", None, "no value of a BOOL"),
    ],
)
def test_a_value_that_does_not_fit_is_told(tag: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LogixController(everything()).write_tag(tag, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tag",
    [
        "Nothing",
        "Unit.Nothing",
        "A_INT.16",
        "A_REAL.3",
        "Flags[64]",
        "Flags[3].1",
        "Dints[1100]",
        "Dints.1",
        "Unit.1",
        "Unit.Flag.0",
    ],
)
def test_a_tag_that_is_not_there_is_a_key_error(tag: str) -> None:
    with pytest.raises(KeyError):
        LogixController(everything()).read_tag(tag)
