"""Elements of a data file as one value, against the simulated controller."""

from __future__ import annotations

import struct

import pytest
from support.scanning import SLOW, scanning
from support.slc import serving, settings, tag

from sources.errors import AddressError
from sources.ethernetip.slc.driver import SlcSource
from sources.ethernetip.slc.plan import plan
from sources.quality import BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD
from sources.tag import Part, Value


async def test_arrays_share_requests_with_their_neighbours() -> None:
    words = tag("N7:3", scan=SLOW, length=5)
    beside = tag("N7:6", scan=SLOW)
    after = tag("N7:9", scan=SLOW)
    reals = tag("F8:1", scan=SLOW, length=3)
    longs = tag("L10:2", scan=SLOW, length=2)
    flags = tag("B3:2/1", scan=SLOW, length=34)
    async with serving() as plc:
        source = SlcSource("PLC", settings(plc.port), [words, beside, after, reals, longs, flags])
        async with scanning(source) as it:
            await it.good(words, beside, after, reals, longs, flags)
            assert it.listener.value(words) == (103, 104, 105, 106, 107)
            assert (it.listener.value(beside), it.listener.value(after)) == (106, 109)
            assert it.listener.value(reals) == (1.5, 2.5, 3.5)
            assert it.listener.value(longs) == (-200_000, -300_000)
            assert it.listener.value(flags) == tuple(index in {1, 18} for index in range(34))
            assert [block.label for block in source.plan()] == [
                "B3:2 to 4",
                "F8:1 to 3",
                "L10:2 to 3",
                "N7:3 to 9",
            ]


async def test_arrays_are_written_whole_or_in_part() -> None:
    words = tag("N7:10", scan=SLOW, length=4, writable=True)
    reals = tag("F8:0", scan=SLOW, length=2, writable=True)
    async with serving() as plc, SlcSource("PLC", settings(plc.port), [words, reals]).connect() as session:
        pairs: list[tuple[object, Value | Part]] = [
            (words, (1, -2, 3, 4)),
            (words, Part(1, (20, 30))),
            (reals, (0.5, -0.25)),
            (reals, Part(1, (8.0,))),
            (words, (1, 2, 3)),
            (words, (1, 2, 3, 40_000)),
            (words, 1),
        ]
        answers = await session.write(pairs)  # type: ignore[arg-type]  # a list of both
        assert answers == [GOOD] * 4 + [BAD_TYPE_MISMATCH, BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH]
        assert struct.unpack_from("<6h", plc.device.files[7].data, 18) == (109, 1, 20, 30, 4, 114)
        assert struct.unpack_from("<3f", plc.device.files[8].data) == (0.5, 8.0, 2.5)
        assert len(plc.device.writes) == 4
        assert list((await session.read([words])).values or ()) == [(1, 20, 30, 4)]


def test_a_short_array_behind_a_long_one_does_not_end_its_block() -> None:
    (block,) = plan([tag("N7:0", scan=SLOW, length=30), tag("N7:2", scan=SLOW, length=2)])
    assert (block.request, block.size) == ("N7:0{30}", 60)


@pytest.mark.parametrize(
    ("address", "length", "writable", "words"),
    [
        ("N7:0", 41, False, "takes 82 bytes; one request brings 80"),
        ("F8:0", 21, False, "takes 84 bytes"),
        ("N7:250", 7, False, "runs past element 255"),
        ("T4:0.ACC", 2, False, "arrays are read of the files B, F, L, N, S"),
        ("ST9:0", 2, False, "arrays are read of the files"),
        ("N7:0", 0, False, "write it, as array: 8"),
        ("B3:0/2", 8, True, "bits are written one at a time"),
    ],
)
def test_what_is_no_array_gets_advice(address: str, length: int, writable: bool, words: str) -> None:
    with pytest.raises(AddressError) as refusal:
        tag(address, length=length, writable=writable)
    assert words in str(refusal.value)


def test_an_array_is_written_with_its_last_element() -> None:
    assert str(tag("N7:3", length=5).address) == "N7:3..7"
    assert str(tag("B3:2/1", length=4).address) == "B3:2/1..4"
