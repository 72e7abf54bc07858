"""The client on real sockets: what arrives cut, doubled, late, or is nobody's; and who is there at all."""

from __future__ import annotations

import asyncio
import random
import struct

import pytest
from pydantic import JsonValue
from support.eip_proxy import Spoil, proxy, service
from support.logix import everything, serving
from support.logix_tags import settings, tag
from support.net import free_port, until
from support.scanning import FAST, SLOW, Scanning, scanning

from sources.errors import ConnectionLost, Unreachable
from sources.ethernetip.driver import LogixSession, LogixSource
from sources.ethernetip.failures import Broken
from sources.ethernetip.frames import MAX_DATA, Frames
from sources.ethernetip.identify import browse, identify
from sources.ethernetip.identity import parse_identity, parse_list_identity
from sources.ethernetip.reading import Answer, _Inspection
from sources.ethernetip.route import encode_route, parse_route
from sources.ethernetip.symbols import Structure
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED, BAD_RESOURCE_UNAVAILABLE, GOOD
from sources.simulators.logix.spec import IdentitySpec, LogixSpec, TagSpec

SEND_RR_DATA = b"\x6f\0"


def frame(data: bytes) -> bytes:
    return struct.pack("<HHII8sI", 0x70, len(data), 1, 0, bytes(8), 0) + data


async def test_frames_are_whole_however_they_are_cut() -> None:
    wanted = [frame(bytes((number,)) * size) for number, size in enumerate((0, 1, 30, 500, 2))]
    stream = b"".join(wanted)
    choice = random.Random(7)
    for _ in range(200):
        got: list[bytes] = []
        failed: list[Broken] = []
        its = Frames(got.append, failed.append)
        at = 0
        while at < len(stream):
            end = min(len(stream), at + choice.choice((1, 1, 3, 24, 100, 1000)))
            its.data_received(stream[at:end])
            at = end
        assert (got, failed) == (wanted, [])


async def test_a_frame_longer_than_any_ends_the_connection() -> None:
    failures: list[Broken] = []
    its = Frames(lambda _: None, failures.append)
    its.data_received(struct.pack("<HHII8sI", 0x70, MAX_DATA + 1, 1, 0, bytes(8), 0))
    assert [str(failure) for failure in failures] == [f"a frame says that it carries {MAX_DATA + 1} bytes"]


async def test_replies_that_come_byte_by_byte_are_read() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        between.spoil = lambda _, reply: (
            [bytes((byte,)) for byte in reply] if len(reply) < 200 else [reply[:100], reply[100:]]
        )
        tags = [tag("A_DINT"), tag("Dints[3]"), tag("Cycle.ACC"), tag("Cycle.DN", "bool")]
        async with scanning(LogixSource("PLC", settings(between.port), tags)) as scan:
            await scan.good(*tags)
            assert scan.listener.value(tags[1]) == 3


def garbage(_: bytes, reply: bytes) -> list[bytes]:
    return [random.Random(3).randbytes(len(reply))]


def oversized(_: bytes, reply: bytes) -> list[bytes]:
    return [reply[:2] + b"\xff\xff" + reply[4:]]


def twice(_: bytes, reply: bytes) -> list[bytes]:
    return [reply, reply]


def two_at_once(_: bytes, reply: bytes) -> list[bytes]:
    return [reply + reply]


def of_no_kind(_: bytes, reply: bytes) -> list[bytes]:
    return [b"\x64\0" + reply[2:]]


def without_items(_: bytes, reply: bytes) -> list[bytes]:
    return [reply[:2] + b"\x06\0" + reply[4:30]]


@pytest.mark.parametrize("spoil", [garbage, oversized, twice, two_at_once, of_no_kind, without_items])
async def test_what_makes_no_sense_ends_the_connection_and_is_no_value(spoil: Spoil) -> None:
    async with serving() as plc, proxy(plc.port) as between:
        its = tag("Dints[5]")
        async with scanning(LogixSource("PLC", settings(between.port), [its])) as scan:
            await scan.good(its)
            between.spoil = spoil
            assert (await scan.lost()).quality in {BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED}
            assert {value for batch in scan.listener.batches for value in batch.values or ()} == {5}


