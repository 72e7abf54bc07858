"""What a subscription sends, in the order it was sent; and what of it is lost, or was never sent."""

from __future__ import annotations

import asyncio

from support.downstream import named
from support.net import until
from support.opcua_messages import Lone, published

from sources.opcua.kept import Subscription


async def test_messages_that_are_there_at_once_are_taken_in_their_order() -> None:
    for _ in range(10):  # the order of a set differs from time to time
        lone = Lone([named(f"T{place}") for place in range(6)])

        async def resumed() -> bool:
            return True

        lone.scan._resume = resumed  # type: ignore[method-assign]
        for number in range(4):  # with so many subscriptions six Publish requests wait
            lone.scan._by_id[100 + number] = other = Subscription(100 + number, None, 60.0, 60.0)
            other.heard = lone.subscription.heard
        task = asyncio.create_task(lone.scan.run())
        await until(lambda lone=lone: len(lone.line.sent) == 6)
        for place, (_, future) in enumerate(lone.line.sent[:6]):
            future.set_result(published(place + 1, (place, float(place))))
        await until(lambda lone=lone: len(lone.line.sent) == 12)
        task.cancel()
        await asyncio.wait((task,))
        assert lone.values == [(place, float(place)) for place in range(6)]
        assert not lone.line.count("RepublishRequest")
