"""Methods of the Server object that are about subscriptions (OPC 10000-5 §9.1, §9.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

from asyncua import ua

from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.subscriptions.engine import Engine
from server.opcua.subscriptions.subscription import Subscription
from server.opcua.types import ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire.nodeid import Key, numeric

Handler = Callable[[Session, Node, list[ua.Variant]], Awaitable[Sequence[ua.Variant]]]

GET_MONITORED_ITEMS: Final = numeric(ObjectIds.Server_GetMonitoredItems)
RESEND_DATA: Final = numeric(ObjectIds.Server_ResendData)


class SubscriptionMethods:
    """Carries them out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def handlers(self) -> Mapping[Key, Handler]:
        """By the NodeId of the method."""
        return {GET_MONITORED_ITEMS: self.get_monitored_items, RESEND_DATA: self.resend_data}

    async def get_monitored_items(
        self, session: Session, _: Node, inputs: list[ua.Variant]
    ) -> Sequence[ua.Variant]:
        """GetMonitoredItems: what ids and ClientHandles the items of a subscription have."""
        items = self._subscription(session, inputs).items.values()
        return (
            _numbers([item.id for item in items]),
            _numbers([int.from_bytes(item.handle, "little") for item in items]),
        )

    async def resend_data(self, session: Session, _: Node, inputs: list[ua.Variant]) -> Sequence[ua.Variant]:
        """ResendData: every value once more, with the next publishing."""
        self._subscription(session, inputs).resend()
        return ()

    def _subscription(self, session: Session, inputs: list[ua.Variant]) -> Subscription:
        number = int(inputs[0].Value)
        subscription = self._engine.subscriptions.get(number)
        if subscription is None:
            raise ServiceFault(StatusCodes.BadSubscriptionIdInvalid)
        if subscription.publishing is None or subscription.publishing.session is not session:
            raise ServiceFault(StatusCodes.BadUserAccessDenied)
        subscription.touch()
        return subscription


def _numbers(found: list[int]) -> ua.Variant:
    return cast("ua.Variant", cast("Any", ua.Variant)(found, ua.VariantType.UInt32, None, True))
