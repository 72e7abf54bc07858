"""Studio 5000's export of a controller, L5X: tags, user-defined types, Add-On Instructions.

The file is an outsider's: a DOCTYPE is refused, so there are no entities to expand and
nothing to fetch, and sizes, depth and counts have limits. Logic and data are passed over as
they stream by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final
from xml.parsers import expat

from server.tools.errors import ImportProblem
from server.tools.inventory import LeftOut
from server.tools.logix import Alias, ControllerTags
from server.tools.studio import Declared, Types

MAX_BYTES: Final = 1024 * 1024 * 1024
MAX_DEPTH: Final = 100
MAX_TOKEN: Final = 4 * 1024 * 1024
"""One element's tag, or one comment."""
MAX_TAGS: Final = 1_000_000
MAX_TEXT: Final = 10_000
"""Characters of one description that are kept."""

_CHUNK: Final = 64 * 1024
_PROLOG_CHUNK: Final = 64
_PROLOG: Final = 64 * 1024
_TEXTS: Final = frozenset({"Description", "LocalizedDescription"})
_MODULE_TAGS: Final = frozenset({"InputTag", "OutputTag", "ConfigTag"})
_ROOT: Final = "RSLogix5000Content"


def read_l5x(path: Path) -> tuple[ControllerTags, dict[str, str]]:
    """The tags of an export, and what it says of the controller. Raises ImportProblem, and OSError."""
    with path.open("rb") as stream:
        return _Parser(str(path)).run(stream)


@dataclass(slots=True)
class _Tag:
    """A tag as it stands in the file."""

    name: str
    attributes: Mapping[str, str]


@dataclass(slots=True)
class _TypeBeing:
    """A type while its members come."""

    name: str
    is_string: bool
    members: list[tuple[str, Declared]] = field(default_factory=list)


