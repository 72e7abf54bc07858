"""A subscription as node-opcua has it, Publish by Publish."""

from __future__ import annotations

from typing import Any

import pytest
from support.node import Speaker, variant

DISABLED, SAMPLING, REPORTING = range(3)
STATUS_VALUE, STATUS_VALUE_TIMESTAMP = 1, 2


class Subscription:
    """One subscription of a speaker; Publish is asked for one at a time."""

    def __init__(self, speaker: Speaker, **wishes: Any) -> None:
        self.speaker = speaker
        asked = {
            "requestedPublishingInterval": 50,
            "requestedLifetimeCount": 600,
            "requestedMaxKeepAliveCount": 5,
            "maxNotificationsPerPublish": 0,
            "publishingEnabled": True,
        }
        self.revised = speaker.good("CreateSubscription", **asked | wishes)
        self.id = self.revised["subscriptionId"]

    def watch(self, *nodes: str, handle: int = 1, timestamps: int = 2, **wishes: Any) -> list[Any]:
        """Monitored items, their client handles counted up from ``handle``."""
        mode = wishes.pop("mode", REPORTING)
        asked = [
            {
                "itemToMonitor": {
                    "nodeId": node,
                    "attributeId": wishes.get("attribute", 13),
                    "indexRange": wishes.get("index_range"),
                },
                "monitoringMode": mode,
                "requestedParameters": {
                    "clientHandle": handle + number,
                    "samplingInterval": 0,
                    "queueSize": wishes.get("queue", 10),
                    "discardOldest": wishes.get("oldest", True),
                    "filter": wishes.get("filter"),
                },
            }
            for number, node in enumerate(nodes)
        ]
        found = self.speaker.good(
            "CreateMonitoredItems",
            subscriptionId=self.id,
            timestampsToReturn=timestamps,
            itemsToCreate=asked,
        )
        results = found["results"]
        assert isinstance(results, list)
        return results

    def publish(self, *acknowledged: int) -> Any:
        """The next message, a keep-alive too."""
        known = [{"subscriptionId": self.id, "sequenceNumber": number} for number in acknowledged]
        return self.speaker.good("Publish", subscriptionAcknowledgements=known)

    def changes(self) -> list[tuple[int, Any, str]]:
        """What the next message with notifications says: client handle, value, status."""
        for _ in range(20):
            message = self.publish()["notificationMessage"]
            found = [
                (one["clientHandle"], one["value"]["value"], one["value"]["status"])
                for data in message["notificationData"] or ()
                for one in data["monitoredItems"]
            ]
            if found:
                return found
        pytest.fail("nothing but keep-alives")

    def publishing(self, *, enabled: bool) -> None:
        asked = {"publishingEnabled": enabled, "subscriptionIds": [self.id]}
        assert self.speaker.good("SetPublishingMode", **asked)["results"] == ["Good"]

    def delete(self) -> None:
        assert self.speaker.good("DeleteSubscriptions", subscriptionIds=[self.id])["results"] == ["Good"]


def write(speaker: Speaker, node: str, kind: str, value: Any) -> None:
    wanted = {"nodeId": node, "attributeId": 13, "value": {"value": variant(kind, value)}}
    assert speaker.good("Write", nodesToWrite=[wanted])["results"] == ["Good"]


def deadband(kind: int, value: float, trigger: int = STATUS_VALUE) -> dict[str, Any]:
    return {
        "$structure": "DataChangeFilter",
        "trigger": trigger,
        "deadbandType": kind,
        "deadbandValue": value,
    }
