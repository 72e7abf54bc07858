"""Against node-opcua, which shares no code with the stack this server stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import pki
from support.node import NodeClient, Refused
from support.opcua import (
    CLIENT_URI,
    OBSERVER,
    OBSERVER_PASSWORD,
    OPERATOR,
    OPERATOR_PASSWORD,
    Running,
    client_files,
    serving,
)

from sources.quality import BAD_NO_COMMUNICATION

pytestmark = pytest.mark.interop

POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")


def test_the_endpoints_are_those_the_settings_allow(
    node: NodeClient, served: Running, order: dict[str, Any]
) -> None:
    found = node("endpoints", **order)
    pairs = {(e["policy"], e["mode"]) for e in found}
    assert pairs == {(p, m) for p in POLICIES for m in ("Sign", "SignAndEncrypt")} | {("None", "None")}
    assert {e["url"] for e in found} == {served.url}
    assert all(e["tokens"] == ["Anonymous", "UserName"] for e in found)


@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_user_connects_over_every_policy_and_mode(
    node: NodeClient, order: dict[str, Any], policy: str, mode: str
) -> None:
    whom = {"user": OPERATOR, "password": OPERATOR_PASSWORD, "policy": policy, "mode": mode}
    node("connect", **{"as": "someone"}, **order, **whom)
    assert node("namespaces", **{"as": "someone"})[1] == "urn:test:isthmus"
    node("disconnect", **{"as": "someone"})


def test_a_password_is_encrypted_even_over_none(node: NodeClient, order: dict[str, Any]) -> None:
    node("connect", **{"as": "someone"}, **order, user=OPERATOR, password=OPERATOR_PASSWORD)
    node("disconnect", **{"as": "someone"})


@pytest.mark.parametrize(("user", "password"), [(OBSERVER, "wrong password"), ("nobody", OPERATOR_PASSWORD)])
def test_a_wrong_password_is_refused(
    node: NodeClient, order: dict[str, Any], user: str, password: str
) -> None:
    with pytest.raises(Refused, match="BadUserAccessDenied"):
        node("connect", **{"as": "someone"}, **order, user=user, password=password)


def test_the_plant_is_browsed_by_its_hierarchy(node: NodeClient, anybody: str, served: Running) -> None:
    here = "i=85"
    for step in ("Acme", "Line1", "Filler", "Speed"):
        found = node("browse", **{"as": anybody}, node=here)
        assert found["status"] == "Good"
        (here,) = (r["node"] for r in found["references"] if r["name"] == step)
    assert here == served.bench.node("Speed")
    children = node("browse", **{"as": anybody}, node=here)["references"]
    assert {child["name"] for child in children} == {"EngineeringUnits", "EURange"}
    units = next(child["node"] for child in children if child["name"] == "EngineeringUnits")
    (value,) = node("read", **{"as": anybody}, nodes=[units])
    assert value["value"]["displayName"]["text"] == "bottle/min"
    back = node("browse", **{"as": anybody}, node=here, direction="Inverse")["references"]
    assert [reference["name"] for reference in back] == ["Filler"]


def test_values_come_with_type_status_and_times(node: NodeClient, anybody: str, served: Running) -> None:
    names = ["Speed", "State", "Count", "Recipe", "Make", "Spare", "Target"]
    nodes = [served.bench.node(name) for name in names]
    served.feed("Speed", 512.5)
    served.feed("State", 2)
    served.feed("Count", 4_000_000_000)
    found = dict(zip(names, node("read", **{"as": anybody}, nodes=nodes), strict=True))
    assert (found["Speed"]["type"], found["Speed"]["value"]) == ("Double", 512.5)
    assert (found["State"]["type"], found["State"]["value"]) == ("Int32", 2)
    assert (found["Count"]["type"], found["Count"]["value"]) == ("UInt32", 4_000_000_000)
    assert (found["Make"]["type"], found["Make"]["value"]) == ("String", "KHS")
    assert found["Speed"]["status"] == "Good"
    assert found["Speed"]["source"] is not None
    assert found["Speed"]["server"] is not None
    assert (found["Recipe"]["status"], found["Recipe"]["value"]) == ("BadWaitingForInitialData", None)
    assert (found["Spare"]["status"], found["Spare"]["value"]) == ("BadOutOfService", None)
    assert (found["Target"]["type"], found["Target"]["value"]) == ("UInt16", 500)


def test_changes_are_notified(node: NodeClient, anybody: str, served: Running) -> None:
    served.feed("Level", 10)
    node("subscribe", **{"as": anybody}, node=served.bench.node("Level"))
    node("notifications", **{"as": anybody}, count=1)
    served.feed("Level", 20)
    node("notifications", **{"as": anybody}, count=2)
    served.feed("Level", None, BAD_NO_COMMUNICATION)
    first, second, third = node("notifications", **{"as": anybody}, count=3)
    assert [first["value"], second["value"]] == [1.0, 2.0]
    assert (third["status"], third["value"]) == ("BadNoCommunication", None)


def test_the_operator_writes_and_the_device_holds_it(
    node: NodeClient, order: dict[str, Any], served: Running
) -> None:
    me = {"as": "operator"}
    node("connect", **me, **order, user=OPERATOR, password=OPERATOR_PASSWORD)
    set_point = served.bench.node("SpeedSP")
    assert node("write", **me, node=set_point, type="Double", value=600) == "Good"
    assert served.bench.device.held["SpeedSP"] == 600.0
    (held,) = node("read", **me, nodes=[set_point])
    assert (held["value"], held["status"]) == (600, "Good")
    (access,) = node("read", **me, nodes=[set_point], attribute="UserAccessLevel")
    assert access["value"] == 0x43, "CurrentRead, CurrentWrite, TimestampWrite"
    assert node("write", **me, node=set_point, type="Double", value=801) == "BadOutOfRange"
    assert node("write", **me, node=set_point, type="Float", value=600) == "BadTypeMismatch"
    assert node("write", **me, node=set_point, type="Int32", value=600) == "BadTypeMismatch"
    time = "2026-01-01T00:00:00Z"
    assert node("write", **me, node=set_point, type="Double", value=610, time=time) == "Good"
    (timed,) = node("read", **me, nodes=[set_point])
    assert (timed["value"], timed["source"][:19]) == (610, time[:19])
    speed = served.bench.node("Speed")
    assert node("write", **me, node=speed, type="Double", value=1) == "BadNotWritable"
    assert node("write", **me, node="i=2267", type="Byte", value=1) == "BadNotWritable"
    assert node("write", **me, node="ns=4;s=Nowhere", type="Byte", value=1) == "BadNodeIdUnknown"
    node("disconnect", **me)


@pytest.mark.parametrize("whom", [{}, {"user": OBSERVER, "password": OBSERVER_PASSWORD}])
def test_whoever_has_not_the_role_does_not_write(
    node: NodeClient, order: dict[str, Any], served: Running, whom: dict[str, str]
) -> None:
    me = {"as": "looker"}
    node("connect", **me, **order, **whom)
    held = served.bench.device.held.get("SpeedSP")
    set_point = served.bench.node("SpeedSP")
    assert node("write", **me, node=set_point, type="Double", value=1) == "BadUserAccessDenied"
    assert served.bench.device.held.get("SpeedSP") == held
    (access,) = node("read", **me, nodes=[set_point], attribute="UserAccessLevel")
    assert access["value"] == 1
    (access,) = node("read", **me, nodes=[set_point], attribute="AccessLevel")
    assert access["value"] == 0x43, "CurrentRead, CurrentWrite, TimestampWrite"
    node("disconnect", **me)


def test_an_unknown_application_is_refused_until_somebody_trusts_it(
    node: NodeClient, served: Running, tmp_path: Path, order: dict[str, Any]
) -> None:
    certificate, key = client_files(tmp_path, number=12)
    stranger = order | {
        "certificate": str(certificate),
        "key": str(key),
        "pki": str(tmp_path / "pki"),
        "policy": "Basic256Sha256",
        "mode": "SignAndEncrypt",
    }
    with pytest.raises(Refused):
        node("connect", **{"as": "stranger"}, **stranger)
    trust = served.bench.trust
    (rejected,) = trust.rejected()
    assert rejected.name == "Client 12"
    trust.trust(rejected.thumbprint)
    node("connect", **{"as": "stranger"}, **stranger)
    node("disconnect", **{"as": "stranger"})


def test_an_application_of_a_trusted_ca_is_let_in(
    node: NodeClient, served: Running, tmp_path: Path, order: dict[str, Any]
) -> None:
    ca = pki.authority("Plant CA", private=pki.key(13))
    own = pki.key(14)
    leaf = pki.application("Issued", uri=CLIENT_URI, private=own, issuer=ca)
    certificate, key = pki.write(tmp_path, leaf, own)
    (tmp_path / "ca.pem").write_bytes(pki.pem(ca.certificate))
    served.bench.trust.trust(tmp_path / "ca.pem")
    (tmp_path / "ca.crl").write_bytes(pki.crl_der(ca.revoke()))
    served.bench.trust.add_list(tmp_path / "ca.crl")
    issued = order | {"certificate": str(certificate), "key": str(key), "pki": str(tmp_path / "pki")}
    node("connect", **{"as": "issued"}, **issued, policy="Aes256_Sha256_RsaPss", mode="SignAndEncrypt")
    node("disconnect", **{"as": "issued"})


def test_by_default_neither_none_nor_anonymous_gets_in(
    node: NodeClient, order: dict[str, Any], tmp_path: Path
) -> None:
    with serving(tmp_path) as strict:
        certificate = Path(order["certificate"])
        strict.bench.trust.trust(certificate)
        here = order | {"url": strict.url}
        found = node("endpoints", **here)
        assert {e["mode"] for e in found} == {"SignAndEncrypt"}
        assert {tuple(e["tokens"]) for e in found} == {("UserName",)}
        secure = {"policy": "Basic256Sha256", "mode": "SignAndEncrypt"}
        with pytest.raises(Refused):
            node("connect", **{"as": "plain"}, **here)
        with pytest.raises(Refused):
            node("connect", **{"as": "nameless"}, **here, **secure)
        node("connect", **{"as": "named"}, **here, **secure, user=OBSERVER, password=OBSERVER_PASSWORD)
        node("disconnect", **{"as": "named"})
