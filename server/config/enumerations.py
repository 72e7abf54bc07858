"""Enumerations: PackML's own (ANSI/ISA-TR88.00.02, OPC 30050) and those of the ``enums`` section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from server.config.errors import did_you_mean
from server.config.report import Report
from server.config.tree import Loc
from server.plant.model import Enumeration

# From 0, so that they can be served as EnumStrings, which is what most clients show.
_STATES: Final = (
    "Undefined",
    "Clearing",
    "Stopped",
    "Starting",
    "Idle",
    "Suspended",
    "Execute",
    "Stopping",
    "Aborting",
    "Aborted",
    "Holding",
    "Held",
    "Unholding",
    "Suspending",
    "Unsuspending",
    "Resetting",
    "Completing",
    "Complete",
)

BUILT_IN: Final[Mapping[str, Enumeration]] = {
    "packml-state": Enumeration("packml-state", dict(enumerate(_STATES))),
    "packml-mode": Enumeration("packml-mode", {0: "Invalid", 1: "Produce", 2: "Maintenance", 3: "Manual"}),
}


class Enumerations:
    """What a property's ``enum`` may name."""

    def __init__(self, custom: Mapping[str, dict[int, str]], report: Report) -> None:
        """Tells of custom enumerations with the name of a built-in one."""
        self._report = report
        self._all = dict(BUILT_IN)
        for name, members in custom.items():
            if name in BUILT_IN:
                report.key_error(
                    ("enums", name), f"{name} is built in", "use it as it is, or choose another name"
                )
            self._all[name] = Enumeration(name, members)
        self._used = dict.fromkeys(custom)

    def find(self, name: str, loc: Loc) -> Enumeration | None:
        """The enumeration of that name. One that does not exist is told of at ``loc``."""
        found = self._all.get(name)
        if found is None:
            self._report.error(loc, f"there is no enumeration '{name}'", did_you_mean(name, self._all))
            return None
        self._used[name] = None
        return found

    def used(self) -> dict[str, Enumeration]:
        """The custom ones, and the built-in ones that were asked for."""
        return {name: self._all[name] for name in self._used}
