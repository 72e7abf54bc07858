"""That driver and pycomm3 are measured side by side; how fast either is, no test asks."""

from __future__ import annotations

import asyncio

from bench.eip import measure, table


async def test_the_driver_is_measured_beside_pycomm3() -> None:
    metrics = await asyncio.to_thread(measure, 0.3, 1)
    names = {"scalar.isthmus", "scalar.paced", "scalar.pycomm3", "element.isthmus", "element.pycomm3"}
    assert set(metrics) == {f"eip.{name}.us" for name in names}
    assert all(value > 0 for value in metrics.values())
    assert table(metrics).count("\n") == 1 + len(names)
