from __future__ import annotations

import asyncio
import contextlib
import time

from support.net import until

from server.observe.meter import Meter


async def test_lag_and_rates_are_measured() -> None:
    total = 0
    meter = Meter(lambda: {"PLC": total})
    assert meter.lag(0.99) == 0.0
    task = asyncio.create_task(meter.run())
    try:
        await asyncio.sleep(0)
        total = 1000
        time.sleep(0.4)  # noqa: ASYNC251 - a held loop is what the meter is there to see
        await until(lambda: meter.rates.get("PLC", 0) > 0, what="a rate")
        assert meter.lag(1.0) >= 0.2
        assert meter.lag(0.0) < 0.2
        assert 100 < meter.rates["PLC"] < 1000
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
