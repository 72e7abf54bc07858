"""Arrays of a controller as one value each, against the simulated controller, which is strict here."""

from __future__ import annotations

from typing import Any

import pytest
from support.logix import everything, serving
from support.logix_tags import settings, tag
from support.scanning import NORMAL, SLOW, scanning

from sources.errors import AddressError
from sources.ethernetip.driver import LogixSource
from sources.quality import (
    BAD_CONFIGURATION_ERROR,
    BAD_DECODING_ERROR,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
)
from sources.simulators.logix.spec import IdentitySpec
from sources.tag import Part

ARRAYS: list[tuple[str, str, int, tuple[Any, ...]]] = [
    ("Dints", "dint", 1100, tuple(range(5, 1105))),  # larger than a packet
    ("Reals[7]", "real", 3, (1.5, -2.5, 0.25)),
    ("Flags", "bool", 64, tuple(index % 3 == 0 for index in range(64))),
    ("Texts[4]", "string", 3, ("a", "", "third")),
    ("Unit.Rates", "real", 5, (1.0, 2.0, 3.0, 4.0, 5.0)),
    ("Unit.Bits[3]", "bool", 35, tuple(index % 2 == 0 for index in range(35))),
    ("Units[11].Bits", "bool", 7, (True, False, True, True, False, False, True)),
    ("Program:Packer.Unit.Rates[1]", "real", 2, (9.5, 8.5)),
]


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("connection", ["large", "small"])
async def test_arrays_of_every_kind_are_written_and_read(validate: bool, connection: str) -> None:
    async with serving() as plc:
        plc.controller.faults.strict = True
        tags = [tag(name, encoding, SLOW, writable=True, length=n) for name, encoding, n, _ in ARRAYS]
        values = [value for *_, value in ARRAYS]
        source = LogixSource("PLC", settings(plc.port, validate=validate, connection=connection), tags)
        async with source.connect() as session:
            assert await session.write(list(zip(tags, values, strict=True))) == [GOOD] * len(tags)
            batch = await session.read(tags)
            assert list(batch.values or ()) == values
        for its, value in zip(tags, values, strict=True):
            elements = [str(its.address.element(index)) for index in range(len(value))]
            assert tuple(plc.controller.read_tag(each) for each in elements) == value, its


async def test_an_array_is_one_service_beside_others_in_a_packet() -> None:
    async with serving() as plc:
        tags = [
            tag("Dints[10]", "dint", SLOW, length=20),
            tag("A_DINT", "dint", SLOW),
            tag("Flags", "bool", SLOW, length=40),
            tag("Dints[500]", "dint", SLOW),
        ]
        plc.controller.write_tag("Flags[33]", True)
        source = LogixSource("PLC", settings(plc.port), tags)
        async with scanning(source) as it:
            await it.good(*tags)
            assert it.listener.value(tags[0]) == tuple(range(10, 30))
            assert it.listener.value(tags[2]) == tuple(index == 33 for index in range(40))
            assert len(it.listener.batches) == 1, "one packet has it all"
            (block,) = source.plan()
            assert block.points == 4


@pytest.mark.parametrize("validate", [True, False])
async def test_a_part_is_written_and_no_other_element_is_touched(validate: bool) -> None:
    async with serving() as plc:
        plc.controller.faults.strict = True
        numbers = tag("Dints[100]", "dint", SLOW, writable=True, length=10)
        flags = tag("Flags[2]", "bool", SLOW, writable=True, length=60)
        texts = tag("Texts", "string", SLOW, writable=True, length=20)
        plc.controller.write_tag("Flags", [True] * 64)
        source = LogixSource("PLC", settings(plc.port, validate=validate), [numbers, flags, texts])
        async with source.connect() as session:
            pairs = [
                (numbers, Part(3, (-1, -2))),
                (flags, Part(27, (False, True, False, False, False))),  # over the end of a DWORD
                (flags, Part(0, (False,))),
                (texts, Part(19, ("last",))),
            ]
            assert await session.write(pairs) == [GOOD] * 4
        dints = plc.controller.read_tag("Dints")
        assert isinstance(dints, list)
        assert dints[100:110] == [100, 101, 102, -1, -2, 105, 106, 107, 108, 109]
        now = plc.controller.read_tag("Flags")
        assert isinstance(now, list)
        assert [index for index, on in enumerate(now) if not on] == [2, 29, 31, 32, 33]
        assert plc.controller.read_tag("Texts[19]") == "last"
        assert plc.controller.read_tag("Texts[3]") == "third"


