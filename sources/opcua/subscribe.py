"""Making a subscription, with what the server grants of what was asked."""

from __future__ import annotations

import logging
import math

from sources.errors import ConnectionLost
from sources.opcua.kept import Subscription
from sources.opcua.live import Live
from sources.opcua.stack import ua
from sources.quality import BAD_COMMUNICATION_ERROR
from sources.tag import ScanClass

log = logging.getLogger(__name__)


async def create(live: Live, scan: ScanClass | None, period: float, *, at_once: int = 0) -> Subscription:
    """One subscription, published every ``period`` seconds if the server agrees; None watches the server.

    ``at_once`` is how many values one message may have, 0 for any number.
    """
    settings = live.settings
    keep = max(1, math.ceil(settings.keepalive / period))
    request = ua.CreateSubscriptionRequest()
    request.Parameters.RequestedPublishingInterval = period * 1000
    request.Parameters.RequestedMaxKeepAliveCount = keep
    request.Parameters.RequestedLifetimeCount = max(3 * keep, math.ceil(settings.lifetime / period))
    request.Parameters.MaxNotificationsPerPublish = at_once
    request.Parameters.PublishingEnabled = True
    request.Parameters.Priority = 0
    made = (await live.connection.ask(request, ua.CreateSubscriptionResponse)).Parameters
    interval = made.RevisedPublishingInterval / 1000
    if not 0 < interval < math.inf:
        raise ConnectionLost(f"a publishing interval of {interval:g} s", BAD_COMMUNICATION_ERROR)
    if scan is not None and interval > 1.1 * period:
        log.warning(
            "%s: the device reports the scan class %s every %g s, not every %g s",
            live.device.name,
            scan.name,
            interval,
            period,
        )
    subscription = Subscription(
        int(made.SubscriptionId), scan, interval, interval * int(made.RevisedMaxKeepAliveCount)
    )
    subscription.heard = live.clock()
    return subscription
