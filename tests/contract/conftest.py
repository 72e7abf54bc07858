"""Every driver there is, each with its device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from support.contract.case import DriverCase, Running
from support.contract.logix import LogixCase
from support.contract.modbus import ModbusCase, ModbusTlsCase
from support.contract.opcua import OpcUaCase
from support.contract.plc import Plc
from support.contract.slc import SlcCase

CASES: Final[dict[str, DriverCase]] = {
    "modbus": ModbusCase(),
    "logix": LogixCase(),
    "slc": SlcCase(),
    "opcua": OpcUaCase(),
}
VARIANTS: Final[dict[str, DriverCase]] = {"pipelined": ModbusCase(pipeline=4, connections=2)}
"""Other ways to use a driver, for what becomes of replies."""
SEALED: Final[dict[str, DriverCase]] = {"tls": ModbusTlsCase()}
"""Ways to use a driver whose bytes on the wire are others, for what is made of spoiled ones."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of the contract with every driver."""
    if "running" in metafunc.fixturenames:
        module = metafunc.module.__name__
        cases = CASES | (VARIANTS if module.endswith("test_replies") else {})
        cases |= SEALED if module.endswith("test_fuzz") else {}
        metafunc.parametrize("running", list(cases.values()), indirect=True, scope="session", ids=list(cases))


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    case: DriverCase = request.param
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
