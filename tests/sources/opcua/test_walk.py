"""What a walk and its names make of a server that does not keep to the specification."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from support.downstream import settings

from sources.opcua.address import UA_URI
from sources.opcua.importing import MAX_NAMESPACES, MAX_URI, Importing
from sources.opcua.mapping import Mapper, Unmappable, key_of
from sources.opcua.room import Room
from sources.opcua.stack import encode_variant, ua
from sources.opcua.walk import Walk, _Met
from sources.opcua.wire import Raw

A = ua.AttributeIds
VARIABLE, METHOD = 2, 4


def encoded(value: Any, kind: Any) -> bytes:
    return encode_variant(ua.Variant(value, kind))


def met(node_class: int, **raw: bytes) -> Any:
    node: Any = ua.NodeId(5, 1)
    made = _Met(node, node_class, False)
    texts = {
        "BrowseName": encoded(ua.QualifiedName("Speed", 1), ua.VariantType.QualifiedName),
        "DisplayName": encoded(ua.LocalizedText("Speed"), ua.VariantType.LocalizedText),
        "UserAccessLevel": b"\x03\x03",
        "UserExecutable": b"\x01\x01",
    }
    made.raw.update({A[name]: Raw(data, 0, 0) for name, data in (texts | raw).items()})
    return made


async def walked(given: Any) -> Any:
    room = Room(1 << 20)
    walk: Any = Walk(None, Mapper({1: 7}.get, {}), {}, "F", room, print)  # type: ignore[arg-type]  # it asks nobody
    return await walk._node(key_of(given.node), given)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("ValueRank", b"\x06\xff\xff\xff\xff", b"\x01\x01"),
        ("ValueRank", b"\x06\x01\0\0\0", b"\x0c\0\0\0\0"),
        ("ArrayDimensions", b"\x87\x01\0\0\0\0\0\0\0", b"\x07\x01\0\0\0"),
        ("DataType", b"\x11\x00\x0b", b"\x06\x0b\0\0\0"),
        ("MinimumSamplingInterval", b"\x0b" + bytes(8), b"\x0a" + bytes(4)),
    ],
)
async def test_an_attribute_of_another_type_than_it_has_is_left_out(
    name: str, right: bytes, wrong: bytes
) -> None:
    assert (await walked(met(VARIABLE, **{name: right}))).attributes[A[name]] == right
    assert A[name] not in (await walked(met(VARIABLE, **{name: wrong}))).attributes


@pytest.mark.parametrize("answer", [b"", b"\x01", b"\x01\x02", b"\x03\x01", b"\x01\x00"])
async def test_a_method_is_executable_where_the_server_says_so_and_not_else(answer: bytes) -> None:
    assert (await walked(met(METHOD))).attributes[A.Executable] == b"\x01\x01"
    answered = await walked(met(METHOD, UserExecutable=answer))
    assert answered.attributes[A.Executable] == b"\x01\x00"


def test_a_namespace_that_stands_twice_in_the_array_has_one_index() -> None:
    """Else a name of the device's would pass for one of namespace 0, and back."""

    class Here:
        uris: tuple[str, ...] = (UA_URI, "urn:here")

        def index(self, uri: str) -> int:
            if uri not in self.uris:
                self.uris += (uri,)
            return self.uris.index(uri)

    class There:
        name = "F"
        namespaces = (UA_URI, "urn:there", UA_URI, "urn:there")

    made: Any = Importing(There(), settings(1), Here())  # type: ignore[arg-type]  # all that names take
    made.connection = There()
    assert made._mapper.node_id(b"\x01\x01\x05\x00") == b"\x01\x02\x05\x00"
    for twice in (b"\x01\x02\x05\x00", b"\x01\x03\x05\x00"):
        with pytest.raises(Unmappable, match="not known"):
            made._mapper.node_id(twice)
    assert made._theirs == {0: 0, 2: 1}


def test_a_device_adds_so_many_namespaces_and_no_more() -> None:
    class Here:
        added: ClassVar[list[str]] = []

        def index(self, uri: str) -> int:
            self.added.append(uri)
            return len(self.added)

    class There:
        name = "F"
        namespaces = (UA_URI, "urn:" + "x" * MAX_URI, *(f"urn:{number}" for number in range(MAX_NAMESPACES)))

    made: Any = Importing(There(), settings(1), Here())  # type: ignore[arg-type]  # all that names take
    made.connection = There()
    left_out = []
    for there in range(1, len(There.namespaces)):
        try:
            made._mapper.node_id(b"\x01" + bytes([there]) + b"\x05\x00")
        except Unmappable:
            left_out.append(there)
    assert left_out == [1]
    assert len(Here.added) == MAX_NAMESPACES
    other: Any = There()
    other.namespaces = (UA_URI, "urn:another")
    made.connection = other
    made.forget()
    with pytest.raises(Unmappable):
        made._mapper.node_id(b"\x01\x01\x05\x00")
