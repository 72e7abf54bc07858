"""The controller as a process of its own, ordered about by its control port."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import AsyncIterator, Iterator

import pycomm3
import pylogix
import pytest
from support.logix import PACKER, everything, packer, path, raw_client, read
from support.net import until
from support.simulator import RunningSimulator, running_simulator

from sources.simulators.logix.control import LogixControl
from sources.simulators.logix.controller import LogixController
from sources.simulators.logix.spec import LogixSpec, TagSpec

PML = "Program:Packer.PML"


@pytest.fixture
async def plc() -> AsyncIterator[RunningSimulator]:
    async with running_simulator(packer()) as it:
        yield it


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def test_both_clients_read_the_packer_and_write_to_it(plc: RunningSimulator) -> None:
    def pycomm3_reads() -> tuple[int, float, int]:
        with pycomm3.LogixDriver(f"127.0.0.1:{plc.port}") as driver:
            pml = driver.read(PML).value
            written = driver.write((f"{PML}.Command.MachSpeed", 60.0), ("Program:Packer.CaseSize", 12))
            assert [tag.error for tag in written] == [None, None]
            return pml["Status"]["StateCurrent"], pml["Command"]["MachSpeed"], len(driver.tags)

    def pylogix_reads() -> tuple[float, int, int]:
        with pylogix.PLC("127.0.0.1", port=plc.port) as client:
            client.conn.msg_socket.close()
            speed, size = client.Read([f"{PML}.Command.MachSpeed", "Program:Packer.CaseSize"])
            count = client.Read(f"{PML}.Admin.ProdProcessedCount[0].Count")
            return speed.Value, size.Value, count.Value

    state, set_point, tags = await asyncio.to_thread(pycomm3_reads)
    assert 1 <= state <= 17
    assert set_point > 0
    assert tags == 5
    speed, size, count = await asyncio.to_thread(pylogix_reads)
    assert (speed, size) == (60.0, 12)
    assert count >= 0
    assert await plc.get("SpeedSP", PACKER) == 60.0
    assert await plc.get("CaseSize", PACKER) == 12


async def test_points_move_freeze_and_move_again(plc: RunningSimulator) -> None:
    await plc.set("Speed", 33.5, PACKER)
    assert (await plc.control(get_tag=f"{PML}.Status.CurMachSpeed"))["value"] == 33.5
    await plc.set("Speed", None, PACKER)

    async def has_moved() -> bool:
        return bool(await plc.get("Speed", PACKER) != 33.5)

    await until(has_moved)


async def test_tags_are_set_got_and_failed(plc: RunningSimulator) -> None:
    await plc.control(set_tag={"tag": "Program:Packer.Recipe", "value": "Lemonade"})
    assert (await plc.control(get_tag="program:packer.recipe"))["value"] == "Lemonade"
    assert set((await plc.control(get_tag=PML))["value"]) == {"Status", "Command", "Admin"}
    async with raw_client(plc.port) as client:
        await plc.control(tag_status={"tag": "Program:Packer.Recipe", "status": 4, "extended": [0]})
        assert (await client.unconnected(read(path("Program:Packer.Recipe"))))[1:3] == (4, (0,))
        await plc.control(tag_status={"tag": "Program:Packer.Recipe", "status": None})
        assert (await client.unconnected(read(path("Program:Packer.Recipe")))).status == 0


async def test_faults_are_ordered_and_reported(plc: RunningSimulator) -> None:
    orders = {"mute": True, "delay": 0.5, "delay_once": 0.25, "refuse": True, "refuse_large": True}
    orders["no_counters"] = True
    for name, value in (orders | {"strict": True, "cut": 20, "mode": "program"}).items():
        await plc.control(**{name: value})
    status = await plc.control(status=True)
    assert status["faults"] == orders | {"strict": True, "cut": 20, "mode": "program"}
    assert (status["kind"], status["name"], status["pid"]) == ("logix", "PackerPLC", plc.pid)
    assert (status["tags"], status["points"]) == (5, 11)
    await plc.control(cut=None)
    for name in orders:
        await plc.control(**{name: 0 if name.startswith("delay") else False})
    assert (await plc.control(status=True))["faults"]["cut"] is None
    await plc.control(cut=30)
    async with raw_client(plc.port) as client:
        # The reply to its registration has 28 bytes; the cut has been used up by it.
        assert await client.closed() == b""
    await plc.control(renumber={"close_connections": True})
    await plc.control(drop=True)
    assert (await plc.control(status=True))["downloads"] == 1


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ({"get_tag": "Nothing"}, "there is no tag Nothing"),
        ({"get_tag": "not a path"}, "not a tag path"),
        ({"set_tag": {"tag": "Program:Packer.CaseSize", "value": 70000}}, "does not fit"),
        ({"set_tag": {"tag": "Nothing", "value": 1}}, "there is no tag Nothing"),
        ({"tag_status": {"tag": "Nothing", "status": 4}}, "there is no tag Nothing"),
        ({"tag_status": {"tag": "Nothing", "status": 0}}, "greater than or equal to 1"),
        ({"mode": "asleep"}, "mode"),
        ({"mode": None}, "null says nothing"),
        ({"get": {"machine": PACKER, "name": "Nothing"}}, "no such machine or point"),
        ({"set": {"machine": PACKER, "name": "CaseSize", "value": 10**6}}, "outside"),
        ({"exception": None}, "Extra inputs"),
        ({"mute": True, "strict": True}, "one command a line"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(order: dict[str, object], told: str) -> None:
    answer = LogixControl(LogixController(packer())).answer(json.dumps(order).encode())
    assert answer["ok"] is False
    assert told in answer["error"]


async def test_after_a_restart_the_same_port_serves_and_other_contents_may() -> None:
    async with running_simulator(everything()) as plc:
        async with raw_client(plc.port) as client:
            assert (await client.unconnected(read(path("Many003")))).data == struct.pack("<Hi", 0xC4, 9)
        await plc.kill()
        plc.spec = packer()
        await plc.start()
        async with raw_client(plc.port) as client:
            assert (await client.unconnected(read(path("Many003")))).status == 4
        assert await plc.terminate() == 0


async def test_another_program_is_loaded_by_order() -> None:
    spec = LogixSpec(name="Small", tags=(TagSpec(name="Speed", type="REAL"),))
    async with running_simulator(spec) as plc:
        program = {"tags": [{"name": "Speed", "type": "DINT"}], "values": {"Speed": 7}}
        await plc.control(program=program)
        assert (await plc.control(get_tag="Speed"))["value"] == 7
        assert (await plc.control(status=True))["downloads"] == 1


async def test_a_program_that_machines_have_their_places_in_stays(plc: RunningSimulator) -> None:
    with pytest.raises(AssertionError, match="places in its program"):
        await plc.control(program={"tags": [{"name": "Speed", "type": "DINT"}]})
