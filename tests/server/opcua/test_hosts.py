"""Host names as they stand in URLs and certificates."""

from __future__ import annotations

import pytest
from support import pki

from server.opcua.hosts import authority, certificate_hosts, is_loopback, is_unspecified, normal, url_host


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("opc.tcp://Plant-PC:4840/isthmus", "plant-pc"),
        ("opc.tcp://10.0.0.5:4840", "10.0.0.5"),
        ("opc.tcp://[2001:DB8::0:1]:4840/x", "2001:db8::1"),
        ("opc.tcp://plant.example.:4840", "plant.example"),
        ("opc.tcp://[::1", None),
        ("opc.tcp://", None),
        ("", None),
        (None, None),
        ("opc.tcp://" + "x" * 5000, None),
    ],
)
def test_the_host_of_a_url(url: str | None, host: str | None) -> None:
    assert url_host(url) == host


def test_an_address_stands_in_brackets_where_it_has_colons() -> None:
    assert authority("::1", 4840) == "[::1]:4840"
    assert authority("10.0.0.5", 4840) == "10.0.0.5:4840"


def test_addresses_have_one_form() -> None:
    assert normal("2001:0DB8:0:0::1") == "2001:db8::1"
    assert normal("fe80::1%eth0") == "fe80::1"
    assert normal("LocalHost.") == "localhost"


def test_every_address_and_this_machine_are_told_apart() -> None:
    assert [is_unspecified(address) for address in ("0.0.0.0", "::", "127.0.0.1")] == [True, True, False]
    assert [is_loopback(host) for host in ("127.0.0.9", "::1", "localhost", "plant-pc", "10.0.0.1")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_certificate_names_its_hosts() -> None:
    assert certificate_hosts(pki.application()) == {"localhost", "127.0.0.1"}
    assert certificate_hosts(pki.authority().certificate) == frozenset()