def changed(at: int) -> Spoil:
    def spoil(request: bytes, reply: bytes) -> list[bytes]:
        if request[:2] != SEND_RR_DATA:
            return [reply]
        return [reply[:at] + bytes((reply[at] ^ 0x55,)) + reply[at + 1 :]]

    return spoil


@pytest.mark.parametrize(
    ("at", "complaint"),
    [
        (0, "is of command"),
        (4, "for session"),
        (12, "sender context"),
        (36, "items"),
        (40, "says"),
    ],
)
async def test_an_opening_that_is_answered_wrongly_is_refused(at: int, complaint: str) -> None:
    async with serving() as plc, proxy(plc.port) as between:
        between.spoil = changed(at)
        with pytest.raises(Unreachable, match=complaint):
            async with LogixSource("PLC", settings(between.port), []).connect():
                pass
        await until(lambda: plc.controller.status()["clients"] == 0)


async def test_a_forward_open_that_is_granted_to_another_is_refused() -> None:
    async with serving() as plc, proxy(plc.port) as between:

        def spoil(request: bytes, reply: bytes) -> list[bytes]:
            if request[:2] == SEND_RR_DATA and request[40:41] == b"\x5b":
                return [reply[:52] + bytes((reply[52] ^ 1,)) + reply[53:]]
            return [reply]

        between.spoil = spoil
        with pytest.raises(Unreachable, match="Forward Open is to another"):
            async with LogixSource("PLC", settings(between.port), []).connect():
                pass


async def test_a_reply_whose_asker_left_is_nobodys_and_the_connection_stands() -> None:
    async with serving() as plc:
        tags = [tag(f"Dints[{number}]", scan=SLOW) for number in range(40)]
        async with LogixSource("PLC", settings(plc.port), tags).connect() as session:
            for number in range(0, 40, 2):
                plc.controller.faults.delay_once = 0.03
                left = asyncio.create_task(session.read([tags[number]]))
                await asyncio.sleep(0.005)
                left.cancel()
                assert (await session.read([tags[number + 1]])).values == [number + 1]
            assert plc.controller.status()["connections"] == 1


async def test_several_connections_share_a_scan() -> None:
    async with serving() as plc:
        plc.controller.faults.strict = True
        tags = [tag(f"Many{number:03}") for number in range(250)]
        source = LogixSource("PLC", settings(plc.port, connections=4, connection="small", timeout="1s"), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert plc.controller.status()["connections"] == 4
            assert [scan.listener.value(its) for its in tags] == [3 * number for number in range(250)]
            blocks = source.statistics["fast"].blocks
            before = source.statistics["fast"].reads
            await until(lambda: source.statistics["fast"].reads > before + 5 * blocks)
            plc.controller.faults.mute = True
            await scan.lost()
        await until(lambda: plc.controller.status()["connections"] == 0)


async def test_a_connection_that_is_not_to_be_had_is_told() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        opened = 0

        def spoil(request: bytes, reply: bytes) -> list[bytes]:
            nonlocal opened
            if request[:2] == SEND_RR_DATA and request[40:41] == b"\x5b":
                opened += 1
                if opened > 2:
                    refused = b"\xdb\0\x01\x01\x13\x01"
                    head = reply[:38] + len(refused).to_bytes(2, "little")
                    return [
                        head[:2] + (len(head) - 24 + len(refused)).to_bytes(2, "little") + head[4:] + refused
                    ]
            return [reply]

        between.spoil = spoil
        with pytest.raises(Unreachable, match=r"refused the connection 3 of 4: .*no connection left"):
            async with LogixSource("PLC", settings(between.port, connections=4), []).connect():
                pass
        await until(lambda: plc.controller.status()["connections"] == 0)


async def test_what_goes_over_the_wire_is_counted() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        sizes = [0, 0]

        def weigh(request: bytes, reply: bytes) -> list[bytes]:
            sizes[0] += len(request)
            sizes[1] += len(reply)
            return [reply]

        between.spoil = weigh
        its = tag("Dints[3]", scan=SLOW)
        source = LogixSource("PLC", settings(between.port, validate=False), [its])
        async with source.connect() as session:
            await session.read([its])
            await session.read([its])
            traffic = source.traffic
            assert (traffic.bytes_out, traffic.bytes_in) == tuple(sizes)
            assert traffic.requests == len(between.requests)


async def test_where_the_large_connection_is_refused_small_ones_do() -> None:
    async with serving() as plc:
        plc.controller.faults.refuse_large = True
        tags = [tag(f"Dints[{number}]") for number in range(300)]
        source = LogixSource("PLC", settings(plc.port, connections=2), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            assert [scan.listener.value(its) for its in tags] == list(range(300))
            assert source.statistics["fast"].blocks == 3
            assert plc.controller.status()["connections"] == 2


async def test_a_flood_of_commands_is_bounded_and_all_are_answered() -> None:
    async with serving() as plc:
        its = tag("A_DINT", scan=FAST, writable=True)
        async with scanning(LogixSource("PLC", settings(plc.port), [its])) as scan:
            await scan.good(its)
            plc.controller.faults.delay_once = 0.3
            answers = await asyncio.gather(*(scan.session.write([(its, number)]) for number in range(200)))
            outcomes = [quality for (quality,) in answers]
            assert set(outcomes) == {GOOD, BAD_RESOURCE_UNAVAILABLE}
            good = [number for number, quality in enumerate(outcomes) if quality == GOOD]
            assert plc.controller.read_tag("A_DINT") == good[-1]


# -- routes


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", b""),
        ("1/0", b"\1\0"),
        ("1,3", b"\1\3"),
        ("bp/255", b"\1\xff"),
        ("1,0,2,192.168.1.5,1,3", b"\1\0\x12\x0b192.168.1.5\0\1\3"),
        ("enet/10.0.0.12", b"\x12\x0910.0.0.12\0"),
    ],
)
def test_a_route_becomes_port_segments(text: str, segments: bytes) -> None:
    assert encode_route(parse_route(text)) == segments


