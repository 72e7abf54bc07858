"""The plant of a run: N float32 registers in machines of a hundred, all read at one period."""

from __future__ import annotations

from typing import Final

PER_MACHINE: Final = 100
PLANT_URI: Final = "urn:bench:plant"
STAMP: Final = "Bench/Clock.Stamp"


def plant(
    variables: int, period_ms: int, *, device_port: int, mqtt_port: int | None = None, kind: str = "Float"
) -> str:
    """The configuration file's text: variables of that type, without MQTT where no port is given."""
    machines = variables // PER_MACHINE
    names = [f"V{index}" for index in range(PER_MACHINE)]
    properties = "\n".join(f"      {name}: {{type: {kind}, range: [0, 2000]}}" for name in names)
    bindings = "\n".join(
        f'      {name}: {{addr: "holding:{{4 + (n - 1) * {2 * PER_MACHINE} + {2 * index}}}", as: float32}}'
        for index, name in enumerate(names)
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
opcua: {{port: 0, listen: [127.0.0.1], anonymous: true, allow_none: true}}
{mqtt}scan: {{normal: {period_ms}ms}}
sources:
  PLC: {{driver: modbus, host: 127.0.0.1, port: {device_port}}}
classes:
  Machine:
    level: WorkUnit
    properties:
{properties}
equipment:
  Bench: {{level: Enterprise}}
  Bench/Clock:
    level: WorkUnit
    source: PLC
    properties: {{Stamp: {{type: Int64}}}}
    map: {{Stamp: {{addr: "holding:0", as: int64}}}}
  Bench/M{{n}}:
    for: 1..{machines}
    class: Machine
    source: PLC
    map:
{bindings}
"""


def keys(variables: int) -> list[str]:
    """The node identifiers of all variables, the clock's first."""
    machines = variables // PER_MACHINE
    return [STAMP] + [f"Bench/M{n}.V{i}" for n in range(1, machines + 1) for i in range(PER_MACHINE)]
