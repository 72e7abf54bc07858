"""Setting right what was read beside a subscription, which knows nothing of the values that came."""

from __future__ import annotations

import logging

from sources.opcua.channel import ServiceError
from sources.opcua.connection import chunks
from sources.opcua.kept import Subscription
from sources.opcua.live import Live
from sources.opcua.stack import ua
from sources.quality import is_bad

log = logging.getLogger(__name__)


async def settle(live: Live, subscription: Subscription) -> None:
    """Have the server tell anew of what was read beside the subscription.

    The first sample of an item that is enabled again is always reported, and what follows is compared
    with it (OPC 10000-4 §5.13.1.3). Disabling would lose what stands in a longer queue, and not every
    server can: there the values are read once more, which may again fall between two samples.
    """
    device, places = live.device, sorted(subscription.beside)
    subscription.beside = set()
    if live.settings.queue > 1 or not device.settles:
        subscription.unheard.update(places)
        return
    codes: list[list[int]] = []
    ids = [subscription.items[place] for place in places]
    try:
        for mode in (ua.MonitoringMode.Disabled, ua.MonitoringMode.Reporting):
            codes.append([])
            for part in chunks(ids, live.connection.limits.items):
                request = ua.SetMonitoringModeRequest()
                request.Parameters.SubscriptionId = subscription.id
                request.Parameters.MonitoringMode = mode
                request.Parameters.MonitoredItemIds = list(part)
                subscription.halted = True
                response = await live.connection.channel.request(request, ua.SetMonitoringModeResponse)
                codes[-1] += [int(code.value) for code in response.Parameters.Results or []]
    except ServiceError as error:
        device.settles = False
        log.info("%s: what was read is read again later: %s", device.name, error)
        if any(codes):
            raise  # some are disabled
        subscription.halted = False
        subscription.unheard.update(places)
        return
    if any(is_bad(after) and not is_bad(before) for before, after in zip(*codes, strict=False)):
        raise ServiceError("SetMonitoringMode", max(codes[1]))
    subscription.halted = False
