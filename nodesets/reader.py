"""Reads NodeSet2 files (OPC 10000-6 Annex F) into neutral node records.

What the file says is kept as stated, references in the direction given included, and nothing is
added: no NamespaceMetadata, no inverse references. ParentNodeId adds no reference either: by
OPC 10000-6 §F.7 it is for design tools and does not appear in the AddressSpace, so a node whose
only tie to its parent is that attribute stays without one.

Not kept: Documentation, Category, Extensions, Translation, ArgumentDescription and the
attributes that Annex F calls unused. Whether NodeIds are unique, and whether references meet a
node, is for those who put several files together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, TypeAlias

from nodesets.errors import BadTextError, NodesetError
from nodesets.header import Header
from nodesets.nodes import NODE_CLASSES, NodeReader
from nodesets.records import Model, NodeRecord, NodeSet
from nodesets.tree import Element, elements

Source: TypeAlias = str | os.PathLike[str] | IO[bytes]

MAX_NODES: Final = 1_000_000


def read_nodeset(source: Source, *, name: str | None = None) -> NodeSet:
    """Read a whole file, given by its path or as a binary stream.

    ``name`` stands for the file in errors. NodesetError where it cannot be read: missing, not
    well-formed, not a NodeSet2 file, beyond a limit, or with a value that means nothing.
    """
    models: list[Model] = []
    nodes: list[NodeRecord] = []
    for item in stream_nodeset(source, name=name):
        if isinstance(item, Model):
            models.append(item)
        else:
            nodes.append(item)
    return NodeSet(tuple(models), nodes)


def stream_nodeset(source: Source, *, name: str | None = None) -> Iterator[Model | NodeRecord]:
    """A file's models, then its nodes one by one, in its order; memory holds one node at a time.

    Raises as `read_nodeset` does, at the item that cannot be read.
    """
    if not isinstance(source, str | os.PathLike):
        yield from _stream(source, name or str(getattr(source, "name", "nodeset")))
        return
    shown = name or os.fspath(source)
    try:
        with Path(source).open("rb") as file:
            yield from _stream(file, shown)
    except OSError as error:
        raise NodesetError.unreadable(shown, error) from None


def _stream(stream: IO[bytes], name: str) -> Iterator[Model | NodeRecord]:
    try:
        yield from _items(elements(stream, name))
    except BadTextError as error:
        raise NodesetError(name, error.line, str(error)) from None


def _items(found: Iterator[Element]) -> Iterator[Model | NodeRecord]:
    header = Header()
    nodes: NodeReader | None = None
    for count, element in enumerate(found):
        if count > MAX_NODES:
            raise BadTextError(f"there are more than {MAX_NODES} nodes; split the file", element.line)
        if element.name not in NODE_CLASSES:
            header.take(element, before_nodes=nodes is None)
            continue
        if nodes is None:
            nodes = NodeReader(header.names())
            yield from header.models()
        yield nodes.read(element)
    if nodes is None:
        yield from header.models()
