from __future__ import annotations

from typing import get_args

from support.scanning import FAST

from sources.registry import DRIVERS
from sources.spec import TagSpec
from sources.tag import ValueType


def test_every_driver_stands_under_its_own_kind() -> None:
    for kind, driver in DRIVERS.items():
        assert driver.kind == kind
        assert get_args(driver.settings.model_fields["driver"].annotation) == (kind,)


def test_a_modbus_source_is_made_from_settings_and_bindings_alone() -> None:
    driver = DRIVERS["modbus"]
    settings = driver.settings.model_validate({"driver": "modbus", "host": "10.20.1.11", "timeout": "500ms"})
    its = driver.tag(TagSpec("Speed", "holding:0", ValueType.Double, FAST, "float32"), settings)
    source = driver.source("FillerPLC", settings, [its])
    assert (source.name, source.address, list(source.tags)) == ("FillerPLC", "10.20.1.11:502", [its])
