"""A YAML file as a tree that knows the line and column of every key and value.

Built from parser events rather than by PyYAML's composer, whose recursion a deeply nested
file could take past the end of the stack, and whose aliases would be expanded without limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from server.config.errors import Mark, Problem, TreeProblem
from server.config.scalars import ScalarValue, plain

MAX_DEPTH: Final = 50
MAX_NODES: Final = 1_000_000
"""Nodes of one file, those behind aliases counted each time they are used."""

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SYNTAX_HINTS: Final = (
    ("mapping values are not allowed", "quote a text that contains a colon and a space, or check the indent"),
    ("could not find expected ':'", "a key is followed by a colon; check this line and the one before"),
    ("cannot start any token", "quote a text that begins with a special character"),
    ("undefined alias", "an alias (*name) needs an anchor (&name) above it"),
    ("expected ',' or", "a bracket opened before this place is not closed"),
    ("block end", "the indent of this line fits nothing above it"),
    ("expected key", "the indent of this line fits nothing above it"),
    ("end of stream", "a quote or a bracket is opened here and not closed"),
)


@dataclass(slots=True)
class Scalar:
    """A text, number, truth value or null. ``text`` is how it is written, without quotes."""

    mark: Mark
    text: str
    value: ScalarValue


@dataclass(slots=True)
class Sequence:
    """A list."""

    mark: Mark
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """Keys, always as they are written, and their values."""

    mark: Mark
    entries: dict[str, Entry] = field(default_factory=dict)


Node: TypeAlias = Scalar | Sequence | Mapping


class Entry(NamedTuple):
    """One key's place and its value."""

    key: Mark
    node: Node


Loc: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a node."""


def dotted(loc: Loc) -> str:
    """``equipment.Acme/Lyon.map.Speed.addr``."""
    return ".".join(str(part) for part in loc)


def duplicate(first: Mark, second: Mark, loc: Loc) -> Problem:
    """The complaint about a name that stands in two places; the second loses."""
    message = f"'{loc[-1]}' stands here a second time; first at {first}"
    return Problem.at(second, dotted(loc), message, "rename or remove one")


def to_plain(node: Node) -> Any:
    """The tree as dicts with text keys, lists and scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [to_plain(item) for item in node.items]
    return {key: to_plain(entry.node) for key, entry in node.entries.items()}


def find(root: Node, loc: Loc) -> tuple[Mark, Node]:
    """The mark to show for a place, and the node there; where it is missing, those of what would hold it.

    A mapping is shown at its key: its own mark is that of its first key, a line further down.
    """
    mark, node = root.mark, root
    for part in loc:
        if isinstance(node, Mapping) and part in node.entries:
            key, node = node.entries[str(part)]
            inline = node.mark.line == key.line and not isinstance(node, Mapping)
            mark = node.mark if inline else key
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            mark = node.mark
        else:
            break
    return mark, node


def key_mark(root: Node, loc: Loc) -> Mark:
    """The mark of the last key of a place."""
    _, holder = find(root, loc[:-1])
    if isinstance(holder, Mapping) and (entry := holder.entries.get(str(loc[-1]))):
        return entry.key
    return find(root, loc)[0]