async def test_a_micro800_takes_one_service_a_request() -> None:
    async with serving(everything(identity=IdentitySpec(product="2080-LC50-24QWB", major=12))) as plc:
        plc.controller.faults.strict = True
        dints = tag("Dints", "dint", SLOW, writable=True, length=6)
        reals = tag("Reals", "real", SLOW, writable=True, length=2)
        async with LogixSource("PLC", settings(plc.port, path=""), [dints, reals]).connect() as session:
            assert await session.write([(dints, (6, 5, 4, 3, 2, 1)), (reals, (1.5, 2.5))]) == [GOOD, GOOD]
            assert list((await session.read([dints, reals])).values or ()) == [(6, 5, 4, 3, 2, 1), (1.5, 2.5)]


async def test_what_does_not_fit_is_not_written() -> None:
    async with serving() as plc:
        its = tag("Dints", "dint", SLOW, writable=True, length=3)
        flags = tag("Flags", "bool", SLOW, writable=True, length=3)
        async with LogixSource("PLC", settings(plc.port), [its, flags]).connect() as session:
            answers = await session.write(
                [(its, (1, 2)), (its, 1), (its, (1, 2, 2**31)), (its, (1, 2, 3.0)), (flags, (True, True, 1))]
            )
        assert answers == [
            BAD_TYPE_MISMATCH,
            BAD_TYPE_MISMATCH,
            BAD_OUT_OF_RANGE,
            BAD_TYPE_MISMATCH,
            BAD_TYPE_MISMATCH,
        ]
        assert plc.controller.read_tag("Dints[1]") == 1


@pytest.mark.parametrize(
    ("address", "encoding", "length", "words"),
    [
        ("Dints[1095]", "dint", 6, "reach beyond the array [1100]"),
        ("Flags[60]", "bool", 5, "reach beyond the array [64]"),
        ("A_DINT", "dint", 2, "A_DINT is not an array"),
        ("Grid", "int", 4, "an array [2,3,4] of 3 dimensions"),
        ("Dints", "real", 4, "is a DINT; write as: dint"),
        ("Units", "dint", 4, "is a Outer; bind its members"),
    ],
)
async def test_an_array_the_controller_does_not_have_is_bad_by_itself(
    address: str, encoding: str, length: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as plc:
        bad, good = tag(address, encoding, NORMAL, length=length), tag("A_DINT", "dint", NORMAL, name="Good")
        async with scanning(LogixSource("PLC", settings(plc.port), [bad, good])) as it:
            await it.good(good)
            await it.bad(BAD_CONFIGURATION_ERROR, bad)
    assert words in caplog.text


async def test_a_text_that_is_none_spoils_its_array() -> None:
    async with serving() as plc:
        texts = tag("Texts", "string", SLOW, length=4)
        source = LogixSource("PLC", settings(plc.port), [texts])
        async with source.connect() as session:
            assert (await session.read([texts])).values == [("", "", "", "third")]
            plc.controller.write_tag("Texts[1]", {"LEN": 4000})
            batch = await session.read([texts])
            assert batch.qualities == [BAD_DECODING_ERROR]


@pytest.mark.parametrize(
    ("address", "length", "words"),
    [
        ("Flags.5", 8, "is one bit, and the property is an array"),
        ("Grid[0,1]", 3, "is of one dimension"),
        ("Dints", 0, "has a length; write it, as array: 8"),
        ("Dints[0..9]", 10, "write Dints[0], and array: with their number"),
    ],
)
def test_what_is_no_array_gets_advice(address: str, length: int, words: str) -> None:
    with pytest.raises(AddressError) as refusal:
        tag(address, length=length)
    assert words in str(refusal.value)


def test_an_array_is_written_with_its_last_element() -> None:
    assert str(tag("Recipe.Limits[2]", "real", length=4).address) == "Recipe.Limits[2..5]"
    assert str(tag("Recipe.Limits", "real", length=4).address.element(3)) == "Recipe.Limits[3]"
