"""Who writes in whose name downstream, of a server that runs: checked, carried out, and made another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.auditing import last
from support.downstream import lend_password, protected
from support.isthmus import isthmus, running
from support.line import MACHINE
from support.net import until
from support.opcua import OBSERVER, OBSERVER_PASSWORD, OPERATOR, OPERATOR_PASSWORD, Running, serving
from support.uaclient import Client, ua

from server.observe.control import ask
from server.opcua.users import UserStore
from server.plant.model import Role

PASSWORD = "each of them has it"
UPPER = """\
model: 1
namespaces: {plant: "urn:upper:plant", types: "urn:upper:types"}
opcua:
  {port: 0, listen: [127.0.0.1], allow_none: true, writable: true, application_uri: "urn:test:upstream"}
sources:
  Lower:
    driver: opcua
    url: URL
    user: OBSERVER
    password: env:OBSERVING
    identity:
      map:
        - {roles: [Operator], user: OPERATOR, password: file:SECRET}
      others: refuse
equipment:
  Upper: {level: Site, source: Lower, properties: {SP: {access: rw}}, map: {SP: "nsu=urn:acme:plant;s=NODE"}}
"""


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("lower"), writable=True) as it:
        it.bench.device.held["SpeedSP"] = 1.0
        it.feed("SpeedSP", 1.0)
        yield it


async def test_a_running_server_takes_other_rules(
    lower: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend_password(monkeypatch)
    monkeypatch.setenv("OBSERVING", OBSERVER_PASSWORD)
    data, file, secret = tmp_path / "upper", tmp_path / "upper.yaml", tmp_path / "operator.secret"
    secret.write_text("a guess that is wrong\n", encoding="utf-8")
    text = UPPER
    for word, what in (
        ("URL", lower.url),
        ("NODE", f"{MACHINE}.SpeedSP"),
        ("SECRET", secret.name),
        ("OBSERVER", OBSERVER),
        ("OPERATOR", OPERATOR),
    ):
        text = text.replace(word, what)
    file.write_text(text, encoding="utf-8")
    protected(lower, data)
    await UserStore(data / "users.yaml").add("anna", PASSWORD, [Role.Operator])

    checked = await asyncio.to_thread(isthmus, "check", file, "--connect", "--data", data)
    assert checked.returncode == 1
    assert f"user:{OPERATOR}" in "".join(checked.stdout.split())
    secret.write_text(f"{OPERATOR_PASSWORD}\n", encoding="utf-8")
    async with running(tmp_path / "run", "run", file, "--data", data) as upper:
        client = Client(upper.ready["opcua"], timeout=20)
        client.set_user("anna")
        client.set_password(PASSWORD)
        async with client:
            node = client.get_node(ua.NodeId("Upper.SP", await client.get_namespace_index("urn:upper:plant")))

            async def good() -> bool:
                return bool((await node.read_data_value(raise_on_bad_status=False)).StatusCode.is_good())

            await until(good)
            await node.write_value(20.0)
            assert lower.bench.device.held["SpeedSP"] == 20.0

            file.write_text(text.replace("[Operator]", "[Engineer]"), encoding="utf-8")
            report = await ask(data, "apply", within=60, file=str(file), dry_run=False)
            assert report["outcome"] == "applied"
            assert report["sources"]["changed"] == {"Lower": "other identities: its connection stays"}
            assert await good()
            with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                await node.write_value(30.0)

            async def still_connected() -> bool:
                (source,) = (await ask(data, "status"))["sources"]
                assert source["connects"] == 1
                return bool(source["state"] == "connected")

            await until(still_connected)
        output = upper.output
    assert lower.bench.device.held["SpeedSP"] == 20.0
    written = [(one.get("as"), one["outcome"]) for one in last(data / "audit", 50, {"event": "write"})]
    assert written == [(f"user:{OPERATOR}", "asked"), (f"user:{OPERATOR}", "done"), (None, "refused")]
    for known in (OPERATOR_PASSWORD, OBSERVER_PASSWORD, PASSWORD):
        assert known not in output
        assert known not in checked.stdout + checked.stderr
