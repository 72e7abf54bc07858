"""The plant of a run: N float32 registers in machines of a hundred, all read at one period.

A unit of the device has room for thirty thousand; where there are more, there are more units.
"""

from __future__ import annotations

from typing import Final

PER_MACHINE: Final = 100
PLANT_URI: Final = "urn:bench:plant"
STAMP: Final = "Bench/Clock.Stamp"

_STAMP_REGISTERS: Final = 4
UNIT: Final = 30_000
"""Variables that a unit of the device has room for."""


def plant(
    variables: int,
    period_ms: int,
    *,
    device_port: int,
    mqtt_port: int | None = None,
    kind: str = "Float",
    unit: bool = False,
    sessions: int = 100,
    per_unit: int = UNIT,
) -> str:
    """The configuration file's text: variables of that type, without MQTT where no port is given.

    Each has an EURange and, where ``unit``, EngineeringUnits. So many are read of one unit, which is
    a source of its own.
    """
    of_a_unit = per_unit // PER_MACHINE
    machines = variables // PER_MACHINE
    measured = ", unit: MTR" if unit else ""
    names = [f"V{index}" for index in range(PER_MACHINE)]
    properties = "\n".join(f"      {name}: {{type: {kind}, range: [0, 2000]{measured}}}" for name in names)
    at = f"4 + (n - 1) % {of_a_unit} * {2 * PER_MACHINE}"
    bindings = "\n".join(
        f'      {name}: {{addr: "holding:{{{at} + {2 * index}}}", as: float32}}'
        for index, name in enumerate(names)
    )
    units = (machines - 1) // of_a_unit + 1
    sources = "\n".join(
        f"  PLC{unit}: {{driver: modbus, host: 127.0.0.1, port: {device_port}, unit: {unit}}}"
        for unit in range(1, units + 1)
    )
    mqtt = (
        ""
        if mqtt_port is None
        else f"""mqtt:
  broker: "mqtt://127.0.0.1:{mqtt_port}"
  publisher_id: bench
  publishing_interval: {period_ms}ms
  qos: 0
"""
    )
    return f"""model: 1
namespaces: {{plant: "{PLANT_URI}", types: "urn:bench:types"}}
opcua: {{port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true, max_sessions: {sessions}}}
{mqtt}scan: {{normal: {period_ms}ms}}
sources:
{sources}
classes:
  Machine:
    level: WorkUnit
    properties:
{properties}
equipment:
  Bench: {{level: Enterprise}}
  Bench/Clock:
    level: WorkUnit
    source: PLC1
    properties: {{Stamp: {{type: Int64}}}}
    map: {{Stamp: {{addr: "holding:0", as: int64}}}}
  Bench/M{{n}}:
    for: 1..{machines}
    class: Machine
    source: PLC{{(n - 1) // {of_a_unit} + 1}}
    map:
{bindings}
"""


def registers(variables: int) -> int:
    """The registers a unit of the device needs."""
    return _STAMP_REGISTERS + 2 * min(variables, UNIT)


def keys(variables: int) -> list[str]:
    """The node identifiers of all variables, the clock's first."""
    machines = variables // PER_MACHINE
    return [STAMP] + [f"Bench/M{n}.V{i}" for n in range(1, machines + 1) for i in range(PER_MACHINE)]
