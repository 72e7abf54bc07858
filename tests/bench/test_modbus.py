"""That driver and pymodbus are measured side by side; how fast either is, no test asks."""

from __future__ import annotations

import asyncio

from bench.modbus import measure, table


async def test_the_driver_is_measured_beside_pymodbus() -> None:
    metrics = await asyncio.to_thread(measure, 0.3, 1)
    names = {"isthmus", "isthmus4", "pymodbus", "paced", "paced_pymodbus"}
    assert set(metrics) == {f"modbus.{name}.us" for name in names}
    assert all(value > 0 for value in metrics.values())
    assert table(metrics).count("\n") == 1 + len(names)
