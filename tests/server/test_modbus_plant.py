"""A plant file with everything Modbus has, from the registers to OPC UA and back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from support.isthmus import isthmus, running
from support.modbus_peer import modbus_peer
from support.net import until
from support.uaclient import Client, ua

PLANT = """\
model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
opcua: {{port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true, writable: true}}
scan: {{normal: 200ms}}
sources:
  Meter1: {{driver: modbus, host: 127.0.0.1, port: {port}, unit: 1, addressing: 5-digit,
    forbidden: ["40020..40030"], timeout: 5s}}
  Meter2: {{driver: modbus, host: 127.0.0.1, port: {port}, unit: 2, addressing: 1-based, timeout: 5s}}
equipment:
  Acme:
    level: Enterprise
    properties:
      Clock: {{type: DateTime, access: rw, writers: [Operator]}}
      Counter: {{type: UInt32}}
      Order: {{type: String}}
      Other: {{type: DateTime}}
    map:
      Clock: {{source: Meter1, addr: "40001", as: s7_dt}}
      Counter: {{source: Meter1, addr: "40010", as: bcd32}}
      Order: {{source: Meter1, addr: "40040", as: s7string(6)}}
      Other: {{source: Meter2, addr: "holding:61", as: unix32}}
"""


async def test_dates_digits_and_units(tmp_path: Path) -> None:
    data, password = tmp_path / "data", "correct horse"
    added = isthmus(
        *("users", "add", "anna", "--role", "Operator", "--data", data, "--password-stdin"),
        stdin=f"{password}\n",
    )
    assert added.returncode == 0, added.stderr
    async with modbus_peer() as peer:
        peer.registers[0:4] = [0x2511, 0x3023, 0x5859, 0x1231]
        peer.registers[9:11] = [0x1234, 0x5678]
        peer.registers[39:43] = [0x0603, 0x4B48, 0x5300, 0]
        peer.registers[60:62] = [0x692C, 0xDA43]
        peer.illegal = set(range(19, 30))
        file = tmp_path / "plant.yaml"
        file.write_text(PLANT.format(port=peer.port), encoding="utf-8")
        async with running(tmp_path / "server", "run", file, "--data", data) as process:
            client = Client(process.ready["opcua"])
            client.set_user("anna")
            client.set_password(password)
            async with client:
                index = await client.get_namespace_index("urn:acme:plant")
                names = ("Clock", "Counter", "Order", "Other")
                nodes = [client.get_node(ua.NodeId(f"Acme.{name}", index)) for name in names]

                async def read() -> list[object]:
                    values = [await node.read_data_value(raise_on_bad_status=False) for node in nodes]
                    return [value.Value.Value if value.StatusCode.is_good() else None for value in values]

                await until(lambda: _all_there(read), what="all four Good")
                assert await read() == [
                    datetime(2025, 11, 30, 23, 58, 59, 123_000, tzinfo=UTC),
                    12345678,
                    "KHS",
                    datetime(2025, 11, 30, 23, 58, 59, tzinfo=UTC),
                ]
                assert (await nodes[0].read_data_type()).Identifier == ua.ObjectIds.DateTime
                moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
                await nodes[0].write_value(ua.Variant(moment, ua.VariantType.DateTime))
                assert peer.registers[0:3] == [0x2601, 0x0203, 0x0405]
                assert (await read())[0] == moment
        assert peer.accepted == 1, "both units share the connection"
        assert not any(request[0] == 3 and _touches(request, peer.illegal) for request in peer.requests)


async def _all_there(read: object) -> bool:
    assert callable(read)
    return None not in await read()


def _touches(request: bytes, places: set[int]) -> bool:
    start, count = int.from_bytes(request[1:3], "big"), int.from_bytes(request[3:5], "big")
    return not places.isdisjoint(range(start, start + count))
