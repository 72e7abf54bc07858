"""What the value store makes of a source's marks: the last value while it is usable, then none."""

from __future__ import annotations

import asyncio
import itertools

from support.modbus_peer import modbus_peer, mute
from support.modbus_tags import settings, tag
from support.net import until
from support.scanning import FAST, SLOW

from server.plant.model import Binding, Equipment, EquipmentLevel, Plant, Property, PropertyType
from server.plant.values import ValueStore
from sources.modbus.driver import ModbusSource
from sources.quality import (
    BAD_NO_COMMUNICATION,
    BAD_NOT_CONNECTED,
    BAD_TIMEOUT,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
)
from sources.supervisor import Supervisor
from sources.tag import ValueType


async def test_a_value_from_its_first_read_to_its_last() -> None:
    fast, slow = tag("holding:0", scan=FAST), tag("holding:1", scan=SLOW)
    properties = tuple(
        Property("Acme", PropertyType(name, ValueType.UInt16), None, Binding("PLC", its))
        for name, its in (("Fast", fast), ("Slow", slow))
    )
    store = ValueStore(Plant("urn:p", "urn:t", (Equipment("Acme", EquipmentLevel.Enterprise, properties),)))
    first, last = store.points["Acme.Fast"], store.points["Acme.Slow"]
    statuses: list[list[int]] = [[first.status], [last.status]]

    def keep(_changed: object) -> None:
        for seen, point in zip(statuses, (first, last), strict=True):
            if seen[-1] != point.status:
                seen.append(point.status)

    store.listen(keep)
    async with modbus_peer() as peer:
        await peer.stop()
        peer.registers[:2] = [42, 43]
        source = ModbusSource("PLC", settings(peer.port, timeout="500ms"), [fast, slow])
        supervisor = Supervisor(source, store.ingest, delays=lambda: itertools.repeat(0.02))
        task = asyncio.create_task(supervisor.run())
        try:
            await until(lambda: first.status == BAD_NOT_CONNECTED)
            await peer.start()
            await until(lambda: first.status == last.status == GOOD)
            assert (first.value, last.value) == (42, 43)
            heard = first.server_time
            await until(lambda: first.server_time > heard)
            peer.spoil = mute
            await until(lambda: first.status == BAD_NO_COMMUNICATION)
            assert (first.value, last.value) == (None, 43)
            assert last.status == UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE
        finally:
            task.cancel()
            await asyncio.wait((task,))
    assert statuses[0][:4] == [BAD_WAITING_FOR_INITIAL_DATA, BAD_NOT_CONNECTED, GOOD, BAD_TIMEOUT]
    assert statuses[1] == [
        BAD_WAITING_FOR_INITIAL_DATA,
        BAD_NOT_CONNECTED,
        GOOD,
        UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    ]
