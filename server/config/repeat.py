"""Repetition: one stanza that stands for many, and the ``{expression}`` in its texts.

An expression is integer arithmetic over the stanza's variables. It is parsed here and
never given to Python's own evaluator.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_PROPERTIES: Final = 1_000_000
"""Of a whole plant, which bounds what one line with ``for:`` can ask for."""
MAX_EXPRESSION: Final = 200

Variables: TypeAlias = Mapping[str, int | str]
"""The variables of one repetition with their values."""

_RANGE: Final = re.compile(r"\s*(-?\d{1,12})\s*\.\.\s*(-?\d{1,12})\s*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMAT: Final = re.compile(r"0?[1-9][0-9]?")
_ALPHABET: Final = re.compile(r"[A-Za-z0-9_+*/%() -]+")
_GLUED: Final = re.compile(r"(?<![A-Za-z0-9_])[0-9]+[A-Za-z_]")
_OPERATORS: Final[dict[type[ast.operator], Callable[[int, int], int]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class TemplateError(ValueError):
    """An expression that cannot be read or has no value; the text says why."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """What ``for:`` says: each variable and what it runs through."""

    variables: Mapping[str, range | tuple[int | str, ...]]

    @property
    def count(self) -> int:
        """How many there will be."""
        total = 1
        for values in self.variables.values():
            total *= len(values)
        return total

    def __iter__(self) -> Iterator[Variables]:
        """Every combination, the last variable running fastest."""
        names = tuple(self.variables)
        for values in itertools.product(*self.variables.values()):
            yield dict(zip(names, values, strict=True))


def parse_repetition(value: object) -> Repetition:
    """``1..500``, ``{n: 1..500}`` or ``{name: [A, B]}``. Raises ValueError with advice."""
    if isinstance(value, str):
        return Repetition({"n": _span(value)})
    if not isinstance(value, dict) or not value:
        raise ValueError("write for: 1..500, for: {n: 1..500} or for: {name: [A, B]}")
    variables: dict[str, range | tuple[int | str, ...]] = {}
    for name, spec in value.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"'{name}' is not a variable; write letters, digits and _")
        variables[name] = _names(name, spec) if isinstance(spec, list) else _span(spec)
    return Repetition(variables)


def _span(value: object) -> range:
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a range; write the first and the last number, like 1..500")
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise ValueError(f"the range {first}..{last} is empty; write the lower number first")
    return range(first, last + 1)


def _names(name: str, values: list[object]) -> tuple[int | str, ...]:
    found: list[int | str] = []
    for value in values:
        if value in found:
            raise ValueError(f"{value!r} stands twice in {name}")
        match value:
            case str() | int() if not isinstance(value, bool):
                found.append(value)
            case _:
                raise ValueError(f"{name} runs through names or whole numbers only")
    if not found:
        raise ValueError(f"{name} has nothing to run through")
    return tuple(found)


Term: TypeAlias = Callable[[Variables], "int | str"]
"""A compiled expression, or a part of one."""


@dataclass(frozen=True, slots=True)
class _Expression:
    term: Term
    form: str

    def shown(self, variables: Variables) -> str:
        value = self.term(variables)
        if not self.form:
            return str(value)
        if isinstance(value, str):
            raise TemplateError(f"'{value}' is a text and takes no width")
        return format(value, self.form)


@dataclass(frozen=True, slots=True)
class Template:
    """A text with expressions. ``fixed`` is the whole text where there are none."""

    parts: tuple[str | _Expression, ...]
    fixed: str | None
    used: frozenset[str]
    """The variables it names."""

    @classmethod
    def parse(cls, text: str, variables: frozenset[str]) -> Template:
        """Read a text. Without variables nothing in it is special. Raises TemplateError."""
        if not variables or ("{" not in text and "}" not in text):
            return cls((text,), text, frozenset())
        parts: list[str | _Expression] = []
        used: set[str] = set()
        literal = ""
        at = 0
        while at < len(text):
            char = text[at]
            if text[at : at + 2] in {"{{", "}}"}:
                literal += char
                at += 2
            elif char == "{":
                end = text.find("}", at)
                if end < 0:
                    raise TemplateError(f"'{text}' has a {{ without its }}; write {{{{ for a brace itself")
                parts += [literal, _expression(text[at + 1 : end], variables, used)]
                literal = ""
                at = end + 1
            elif char == "}":
                raise TemplateError(f"'{text}' has a }} without its {{; write }}}} for a brace itself")
            else:
                literal += char
                at += 1
        parts.append(literal)
        whole = tuple(part for part in parts if part != "")
        fixed = literal if all(isinstance(part, str) for part in whole) else None
        return cls(whole, fixed, frozenset(used))

    def render(self, variables: Variables) -> str:
        """The text for one repetition. Raises TemplateError where an expression has no value."""
        if self.fixed is not None:
            return self.fixed
        return "".join([part if isinstance(part, str) else part.shown(variables) for part in self.parts])


def _expression(text: str, variables: frozenset[str], used: set[str]) -> _Expression:
    body, _, form = text.partition(":")
    if form and not _FORMAT.fullmatch(form):
        raise TemplateError(f"'{form}' in {{{text}}} is not a width; write {{n:03}} for three digits")
    if len(body) > MAX_EXPRESSION:
        raise TemplateError(f"an expression has at most {MAX_EXPRESSION} characters")
    tree: ast.expr | None = None
    # What Python would warn of (1or 2) or read as something else never reaches its parser.
    if _ALPHABET.fullmatch(body) and not _GLUED.search(body):
        with contextlib.suppress(SyntaxError, RecursionError, MemoryError):
            tree = ast.parse(body.strip(), mode="eval").body
    if tree is None:
        raise TemplateError(f"{{{text}}} is not an expression; write one like {{(n-1)*20+4}}")
    return _Expression(_compile(tree, text, variables, used), form)


def _compile(node: ast.expr, text: str, variables: frozenset[str], used: set[str]) -> Term:
    """A function of the variables; what may stand in an expression is what has a case here."""
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return lambda _: number
        case ast.Name(id=name):
            if name not in variables:
                known = " and ".join(sorted(variables))
                raise TemplateError(f"{{{text}}} names {name}, which for: does not define; it has {known}")
            used.add(name)
            return operator.itemgetter(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            first = _compile(left, text, variables, used)
            second = _compile(right, text, variables, used)
            return _calculation(_OPERATORS[type(op)], first, second)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            inner = _compile(operand, text, variables, used)
            return _calculation(operator.mul, lambda _: -1 if isinstance(sign, ast.USub) else 1, inner)
        case _:
            raise TemplateError(
                f"{{{text}}} may only use whole numbers, variables, + - * // % and parentheses"
            )


def _calculation(operation: Callable[[int, int], int], first: Term, second: Term) -> Term:
    def calculate(variables: Variables) -> int:
        left, right = first(variables), second(variables)
        if isinstance(left, int) and isinstance(right, int):
            try:
                return operation(left, right)
            except ZeroDivisionError:
                raise TemplateError("an expression divides by zero") from None
        word = left if isinstance(left, str) else right
        raise TemplateError(f"'{word}' is a text, with which nothing can be calculated")

    return calculate


def shown(variables: Variables) -> str:
    """``n = 3``, for a message that names one repetition."""
    return ", ".join(f"{name} = {value}" for name, value in variables.items())
