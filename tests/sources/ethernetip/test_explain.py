"""What a Logix source shows of its inside: its plan and why it is so, what is bad, its traffic."""

from __future__ import annotations

from support.logix import everything, serving
from support.logix_tags import settings, tag
from support.net import until
from support.scanning import FAST, SLOW, scanning

from sources.ethernetip.config import Segment
from sources.ethernetip.device import Device
from sources.ethernetip.driver import LogixSource
from sources.ethernetip.explain import explain
from sources.ethernetip.plan import Limits, Packet, Read
from sources.ethernetip.symbols import Place
from sources.insight import HasPlan, HasTraffic
from sources.tag import ScanClass


async def test_each_packet_says_why_it_ends_there() -> None:
    async with serving(everything()) as plc:
        tags = [
            tag("A_INT", "int", scan=FAST),
            *(tag(f"Dints[{index}]", "dint", scan=SLOW) for index in range(0, 1000, 2)),
            tag("A_DINT", "dint", scan=SLOW),
            tag("Nowhere", "int", scan=SLOW),
        ]
        source = LogixSource("PLC", settings(plc.port, connection="small"), tags)
        assert isinstance(source, HasPlan)
        assert isinstance(source, HasTraffic)
        assert source.plan() == []
        async with scanning(source) as scan:
            await scan.good(*tags[:-1])
            await until(lambda: source.traffic.requests > 20)
        plan = source.plan()
        traffic = source.traffic
    assert str(plan[0]) == "fast: A_INT, 1 read of 2 bytes for 1 point; ends: last of its class"
    slow = [block for block in plan if block.scan == "slow"]
    assert len(slow) > 3
    assert [block.reason for block in slow[:-1]] == ["connection's maximum of 500 bytes"] * (len(slow) - 1)
    assert slow[-1].reason == "last of its class"
    assert sum(block.points for block in plan) == len(tags) - 1
    assert source.bad_points() == ("Nowhere",)
    assert traffic.bytes_out > 24 * traffic.requests
    assert traffic.bytes_in > 4 * 1000
    assert source.statistics["fast"].snapshot().p99 > 0


def test_what_cannot_share_a_packet_says_why() -> None:
    scan = ScanClass("slow", 10.0)
    path = (Segment("Big"),)
    read = Read(path, 1, None, ((tag("Big", "string"), Place(path)),), None, whole=False)
    device = Device("PLC", settings(), (), 60.0, packets=(Packet(scan, (read,), 3), Packet(scan, (read,))))
    device.limits = Limits(500, multiple=False)
    assert [block.reason for block in explain(device)] == [
        "larger than a packet of 500 bytes: takes 3",
        "controller takes one read a request",
    ]


async def test_what_needs_the_counters_of_the_program_is_told_apart() -> None:
    async with serving(everything()) as plc:
        tags = [tag("Cycle.ACC"), tag("Cycle.PRE"), tag("Cycle.DN", "bool"), tag("A_DINT")]
        source = LogixSource("PLC", settings(plc.port), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
        assert [str(block) for block in source.plan()] == [
            (
                "fast: Cycle, 1 read of 12 bytes for 3 points; "
                "ends: last of those that need the program's counters"
            ),
            "fast: A_DINT, 1 read of 4 bytes for 1 point; ends: last of its class",
        ]
