from __future__ import annotations

from pathlib import Path

import pytest

from server.config import ConfigurationError, load

PLANT = """\
model: 1
namespaces: {{plant: "urn:acme:plant", types: "urn:acme:types"}}
sources:
  One: {{driver: modbus, transport: rtu, device: /dev/ttyS0, unit: 1}}
  Two: {{driver: modbus, transport: {transport}, device: {device}, unit: 2{more}}}
equipment:
  Acme:
    level: Enterprise
    properties: {{A: {{}}, B: {{}}}}
    map: {{A: {{source: One, addr: "holding:0"}}, B: {{source: Two, addr: "holding:0"}}}}
"""


def _problems(tmp_path: Path, device: str, transport: str = "rtu", more: str = "") -> list[str]:
    file = tmp_path / "plant.yaml"
    file.write_text(PLANT.format(device=device, transport=transport, more=more), encoding="utf-8")
    try:
        load(file)
    except ConfigurationError as error:
        return [problem.message for problem in error.problems]
    return []


def test_sources_on_one_serial_port_have_the_same_settings(tmp_path: Path) -> None:
    told = _problems(tmp_path, "/dev/ttyS0", more=", baud: 9600")
    assert told == ["/dev/ttyS0 is shared, and baud is 9600 here and 19200 there (One)"]
    told = _problems(tmp_path, "/dev/ttyS0", "ascii")
    assert "transport is ascii here and rtu there (One)" in told[0]


@pytest.mark.parametrize(
    ("device", "more"), [("/dev/ttyS1", ", baud: 9600"), ("/dev/ttyS0", ", timeout: 3s")]
)
def test_others_go_side_by_side(device: str, more: str, tmp_path: Path) -> None:
    assert _problems(tmp_path, device, more=more) == []


def test_the_files_of_a_source_are_looked_for_beside_the_plant_file(tmp_path: Path) -> None:
    file = tmp_path / "plant.yaml"
    text = PLANT.format(device="/dev/ttyS0", transport="rtu", more="")
    tls = "{driver: modbus, transport: tls, host: plc, ca: ca.pem, certificate: c.pem, key: k.pem"
    line = next(line for line in text.splitlines() if "Two:" in line)
    file.write_text(text.replace(line, f"  Two: {tls}, key_password: 'file:secret'}}"), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert {p.message for p in caught.value.problems} == {
        f"there is no file {tmp_path / name}" for name in ("ca.pem", "c.pem", "k.pem")
    }
    for name in ("ca.pem", "c.pem", "k.pem"):
        (tmp_path / name).touch()
    settings = load(file).sources[1].settings
    assert settings.ca == tmp_path / "ca.pem"  # type: ignore[attr-defined]
    assert settings.key_password == f"file:{tmp_path / 'secret'}"  # type: ignore[attr-defined]
