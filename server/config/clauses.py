"""Interlocks as they are written: ``../Guard.Closed == true``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from server.config.fields import NAME
from server.config.scalars import plain
from server.config.tree import Loc, Mapping, Sequence, find
from server.plant.interlock import Comparison

_SIGN: Final = re.compile(r"==|!=|<=|>=|<|>")
_PATH: Final = re.compile(rf"(?P<up>(?:\.\./)+|\./)?(?:(?P<path>{NAME}(?:/{NAME})*)\.)?(?P<name>{NAME})")
_FORM: Final = "write a property, a sign and a value: Guard.Closed == true"


@dataclass(frozen=True, slots=True)
class Literal:
    """What a property is compared with. ``quoted`` text is never a number or a truth value."""

    value: bool | int | float | str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Clause:
    """A comparison, before anybody knows which property it means."""

    text: str
    up: int
    """Steps from the equipment towards the top; 0 for ``./``, -1 where the path does not say."""
    path: str
    """From there to the equipment that has the property; empty for that itself."""
    name: str
    comparison: Comparison
    literal: Literal

    @property
    def left(self) -> str:
        """The left side as it is written."""
        up = "" if self.up < 0 else "../" * self.up or "./"
        return f"{up}{self.path}{'.' if self.path else ''}{self.name}"


def parse_clause(text: str) -> Clause:
    """One comparison as it is written. Raises ValueError with a text for people: message; hint."""
    signs = list(_SIGN.finditer(_without_quoted(text)))
    if not signs:
        hint = "compare with ==, not with =" if "=" in text else _FORM
        raise ValueError(f"'{text}' compares nothing; {hint}")
    if len(signs) > 1:
        raise ValueError(f"'{text}' compares more than once; write one comparison an entry: all must hold")
    left, right = text[: signs[0].start()].strip(), text[signs[0].end() :].strip()
    path = _PATH.fullmatch(left)
    if path is None:
        raise ValueError(
            f"'{left}' is no property; write Name, Equipment.Name, ../Equipment.Name or a whole path"
        )
    up = path["up"]
    steps = -1 if up is None else 0 if up == "./" else len(up) // 3
    return Clause(text, steps, path["path"] or "", path["name"], Comparison(signs[0][0]), _literal(right))


def _without_quoted(text: str) -> str:
    """The text with what stands in quotes blanked: a sign in there compares nothing."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", lambda found: "_" * len(found[0]), text)


def _literal(text: str) -> Literal:
    if len(text) >= 2 and text[0] in "'\"" and text[0] == text[-1] and text[0] not in text[1:-1]:
        return Literal(text[1:-1], quoted=True)
    if not text or re.search(r"[='\"\s]", text):
        raise ValueError(f"'{text}' is no value; write a number, true, false, a state's name or a 'text'")
    value = plain(text)
    if value is None:
        raise ValueError("nothing is equal to null; compare with a value")
    return Literal(value)


def clause_places(tree: Mapping, loc: Loc) -> list[Loc]:
    """Where the clauses of the property at ``loc`` stand, one by one."""
    place = (*loc, "write", "interlock")
    _, node = find(tree, place)
    return [(*place, index) for index in range(len(node.items))] if isinstance(node, Sequence) else [place]


def _one_or_several(value: object) -> object:
    return [value] if isinstance(value, str) else value


_TEXT: Final = {"type": "string", "pattern": "(==|!=|<=|>=|<|>)"}
_SEVERAL: Final = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 100}

Clauses = Annotated[
    list[str],
    Field(min_length=1, max_length=100),
    BeforeValidator(_one_or_several),
    WithJsonSchema({"anyOf": [_TEXT, _SEVERAL]}),
]
"""A comparison, or a list of which all must hold, as texts: each is parsed, and complained of, by itself."""
