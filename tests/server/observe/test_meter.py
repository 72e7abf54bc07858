from __future__ import annotations

import asyncio
import contextlib
import time

from support.net import until

from server.observe.meter import Meter


async def test_lag_is_measured() -> None:
    meter = Meter()
    assert meter.lag(0.99) == 0.0
    task = asyncio.create_task(meter.run())
    try:
        await asyncio.sleep(0)
        time.sleep(0.4)  # noqa: ASYNC251 - a held loop is what the meter is there to see
        await until(lambda: meter.lag(1.0) >= 0.2, what="the lag")
        await until(lambda: meter.lag(0.0) < 0.2, what="a look without")
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
