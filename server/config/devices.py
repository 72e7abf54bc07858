"""The ``sources`` section: each stanza read by the model of its driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from server.config.bindings import SourceDraft
from server.config.errors import did_you_mean
from server.config.models import StaleStanza
from server.config.report import Report
from server.config.tree import Loc, Scalar, find
from server.config.tree import Mapping as Tree
from server.config.validate import Damage, validate
from sources.registry import Driver

COMMON: Final = ("enabled", "stale")
"""Keys every source has, whatever its driver."""


def read_sources(
    names: Iterable[str], drivers: Mapping[str, Driver], report: Report, damage: Damage
) -> dict[str, SourceDraft]:
    """A draft of every source whose stanza can be read at all."""
    found = {}
    for name in names:
        loc: Loc = ("sources", name)
        node = find(report.tree, loc)[1]
        if not isinstance(node, Tree):
            report.error(loc, "a source is a mapping of keys and values", "begin with driver: and host:")
            continue
        driver = _driver(node, loc, drivers, report)
        settings: BaseModel | None = None
        if driver is not None:
            settings = validate(driver.settings, loc, report, damage, drop=COMMON)
        stale = None
        if "stale" in node.entries:
            stanza = validate(StaleStanza, (*loc, "stale"), report, damage)
            stale = stanza.rule if stanza is not None else None
        found[name] = SourceDraft(name, driver, settings, enabled=_enabled(node, loc, report), stale=stale)
    return found


def _driver(node: Tree, loc: Loc, drivers: Mapping[str, Driver], report: Report) -> Driver | None:
    entry = node.entries.get("driver")
    kinds = ", ".join(drivers)
    if entry is None:
        report.error(loc, "the key 'driver' is missing", f"it says how the device is spoken to: {kinds}")
        return None
    kind = entry.node.value if isinstance(entry.node, Scalar) else None
    if isinstance(kind, str) and kind in drivers:
        return drivers[kind]
    shown = f"'{kind}'" if isinstance(kind, str) else "this"
    report.error((*loc, "driver"), f"{shown} is no driver", did_you_mean(str(kind), drivers))
    return None


def _enabled(node: Tree, loc: Loc, report: Report) -> bool:
    entry = node.entries.get("enabled")
    value: Any = entry.node.value if entry and isinstance(entry.node, Scalar) else None
    if entry is not None and not isinstance(value, bool):
        report.error((*loc, "enabled"), "enabled is true or false")
    return value is not False