@pytest.mark.parametrize(
    "text", ["1", "1/0/2", "15/0", "1/256", "x/1", "1/host", "1/0" + "/2/192.168.100.100" * 3]
)
def test_what_is_no_route_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"route|port|slot|too long"):
        parse_route(text)


HOPS = ((1, "0"), (2, "192.168.1.5"))


async def test_a_controller_behind_other_chassis_is_read_over_its_route() -> None:
    spec = LogixSpec(name="Far", slot=3, hops=HOPS, tags=(TagSpec(name="Speed", type="DINT"),))
    its = tag("Speed")
    async with serving(spec) as plc:
        far = settings(plc.port, path="1,0,2,192.168.1.5,1,3")
        async with scanning(LogixSource("PLC", far, [its])) as scan:
            await scan.good(its)
        for wrong in ("1/3", "", "1/0/2/192.168.1.6/1/3", "1/0/2/192.168.1.5/1/4"):
            with pytest.raises(Unreachable, match="check path"):
                async with LogixSource("PLC", settings(plc.port, path=wrong), [its]).connect():
                    pass


# -- who is there


async def test_a_device_and_the_controller_behind_it_say_who_they_are() -> None:
    spec = LogixSpec(
        name="Far",
        slot=3,
        hops=HOPS,
        tags=(TagSpec(name="S", type="DINT"),),
        identity=IdentitySpec(serial=0xAB),
    )
    async with serving(spec) as plc:
        found = await identify("127.0.0.1", plc.port, path="1,0,2,192.168.1.5,1,3")
        its = found.controller
        assert (its.vendor_name, its.product, its.revision, its.serial) == (
            "Rockwell Automation",
            "1756-L83E/B",
            "33.011",
            "000000ab",
        )
        assert found.port == its
        await until(lambda: plc.controller.status()["clients"] == 0)
        with pytest.raises(Unreachable, match="check path"):
            await identify("127.0.0.1", plc.port)
        with pytest.raises(ValueError, match="route"):
            await identify("127.0.0.1", plc.port, path="1")


async def test_a_micro800_needs_no_route_to_say_who_it_is() -> None:
    async with serving(everything(identity=IdentitySpec(product="2080-LC50-24QWB"))) as plc:
        assert (await identify("127.0.0.1", plc.port, path="1/5")).controller.is_micro800


