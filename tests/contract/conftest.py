"""Every driver there is, each with its device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from support.contract.case import DriverCase, Running
from support.contract.logix import LogixCase
from support.contract.modbus import ModbusCase
from support.contract.plc import Plc

CASES: Final[tuple[DriverCase, ...]] = (ModbusCase(), LogixCase())


@pytest.fixture(scope="session", params=CASES, ids=lambda case: case.kind)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    case: Any = request.param
    made = Running(case, case.plc())
    made.plc.start()
    yield made
    made.plc.kill()


@pytest.fixture
def case(running: Running) -> DriverCase:
    return running.case


@pytest.fixture
async def plc(running: Running) -> Plc:
    """The device, without a fault, in a generation of its own."""
    plc = running.plc
    if not plc.runs:
        plc.start()
    await plc.heal()
    await plc.advance()
    return plc
