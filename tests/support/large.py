"""A server whose variables hold as much as one likes: below ``Large``, in its own namespace."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.nodes import READ
from support.opcua import Running, serving

from server.opcua.space import encode
from server.opcua.space.node import Node
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue
from server.opcua.types import AttributeIds, ObjectIds
from server.opcua.wire.nodeid import key, numeric
from server.opcua.wire.writer import localized_text, qualified_name

URI = "urn:test:isthmus"
LARGE = f"nsu={URI};s=Large"
_A = AttributeIds


def text(size: int) -> bytes:
    """A Variant of a String of so many bytes."""
    return b"\x0c" + struct.pack("<i", size) + b"x" * size


def texts(count: int, each: bytes = b"") -> bytes:
    """A Variant of an array of String."""
    return b"\x8c" + struct.pack("<i", count) + (struct.pack("<i", len(each)) + each) * count


class Large:
    """The variables, by their names."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.values: dict[str, StoredValue] = {}

    @property
    def space(self) -> Space:
        found = self.running.server._space
        assert found is not None
        return found

    def fill(self, values: Mapping[str, bytes]) -> None:
        """Make a variable of each Variant. In the server's loop."""
        space = self.space
        with space.changing():
            root = self.node("Large", 1, {int(_A.EventNotifier): encode.byte(0)})
            space.link(space.number(ObjectIds.ObjectsFolder), space.number(ObjectIds.Organizes), root)
            space.link(root, space.number(ObjectIds.HasTypeDefinition), space.number(ObjectIds.FolderType))
            for name, variant in values.items():
                self.variable(root, name, variant)

    def variable(self, parent: Node, name: str, variant: bytes, shown: str = "", *, index: int = 1) -> Node:
        """Make one, whose BrowseName may be another's. In the server's loop."""
        space, value = self.space, StoredValue(variant)
        self.values[name] = value
        attributes = {
            int(_A.DataType): encode.node_id(numeric(variant[0] & 0x3F)),
            int(_A.ValueRank): encode.int32(1 if variant[0] & 0x80 else -1),
            int(_A.AccessLevel): encode.byte(1),
            int(_A.Historizing): encode.FALSE,
        }
        made = self.node(f"Large.{name}", 2, attributes, value, shown or name, index=index)
        space.link(parent, space.number(ObjectIds.HasComponent), made)
        kind = space.number(ObjectIds.BaseDataVariableType)
        space.link(made, space.number(ObjectIds.HasTypeDefinition), kind)
        return made

    def node(
        self,
        name: str,
        node_class: int,
        attributes: dict[int, bytes],
        value: StoredValue | None = None,
        shown: str = "",
        *,
        index: int = 1,
    ) -> Node:
        """Make one without references. In the server's loop."""
        shown = shown or name
        its = key(name, index), node_class, qualified_name(shown, index), localized_text(shown)
        made = Node(*its, {int(_A.WriteMask): encode.uint32(0)} | attributes, READ, 0, value)
        self.space.add(made)
        return made

    def set(self, name: str, variant: bytes) -> None:
        """Give a variable another value."""
        self.running.do(lambda: self.values[name].set(variant))


@contextmanager
def serving_large(data: Path, values: Mapping[str, bytes], **settings: Any) -> Iterator[Large]:
    """As `serving`, for anybody, with these variables."""
    with serving(data, allow_none=True, anonymous=True, **settings) as running:
        large = Large(running)
        running.do(lambda: large.fill(values))
        yield large
