"""pycomm3's LogixDriver, used plainly. It blocks, so each test's client runs in a thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pycomm3
import pytest
from support.logix import INTEGERS, MANY, Serving, everything, serving

from sources.simulators.logix.faults import Mode

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


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # It logs an error with traceback for everything a test provokes.
    logger = logging.getLogger("pycomm3")
    before, logger.disabled = logger.disabled, True
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    logger.disabled = before


async def using(serves: Serving, work: Callable[[pycomm3.LogixDriver], Any], **options: Any) -> Any:
    """Run some work with an open driver, in a thread."""

    def run() -> Any:
        with pycomm3.LogixDriver(serves.address, **options) as driver:
            return work(driver)

    return await asyncio.to_thread(run)


async def test_opens_and_tells_who_it_is(plc: Serving) -> None:
    info = await using(plc, lambda driver: driver.info)
    assert info["name"] == "Simulated"
    assert info["product_name"] == "1756-L83E/B"
    assert info["vendor"].startswith("Rockwell")
    assert info["revision"] == {"major": 33, "minor": 11}
    assert (info["serial"], info["keyswitch"]) == ("00c0ffee", "REMOTE RUN")
    assert set(info["programs"]) == {"Packer", "Palletizer"}
    assert info["programs"]["Packer"]["routines"] == ["MainRoutine"]
    assert set(info["tasks"]) == {"MainTask"}


async def test_uploads_controller_and_program_tags_with_nested_types(plc: Serving) -> None:
    tags, types = await using(plc, lambda driver: (driver.tags, driver.data_types))
    assert len(tags) == plc.controller.status()["tags"]
    assert tags["Dints"]["dimensions"] == [1100, 0, 0]
    assert tags["Grid"]["dim"] == 3
    assert tags["Program:Packer.Unit"]["data_type_name"] == "Outer"
    assert tags["Short"]["data_type_name"] == "STRING_20"
    assert tags["Shown"]["external_access"] == "Read Only"
    assert tags["A_DINT"]["alias"] is False
    outer = types["Outer"]
    assert outer["attributes"] == ["Flag", "Total", "One", "Several", "Delay", "Bits", "Rates", "Code"]
    inner = outer["internal_tags"]["One"]["data_type"]
    assert inner["attributes"] == ["A", "On", "Off", "Label"]
    assert inner["internal_tags"]["Label"]["data_type_name"] == "STRING"
    assert types["TIMER"]["attributes"] == ["PRE", "ACC", "EN", "TT", "DN"]


@pytest.mark.parametrize("kind", VALUES)
async def test_every_type_is_written_and_read(plc: Serving, kind: str) -> None:
    def work(driver: pycomm3.LogixDriver) -> list[Any]:
        got = []
        for value in VALUES[kind]:
            assert driver.write(f"A_{kind}", value).error is None
            tag = driver.read(f"A_{kind}")
            assert (tag.type, tag.error) == (kind, None)
            got.append(tag.value)
        return got

    assert await using(plc, work) == pytest.approx(VALUES[kind])
    assert plc.controller.read_tag(f"A_{kind}") == pytest.approx(VALUES[kind][-1])


@pytest.mark.parametrize(
    ("size", "count"),
    [(4000, count) for count in (1, 2, 990, 998, 1001, 1100)]
    + [(500, count) for count in (1, 2, 123, 126, 1100)],
)
async def test_arrays_of_any_length(plc: Serving, size: int, count: int) -> None:
    plc.controller.faults.refuse_large = size == 500
    name = f"Dints{{{count}}}" if count > 1 else "Dints[0]"

    def work(driver: pycomm3.LogixDriver) -> tuple[Any, Any]:
        before = driver.read(name)
        values = [-index for index in range(count)]
        written = driver.write((name, values if count > 1 else values[0]), ("A_DINT", 1))
        assert [tag.error for tag in written] == [None, None]
        assert driver.connection_size == size
        return before.value, driver.read(name).value

    first, second = await using(plc, work)
    assert first == (list(range(count)) if count > 1 else 0)
    assert second == ([-index for index in range(count)] if count > 1 else 0)


async def test_a_known_fault_of_the_driver_shows_here_too(plc: Serving) -> None:
    """It reckons with too little overhead: 999 DINTs need 4,004 bytes of a connection of 4,000."""
    error = await using(plc, lambda driver: driver.read("Dints{999}").error)
    assert error is not None
    assert "packet" in error.lower()


async def test_many_tags_at_once(plc: Serving) -> None:
    names = [f"Many{index:03}" for index in range(MANY)]

    def work(driver: pycomm3.LogixDriver) -> tuple[list[Any], list[Any]]:
        first = driver.read(*names)
        written = driver.write(*((name, index) for index, name in enumerate(names)))
        assert all(tag.error is None for tag in written)
        return first, driver.read(*names)

    first, second = await using(plc, work)
    assert [tag.value for tag in first] == [index * 3 for index in range(MANY)]
    assert [tag.value for tag in second] == list(range(MANY))
    assert plc.controller.read_tag("Many249") == 249


async def test_bits_slices_and_dimensions(plc: Serving) -> None:
    def work(driver: pycomm3.LogixDriver) -> None:
        assert driver.write(("A_DINT.0", True), ("A_DINT.31", True), ("A_LINT.40", True))[0].error is None
        assert driver.read("A_DINT").value == -(2**31) + 1
        assert driver.read("A_DINT.31").value is True
        assert driver.write("A_DINT.31", False).error is None
        assert driver.read("A_DINT.31").value is False
        assert driver.read("Dints[500]{3}").value == [500, 501, 502]
        assert driver.read("Grid[1,2,3]").value == 123
        assert driver.write("Grid[0,1,2]", 12).error is None
        assert driver.read("Grid{24}").value[6] == 12
        assert driver.write("Flags[32]{32}", [True, False] * 16).error is None
        assert driver.read("Flags[31]{3}").value == [False, True, False]

    await using(plc, work)
    assert plc.controller.read_tag("Flags[32]") is True
    assert plc.controller.read_tag("A_LINT") == 1 << 40


async def test_structures_and_their_members(plc: Serving) -> None:
    plc.controller.write_tag("Unit", {"Total": 2**40, "One": {"A": 3, "Label": "one"}, "Bits": [True]})

    def work(driver: pycomm3.LogixDriver) -> Any:
        unit = driver.read("Unit").value
        assert (unit["Total"], unit["One"]["A"], unit["One"]["Label"]) == (2**40, 3, "one")
        assert unit["Bits"][:2] == [True, False]
        unit["Several"][2]["On"] = True
        unit["Rates"] = [1.5, 2.5, 3.5, 4.5, 5.5]
        unit["Code"] = "ABC-12"
        unit["Delay"]["PRE"] = 250
        written = driver.write(("Program:Packer.Unit", unit), ("Units[3]", unit))
        assert [tag.error for tag in written] == [None, None]
        assert driver.write("Units[3].Several[0].Label", "named").error is None
        assert driver.write("Units[3].Several[1].Off", True).error is None
        assert driver.read("Units[3].Several[1].Off").value is True
        assert len(driver.read("Units{12}").value) == 12
        return driver.read("Units[3]").value

    got = await using(plc, work)
    assert got == plc.controller.read_tag("Units[3]")
    assert plc.controller.read_tag("Program:Packer.Unit.Several[2].On") is True
    assert plc.controller.read_tag("Program:Packer.Unit.Code") == "ABC-12"
    assert plc.controller.read_tag("Units[3].Delay.PRE") == 250


async def test_timers_counters_and_texts(plc: Serving) -> None:
    plc.controller.write_tag("Cycle", {"PRE": 1000, "ACC": 42, "EN": True, "DN": True})
    plc.controller.write_tag("Boxes", {"ACC": 12, "CU": True})

    def work(driver: pycomm3.LogixDriver) -> None:
        cycle, boxes = driver.read("Cycle", "Boxes")
        assert cycle.value == {"PRE": 1000, "ACC": 42, "EN": True, "TT": False, "DN": True}
        assert boxes.value == {
            "PRE": 0,
            "ACC": 12,
            "CU": True,
            "CD": False,
            "DN": False,
            "OV": False,
            "UN": False,
        }
        assert driver.write(("Cycle.PRE", 500), ("Boxes.ACC", 0), ("Cycle.TT", 1))[0].error is None
        assert driver.read("Texts{20}").value[3] == "third"
        assert driver.write("Short", "twenty characters ok").error is None
        assert driver.read("Short").value == "twenty characters ok"

    await using(plc, work)
    assert plc.controller.read_tag("Cycle") == {"PRE": 500, "ACC": 42, "EN": True, "TT": True, "DN": True}
    assert plc.controller.read_tag("Boxes.ACC") == 0


async def test_the_clock(plc: Serving) -> None:
    def work(driver: pycomm3.LogixDriver) -> Any:
        assert driver.set_plc_time(1_600_000_000_000_000).error is None
        return driver.get_plc_time().value["microseconds"]

    assert 0 <= await using(plc, work) - 1_600_000_000_000_000 < 60_000_000


async def test_errors_are_told(plc: Serving) -> None:
    def work(driver: pycomm3.LogixDriver) -> dict[str, str]:
        return {
            "beyond": driver.read("Dints[1100]").error,
            "read only": driver.write("Shown", 1).error,
            "hidden": driver.read("Secret").error,
            "constant": driver.write("Pi", 3.2).error,
            "mixed": driver.read("A_DINT", "Secret")[1].error,
        }

    told = await using(plc, work)
    assert "ff, 2105" in told["beyond"]
    assert told["read only"] == told["hidden"] == told["mixed"]
    assert "permission" in told["hidden"].lower() or "privilege" in told["hidden"].lower()
    assert "settable" in told["constant"].lower()


async def test_a_small_connection_where_large_ones_are_refused(plc: Serving) -> None:
    plc.controller.faults.refuse_large = True
    size, count = await using(plc, lambda driver: (driver.connection_size, len(driver.tags)))
    assert (size, count) == (500, plc.controller.status()["tags"])


async def test_the_keyswitch_is_seen(plc: Serving) -> None:
    plc.controller.faults.mode = Mode.PROGRAM
    assert (await using(plc, lambda driver: driver.info))["keyswitch"] == "PROG"


async def test_symbolic_names_for_an_old_revision() -> None:
    spec = everything(identity={"major": 20, "minor": 11})
    async with serving(spec) as plc:
        assert await using(
            plc, lambda driver: [tag.value for tag in driver.read("Many009", "Grid[1,2,3]")]
        ) == [27, 123]


async def test_strict_shows_that_single_writes_send_too_much(plc: Serving) -> None:
    plc.controller.faults.strict = True

    def work(driver: pycomm3.LogixDriver) -> tuple[Any, Any, Any]:
        return (
            driver.write("A_DINT", 5).error,
            [tag.error for tag in driver.write(("A_DINT", 6), ("A_INT", 7))],
            driver.write("A_DINT.0", True).error,
        )

    single, several, bit = await using(plc, work)
    assert "too much data" in single.lower()
    assert several == [None, None]
    assert "too much data" in bit.lower()
    assert plc.controller.read_tag("A_DINT") == 6