class _Parser:
    def __init__(self, file: str) -> None:
        self._file = file
        self._stack: list[str] = []
        self._fed = 0
        self._program = ""
        self._type: _TypeBeing | None = None
        self._tag: _Tag | None = None
        self._member = ""
        self._text: list[str] | None = None
        self._length = 0
        self._types = Types()
        self._tags: list[_Tag] = []
        self._descriptions: dict[str, str] = {}
        self._identity: dict[str, str] = {}
        self._modules = 0
        """Tags of I/O modules."""
        self._expat = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters

    def run(self, stream: IO[bytes]) -> tuple[ControllerTags, dict[str, str]]:
        while chunk := stream.read(_CHUNK):
            at = 0
            # expat reads on after a handler has refused the DOCTYPE: it gets too little at a time for a bomb.
            while not self._stack and self._fed < _PROLOG and at < len(chunk):
                self._feed(chunk[at : at + _PROLOG_CHUNK])
                at += _PROLOG_CHUNK
            self._feed(chunk[at:])
        self._feed(b"", final=True)
        return self._made(), self._identity

    def _feed(self, data: bytes, *, final: bool = False) -> None:
        self._fed += len(data)
        if self._fed > MAX_BYTES:
            raise self._error(f"the file is larger than {MAX_BYTES >> 20} MiB")
        try:
            self._expat.Parse(data, final)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code) or "syntax error"
            hint = "; export it again as L5X" if error.lineno > 1 else "; an ACD file must be exported as L5X"
            raise ImportProblem(
                self._file, error.lineno, f"this is not well-formed XML ({what}){hint}"
            ) from None
        if self._fed - max(self._expat.CurrentByteIndex, 0) > MAX_TOKEN + _CHUNK:
            raise self._error(f"one element is larger than {MAX_TOKEN >> 20} MiB")

    def _error(self, problem: str) -> ImportProblem:
        return ImportProblem(self._file, self._expat.CurrentLineNumber, problem)

    def _doctype(self, *_: object) -> None:
        raise self._error("a DOCTYPE is refused, since it may declare entities; Studio 5000 writes none")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._stack and name != _ROOT:
            raise self._error(f"the root element is {name}, not {_ROOT}; export the controller as L5X")
        self._stack.append(name)
        if len(self._stack) > MAX_DEPTH:
            raise self._error(f"elements nest deeper than {MAX_DEPTH}")
        where = self._stack[2:]
        if not where:
            self._controller(name, attributes)
        elif where[0] in {"DataTypes", "AddOnInstructionDefinitions"}:
            self._start_type(where[1:], attributes)
        elif where[0] == "Modules" and name in _MODULE_TAGS:
            self._modules += 1
        elif where == ["Programs", "Program"]:
            self._program = self._named(attributes)
        elif where in (["Tags", "Tag"], ["Programs", "Program", "Tags", "Tag"]):
            self._add_tag(attributes)
        if name in _TEXTS and self._text is None and self._describes() is not None:
            self._text, self._length = [], 0

    def _start_type(self, where: list[str], attributes: dict[str, str]) -> None:
        match where:
            case ["DataType"]:
                family = attributes.get("Family", "")
                self._type = _TypeBeing(self._named(attributes), family == "StringFamily")
            case ["AddOnInstructionDefinition"]:
                self._type = _TypeBeing(self._named(attributes), is_string=False)
            case ["DataType", "Members", "Member"]:
                self._add_member(attributes, attributes.get("Dimension", "0"))
            case [_, "Parameters", "Parameter"]:
                self._add_member(attributes, attributes.get("Dimensions", "0"))

    def _controller(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Controller" and len(self._stack) == 2:
            for key, attribute in (("controller", "Name"), ("processor", "ProcessorType")):
                if attribute in attributes:
                    self._identity[key] = attributes[attribute]
            if "MajorRev" in attributes:
                self._identity["revision"] = f"{attributes['MajorRev']}.{attributes.get('MinorRev', '0')}"

    def _named(self, attributes: Mapping[str, str]) -> str:
        name = attributes.get("Name", "")
        if not name:
            raise self._error(f"a {self._stack[-1]} has no Name")
        return name

    def _add_member(self, attributes: Mapping[str, str], dimensions: str) -> None:
        if self._type is None:
            return
        self._member = name = self._named(attributes)
        hidden = attributes.get("Hidden") == "true" or attributes.get("ExternalAccess") == "None"
        # A string is read whole. What is passed by reference lies outside the instance.
        if (hidden and not self._type.is_string) or attributes.get("Usage") == "InOut":
            return
        self._type.members.append((name, Declared(attributes.get("DataType", ""), _dimensions(dimensions))))

    def _add_tag(self, attributes: dict[str, str]) -> None:
        if len(self._tags) >= MAX_TAGS:
            raise self._error(f"more than {MAX_TAGS:,} tags")
        name = self._named(attributes)
        full = f"Program:{self._program}.{name}" if len(self._stack) > 4 else name
        self._tag = _Tag(full, attributes)
        self._tags.append(self._tag)

    def _describes(self) -> str | None:
        """What the description that stands here is of; None where nobody wants it."""
        match self._stack[2:]:
            case ["DataTypes" | "AddOnInstructionDefinitions", _, "Description", *_] if self._type:
                return self._type.name
            case [_, _, "Members" | "Parameters", _, "Description", *_] if self._type:
                return f"{self._type.name}.{self._member}"
            case ["Tags", "Tag", "Description", *_] | ["Programs", _, "Tags", "Tag", "Description", *_]:
                return self._tag.name if self._tag else None
        return None

    def _characters(self, data: str) -> None:
        if self._text is not None and self._length < MAX_TEXT:
            self._text.append(data)
            self._length += len(data)

    def _end(self, name: str) -> None:
        if name in _TEXTS and self._text is not None:
            of = self._describes()
            text = " ".join("".join(self._text)[:MAX_TEXT].split())
            if of is not None and text:
                # Of several languages the first.
                self._descriptions.setdefault(of.casefold(), text)
            self._text = None
        elif len(self._stack) == 4 and self._type is not None:
            self._types.declare(self._type.name, self._type.members, is_string=self._type.is_string)
            self._type = None
        self._stack.pop()

    def _made(self) -> ControllerTags:
        symbols = []
        aliases = []
        for tag in self._tags:
            its = tag.attributes
            if its.get("TagType") == "Alias" or "AliasFor" in its:
                aliases.append(Alias(tag.name, its.get("AliasFor", "")))
                continue
            declared = Declared(its.get("DataType", ""), _dimensions(its.get("Dimensions", "0")))
            symbols.append(self._types.symbol(tag.name, declared, its.get("ExternalAccess", "Read/Write")))
        left = []
        if self._modules:
            why = "an export does not say what they are made of; browse the controller, or alias them"
            left.append(LeftOut(f"{self._modules} tags of I/O modules", why))
        return ControllerTags(symbols, aliases, self._descriptions, left)


def _dimensions(text: str) -> tuple[int, ...]:
    """``2 3`` or ``0``: no array."""
    numbers = [int(part) for part in text.replace(",", " ").split() if part.isascii() and part.isdecimal()]
    return tuple(number for number in numbers if number)
