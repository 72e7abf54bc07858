"""Types of single keys, each with a text of its own for what does not fit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from server.config.repeat import Repetition, parse_repetition
from server.config.scalars import integer
from server.plant.convert import Lookup
from server.plant.model import RATE_UNITS, Range, Rate
from sources.tag import ANY_LENGTH, INTEGER_LIMITS, MAX_LENGTH, Value, ValueType

NAME: Final = "[A-Za-z][A-Za-z0-9_-]{0,62}"
KEY: Final = "[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
NAME_HINT: Final = "a name is a letter, then letters, digits, _ and -, 63 characters at most"
_KEY_HINT: Final = "write letters, digits, _ and -, 63 characters at most"


def _matching(pattern: str, words: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"'{value}' is not a name; {words}")
        return value

    return check


Name = Annotated[str, AfterValidator(_matching(NAME, NAME_HINT)), WithJsonSchema({"pattern": f"^{NAME}$"})]
"""Of a source, class, property, enumeration or scan class."""

Key = Annotated[
    str,
    AfterValidator(_matching(KEY, _KEY_HINT)),
    WithJsonSchema({"pattern": f"^{KEY}$"}),
]
"""Of an asset or a unit, which may begin with a digit as serial numbers do."""


def _text_id(value: str) -> str:
    if not value or value != value.strip() or len(value) > 1024:
        raise ValueError("a node id is a text of 1 to 1024 characters without blanks at its ends")
    if value.startswith("@"):
        raise ValueError("node ids that begin with @ are the server's own; choose another")
    return value


PinnedId = Annotated[
    str,
    AfterValidator(_text_id),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[^@]"}),
]


def _uri(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s#]+", value):
        raise ValueError(f"'{value}' is not a URI; write one like urn:acme:plant")
    return value


Uri = Annotated[
    str,
    AfterValidator(_uri),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s#]+$"}),
]


def is_number(value: object) -> bool:
    """Whether it is an int or a float; a truth value is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(value: object) -> Range:
    if not (isinstance(value, list) and len(value) == 2 and all(is_number(item) for item in value)):
        raise ValueError("two numbers are wanted: [low, high]")
    low, high = value
    if not low < high:
        raise ValueError(f"the low end ({low}) must be below the high end ({high})")
    return Range(float(low), float(high))


Limits = Annotated[
    Range,
    PlainValidator(_range),
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
]


_RATE: Final = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s+per\s+(second|minute|hour)")
_RATE_SECONDS: Final = {unit: seconds for seconds, unit in RATE_UNITS.items()}


def _rate(value: object) -> Rate:
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write how much in which time, like 5 per second, 300 per minute or 10 per hour")
    amount = float(match[1])
    if not 0 < amount < math.inf:
        raise ValueError("a rate is more than nothing")
    return Rate(amount, _RATE_SECONDS[match[2]])


RateOfChange = Annotated[
    Rate, PlainValidator(_rate), WithJsonSchema({"type": "string", "pattern": f"^{_RATE.pattern}$"})
]


def _scale(value: object) -> tuple[float, float, float, float]:
    if not (isinstance(value, list) and len(value) == 4 and all(is_number(item) for item in value)):
        raise ValueError("four numbers are wanted: [raw_low, raw_high, eu_low, eu_high]")
    raw_low, raw_high, eu_low, eu_high = (float(item) for item in value)
    if raw_low == raw_high or eu_low == eu_high:
        raise ValueError("a scale needs two different raw values and two different engineering values")
    return raw_low, raw_high, eu_low, eu_high


Scale = Annotated[
    tuple[float, float, float, float],
    PlainValidator(_scale),
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
]


@dataclass(frozen=True, slots=True)
class Verify:
    """How a write is verified. ``within`` is in engineering units, None for exactly."""

    read_back: bool = True
    within: float | None = None


