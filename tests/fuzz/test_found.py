"""Inputs that once did harm, each with what it did."""

from __future__ import annotations

from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from support import pki
from support.fuzz.world import World

from certs.errors import CertificateRefused
from certs.files import read_chain
from server.opcua.space.value import StoredValue
from server.opcua.types import AttributeIds
from server.opcua.wire import structs

FOUND = {
    # Bytes that are not UTF-8 became half surrogate pairs, which no NodeId can be encoded with.
    "Write, a NodeId that is no text": (
        "Write",
        "010000000304001700000041636d652f4c696e65312f46696c6c65722e4c9676656c0d000000ffffffff03060100000000000000",
    ),
    "Call, a NodeId that is no text": (
        "Call",
        "010000000302001e0000004e616d6573706163654d657461646174612e4e806d6573706163655572690100e42c010000009800000000",
    ),
    # An ExtensionObject whose body has no length took what followed it for its body.
    "ActivateSession, a token of no length": (
        "ActivateSession",
        "ff" * 8 + "00000000" * 2 + "0100410101" + "ff" * 4 + "00" * 12,
    ),
    # Nested to where Python gives up.
    "Write, nesting": ("Write", "0100000000550d000000ffffffff01" + "9801000000" * 3000 + "00"),
}


@pytest.mark.parametrize("name", FOUND)
def test_it_is_answered(name: str, world: World) -> None:
    service, data = FOUND[name]
    world.request(service, bytes.fromhex(data))


def test_a_filter_does_not_keep_every_event_waiting(world: World) -> None:
    # Like takes pattern times text: of two long literals every event took minutes.
    made: Any = ua
    text, pattern = (made.LiteralOperand(made.Variant(v)) for v in ("a" * 60_000, "%" + "a" * 30_000 + "b"))
    like = made.ContentFilterElement(ua.FilterOperator.Like, [text, pattern])
    message = made.SimpleAttributeOperand(made.NodeId(2041), [made.QualifiedName("Message")], made.UInt32(13))
    wanted = made.EventFilter([message], made.ContentFilter([like]))
    item = made.MonitoredItemCreateRequest(
        ItemToMonitor=made.ReadValueId(NodeId=made.NodeId(2253), AttributeId=AttributeIds.EventNotifier),
        MonitoringMode=made.MonitoringMode.Reporting,
        RequestedParameters=made.MonitoringParameters(Filter=wanted, QueueSize=2),
    )
    world.request("Read", b"")  # the subscription is there
    both = made.TimestampsToReturn.Both
    created = made.CreateMonitoredItemsParameters(world.numbers[0], both, [item])
    world.request("CreateMonitoredItems", struct_to_binary(created))


def test_a_serial_number_that_is_not_positive_makes_no_certificate() -> None:
    data = pki.der(pki.application("Client", uri="urn:test:client", private=pki.key(11)))
    at = data.index(b"\xa0\x03\x02\x01\x02\x02") + 7
    with pytest.raises(CertificateRefused):
        read_chain(data[:at] + b"\x97" + data[at + 1 :])


@pytest.mark.parametrize(
    "variant",
    [
        b"\x14\xff\xff\x00\x00\x00\x00",  # a namespace index that the stack did not encode
        b"\x17\x3c" + bytes(range(1, 21)),  # picoseconds that changed places with the server's time
        b"\x19\x0c\x01\x00\x00\x00\x02\x00\x00\x00",  # locale and text that changed places
        b"\x16\x01\x00\x4c\x3b\x01\x00\x00\x00\x00",  # a structure without fields, whose length was left out
    ],
    ids=["QualifiedName", "DataValue", "DiagnosticInfo", "ExtensionObject"],
)
def test_what_is_stored_is_what_was_written(variant: bytes) -> None:
    decoded = structs.decode_variant(variant)
    stored = StoredValue(structs.encode_variant(decoded))
    again = cast("Any", structs.decode_variant(stored.variant))
    assert again == decoded
    assert structs.encode_variant(cast("ua.Variant", again)) == structs.encode_variant(decoded)