async def test_nobody_there_is_told() -> None:
    with pytest.raises(Unreachable, match=r"^connection refused$"):
        await identify("127.0.0.1", free_port())
    with pytest.raises(Unreachable, match="connection refused"):
        await browse("127.0.0.1", free_port())


async def test_all_tags_are_listed_with_the_layout_of_every_structure() -> None:
    async with serving() as plc:
        table = await browse("127.0.0.1", plc.port)
        by_name = {symbol.name: symbol for symbol in table}
        assert set(table.programs) == {"Packer", "Palletizer"}
        assert by_name["Grid"].dimensions == (2, 3, 4)
        unit = by_name["Program:Packer.Unit"].type
        assert isinstance(unit, Structure)
        assert {"Flag", "Total", "One", "Several", "Code"} <= {member.name for member in unit.members}
        await until(lambda: plc.controller.status()["clients"] == 0)


async def test_a_listing_that_does_not_come_to_an_end_is_cut() -> None:
    async with serving() as plc, proxy(plc.port) as between:
        between.spoil = lambda request, reply: [] if service(request) == 0x55 else [reply]
        with pytest.raises(Unreachable, match="upload of the tag list failed: no reply"):
            await browse("127.0.0.1", between.port, timeout="200ms")


@pytest.mark.parametrize("cut", range(15))
def test_an_identity_cut_short_is_none(cut: int) -> None:
    whole = struct.pack("<HHHBBHI", 1, 14, 166, 33, 11, 0, 0xC0FFEE) + b"\4name"
    assert parse_identity(whole).product == "name"
    with pytest.raises(ValueError, match="an identity"):
        parse_identity(whole[:cut])
    item = bytes(18) + whole[:cut] + b"\3"
    with pytest.raises(ValueError, match="an identity"):
        parse_list_identity(struct.pack("<HHH", 1, 0x0C, len(item)) + item)


async def test_a_lost_connection_is_lost_for_whoever_waits() -> None:
    async with serving() as plc:
        its = tag("A_DINT", scan=SLOW)
        async with LogixSource("PLC", settings(plc.port), [its]).connect() as session:
            plc.controller.faults.delay_once = 1.0
            reads = [asyncio.create_task(session.read([its])) for _ in range(5)]
            await asyncio.sleep(0.05)
            plc.controller.drop()
            for outcome in await asyncio.gather(*reads, return_exceptions=True):
                assert isinstance(outcome, ConnectionLost)
                assert outcome.quality == BAD_CONNECTION_CLOSED


async def test_types_that_replies_name_are_compiled_and_again_when_they_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked, inspect = 0, _Inspection.run

    async def counted(self: _Inspection, raw: bytes) -> Answer:
        nonlocal looked
        looked += 1
        return await inspect(self, raw)

    monkeypatch.setattr(_Inspection, "run", counted)
    kinds = (TagSpec(name="A", type="DINT"), TagSpec(name="S", type="STRING"), TagSpec(name="B", type="SINT"))
    spec = LogixSpec(name="T", tags=kinds, values={"A": 5, "S": "five", "B": 0b100})
    tags = [tag("A"), tag("S", "string"), tag("B.2", "bool"), tag("A.0", "bool")]

    async def steady(scan: Scanning[LogixSession], values: list[object]) -> None:
        await until(lambda: [scan.listener.value(its) for its in tags] == values)
        before, batches = looked, len(scan.listener.batches)
        await until(lambda: len(scan.listener.batches) > batches + 5)
        assert looked == before

    async with (
        serving(spec) as plc,
        scanning(LogixSource("PLC", settings(plc.port, validate=False), tags)) as scan,
    ):
        await scan.good(*tags)
        await steady(scan, [5, "five", True, True])
        # B is an INT now: its bit is read on, and looked for in another place.
        other = (*kinds[:2], TagSpec(name="B", type="INT"))
        values: dict[str, JsonValue] = {"A": 6, "S": "six", "B": 0}
        plc.controller.replace(
            spec.model_copy(update={"tags": other, "values": values}), close_connections=False
        )
        await steady(scan, [6, "six", False, False])
        assert set(scan.listener.qualities.values()) == {GOOD}
        assert len({id(batch.tags) for batch in scan.listener.batches}) == 3
