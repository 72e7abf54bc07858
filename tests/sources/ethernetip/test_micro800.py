"""A Micro800 from end to end: no route, small connections, one service a request, no types of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pycomm3
import pylogix
import pytest
from support.cli import invoked
from support.logix import multiple, path, raw_client, read
from support.logix_tags import settings, tag
from support.net import until
from support.scanning import Listener
from support.simulator import running_simulator

from sources.ethernetip import changes
from sources.ethernetip.driver import LogixSource
from sources.quality import GOOD
from sources.simulators.logix.spec import IdentitySpec, LogixSpec, MemberSpec, TagSpec, TypeSpec
from sources.supervisor import Supervisor

READ_TEMPLATE = b"\x03\x02\x20\x6c\x24\x01\x01\x00\x01\x00"


def small() -> LogixSpec:
    """Plain tags, an array, a structure: what a Micro850 has."""
    return LogixSpec(
        name="Micro",
        identity=IdentitySpec(product="2080-LC50-24QWB", serial=0x800, major=12),
        types=(TypeSpec(name="Pump", members=(MemberSpec(name="Rpm", type="REAL"),)),),
        tags=(
            TagSpec(name="Count", type="DINT"),
            TagSpec(name="Level", type="REAL"),
            TagSpec(name="Run", type="BOOL"),
            TagSpec(name="Rates", type="INT[6]"),
            TagSpec(name="Name", type="STRING"),
            TagSpec(name="Pump1", type="Pump"),
        ),
        values={"Count": 5, "Level": 1.5, "Run": True, "Rates": [10, 11, 12, 13, 14, 15], "Name": "Micro"},
    )


VALUES: list[tuple[str, str, Any]] = [
    ("Count", "dint", 5),
    ("Level", "real", 1.5),
    ("Run", "bool", True),
    *((f"Rates[{n}]", "int", 10 + n) for n in range(6)),
    ("Name", "string", "Micro"),
    ("Pump1.Rpm", "real", 0.0),
]


# The usual route leads nowhere in it: it must not be taken.
@pytest.mark.parametrize("more", [{}, {"validate": False}], ids=["validated", "unvalidated"])
async def test_it_is_read_written_and_read_again_after_a_restart(more: dict[str, Any]) -> None:
    async with running_simulator(small()) as plc:
        tags = [tag(address, kind, writable=address == "Count") for address, kind, _ in VALUES]
        tags.append(tag("Rates", "int", length=6, name="all of Rates"))
        listener = Listener()
        source = LogixSource("Micro", settings(plc.port, **more), tags)
        supervisor = Supervisor(source, listener, delays=lambda: itertools.repeat(0.05))
        run = asyncio.create_task(supervisor.run())

        async def all_good() -> None:
            await until(lambda: all(listener.quality(its) == GOOD for its in tags))

        try:
            await all_good()
            assert [listener.value(its) for its in tags[:-1]] == [value for _, _, value in VALUES]
            assert listener.value(tags[-1]) == (10, 11, 12, 13, 14, 15)
            assert await supervisor.write([(tags[0], 99)]) == [GOOD]
            assert (await plc.control(get_tag="Count"))["value"] == 99
            await until(lambda: listener.value(tags[0]) == 99)
            await plc.kill()
            await until(lambda: listener.quality(tags[0]) != GOOD)
            await plc.start()
            await all_good()
            assert listener.value(tags[0]) == 5
        finally:
            run.cancel()
            await asyncio.wait((run,))


async def test_its_tags_are_listed_without_those_whose_type_it_does_not_tell() -> None:
    async with running_simulator(small()) as plc:
        done = await invoked("browse", f"eip://127.0.0.1:{plc.port}", "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert found["identity"]["product"] == "2080-LC50-24QWB"
        assert [each["address"] for each in found["tags"]] == ["Count", "Level", "Run", "Rates"]
        assert list(found["left_out"]) == ["Name", "Pump1"]


async def test_other_clients_find_it_as_they_expect_a_micro800() -> None:
    async with running_simulator(small()) as plc:

        def by_pycomm3() -> Any:
            with pycomm3.LogixDriver(
                f"127.0.0.1:{plc.port}", init_tags=False, init_program_tags=False
            ) as client:
                assert client._micro800
                return client.info["product_name"]

        def by_pylogix() -> Any:
            with pylogix.PLC("127.0.0.1", port=plc.port) as client:
                client.conn.msg_socket.close()
                client.Micro800 = True
                return client.Read("Count").Value, client.Read("Rates[3]").Value

        assert await asyncio.to_thread(by_pycomm3) == "2080-LC50-24QWB"
        assert await asyncio.to_thread(by_pylogix) == (5, 13)


async def test_the_simulated_one_refuses_what_it_cannot() -> None:
    async with running_simulator(small()) as plc, raw_client(plc.port) as client:
        several = multiple(read(path("Count")), read(path("Level")))
        statuses = [
            (await client.unconnected(message)).status
            for message in (several, READ_TEMPLATE, changes.REQUEST, read(path("Count")))
        ]
        assert statuses == [0x08, 0x05, 0x05, 0x00]
        assert (await client.open()).status == 0x08, "a large connection"