def _verify(value: object) -> Verify:
    if value == "exact":
        return Verify()
    if value == "none":
        return Verify(read_back=False)
    if isinstance(value, dict) and list(value) == ["within"] and is_number(value["within"]):
        if value["within"] < 0:
            raise ValueError("a tolerance is not negative")
        return Verify(within=float(value["within"]))
    raise ValueError("write exact, none or {within: 0.5}")


VerifyRule = Annotated[
    Verify,
    PlainValidator(_verify),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["exact", "none"]},
                {
                    "type": "object",
                    "properties": {"within": {"type": "number", "minimum": 0}},
                    "required": ["within"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


def _gain(value: float) -> float:
    if value == 0:
        raise ValueError("a gain of 0 turns every value into the same one")
    return value


Gain = Annotated[float, AfterValidator(_gain), WithJsonSchema({"type": "number", "not": {"const": 0}})]


def _integer_keys(value: object, what: str) -> dict[int, Any]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{what} is wanted")
    found: dict[int, Any] = {}
    written: dict[int, str] = {}
    for text, item in value.items():
        number = integer(text)
        if number is None:
            raise ValueError(f"'{text}' is not a whole number; {what} is wanted")
        if number in found:
            raise ValueError(f"{written[number]} and {text} are the same number")
        found[number], written[number] = item, text
    return found


def _lut(value: object) -> Lookup:
    table = _integer_keys(value, "a table of whole numbers, {raw: value},")
    odd = [raw for raw, served in table.items() if not is_number(served) or isinstance(served, float)]
    if odd:
        raise ValueError(f"the value for {odd[0]} is not a whole number")
    return Lookup.of(table)


Lut = Annotated[
    Lookup,
    PlainValidator(_lut),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"},
            "additionalProperties": {"type": "integer"},
            "minProperties": 1,
        }
    ),
]


def _members(value: object) -> dict[int, str]:
    members = _integer_keys(value, "a table of numbers and names, {0: Off, 1: Auto},")
    low, high = INTEGER_LIMITS[ValueType.Int32]
    for number, name in members.items():
        if not isinstance(name, str) or not 0 < len(name) <= 64:
            raise ValueError(f"the name of {number} must be a text of 1 to 64 characters; quote it")
        if not low <= number <= high:
            raise ValueError(f"{number} is outside Int32")
    if len(set(members.values())) < len(members):
        twice = next(name for name in members.values() if list(members.values()).count(name) > 1)
        raise ValueError(f"two numbers have the name {twice}")
    return dict(sorted(members.items()))


Members = Annotated[
    dict[int, str],
    PlainValidator(_members),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"},
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 64},
            "minProperties": 1,
        }
    ),
]


def _constant(value: object) -> Value:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list) and all(isinstance(one, bool | int | float | str) for one in value):
        return tuple(value)
    raise ValueError("a value is a number, a text, true or false, or a list of such for an array")


_SCALAR: Final = {"type": ["number", "string", "boolean"]}
Constant = Annotated[
    Value,
    PlainValidator(_constant),
    WithJsonSchema({"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]}),
]


def _array(value: object) -> int:
    if value == "any":
        return ANY_LENGTH
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_LENGTH:
        return value
    raise ValueError(
        f"{value} is no length of an array; write a number of elements, 1 to {MAX_LENGTH}, or any"
    )


ArrayLength = Annotated[
    int,
    PlainValidator(_array),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_LENGTH}, {"const": "any"}]}),
]
"""Elements of an array; ANY_LENGTH for ``any``."""

For = Annotated[
    Repetition,
    PlainValidator(parse_repetition),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*-?\d+\s*\.\.\s*-?\d+\s*$"},
                {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
                    "additionalProperties": {
                        "anyOf": [
                            {"type": "string", "pattern": r"^\s*-?\d+\s*\.\.\s*-?\d+\s*$"},
                            {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1},
                        ]
                    },
                },
            ]
        }
    ),
]


def _empty(value: object) -> object:
    return {} if value is None else value


class _Headed:
    """A mapping whose heading may stand alone: a key with nothing behind it is an empty mapping."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_empty, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


HEADED: Final = _Headed()
