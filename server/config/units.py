"""Units of measure: UNECE codes as they are, others from the ``units`` section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nodesets import unece
from server.config.errors import closest
from server.config.models import UnitStanza
from server.config.report import Report
from server.config.tree import Loc
from server.plant.model import Unit


class Units:
    """What a property's ``unit`` may name."""

    def __init__(self, stanzas: Mapping[str, UnitStanza], report: Report) -> None:
        """Tells of custom units that would hide a UNECE code."""
        self._report = report
        self._found: dict[str, Unit] = {}
        for key, stanza in stanzas.items():
            loc = ("units", key)
            fact = unece.lookup(key)
            if fact is not None:
                report.key_error(loc, f"{key} is the UNECE code of {fact.name}", "choose another name")
            if stanza.uri == unece.NAMESPACE_URI and stanza.id == -1:
                report.error(
                    (*loc, "uri"),
                    "the UNECE codes have this namespace, and all an id",
                    "add the id, or write a URI of your own",
                )
            self._found[key] = Unit(key, stanza.id, stanza.uri, stanza.symbol, stanza.name or stanza.symbol)
        self._custom: Final = tuple(stanzas)

    def find(self, key: str, loc: Loc) -> Unit | None:
        """The unit of that key. One that does not exist is told of at ``loc``."""
        if key in self._found:
            return self._found[key]
        fact = unece.lookup(key)
        if fact is None:
            self._report.error(loc, f"there is no unit '{key}'", self._advice(key))
            return None
        unit = Unit(key, unece.unit_id(key), unece.NAMESPACE_URI, fact.symbol, fact.name)
        self._found[key] = unit
        return unit

    def _advice(self, key: str) -> str:
        custom = closest(key, self._custom)
        if custom is not None:
            return f"did you mean '{custom}'?"
        codes = unece.codes_for(key)
        if codes:
            return f"write its UNECE code: {', '.join(codes[:3])}"
        return "write a UNECE code (CEL, P1, H87) or add it to units"
