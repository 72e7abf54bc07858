"""Users of our server, and as whom the server downstream sees each: over sockets, with roles and audits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from asyncua.client.client import Client
from support.auditing import last
from support.downstream import OPERATING, PLANT, lend_password, named, protected, source
from support.line import MACHINE
from support.net import until
from support.opcua import OBSERVER, OBSERVER_PASSWORD, OPERATOR, Bench, Running, serving
from support.scanning import FAST
from support.uaclient import ua

from server.audit.log import AuditLog
from server.opcua.server import OpcUaServer
from server.plant.model import (
    Binding,
    Equipment,
    EquipmentLevel,
    Import,
    Property,
    PropertyType,
    Role,
    WriteRule,
)
from server.plant.values import ValueStore
from sources.opcua.address import parse_address
from sources.opcua.imports import Wanted
from sources.supervisor import Supervisor
from sources.tag import ValueType

SET_POINT = named("SpeedSP", writable=True)
BELOW = parse_address(f"nsu={PLANT};s={MACHINE}")
OPERATORS = frozenset({Role.Operator})
PASSWORD = "each of them has it"
IDENTITY = {
    "map": [
        {"users": ["anna"], "user": OPERATOR, "password": "env:DOWNSTREAM_PASSWORD"},
        {"roles": ["Engineer"], "user": OBSERVER, "password": "env:OBSERVING"},
    ],
    "others": "refuse",
}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The operator may write there, the observer may not."""
    with serving(tmp_path_factory.mktemp("there"), writable=True) as running:
        running.bench.device.held["SpeedSP"] = 1.0
        running.feed("SpeedSP", 1.0)
        yield running


@dataclass
class Upper:
    """Our server over that one, and its audit log."""

    server: OpcUaServer
    audit: Path

    @asynccontextmanager
    async def client(self, user: str) -> AsyncIterator[Any]:
        made = Client(self.server.endpoints[0].url, timeout=20)
        made.set_user(user)
        made.set_password(PASSWORD)
        async with made:
            yield made

    @property
    def nodes(self) -> list[Any]:
        """The property that is bound to the set point there, and the set point as it was imported."""
        plant, imported = (self.server.namespace_index(uri) for uri in (PLANT, f"{PLANT}#There"))
        return [ua.NodeId("Acme/Up.SpeedSP", plant), ua.NodeId(f"{MACHINE}.SpeedSP", imported)]

    def records(self) -> list[tuple[str, ...]]:
        """User, name there, outcome and status of every record of a write."""
        wanted = ("user", "as", "outcome", "status")
        return [
            tuple(one.get(key, "") for key in wanted) for one in last(self.audit, 100, {"event": "write"})
        ]


@pytest.fixture
async def upper(there: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upper]:
    lend_password(monkeypatch)
    monkeypatch.setenv("OBSERVING", OBSERVER_PASSWORD)
    bench = Bench(tmp_path / "upper", allow_none=True, writable=True)
    bound = Property(
        "Acme/Up",
        PropertyType("SpeedSP", ValueType.Double, write=WriteRule(OPERATORS)),
        binding=Binding("There", SET_POINT),
    )
    own = Equipment("Acme/Up", EquipmentLevel.ProductionLine, properties=(bound,))
    held = Equipment(
        "Acme/Held",
        EquipmentLevel.ProductionLine,
        imported=Import("There", BELOW, FAST, OPERATORS, OPERATORS),
    )
    bench.plant = replace(bench.plant, equipment=(*bench.plant.equipment, own, held))
    bench.store = ValueStore(bench.plant)
    for name, *more in (("anna",), ("bert", Role.Engineer), ("carl",)):
        await bench.users.add(name, PASSWORD, [Role.Operator, *more])
    device = source(there, [SET_POINT], **OPERATING, identity=IDENTITY)
    device.settle(protected(there, tmp_path))
    supervisor = Supervisor(device, bench.store.ingest, delays=lambda: iter(lambda: 0.05, None))
    bench.devices["There"] = supervisor
    bench.recorder = log = AuditLog(tmp_path / "audit")
    log.open(version="1.2.3")
    server = bench.server()
    life = None
    try:
        await server.start()
        device.mirror(server.imported, [Wanted("Acme/Held", BELOW, FAST)])
        life = asyncio.create_task(supervisor.run())
        await until(lambda: len(server.imported._models) == 1, what="imported")
        yield Upper(server, tmp_path / "audit")
    finally:
        if life is not None:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
        await server.stop()
        await log.close()


async def write(client: Any, node: Any, value: float) -> str:
    """What the client is told."""
    request = ua.WriteParameters()
    request.NodesToWrite = [
        ua.WriteValue(NodeId=node, AttributeId=ua.AttributeIds.Value, Value=ua.DataValue(ua.Variant(value)))
    ]
    (code,) = await client.uaclient.write(request)
    return str(code.name)


def _has(upper: Upper, user: str, wanted: Sequence[tuple[str, ...]]) -> bool:
    return [record for record in upper.records() if record[0] == user] == wanted


async def test_the_server_downstream_sees_whom_the_configuration_names(
    there: Running, upper: Upper, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "isthmus.audit")
    told: dict[str, list[str]] = {}
    for user in ("anna", "bert", "carl"):
        async with upper.client(user) as client:
            told[user] = [await write(client, node, 20.0) for node in upper.nodes]
    assert told == {
        "anna": ["Good", "Good"],
        "bert": ["BadUserAccessDenied", "BadUserAccessDenied"],  # the other server says so
        "carl": ["BadUserAccessDenied", "BadUserAccessDenied"],  # nobody there was asked
    }
    assert there.bench.device.held["SpeedSP"] == 20.0
    seen = [r.__dict__ for r in caplog.records if r.__dict__.get("node") == f"{MACHINE}.SpeedSP"]
    assert [(one["user"], one["status"]) for one in seen if one["event"] == "write"] == [
        *[(OPERATOR, "Good")] * 2,
        *[(OBSERVER, "BadUserAccessDenied")] * 2,
    ]
    for user, name, end in (
        ("anna", f"user:{OPERATOR}", ("done", "Good")),
        ("bert", f"user:{OBSERVER}", ("failed", "BadUserAccessDenied")),
    ):
        wanted = [(user, name, "asked", ""), (user, name, *end)] * 2
        await until(partial(_has, upper, user, wanted))
    refusals = [("carl", "", "refused", "BadUserAccessDenied")] * 2
    await until(partial(_has, upper, "carl", refusals))
    reasons = {one.get("reason", "") for one in last(upper.audit, 100, {"user": "carl"})} - {""}
    assert len(reasons) == 1
    assert "There has no identity for carl" in reasons.pop()


async def test_the_writes_of_a_client_keep_their_order_while_its_session_there_is_opened(
    there: Running, upper: Upper
) -> None:
    async with upper.client("anna") as client:
        values = [float(30 + number) for number in range(6)]
        writes = [asyncio.create_task(write(client, upper.nodes[n % 2], v)) for n, v in enumerate(values)]
        assert await asyncio.gather(*writes) == ["Good"] * 6
        assert there.bench.device.held["SpeedSP"] == values[-1]
    written = [one["asked"] for one in last(upper.audit, 100, {"event": "write", "outcome": "asked"})]
    assert written == values


async def test_no_secret_is_told(upper: Upper, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with upper.client("bert") as client:
        await write(client, upper.nodes[0], 20.0)
    everything = caplog.text + "".join(map(str, last(upper.audit, 100, {})))
    for secret in (OBSERVER_PASSWORD, PASSWORD):
        assert secret not in everything
