"""What is counted of a subscription (SubscriptionDiagnosticsDataType, OPC 10000-5 §12.15)."""

from __future__ import annotations


class Counts:
    """Since the subscription was created."""

    __slots__ = (
        "data_changes",
        "disables",
        "discarded",
        "enables",
        "event_overflows",
        "events",
        "late",
        "messages",
        "modifications",
        "published",
        "republish_messages",
        "republish_requests",
        "republished",
        "transfer_requests",
        "transferred_to_other",
        "transferred_to_same",
    )

    def __init__(self) -> None:
        self.data_changes = 0
        self.disables = 0
        self.discarded = 0
        self.enables = 0
        self.event_overflows = 0
        self.events = 0
        self.late = 0
        self.messages = 0
        self.modifications = 0
        self.published = 0
        self.republish_messages = 0
        self.republish_requests = 0
        self.republished = 0
        self.transfer_requests = 0
        self.transferred_to_other = 0
        self.transferred_to_same = 0
