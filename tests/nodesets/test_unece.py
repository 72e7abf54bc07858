from __future__ import annotations

from pathlib import Path

import pytest

from nodesets import unece


@pytest.mark.parametrize(
    ("code", "number"),
    [("C81", 4405297), ("DD", 17476), ("CEL", 4408652), ("P1", 20529), ("H87", 4732983), ("5", 53)],
)
def test_unit_id_packs_the_code(code: str, number: int) -> None:
    assert unece.unit_id(code) == number


@pytest.mark.parametrize("text", ["", "cel", "°C", "ABCD", "A B", "CEL\n", "Ä1"])
def test_unit_id_refuses_what_cannot_be_a_code(text: str) -> None:
    with pytest.raises(ValueError, match="is no UNECE code"):
        unece.unit_id(text)


def test_every_unit_is_whole_and_has_an_id_of_its_own() -> None:
    assert len(unece.units) > 400
    for code, fact in unece.units.items():
        assert fact.code == code
        assert fact.symbol
        assert fact.name
        assert fact.symbol == fact.symbol.strip()
    assert len({unece.unit_id(code) for code in unece.units}) == len(unece.units)


def test_no_code_stands_twice_in_the_file() -> None:
    lines = (Path(unece.__file__).parent / "unece.csv").read_text("utf-8").splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    assert len(rows) == len(unece.units) + 1


def test_lookup() -> None:
    assert unece.lookup("CEL") == ("CEL", "°C", "degree Celsius")
    assert unece.lookup("cel") is None
    assert unece.lookup("XYZ") is None


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("°C", ["CEL"]),
        ("%", ["P1"]),
        ("kw·H", ["KWH"]),
        ("Degree Celsius", ["CEL"]),
        ("mw", ["MAW", "C31"]),
        ("MW", ["MAW", "C31"]),
        ("mW", ["C31", "MAW"]),
        ("furlong", []),
    ],
)
def test_codes_for_finds_by_symbol_and_by_name(text: str, codes: list[str]) -> None:
    assert unece.codes_for(text) == codes
