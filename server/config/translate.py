"""What pydantic complains of, in the words of somebody who writes YAML. Secrets are never echoed."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping as MappingABC
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from server.config.errors import closest, did_you_mean
from server.config.fields import is_number
from server.config.scalars import plain
from server.config.tree import Loc, Mapping, Node, Scalar

_SECRET: Final = re.compile(r"pass|secret|token|credential", re.IGNORECASE)
_CREDENTIALS: Final = re.compile(r"://\S*@")

_WANTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping of keys and values",
    "model_type": "a mapping of keys and values",
    "path_type": "the path of a file",
    "none_required": "nothing",
}
_TRUTH: Final = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
_BOUNDS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
    "string_too_short": ("at least", "min_length"),
    "string_too_long": ("at most", "max_length"),
    "too_short": ("at least", "min_length"),
    "too_long": ("at most", "max_length"),
}


def translate(detail: ErrorDetails, node: Node | None, model: type[BaseModel]) -> tuple[str, str]:
    """Message and hint for one error of ``model``; ``node`` is what stands at its place."""
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    secret = any(_SECRET.search(str(part)) for part in loc)
    message, hint = _words(detail, loc, None if secret else node, model)
    return _CREDENTIALS.sub("://…@", message), hint


def _words(detail: ErrorDetails, loc: Loc, node: Node | None, model: type[BaseModel]) -> tuple[str, str]:
    kind = detail["type"]
    context = detail.get("ctx", {})
    name = str(loc[-1]) if loc else ""
    if kind == "extra_forbidden":
        return f"unknown key '{name}'", did_you_mean(name, keys_at(model, loc[:-1]))
    if kind == "missing":
        return f"the key '{name}' is missing", description_at(model, loc)
    if kind in {"value_error", "assertion_error"}:
        message, _, hint = str(context.get("error", detail["msg"])).partition("; ")
        return message, hint
    if kind in {"literal_error", "enum"}:
        return _choice(str(context.get("expected", "")), node)
    if kind in _BOUNDS:
        return _bound(kind, context, node)
    if kind == "string_pattern_mismatch":
        return f"{_shown(node)} has characters or a form that is not allowed here", description_at(model, loc)
    if kind in _WANTED:
        return f"{_shown(node)} is not {_WANTED[kind]}", _advice(_WANTED[kind], node)
    return detail["msg"].removeprefix("Input should be ").removeprefix("Value error, "), ""


def _advice(wanted: str, node: Node | None) -> str:
    """How to write what was most likely meant."""
    if not isinstance(node, Scalar) or node.value is None:
        return ""
    if wanted == "text":
        return f'put it in quotes: "{node.text}"'
    if wanted == "a list":
        return f"write it in brackets: [{node.text}]"
    if wanted == "true or false" and node.text.lower() in _TRUTH:
        return f"write {_TRUTH[node.text.lower()]}"
    if "number" in wanted and isinstance(node.value, str) and is_number(plain(node.text)):
        return f"take the quotes away: {node.text}"
    return ""


def _choice(expected: str, node: Node | None) -> tuple[str, str]:
    options = re.findall(r"'((?:[^'\\]|\\.)*)'", expected) or re.split(r", | or ", expected)
    text = node.text if isinstance(node, Scalar) else ""
    found = closest(text, options) if text else None
    allowed = ", ".join(options)
    return f"{_shown(node)} is not one of {allowed}", f"did you mean '{found}'?" if found else ""


def _bound(kind: str, context: MappingABC[str, Any], node: Node | None) -> tuple[str, str]:
    words, key = _BOUNDS[kind]
    limit = context.get(key)
    if kind.startswith("string"):
        characters = "character" if limit == 1 else "characters"
        return f"this text must have {words} {limit} {characters}", ""
    if kind.startswith("too"):
        return f"this must have {words} {limit} entr{'y' if limit == 1 else 'ies'}", ""
    return f"{_shown(node)} is out of range: it must be {words} {limit}", ""


def _shown(node: Node | None) -> str:
    if isinstance(node, Scalar):
        if node.value is None:
            return "nothing"
        text = node.text if len(node.text) <= 40 else node.text[:39] + "…"
        return f"'{text}'" if isinstance(node.value, str) else text
    if node is None:
        return "this"
    return "a mapping" if isinstance(node, Mapping) else "a list"


def model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    """The model of the stanza at a place, where the way there is plain."""
    here: Any = model
    for part in loc:
        here = _step(here, part)
    found = _bare(here)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def keys_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys a stanza may have, as they are written."""
    found = model_at(model, loc)
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def description_at(model: type[BaseModel], loc: Loc) -> str:
    """What the key at a place is for."""
    found = model_at(model, loc[:-1])
    for name, field in found.model_fields.items() if found else ():
        if (field.alias or name) == loc[-1]:
            return field.description or ""
    return ""


def _step(annotation: Any, part: str | int) -> Any:
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        for name, field in bare.model_fields.items():
            if part in {name, field.alias}:
                return field.annotation
        return None
    arguments = get_args(bare)
    return arguments[-1] if arguments else None


def _bare(annotation: Any) -> Any:
    """Without Annotated and without the None of an optional key."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, types.UnionType}:
            inner = [item for item in get_args(annotation) if item is not type(None)]
            if len(inner) != 1:
                return annotation
            annotation = inner[0]
        else:
            return annotation
