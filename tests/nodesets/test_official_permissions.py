"""Roles and restrictions of the standard nodes against the official list of them."""

from __future__ import annotations

import csv
import re

import pytest
from support.nodesets import SHARED

from nodesets import standard, ua

PATH = SHARED / "data" / "Opc.Ua.NodeIds.permissions.csv"
RESTRICTIONS = {"SigningRequired": 1, "EncryptionRequired": 2, "SessionRequired": 4}


@pytest.mark.skipif(not PATH.is_file(), reason="the official list is not there")
def test_every_listed_node_has_its_permissions() -> None:
    loaded = standard.load()
    nodes = {node.number: node for node in loaded.nodes}
    role_set = 15606
    roles = {
        nodes[target].browse_name: target
        for source, kind, target in loaded.references
        if source == role_set and kind == ua.HAS_COMPONENT.identifier
    }
    with PATH.open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len(rows) > 400
    gone = [name for name, number, *_ in rows if int(number) not in nodes]
    assert all(re.match("WellKnownRole_(Anonymous|AuthenticatedUser)_", name) for name in gone)
    for name, number, _, restrictions, permissions in rows:
        node = nodes.get(int(number))
        if node is None:
            continue
        expected = {roles[role]: int(mask) for role, mask in re.findall(r"'(\w+)':'\((\d+)\)", permissions)}
        assert node.role_permissions == expected, name
        named = [one for one in restrictions.strip("[]").split(",") if one]
        assert node.access_restrictions == sum(RESTRICTIONS[one] for one in named), name
