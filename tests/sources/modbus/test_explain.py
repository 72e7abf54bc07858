"""What a Modbus source shows of its inside: its plan and why it is so, what is bad, its traffic."""

from __future__ import annotations

from support.modbus_peer import modbus_peer
from support.modbus_tags import settings, tag
from support.net import until
from support.scanning import FAST, NORMAL, SLOW, scanning

from sources.insight import HasPlan, HasTraffic
from sources.modbus.driver import ModbusSource


async def test_each_block_says_why_it_ends_there() -> None:
    async with modbus_peer() as peer:
        peer.illegal = {25}
        tags = [
            *(tag(f"holding:{address}", scan=SLOW) for address in (0, 5, 20, 25, 28, 100)),
            *(tag(f"input:{address}", scan=NORMAL) for address in range(1000, 1240, 8)),
            tag("coil:3"),
            tag("coil:400"),
        ]
        source = ModbusSource("PLC", settings(peer.port, max_gap=16, max_registers=120), tags)
        assert isinstance(source, HasPlan)
        assert source.plan() == []
        async with scanning(source) as scan:
            await scan.good(*(its for its in tags if its.name != "holding:25"))
            await until(lambda: source.bad_points() == ("holding:25",))
            await until(lambda: len(source.plan()) == 7)
        plan = [str(block) for block in source.plan()]
    assert plan == [
        "fast: coil:3, 1 bit for 1 point; ends: gap of 396 bits",
        "fast: coil:400, 1 bit for 1 point; ends: last of its class",
        "normal: input:1000 to 1112, 113 registers for 15 points; ends: device's maximum of 120",
        "normal: input:1120 to 1232, 113 registers for 15 points; ends: last of its class",
        "slow: holding:0 to 20, 21 registers for 3 points; ends: bad point holding:25",
        "slow: holding:28, 1 register for 1 point; ends: gap of 71 registers",
        "slow: holding:100, 1 register for 1 point; ends: last of its class",
    ]


async def test_a_place_that_is_not_read_across_is_no_bad_point() -> None:
    async with modbus_peer() as peer:
        peer.illegal = set(range(30, 40))
        tags = [tag(f"holding:{address}", scan=SLOW) for address in (*range(30), *range(40, 70))]
        source = ModbusSource("PLC", settings(peer.port), tags)
        async with scanning(source) as scan:
            await scan.good(*tags)
            await until(lambda: len(source.plan()) == 2)
        assert source.bad_points() == ()
        assert [block.reason for block in source.plan()] == [
            "not read across holding:30 to 39",
            "last of its class",
        ]


async def test_requests_and_bytes_are_counted_over_all_connections() -> None:
    async with modbus_peer() as peer:
        its = tag("holding:0", scan=FAST, writable=True)
        source = ModbusSource("PLC", settings(peer.port), [its])
        assert isinstance(source, HasTraffic)
        for _ in range(2):
            async with scanning(source) as scan:
                await scan.good(its)
                await scan.session.write([(its, 7)])
                await scan.good(its)
        traffic = source.traffic
        assert traffic.requests == len(peer.requests)
        assert traffic.bytes_out == traffic.requests * 12
        # A read of a register is answered by 11 bytes, a write by 12.
        replies = traffic.bytes_in - 2 * 12
        assert replies % 11 == 0
        assert traffic.requests - 3 <= replies // 11 + 2 <= traffic.requests
        assert source.statistics["fast"].snapshot().p99 > 0
