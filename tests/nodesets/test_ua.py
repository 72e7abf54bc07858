from __future__ import annotations

import re

import pytest
from asyncua.ua.object_ids import ObjectIds

from nodesets import ua
from nodesets.records import UA, NodeId

CONSTANTS = {name: value for name, value in vars(ua).items() if isinstance(value, NodeId)}
BY_NUMBER: dict[int, set[str]] = {}
for _name, _number in vars(ObjectIds).items():
    if isinstance(_number, int):
        BY_NUMBER.setdefault(_number, set()).add(_name)


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_has_the_number_of_its_name(name: str) -> None:
    namespace, identifier = CONSTANTS[name]
    assert namespace == UA
    assert isinstance(identifier, int)
    official = {re.sub("[^A-Z0-9]", "", candidate.upper()) for candidate in BY_NUMBER[identifier]}
    plain = name.replace("_", "")
    owners = ("", "MODELLINGRULE", "SERVER", "OPCBINARYSCHEMA")
    assert any(owner + plain in official for owner in owners) or name == "OPC_BINARY_TYPE_SYSTEM"
