"""Audit events of writes: what they say, and who gets them."""

from __future__ import annotations

import asyncio
from typing import Any

from support.line import MACHINE
from support.net import until
from support.opcua import BASIC256SHA256, OPERATOR, Connect, Running
from support.uaclient import ua

from server.opcua.types import AttributeIds
from server.plant.model import Role

AUDITOR, PASSWORD = "auditor", "sees what was done"
KIND = ua.NodeId(ua.ObjectIds.AuditWriteUpdateEventType)


class Heard:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def event_notification(self, event: Any) -> None:
        self.events.append(event)


async def listening(client: Any) -> Heard:
    heard = Heard()
    subscription = await client.create_subscription(50, heard)
    await subscription.subscribe_events(ua.ObjectIds.Server, KIND)
    return heard


async def write(client: Any, node: str, value: float, entry: str = "") -> None:
    one = ua.WriteValue(
        NodeId=ua.NodeId.from_string(node),
        AttributeId=AttributeIds.Value,
        Value=ua.DataValue(ua.Variant(value, ua.VariantType.Double)),
    )
    request = ua.WriteRequest()
    request.RequestHeader.AuditEntryId = entry or None
    request.Parameters = ua.WriteParameters(NodesToWrite=[one])
    await client.uaclient.protocol.send_request(request)


async def test_administrators_of_security_hear_of_every_attempt_and_nobody_else(
    connect: Connect, served: Running
) -> None:
    served.call(served.bench.users.add(AUDITOR, PASSWORD, [Role.SecurityAdmin]))
    node = served.bench.node("SpeedSP")
    served.feed("SpeedSP", 100.0)
    encrypted = {"policy": BASIC256SHA256}
    async with (
        connect(served, user=AUDITOR, password=PASSWORD, **encrypted) as auditor,
        connect(served, user=OPERATOR, **encrypted) as operator,
        connect(served, user=AUDITOR, password=PASSWORD) as readable,
    ):
        assert await auditor.get_node(ua.ObjectIds.Server_Auditing).read_value() is True
        heard, others = await listening(auditor), [await listening(operator), await listening(readable)]
        await write(operator, node, 110.0, entry="batch 7")
        await write(operator, node, 900.5)
        await write(operator, served.bench.node("Speed"), 1.0)
        await until(lambda: len(heard.events) == 3, what="three audit events")
        await asyncio.sleep(0.3)
    good, refused, other = heard.events
    assert good.EventType == KIND
    assert good.SourceName == "Attribute/Write"
    assert good.SourceNode == ua.NodeId.from_string(node)
    assert (good.Status, good.ClientUserId, good.ClientAuditEntryId) == (True, OPERATOR, "batch 7")
    assert (good.AttributeId, good.IndexRange, good.OldValue, good.NewValue) == (13, None, 100.0, 110.0)
    assert good.ServerId == "urn:test:isthmus"
    assert (refused.Status, refused.NewValue, refused.ClientAuditEntryId) == (False, 900.5, None)
    assert f"write {MACHINE}.SpeedSP by {OPERATOR}: BadOutOfRange" in refused.Message.Text
    assert refused.Severity > good.Severity
    assert (other.SourceNode, other.Status) == (ua.NodeId.from_string(served.bench.node("Speed")), False)
    assert [listener.events for listener in others] == [[], []]