def read_tree(text: str, file: str, problems: list[Problem]) -> Node:
    """The one document of a text. Adds what is wrong but leaves the rest readable to ``problems``.

    Raises TreeProblem where the text is not YAML, is empty, or exceeds a limit.
    """
    if odd := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        mark = Mark(file, line, odd.start() - text.rfind("\n", 0, odd.start()))
        raise TreeProblem(
            Problem.at(mark, "", f"a control character (U+{ord(odd[0]):04X}) stands here", "remove it")
        )
    try:
        return _Builder(file, problems).build(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        raise TreeProblem(_syntax_problem(error, text, file)) from error


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    what = error.problem or "it cannot be parsed"
    place, began = error.problem_mark or error.context_mark, error.context_mark
    if began and "end of stream" in what:
        place = began
    if not place:
        return Problem(file, 0, 0, "", f"this is not YAML: {what}")
    mark = Mark(file, place.line + 1, place.column + 1)
    lines = text.splitlines()
    if place.line < len(lines) and lines[place.line][place.column : place.column + 1] == "\t":
        return Problem.at(mark, "", "a tab stands in the indent", "indent with spaces; YAML refuses tabs")
    hint = next((hint for words, hint in _SYNTAX_HINTS if words in what), "")
    if began and began.line < place.line:
        hint += f"{'; ' if hint else ''}what it belongs to begins at line {began.line + 1}"
    return Problem.at(mark, "", f"this is not YAML: {what}", hint)


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet; ``key`` is the key that waits for its value."""

    node: Sequence | Mapping
    anchor: str | None
    before: int
    key: tuple[str, Mark] | None = None
    skip: bool = False


class _Builder:
    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._count = 0
        self._root: Node | None = None

    def build(self, events: Iterator[Event]) -> Node:
        for event in events:
            if isinstance(event, NodeEvent):
                self._node(event)
            elif isinstance(event, CollectionEndEvent):
                done = self._stack.pop()
                if done.anchor:
                    self._anchors[done.anchor] = (done.node, self._count - done.before)
                self._put(done.node)
            elif isinstance(event, DocumentStartEvent) and self._root is not None:
                raise self._stop(event, "a second document begins here", "keep one document in a file")
        if self._root is None or (isinstance(self._root, Scalar) and self._root.value is None):
            raise TreeProblem(Problem(self._file, 0, 0, "", "the file is empty", "begin with model: 1"))
        return self._root

    def _node(self, event: NodeEvent) -> None:
        self._count += 1
        mark = self._mark(event)
        if isinstance(event, AliasEvent):
            node, weight = self._aliased(event)
            self._count += weight - 1
            self._limit(event)
            self._put(node)
            return
        self._limit(event)
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._complain(mark, f"the tag {tag} is not used here", "quote a text; a number needs no tag")
        if isinstance(event, CollectionStartEvent):
            if len(self._stack) >= MAX_DEPTH:
                message = f"more than {MAX_DEPTH} levels of nesting"
                raise TreeProblem(Problem.at(mark, "", message, "a plant needs six"))
            collection = Mapping(mark) if isinstance(event, MappingStartEvent) else Sequence(mark)
            if event.anchor:
                self._anchors[event.anchor] = None
            self._stack.append(_Open(collection, event.anchor, self._count - 1))
        elif isinstance(event, ScalarEvent):
            scalar = self._scalar(event, mark)
            if event.anchor:
                self._anchors[event.anchor] = (scalar, 1)
            self._put(scalar)

    def _scalar(self, event: ScalarEvent, mark: Mark) -> Scalar:
        text = event.value
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            self._complain(mark, "half of a surrogate pair is no character", "")
            text = ""
        if not event.implicit[0]:
            return Scalar(mark, text, text)
        try:
            return Scalar(mark, text, plain(text))
        except ValueError as error:
            self._complain(mark, str(error), "")
            return Scalar(mark, text, 0)

    def _aliased(self, event: AliasEvent) -> tuple[Node, int]:
        if event.anchor not in self._anchors:
            hint = "an alias (*name) needs an anchor (&name) above it"
            raise self._stop(event, f"nothing above is named &{event.anchor}", hint)
        found = self._anchors[event.anchor]
        if found is None:
            raise self._stop(event, f"*{event.anchor} stands inside the thing it names", "")
        return found

    def _put(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if isinstance(top.node, Sequence):
            top.node.items.append(node)
        elif top.key is None:
            self._key(top, top.node, node)
        else:
            name, mark = top.key
            top.key = None
            if top.skip:
                top.skip = False
            else:
                top.node.entries[name] = Entry(mark, node)

    def _key(self, top: _Open, mapping: Mapping, node: Node) -> None:
        if not isinstance(node, Scalar) or not node.text:
            raise TreeProblem(
                Problem.at(
                    node.mark, self._path(), "a key must be a name or a number", "something is missing here"
                )
            )
        top.key = (node.text, node.mark)
        known = mapping.entries.get(node.text)
        top.skip = node.text == "<<" or known is not None
        if node.text == "<<":
            hint = "share keys through a class and extends"
            self._complain(node.mark, "merge keys (<<) are not part of YAML 1.2", hint)
        elif known is not None:
            self._problems.append(duplicate(known.key, node.mark, self._names()))

    def _limit(self, event: Event) -> None:
        if self._count > MAX_NODES:
            message = f"more than {MAX_NODES:,} values, aliases expanded"
            raise self._stop(event, message, "use classes and repetition (for:)")

    def _names(self) -> tuple[str | int, ...]:
        names: list[str | int] = []
        for level in self._stack:
            if isinstance(level.node, Sequence):
                names.append(len(level.node.items))
            elif level.key is not None:
                names.append(level.key[0])
        return tuple(names)

    def _path(self) -> str:
        return dotted(self._names())

    def _mark(self, event: Event) -> Mark:
        start = event.start_mark
        return Mark(self._file, start.line + 1, start.column + 1) if start else Mark(self._file)

    def _complain(self, mark: Mark, message: str, hint: str) -> None:
        self._problems.append(Problem.at(mark, self._path(), message, hint))

    def _stop(self, event: Event, message: str, hint: str) -> TreeProblem:
        return TreeProblem(Problem.at(self._mark(event), self._path(), message, hint))
