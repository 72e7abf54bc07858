"""FIFO queues (FC 24): as many registers as there are, up to 31."""

from __future__ import annotations

import pytest
from support.modbus_peer import Spoil, frame, modbus_peer
from support.modbus_tags import settings, tag
from support.scanning import FAST, NORMAL, scanning
from support.simulator import running_simulator

from sources.errors import AddressError
from sources.modbus import codec
from sources.modbus.driver import ModbusSource
from sources.modbus.plan import Limits, plan
from sources.modbus.tables import Table, show
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_DECODING_ERROR,
    BAD_NOT_SUPPORTED,
    GOOD,
)
from sources.simulators.spec import DeviceSpec


async def test_a_queue_is_an_array_of_what_it_holds_now() -> None:
    words = tag("fifo:1246", "int16", FAST, length=0)
    reals = tag("fifo:2000", "float32", FAST, words="CDAB", length=0)
    speed = tag("holding:3", scan=FAST)
    async with modbus_peer() as peer:
        peer.queues = {1246: [0x01B8, 0xFFFE], 2000: [0, 0x3FC0, 0, 0xC020]}
        source = ModbusSource("PLC", settings(peer.port), [words, reals, speed])
        async with scanning(source) as it:
            await it.good(words, reals, speed)
            assert it.listener.value(words) == (440, -2)
            assert it.listener.value(reals) == (1.5, -2.5)
            peer.queues[1246] = list(range(31))
            peer.queues[2000] = []
            batch = await it.session.read([words, reals])
            assert list(batch.values or ()) == [tuple(range(31)), ()]
            peer.queues[2000] = [0, 0x3FC0, 7]
            batch = await it.session.read([reals])
            assert (batch.values, batch.qualities) == ([None], [BAD_DECODING_ERROR])
            assert bytes.fromhex("18 04de") in peer.requests, "the specification's own example"
            assert sorted(block.label for block in source.plan()) == ["fifo:1246", "fifo:2000", "holding:3"]


@pytest.mark.parametrize(
    "pdu",
    [
        "18",
        "18 0002",
        "18 0006 0002 0001",  # two promised, one there
        "18 0006 0001 0001 0002",  # the counts disagree
        "18 0004 0002 0001 0002",
        "18 0042 0020" + 32 * "0001",  # more than a queue holds
    ],
)
async def test_a_reply_whose_counts_are_not_right_is_no_value(pdu: str) -> None:
    its, other = tag("fifo:5", scan=FAST, length=0), tag("holding:0", scan=FAST)
    reply = bytes.fromhex(pdu)

    def spoil(request: bytes, right: bytes) -> bytes:
        return frame(request, reply) if request[7] == codec.READ_QUEUE else right

    made: Spoil = spoil
    async with modbus_peer() as peer:
        peer.spoil = made
        async with scanning(ModbusSource("PLC", settings(peer.port), [its, other])) as it:
            await it.good(other)
            await it.bad(BAD_COMMUNICATION_ERROR, its)


async def test_a_queue_that_is_not_there_is_bad_by_itself() -> None:
    here, gone = tag("fifo:5", scan=FAST, length=0), tag("fifo:6", scan=NORMAL, length=0)
    async with modbus_peer() as peer:
        peer.queues = {5: [1]}
        async with scanning(ModbusSource("PLC", settings(peer.port), [here, gone])) as it:
            await it.good(here)
            await it.bad(BAD_CONFIGURATION_ERROR, gone)
        peer.lacks = {24}
        async with scanning(ModbusSource("PLC", settings(peer.port), [here])) as it:
            await it.bad(BAD_NOT_SUPPORTED, here)


@pytest.mark.parametrize("transport", ["tcp", "rtu", "ascii"])
async def test_the_simulator_s_queue_over_every_framing(transport: str) -> None:
    its = tag("fifo:7", scan=FAST, length=0)
    spec = DeviceSpec.model_validate({"name": "Q", "transport": transport, "queues": {7: (1, 65535)}})
    async with running_simulator(spec) as simulator:
        where = {"port": simulator.port} if transport == "tcp" else {"device": simulator.address}
        keys = {"driver": "modbus", "transport": transport, "unit": 1, **where}
        keys |= {"host": "127.0.0.1"} if transport == "tcp" else {"baud": 115_200}
        source = ModbusSource("PLC", type(settings()).model_validate(keys), [its])
        async with scanning(source) as it:
            await it.good(its)
            assert it.listener.value(its) == (1, 65535)
            await simulator.control(queue={"offset": 7, "values": list(range(31))})
            batch = await it.session.read([its])
            assert (list(batch.values or ()), batch.qualities) == ([tuple(range(31))], [GOOD])


def test_a_queue_shares_no_request_but_with_itself() -> None:
    tags = [tag(f"fifo:{address}", scan=FAST, length=0, name=name) for address, name in ((5, "a"), (6, "b"))]
    tags.append(tag("fifo:5", "int16", FAST, length=0, name="c"))
    blocks = plan(tags, Limits.of(settings()))
    assert sorted((block.start, len(block.tags)) for block in blocks) == [(5, 2), (6, 1)]
    assert show(Table.fifo, 5, "1-based") == "fifo:6"


@pytest.mark.parametrize(
    ("address", "encoding", "length", "writable", "words"),
    [
        ("fifo:5", None, None, False, "write array: any"),
        ("fifo:5", None, 8, False, "write array: any"),
        ("fifo:5.3", None, 0, False, "a queue has no bits"),
        ("fifo:5", "bool", 0, False, "say which bit"),
        ("fifo:5", None, 0, True, "the fifo table cannot be written"),
    ],
)
def test_what_is_no_queue_gets_advice(
    address: str, encoding: str | None, length: int | None, writable: bool, words: str
) -> None:
    with pytest.raises(AddressError) as refusal:
        tag(address, encoding, length=length, writable=writable)
    assert words in str(refusal.value)
