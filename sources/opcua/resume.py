"""Taking over the subscriptions of a connection that was lost (OPC 10000-4 §5.14.7)."""

from __future__ import annotations

import logging

from sources.opcua.channel import ServiceError
from sources.opcua.items import tell_refused
from sources.opcua.live import Live
from sources.opcua.messages import Messages
from sources.opcua.planning import tell_missing
from sources.opcua.stack import status_name, ua
from sources.quality import is_bad

log = logging.getLogger(__name__)


async def resume(live: Live, messages: Messages) -> bool:
    """Take over the subscriptions of the connection before; False where they have to be made anew."""
    plan, connection = live.device.plan, live.connection
    if plan is None or not plan.subscriptions or not live.device.transfers:
        live.device.plan = None
        return False
    if (
        plan.namespaces != connection.namespaces
        or plan.start_time != connection.start_time
        or any(one.halted for one in plan.subscriptions)
    ):
        live.device.plan = None
        return False
    request = ua.TransferSubscriptionsRequest()
    request.Parameters.SubscriptionIds = [one.id for one in plan.subscriptions]
    request.Parameters.SendInitialValues = True
    try:
        response = await connection.channel.request(request, ua.TransferSubscriptionsResponse)
    except ServiceError as error:
        log.info("%s: subscriptions are made anew: %s", live.device.name, error)
        live.device.plan = None
        return False
    results = response.Parameters.Results or []
    codes = [int(result.StatusCode.value) for result in results]
    if len(codes) != len(plan.subscriptions) or any(map(is_bad, codes)):
        await _abandon(
            live, [o.id for o, code in zip(plan.subscriptions, codes, strict=False) if not is_bad(code)]
        )
        why = next((status_name(code) for code in codes if is_bad(code)), "no answer")
        log.info("%s: subscriptions are made anew: %s", live.device.name, why)
        live.device.plan = None
        return False
    live.device.transferred += 1
    for subscription, result in zip(plan.subscriptions, results, strict=True):
        subscription.heard = live.clock()
        live.subscriptions[subscription.id] = subscription
        subscription.taken_over = subscription.mute = True
        subscription.unheard = subscription.reported()
        tell_refused(live, subscription)
        await messages.catch_up(subscription, result.AvailableSequenceNumbers or [])
    tell_missing(live, plan)
    return True


async def _abandon(live: Live, ids: list[int]) -> None:
    if ids:
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters.SubscriptionIds = ids
        await live.connection.ask(request, ua.DeleteSubscriptionsResponse)
