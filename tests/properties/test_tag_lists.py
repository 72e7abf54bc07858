"""Whatever stands in a tag list, it is read, or refused with a file and a line; nothing else happens."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.l5x import L5X

from server.tools.errors import ImportProblem
from server.tools.l5x import read_l5x
from server.tools.logix import inventory
from server.tools.studio_csv import is_studio_csv, read_studio_csv
from server.tools.taglist import read_taglist
from server.tools.target import default_target

STUDIO = (
    "remark,x\n0.3\nTYPE,SCOPE,NAME,DESCRIPTION,DATATYPE,SPECIFIER,ATTRIBUTES\n"
    'TAG,,A,"text","DINT[3]","","(ExternalAccess := Read/Write)"\nALIAS,P,B,"","","A[1].2",""\n'
)
LIST = "name,address,type,gain,low,high\nP1.A,holding:0,int16,0.1,0,10\nP2.A,holding:1,int16,0.1,0,10\n"


def pieces(text: str) -> st.SearchStrategy[str]:
    """The text with some of it cut out, doubled, or replaced."""
    noise = ("\n", '"', ",", "<", "&a;", "\0", "ü", "9" * 50)
    words = st.sampled_from([*text.replace("<", " <").split(), *noise])
    places = st.integers(0, len(text))
    return st.lists(st.tuples(places, st.integers(0, 40), words), max_size=4).map(
        lambda edits: _edited(text, edits)
    )


def _edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for at, length, word in edits:
        text = text[:at] + word + text[at + length :]
    return text


def _tried(name: str, content: str, read: Callable[[Path], Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(content, encoding="utf-8", newline="")
        try:
            read(path)
        except ImportProblem as error:
            problem = str(error)
        else:
            problem = f"{path}:"
        assert problem.startswith(f"{path}:")


@settings(max_examples=80, deadline=None)
@given(pieces(L5X))
def test_an_export_of_a_controller(content: str) -> None:
    _tried("x.L5X", content, lambda path: inventory(*read_l5x(path)))


@settings(max_examples=80, deadline=None)
@given(pieces(STUDIO))
def test_an_export_of_tags(content: str) -> None:
    def read(path: Path) -> None:
        if is_studio_csv(path):
            inventory(*read_studio_csv(path))

    _tried("x.csv", content, read)


@settings(max_examples=80, deadline=None)
@given(pieces(LIST))
def test_a_list_of_a_spreadsheet(content: str) -> None:
    def read(path: Path) -> None:
        target = default_target(path)
        read_taglist(path, target.driver, target.settings)

    _tried("x.csv", content, read)
