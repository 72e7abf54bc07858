"""Whatever bytes a client sends where a subscription request should be, it is answered or refused."""

from __future__ import annotations

import struct
from contextlib import suppress

from asyncua import ua
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.subscribing import Client, Stage, data_filter, make, wanted

from server.opcua.types import ServiceFault, node_id
from server.opcua.wire import structs
from server.opcua.wire.reader import DecodingError
from server.opcua.wire.writer import int32, uint32
from sources.tag import ValueType


def _event_filter() -> object:
    field = make(ua.SimpleAttributeOperand, node_id(2041), [make(ua.QualifiedName, "Severity", 0)], 13, "1:2")
    literal = make(ua.LiteralOperand, make(ua.Variant, "%x_[a-z]", ua.VariantType.String))
    elements = [
        make(ua.ContentFilterElement, ua.FilterOperator.And, [make(ua.ElementOperand, 1)] * 2),
        make(ua.ContentFilterElement, ua.FilterOperator.Like, [field, literal]),
    ]
    return make(ua.EventFilter, [field], make(ua.ContentFilter, elements))


def _requests(client: Client) -> dict[str, bytes]:
    """A good request of each service."""
    subscription = client.subscribe()
    item = client.watch(subscription, "a")
    items = [
        client.stage_item("a", filter=data_filter(1, 1, 1.0), queue=5),
        client.stage_item("a", index_range="0:1", encoding="Default Binary"),
        wanted(client.stage.server, attribute=12, filter=_event_filter()),
        client.stage_item("a"),
    ]
    head = uint32(subscription) + int32(2)
    modified = uint32(item) + structs.encode(make(ua.MonitoringParameters, 1, 5.0, data_filter(2), 3, True))
    ids = int32(1) + uint32(subscription)
    return {
        "CreateSubscription": struct.pack("<dIII?B", 100.0, 30, 10, 0, True, 1),
        "ModifySubscription": struct.pack("<IdIIIB", subscription, 100.0, 30, 10, 0, 1),
        "SetPublishingMode": b"\x01" + ids,
        "Publish": int32(1) + uint32(subscription) + uint32(1),
        "Republish": uint32(subscription) + uint32(1),
        "TransferSubscriptions": ids + b"\x01",
        "DeleteSubscriptions": int32(1) + uint32(99),
        "CreateMonitoredItems": head + int32(4) + b"".join(map(structs.encode, items)),
        "ModifyMonitoredItems": head + int32(1) + modified,
        "SetMonitoringMode": head + int32(1) + uint32(item),
        "SetTriggering": uint32(subscription) + uint32(item) + (int32(1) + uint32(item)) * 2,
        "DeleteMonitoredItems": uint32(subscription) + int32(1) + uint32(99),
    }


class Target:
    """A server with one subscription, made anew when that is gone."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.stage = Stage({"a": (ValueType.Int32, 0.1)})
        self.client = self.stage.session()
        self.requests = _requests(self.client)

    def send(self, name: str, body: bytes) -> None:
        stage = self.stage
        with suppress(ServiceFault, DecodingError):
            stage.run(name, self.client.session, body, self.client.peer)
        stage.sleep(0.1)
        if list(stage.engine.subscriptions) != [1] or stage.engine.monitored_items > 20:
            self.start()


TARGET = Target()


def test_good_requests_are_served() -> None:
    target = Target()
    for name, body in target.requests.items():
        if name == "Republish":
            target.client.publish()
            target.stage.sleep(0.2)
        target.stage.run(name, target.client.session, body, target.client.peer)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(sorted(TARGET.requests)),
    edits=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=8)), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 400)),
)
def test_damaged_requests_do_no_harm(name: str, edits: list[tuple[int, bytes]], cut: int | None) -> None:
    body = TARGET.requests[name]
    for at, piece in edits:
        place = at % (len(body) + 1)
        body = body[:place] + piece + body[place + len(piece) :]
    TARGET.send(name, body if cut is None else body[: cut % (len(body) + 1)])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(TARGET.requests)), body=st.binary(max_size=200))
def test_nor_does_nonsense(name: str, body: bytes) -> None:
    TARGET.send(name, body)
