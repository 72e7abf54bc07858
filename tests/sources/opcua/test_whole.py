"""Isthmus over Isthmus over a simulated PLC, each a process of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from support import pki
from support.isthmus import isthmus, running
from support.net import until
from support.twoplcs import PASSWORD, USER, rig
from support.uaclient import Client, ua

from certs.own import load_or_make
from certs.store import TrustList
from server.opcua.users import UserStore
from server.plant.model import Role

UPPER = """\
model: 1
namespaces: {{plant: "urn:upper:plant", types: "urn:upper:types"}}
opcua: {{port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true, writable: true}}
scan: {{normal: 200ms}}
sources:
  Lower:
    driver: opcua
    url: {url}
    user: anna
    password: env:LOWER_PASSWORD
    timeout: 2s
equipment:
  Group: {{level: Enterprise}}
  Group/A:
    level: WorkUnit
    source: Lower
    prefix: "nsu=urn:acme:plant;s=Acme/A."
    properties: {{Speed: {{}}, SpeedSP: {{access: rw, range: [0, 800]}}, Count: {{type: UInt32}}}}
    map: {{Speed: Speed, SpeedSP: SpeedSP, Count: Count}}
  Group/B:
    level: WorkUnit
    import: {{from: Lower, under: "nsu=urn:acme:plant;s=Acme/B"}}
  Group/C:
    level: WorkUnit
    import: {{from: Lower, nodes: ["nsu=urn:acme:plant;s=Acme/A.Count"]}}
"""


async def test_a_plc_s_values_pass_two_servers_and_a_write_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path / "lower") as lower:
        file, data = tmp_path / "upper.yaml", tmp_path / "upper"
        file.write_text(UPPER.format(url=lower.process.ready["opcua"]), encoding="utf-8")
        own = data / "pki" / "own"
        own.mkdir(parents=True)
        await UserStore(data / "users.yaml").add(USER, PASSWORD, [Role.Operator])
        (own / "private-key.pem").write_bytes(pki.key_pem(pki.key(12)))
        (own / "private-key.pem").chmod(0o600)
        load_or_make(data / "pki")
        for mine, theirs in ((data, lower.data), (lower.data, data)):
            trust = TrustList(mine / "pki")
            trust.prepare()
            trust.trust(theirs / "pki" / "own" / "certificate.der")
        monkeypatch.setenv("LOWER_PASSWORD", PASSWORD)
        looked = await asyncio.to_thread(isthmus, "check", file, "--connect", "--data", data)
        assert looked.returncode == 0, looked.stdout + looked.stderr
        async with running(tmp_path / "run", "run", file, "--data", data) as upper:
            client = Client(upper.ready["opcua"])
            client.set_user(USER)
            client.set_password(PASSWORD)
            async with client:
                index = await client.get_namespace_index("urn:upper:plant")
                speed = client.get_node(ua.NodeId("Group/A.Speed", index))

                async def good() -> bool:
                    return bool((await speed.read_data_value(raise_on_bad_status=False)).StatusCode.is_good())

                await until(good)
                await lower.a.set("Speed", 123.0, machine="Acme/A")

                async def arrived() -> bool:
                    return bool(await speed.read_value() == 123.0)

                await until(arrived)
                await client.get_node(ua.NodeId("Group/A.SpeedSP", index)).write_value(456.0)
                assert await lower.a.get("SpeedSP", machine="Acme/A") == 456.0

                await lower.b.set("Speed", 77.0, machine="Acme/B")
                name = "urn:acme:plant#Lower"

                async def named() -> bool:
                    return name in await client.get_namespace_array()

                await until(named)
                there = await client.get_namespace_index(name)
                imported = client.get_node(ua.NodeId("Acme/B.Speed", there))

                async def imported_too() -> bool:
                    data = await imported.read_data_value(raise_on_bad_status=False)
                    return data.Value is not None and bool(data.Value.Value == 77.0)

                await until(imported_too)
                # A chosen node of the other machine stands by itself.
                chosen = client.get_node(ua.NodeId("Group/C", index))

                async def its() -> set[object]:
                    found = [child.nodeid for child in await chosen.get_children()]
                    return {one.Identifier for one in found if one.NamespaceIndex == there}

                async def there_too() -> bool:
                    return await its() == {"Acme/A.Count"}

                await until(there_too)
                kept = json.loads((data / "state" / "namespaces.json").read_text(encoding="utf-8"))
                assert "urn:acme:plant#Lower" in kept["imported"]

                # The PLC goes, and the status of its values passes both servers.
                await lower.a.kill()

                async def the_same() -> bool:
                    data = await speed.read_data_value(raise_on_bad_status=False)
                    status = data.StatusCode.name
                    return status != "Good" and {status} == await lower.status("A")

                await until(the_same)
