"""Units of measure by their UNECE code (UNECE Recommendation 20; OPC 10000-8 §5.6.3).

The table holds the units that factories use, not all of the Recommendation's. A code it lacks
is not guessed at: a mistyped code would otherwise show a meaningless symbol on every screen.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final, NamedTuple

NAMESPACE_URI: Final = "http://www.opcfoundation.org/UA/units/un/cefact"
"""The NamespaceUri of an EUInformation whose UnitId packs a UNECE code."""

_CODE: Final = re.compile(r"[A-Z0-9]{1,3}")


class UnitFact(NamedTuple):
    """One unit: its code, its symbol (the DisplayName), its name (the Description)."""

    code: str
    symbol: str
    name: str


def unit_id(code: str) -> int:
    """The UnitId of an EUInformation: the code's characters as the bytes of a number, the last one lowest.

    ValueError where the text cannot be a UNECE code: one to three capital letters or digits.
    """
    if not _CODE.fullmatch(code):
        raise ValueError(
            f"'{code}' is no UNECE code: write one to three capital letters or digits, as in CEL"
        )
    return int.from_bytes(code.encode("ascii"), "big")


def lookup(code: str) -> UnitFact | None:
    """The unit of a code, None where the table has none."""
    return units.get(code)


def codes_for(text: str) -> list[str]:
    """The codes of the units that have that symbol or name: exact symbols first, then in any case."""
    folded = text.strip().casefold()
    exact = [fact.code for fact in units.values() if fact.symbol == text.strip()]
    loose = [fact.code for fact in units.values() if folded in (fact.symbol.casefold(), fact.name.casefold())]
    return list(dict.fromkeys(exact + loose))


def _read() -> Mapping[str, UnitFact]:
    text = (resources.files("nodesets") / "unece.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return MappingProxyType({row["code"]: UnitFact(row["code"], row["symbol"], row["name"]) for row in rows})


units: Final = _read()
"""Every unit of the table by its code."""
