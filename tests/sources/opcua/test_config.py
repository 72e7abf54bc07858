"""Addresses and settings of a downstream server."""

from __future__ import annotations

import uuid
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from support.scanning import FAST

from server.plant.model import Role
from sources.asking import Asker, RoleName
from sources.errors import AddressError
from sources.opcua.address import NodeAddress, PathAddress, Step, parse_address
from sources.opcua.config import DownstreamSettings, parse_tag
from sources.spec import TagSpec
from sources.tag import ValueType

UA = "http://opcfoundation.org/UA/"
URL = "opc.tcp://10.20.1.30:4840/isthmus"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("i=2258", NodeAddress(UA, 2258)),
        ("nsu=urn:acme:filler;s=Speed", NodeAddress("urn:acme:filler", "Speed")),
        ("nsu=urn:a%3Bb%25;i=1", NodeAddress("urn:a;b%", 1)),
        ("nsu=urn:a;s=a;b=c.d/e", NodeAddress("urn:a", "a;b=c.d/e")),
        (
            "nsu=urn:a;g=72962b91-fa75-4ae6-8d28-b404dc7daf63",
            NodeAddress("urn:a", uuid.UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63")),
        ),
        (
            "nsu=urn:a;b=M/RbKBsRVkePCePcx24oRA==",
            NodeAddress("urn:a", bytes.fromhex("33f45b281b1156478f09e3dcc76e2844")),
        ),
        ("/Objects/Server", PathAddress((Step(UA, "Objects"), Step(UA, "Server")))),
        (
            "/Objects/nsu=http://acme.com/x;Fil&/ler.nsu=urn:b;Speed",
            PathAddress(
                (
                    Step(UA, "Objects"),
                    Step("http://acme.com/x", "Fil/ler"),
                    Step("urn:b", "Speed", aggregates=True),
                )
            ),
        ),
    ],
)
def test_an_address_means_one_node_and_writes_itself(text: str, meant: object) -> None:
    found = parse_address(text)
    assert found == meant
    assert parse_address(str(found)) == found


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("ns=3;s=Speed", "write nsu= and the URI"),
        ("Speed", "is no NodeId and no browse path"),
        ("nsu=urn:a", "has no identifier"),
        ("nsu=;s=a", "has no identifier"),
        ("i=4294967296", "is no UInt32"),
        ("i=x", "is no NodeId"),
        ("nsu=urn:a;g=1", "is no NodeId"),
        ("nsu=urn:a;b=§", "is no NodeId"),
        ("/Objects//Server", "empty name"),
        ("/Objects/", "empty name"),
        ("/Objects/2:Filler", "put & before the ':'"),
        ("/Objects/nsu=urn:a", "stands ; and the name"),
        ("/Objects/A&", "ends with &"),
        ("i=1" * 2000, "longer than"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(AddressError, match=advice.replace("(", r"\(")):
        parse_address(text)


AS_X: dict[str, Any] = {"users": ["anna"], "user": "x", "password": "env:X"}


def mapped(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"map": list(rules), "others": "refuse"}


@pytest.mark.parametrize(
    ("keys", "advice"),
    [
        ({"url": "http://10.20.1.30"}, "no address of an OPC UA server"),
        ({"url": "opc.tcp://"}, "no address of an OPC UA server"),
        ({"url": "opc.tcp://a:b"}, "no address of an OPC UA server"),
        ({"url": "opc.tcp://two..dots.example:4840"}, "no host name or IP address"),
        ({"user": "anna"}, "needs a password"),
        ({"password": "env:P"}, "needs its user"),
        ({"security": "none", "policy": "Basic256Sha256"}, "none has no policy"),
        ({"deadband": {}}, "either absolute: or percent:"),
        ({"deadband": {"absolute": 1.0, "percent": 1.0}}, "either absolute: or percent:"),
        ({"namespaces": {"urn:a": "urn:c", "urn:b": "urn:c"}}, "cannot become one"),
        ({"identity": "user"}, "it is service, or says with map: and others:"),
        ({"identity": mapped()}, "at least 1 item"),
        ({"identity": mapped({"user": "x", "password": "env:X"})}, "it is for nobody"),
        ({"identity": mapped({"users": ["anna"]})}, "one identity there"),
        ({"identity": mapped({"users": ["anna"], "user": "x"})}, "user and password go together"),
        (
            {"identity": mapped({"users": ["anna"], "user": "x", "password": "secret"})},
            "never stands in this",
        ),
        ({"identity": mapped({"users": ["anna"], "certificate": "a.crt"})}, "go together"),
        ({"identity": mapped(AS_X | {"certificate": "a.crt", "key": "a.key"})}, "one identity there"),
        ({"identity": mapped(AS_X | {"key_password": "env:X"})}, "without a key"),
        ({"identity": mapped(AS_X | {"users": ["anonymous"]})}, "nobody in particular"),
        ({"identity": mapped(AS_X | {"roles": ["Anonymous"]})}, "AuthenticatedUser"),
        ({"identity": mapped(AS_X, AS_X)}, "anna stands in users twice"),
        ({"identity": {"map": [AS_X]}}, "others"),
    ],
)
def test_settings_that_cannot_be_are_refused(keys: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        DownstreamSettings(**{"url": URL} | keys)


def test_a_tag_has_the_type_of_its_property_or_of_as() -> None:
    settings = DownstreamSettings(url=URL)
    assert (settings.host, settings.port) == ("10.20.1.30", 4840)
    spec = TagSpec("Speed", "nsu=urn:a;s=Speed", ValueType.Double, FAST)
    assert parse_tag(spec, settings).type is ValueType.Double
    spec = TagSpec("Speed", "nsu=urn:a;s=Speed", ValueType.Double, FAST, encoding="int16")
    assert parse_tag(spec, settings).type is ValueType.Int16
    for encoding, words, advice in (("string(8)", None, "as: "), (None, "ABCD", "words: ")):
        with pytest.raises(AddressError, match=advice):
            parse_tag(TagSpec("Speed", "i=1", ValueType.Double, FAST, encoding, words), settings)


def test_the_first_rule_that_fits_says_in_whose_name() -> None:
    by_role = {"roles": ["Operator", "Engineer"], "user": "y", "password": "env:Y"}
    keys: dict[str, Any] = {"url": URL, "identity": mapped(AS_X, by_role)}
    identity = DownstreamSettings(**keys).identity
    assert identity is not None

    def user(name: str, *roles: str) -> str | None:
        rule = identity.rule(Asker(name, frozenset(roles)))
        return rule.user if rule is not None else None

    assert [user("anna", "Operator"), user("bert", "Operator"), user("bert", "Observer", "Engineer")] == [
        "x",
        "y",
        "y",
    ]
    assert [user("bert"), user("Anna"), user("anna.", "operator")] == [None, None, None]


def test_every_role_but_anonymous_can_be_named() -> None:
    assert set(get_args(RoleName)) == {role.value for role in Role} - {"Anonymous"}
