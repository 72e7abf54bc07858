"""What a session and a request may ask for: served below ServerCapabilities, enforced where it is used."""

from __future__ import annotations

from typing import Final

# OperationLimits (OPC 10000-5 §6.3.11): ten thousand of what is light, a tenth of what is not.
MAX_NODES_PER_READ: Final = 10_000
MAX_NODES_PER_WRITE: Final = 1_000
MAX_NODES_PER_METHOD_CALL: Final = 100
MAX_NODES_PER_BROWSE: Final = 1_000
MAX_NODES_PER_REGISTER_NODES: Final = 10_000
MAX_NODES_PER_TRANSLATE: Final = 1_000
MAX_MONITORED_ITEMS_PER_CALL: Final = 10_000

# Browsing
MAX_BROWSE_CONTINUATION_POINTS: Final = 50
"""Unfinished browses of one session."""
MAX_REFERENCES_PER_RESULT: Final = 5_000
"""References of one page, however many the client asks for."""
MAX_BROWSE_BYTES: Final = 2 << 20
"""References of one response; further nodes get a continuation point."""

# TranslateBrowsePathsToNodeIds
MAX_TRANSLATE_MATCHES: Final = 1_000
"""Targets of one path."""
MAX_TRANSLATE_VISITS: Final = 1_000_000
"""References followed for one path."""
MAX_TRANSLATE_VISITS_PER_CALL: Final = 5_000_000
"""References followed for all paths of one call."""

# RegisterNodes
MAX_REGISTERED_NODES: Final = 50_000
"""Handles of one session; beyond that, a node is registered as itself."""

# Subscriptions and monitored items (OPC 10000-4 §5.13, §5.14)
MAX_SUBSCRIPTIONS: Final = 2_000
MAX_SUBSCRIPTIONS_PER_SESSION: Final = 100
MAX_MONITORED_ITEMS: Final = 1_000_000
MAX_MONITORED_ITEMS_PER_SUBSCRIPTION: Final = 200_000
MAX_MONITORED_ITEMS_QUEUE_SIZE: Final = 1_000
MAX_QUEUED_NOTIFICATIONS: Final = 5_000_000
"""What the queues of all items may hold beyond one each, an event for ten; then a queue gets but one."""
MAX_EVENT_QUEUE_SIZE: Final = 10_000
DEFAULT_EVENT_QUEUE_SIZE: Final = 1_000
MAX_SELECT_CLAUSES: Final = 200
MAX_WHERE_ELEMENTS: Final = 100
MAX_WHERE_OPERANDS: Final = 1_000
"""Of all elements of one where clause together."""
MAX_PUBLISH_REQUESTS: Final = 100
"""Publish requests of one session that may wait."""
MAX_ACKNOWLEDGEMENTS: Final = 10_000
"""Of one Publish request."""
MAX_NOTIFICATIONS_PER_PUBLISH: Final = 10_000
"""What one NotificationMessage carries at most: some milliseconds of work."""
MAX_NOTIFICATION_BYTES: Final = 1 << 20
"""Of the data in one NotificationMessage."""
MAX_RETRANSMISSION_MESSAGES: Final = 2 * MAX_PUBLISH_REQUESTS
"""NotificationMessages a subscription keeps for Republish, twice what may wait (OPC 10000-4 §5.14.1)."""
MAX_RETRANSMISSION_BYTES: Final = 16 << 20
MAX_RETRANSMISSION_BYTES_IN_ALL: Final = 256 << 20
"""Of all subscriptions together; beyond, each keeps its last message only."""
MAX_TRIGGER_LINKS: Final = 10_000
"""Links of one SetTriggering call."""
MAX_TRIGGER_LINKS_PER_SUBSCRIPTION: Final = 50_000
MAX_TRIGGER_LINKS_IN_ALL: Final = 1_000_000
MIN_PUBLISHING_INTERVAL: Final = 20.0
"""Milliseconds; of all that follow too, unless they say otherwise."""
MAX_PUBLISHING_INTERVAL: Final = 3_600_000.0
MAX_KEEP_ALIVE: Final = 3_600_000.0
MAX_LIFETIME: Final = 6 * 3_600_000.0
"""After so long without a Publish request a subscription is deleted, unless three keep-alives take longer."""
MIN_SAMPLING_INTERVAL: Final = 100.0
"""Of a value that has to be asked for again and again, such as CurrentTime."""
MAX_SAMPLING_INTERVAL: Final = 3_600_000.0
