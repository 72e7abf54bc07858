"""The XML of a NodeSet2 file as a stream of its top-level elements: bounded, and deaf to entities.

The file is an outsider's. A DOCTYPE is refused before anything it declares could be used, so
there are no entities to expand and nothing to fetch; depth, sizes and counts have limits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import IO, Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from nodesets.errors import NodesetError

NODESET_NAMESPACE: Final = "http://opcfoundation.org/UA/2011/03/UANodeSet.xsd"

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
MAX_PROLOG_BYTES: Final = 64 * 1024
"""Before the root element: the XML declaration and comments such as a licence."""
MAX_ELEMENT_BYTES: Final = 16 * 1024 * 1024
"""Of the file, for one top-level element: a node with its value."""
MAX_TOKEN_BYTES: Final = 1024 * 1024
"""For one tag with its attributes, or one comment."""
MAX_CHILDREN: Final = 200_000
"""Elements within one top-level element."""
MAX_DEPTH: Final = 100

_CHUNK: Final = 64 * 1024
_PROLOG_CHUNK: Final = 64
_XML_NAMESPACE: Final = "http://www.w3.org/XML/1998/namespace"
_ENCODINGS: Final = frozenset({"utf-8", "utf-16", "us-ascii", "ascii", "iso-8859-1"})


class Element:
    """An XML element: its name split into namespace and local name, and the line it starts at."""

    __slots__ = ("attributes", "children", "line", "name", "namespace", "tail", "text")

    def __init__(self, namespace: str, name: str, attributes: dict[str, str], line: int) -> None:
        self.namespace = namespace
        self.name = name
        self.attributes = attributes
        self.line = line
        self.text = ""
        self.tail = ""
        self.children: list[Element] = []

    def find(self, name: str) -> Element | None:
        """The first child of that local name."""
        return next((child for child in self.children if child.name == name), None)


def to_xml(element: Element, outer: str = "") -> str:
    """An element as XML text; ``outer`` is the default namespace of the place it will stand in."""
    xmlns = f" xmlns={quoteattr(element.namespace)}" if element.namespace != outer else ""
    attributes = "".join(
        _attribute(index, name, value) for index, (name, value) in enumerate(element.attributes.items())
    )
    inner = escape(element.text) + "".join(
        to_xml(child, element.namespace) + escape(child.tail) for child in element.children
    )
    start = f"<{element.name}{xmlns}{attributes}"
    return f"{start}>{inner}</{element.name}>" if inner else f"{start}/>"


def _attribute(index: int, name: str, value: str) -> str:
    namespace, _, local = name.rpartition(" ")
    if not namespace:
        return f" {local}={quoteattr(value)}"
    if namespace == _XML_NAMESPACE:
        return f" xml:{local}={quoteattr(value)}"
    return f" xmlns:a{index}={quoteattr(namespace)} a{index}:{local}={quoteattr(value)}"


def elements(stream: IO[bytes], name: str) -> Iterator[Element]:
    """The children of the root element UANodeSet, one after another, each complete.

    ``name`` is the file's in errors. NodesetError where the file cannot be read, is not
    well-formed XML, not a NodeSet2 file, or beyond a limit.
    """
    return _Parser(name).run(stream)


class _Parser:
    def __init__(self, name: str) -> None:
        self._name = name
        self._ready: deque[Element] = deque()
        self._open: list[Element] = []
        self._rooted = False
        self._depth = 0
        self._count = 0
        self._fed = 0
        self._element_from = 0
        self._expat = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def run(self, stream: IO[bytes]) -> Iterator[Element]:
        while chunk := self._read(stream):
            at = 0
            # expat reads what it was given to the end even after a handler has refused the
            # DOCTYPE: so it gets too little at a time to hold both a bomb and its use.
            while not self._rooted and at < len(chunk):
                self._feed(chunk[at : at + _PROLOG_CHUNK])
                at += _PROLOG_CHUNK
            self._feed(chunk[at:])
            while self._ready:
                yield self._ready.popleft()
        self._feed(b"", final=True)
        yield from self._ready

    def _read(self, stream: IO[bytes]) -> bytes:
        try:
            return stream.read(_CHUNK)
        except OSError as error:
            raise NodesetError.unreadable(self._name, error) from None

    def _feed(self, data: bytes, *, final: bool = False) -> None:
        self._fed += len(data)
        if self._fed > MAX_FILE_BYTES:
            raise self._error(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB; split it")
        try:
            self._expat.Parse(data, final)
        except expat.ExpatError as error:
            problem = expat.ErrorString(error.code) or "syntax error"
            raise NodesetError(
                self._name,
                error.lineno,
                f"not well-formed XML ({problem}); fetch the file again or correct it",
            ) from None
        if not self._rooted and self._fed > MAX_PROLOG_BYTES:
            raise self._error(f"there is no root element in the first {MAX_PROLOG_BYTES >> 10} KiB")
        if self._fed - max(self._expat.CurrentByteIndex, 0) > MAX_TOKEN_BYTES + _CHUNK:
            raise self._error(
                f"a tag or comment is larger than {MAX_TOKEN_BYTES >> 20} MiB, as in no real nodeset"
            )
        if self._fed - self._element_from > MAX_ELEMENT_BYTES + _CHUNK:
            raise self._error(
                f"one node takes more than {MAX_ELEMENT_BYTES >> 20} MiB; put its value elsewhere"
            )

    def _error(self, problem: str) -> NodesetError:
        return NodesetError(self._name, self._expat.CurrentLineNumber, problem)

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise self._error(f"the encoding '{encoding}' is not supported; save the file as UTF-8")

    def _doctype(self, *_: object) -> None:
        raise self._error("a DOCTYPE is refused, since it may declare entities; remove it")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        namespace, _, name = tag.rpartition(" ")
        self._depth += 1
        if self._depth == 1:
            self._rooted = True
            if (namespace, name) != (NODESET_NAMESPACE, "UANodeSet"):
                raise self._error(
                    f"the root element is '{name}' of '{namespace}', not UANodeSet of "
                    f"'{NODESET_NAMESPACE}'; give a NodeSet2 file"
                )
            return
        if self._depth > MAX_DEPTH:
            raise self._error(f"elements nest deeper than {MAX_DEPTH}, as in no real nodeset")
        element = Element(namespace, name, attributes, self._expat.CurrentLineNumber)
        if self._depth == 2:
            self._count = 0
        else:
            self._count += 1
            if self._count > MAX_CHILDREN:
                raise self._error(f"one node has more than {MAX_CHILDREN} elements; put its value elsewhere")
            self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, _tag: str) -> None:
        self._depth -= 1
        if self._depth == 0:
            return
        element = self._open.pop()
        if self._depth == 1:
            self._element_from = self._expat.CurrentByteIndex
            self._ready.append(element)

    def _text(self, data: str) -> None:
        if not self._open:
            return
        element = self._open[-1]
        if element.children:
            element.children[-1].tail += data
        else:
            element.text += data
