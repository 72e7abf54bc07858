"""Whatever a device calls its tags, the configuration made of them loads, each value bound once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from server.config import load
from server.tools.fragment import fragment
from server.tools.logix import Alias, ControllerTags, inventory
from server.tools.studio import Declared, Types

HEAD = 'model: 1\nnamespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}\n'
NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
TYPE = st.sampled_from(
    ["BOOL", "SINT", "INT", "DINT", "LINT", "REAL", "LREAL", "STRING", "TIMER", "U1", "U2"]
)
TEXT = st.text(max_size=30)


@st.composite
def controllers(draw: st.DrawFn) -> ControllerTags:
    types = Types()
    for name, inner in (("U1", st.sampled_from(("BOOL", "DINT", "REAL", "STRING"))), ("U2", TYPE)):
        members = draw(st.dictionaries(NAME, st.tuples(inner, st.integers(0, 3)), min_size=1, max_size=4))
        types.declare(
            name, [(m, Declared(kind, (size,) if size else ())) for m, (kind, size) in members.items()]
        )
    scoped = st.tuples(st.sampled_from(("", "Program:P.", "Program:Q.")), NAME).map("".join)
    names = draw(st.lists(scoped, max_size=8, unique_by=str.casefold))
    symbols, texts = [], {}
    for name in names:
        dimensions = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
        symbols.append(types.symbol(name, Declared(draw(TYPE), dimensions), "Read/Write"))
        texts[name.casefold()] = draw(TEXT)
    taken = {name.casefold() for name in names}
    others = draw(st.lists(NAME, max_size=2, unique_by=str.casefold)) if symbols else []
    aliases = [
        Alias(name, draw(st.sampled_from(symbols)).name) for name in others if name.casefold() not in taken
    ]
    return ControllerTags(symbols, aliases, texts)


@settings(max_examples=60, deadline=None)
@given(controllers(), TEXT)
def test_a_fragment_loads(tags: ControllerTags, product: str) -> None:
    found = inventory(tags, {"product": product})
    text = fragment(found, "PLC", settings={"driver": "logix", "host": "10.0.0.1"})
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "fragment.yaml").write_text(text, encoding="utf-8")
        plant = Path(folder) / "plant.yaml"
        plant.write_text(f"{HEAD}include: [fragment.yaml]\n", encoding="utf-8")
        config = load(plant)
    assert len(config.plant.properties()) == found.values
    assert len(config.sources[0].tags) == found.values
