"""pylogix's PLC, used plainly. It blocks, so each test's client runs in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pylogix
import pytest
from support.logix import INTEGERS, MANY, Serving, serving

VALUES: dict[str, list[Any]] = {
    **{name: [low, 0, high] for name, (low, high) in INTEGERS.items()},
    "BOOL": [True, False],
    "REAL": [1.5, -3.25e10],
    "LREAL": [0.1, -1e300],
    "STRING": ["", "Bottles 0.5 l", "x" * 82],
}


@pytest.fixture
async def plc() -> AsyncIterator[Serving]:
    async with serving() as serves:
        yield serves


async def using(serves: Serving, work: Callable[[pylogix.PLC], Any]) -> Any:
    """Run some work with a client, in a thread."""

    def run() -> Any:
        with pylogix.PLC("127.0.0.1", port=serves.port) as client:
            # It makes a socket for messages to come and never closes it.
            client.conn.msg_socket.close()
            return work(client)

    return await asyncio.to_thread(run)


async def test_lists_controller_and_program_tags_with_nested_types(plc: Serving) -> None:
    def work(client: pylogix.PLC) -> Any:
        tags = client.GetTagList()
        assert tags.Status == "Success"
        return {tag.TagName: tag for tag in tags.Value}, client.UDTByName, client.ProgramNames

    tags, types, programs = await using(plc, work)
    assert programs == ["Program:Packer", "Program:Palletizer"]
    assert len(tags) == plc.controller.status()["tags"] + len(programs)
    assert (tags["Dints"].DataType, tags["Dints"].Size, tags["Dints"].Array) == ("DINT", 1100, 1)
    assert tags["Grid"].Array == 3
    assert tags["Program:Packer.Unit"].DataType == "Outer"
    assert tags["Short"].DataType == "STRING_20"
    outer, inner = types["Outer"], types["Inner"]
    visible = [field.TagName for field in outer.Fields if not field.TagName.startswith("ZZZZ")]
    assert visible == ["Flag", "Total", "One", "Several", "Delay", "Bits", "Rates", "Code"]
    assert outer.FieldsByName["One"].DataType == "Inner"
    assert outer.FieldsByName["Several"].Size == 3
    assert inner.FieldsByName["Label"].DataType == "ASCIISTRING82"
    assert [field.TagName for field in types["TIMER"].Fields] == ["Control", "PRE", "ACC", "EN", "TT", "DN"]


async def test_one_programs_tags(plc: Serving) -> None:
    def work(client: pylogix.PLC) -> Any:
        return client.GetProgramsList().Value, client.GetProgramTagList("Program:Palletizer").Value

    programs, tags = await using(plc, work)
    assert programs == ["Program:Packer", "Program:Palletizer"]
    assert [tag.TagName for tag in tags] == ["Program:Palletizer.Count"]


@pytest.mark.parametrize("kind", VALUES)
async def test_every_type_is_written_and_read(plc: Serving, kind: str) -> None:
    def work(client: pylogix.PLC) -> list[Any]:
        got = []
        for value in VALUES[kind]:
            assert client.Write(f"A_{kind}", value).Status == "Success"
            got.append(client.Read(f"A_{kind}").Value)
        return got

    assert await using(plc, work) == pytest.approx(VALUES[kind])
    assert plc.controller.read_tag(f"A_{kind}") == pytest.approx(VALUES[kind][-1])


@pytest.mark.parametrize("count", [1, 2, 123, 124, 126, 990, 999, 1000, 1100])
@pytest.mark.parametrize("size", [4002, 504])
async def test_arrays_of_any_length(plc: Serving, count: int, size: int) -> None:
    plc.controller.faults.refuse_large = size == 504

    def work(client: pylogix.PLC) -> tuple[Any, Any]:
        first = client.Read("Dints", count).Value
        assert client.ConnectionSize == size
        assert client.Write("Dints", [-index for index in range(count)]).Status == "Success"
        return first, client.Read("Dints", count).Value

    first, second = await using(plc, work)
    assert first == (list(range(count)) if count > 1 else 0)
    assert second == ([-index for index in range(count)] if count > 1 else 0)


async def test_many_tags_at_once(plc: Serving) -> None:
    names = [f"Many{index:03}" for index in range(MANY)]

    def work(client: pylogix.PLC) -> list[Any]:
        first = client.Read(names)
        assert [tag.Value for tag in first] == [index * 3 for index in range(MANY)]
        written = client.Write([(name, index) for index, name in enumerate(names)])
        assert {tag.Status for tag in written} == {"Success"}
        return [tag.Value for tag in client.Read(names)]

    assert await using(plc, work) == list(range(MANY))
    assert plc.controller.read_tag("Many249") == 249


async def test_bits_slices_dimensions_and_members(plc: Serving) -> None:
    plc.controller.write_tag("Cycle", {"PRE": 1000, "EN": True})

    def work(client: pylogix.PLC) -> None:
        assert client.Write("A_DINT.4", True).Status == "Success"
        assert client.Read("A_DINT").Value == 16
        assert client.Read("A_DINT.4").Value is True
        assert client.Read("Dints[500]", 3).Value == [500, 501, 502]
        assert client.Read("Grid[1,2,3]").Value == 123
        assert client.Write("Grid[0,1,2]", 12).Status == "Success"
        assert client.Read("Grid[0,1,2]").Value == 12
        assert client.Write("Flags[33]", [True, False, True]).Status == "Success"
        assert client.Read("Flags[32]", 5).Value == [False, True, False, True, False]
        assert client.Read("Cycle.PRE").Value == 1000
        assert client.Read("Cycle.EN").Value is True
        assert client.Write("Program:Packer.Unit.Several[2].Label", "inside").Status == "Success"
        assert client.Read("Program:Packer.Unit.Several[2].Label").Value == "inside"
        assert client.Write("Program:Packer.Unit.Flag", True).Status == "Success"
        mixed = client.Read(["Program:Packer.Unit.Flag", "A_DINT.4", "Texts[3]", "Flags[33]", "Many003"])
        assert [tag.Value for tag in mixed] == [True, True, "third", True, 9]

    await using(plc, work)
    assert plc.controller.read_tag("Program:Packer.Unit.Several[2].Label") == "inside"


async def test_texts_in_an_array_and_a_whole_structure(plc: Serving) -> None:
    texts = [f"text {index}" for index in range(20)]

    def work(client: pylogix.PLC) -> Any:
        assert client.Write("Texts[0]", texts).Status == "Success"
        assert client.Read("Texts", 20).Value == texts
        return client.Read("Units").Value, client.Read("Units", 12).Value

    one, all_ = await using(plc, work)
    memory = bytes(plc.controller._device.database.find(["Units"]).tag.data)
    assert (one, all_) == (memory[: len(memory) // 12], memory)


async def test_the_clock_and_the_device(plc: Serving) -> None:
    def work(client: pylogix.PLC) -> None:
        assert client.SetPLCTime().Status == "Success"
        assert abs(client.GetPLCTime(raw=True).Value - client.SetPLCTime().Value) < 60_000_000
        device = client.GetDeviceProperties().Value
        assert (device.ProductName, device.SerialNumber, device.Revision) == (
            "1756-L83E/B",
            "0xc0ffee",
            "33.11",
        )
        assert client.GetModuleProperties(0).Value.ProductName == "1756-L83E/B"
        assert client.GetModuleProperties(3).Status == "Connection failure"

    await using(plc, work)


async def test_errors_are_told(plc: Serving) -> None:
    def work(client: pylogix.PLC) -> list[str]:
        return [
            client.Read("Nothing").Status,
            client.Read("Secret").Status,
            client.Write("Shown", 1).Status,
            client.Read(["Many001", "Secret"])[1].Status,
        ]

    unknown, hidden, read_only, mixed = await using(plc, work)
    assert unknown == "Path segment error"
    assert hidden == read_only == mixed == "Privilege violation"


async def test_a_strict_controller_takes_all_it_says(plc: Serving) -> None:
    plc.controller.faults.strict = True

    def work(client: pylogix.PLC) -> None:
        assert client.Write("A_DINT", 5).Status == "Success"
        assert client.Write("A_DINT.1", True).Status == "Success"
        assert client.Write([("A_DINT", 6), ("A_INT", 7)])[1].Status == "Success"
        assert client.Read("Dints", 1100).Status == "Success"
        assert client.GetTagList().Status == "Success"

    await using(plc, work)
