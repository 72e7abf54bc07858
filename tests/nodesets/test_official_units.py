from __future__ import annotations

import csv

from support.nodesets import SHARED

from nodesets import unece


def test_codes_and_numbers_are_the_official_ones() -> None:
    with (SHARED / "data" / "UNECE_to_OPCUA.csv").open(encoding="utf-8-sig", newline="") as file:
        official = {row["UNECECode"]: int(row["UnitId"]) for row in csv.DictReader(file)}
    assert len(official) > 1000
    assert {code: unece.unit_id(code) for code in official} == official
    assert set(unece.units) <= set(official)
