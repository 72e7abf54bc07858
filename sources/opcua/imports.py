"""Nodes of a downstream server made part of this one: what is wanted, what was found, and to whom it is told.

Everything here is in the names of this server already: keys are NodeIds in their shortest encoding,
attributes and values encoded Variants, their namespaces mapped (`sources.opcua.mapping`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from sources.asking import Asker
from sources.opcua.address import UA_URI, OpcUaAddress
from sources.opcua.wire import Raw
from sources.quality import Quality
from sources.tag import ScanClass

MAX_NODES = 100_000
"""Nodes of one import."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One import, shown below the equipment ``holder``: what lies below a node, and chosen ``nodes``."""

    holder: str
    below: OpcUaAddress | None
    scan: ScanClass
    nodes: tuple[OpcUaAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportedNode:
    """One node. ``attributes`` are by AttributeId, without those that `NodeId` and names are.

    ``references`` are forward ones, type and target; ``super`` is the type above a type, empty elsewhere.
    ``there`` is its NodeId in the device's own names.
    """

    key: bytes
    node_class: int
    browse_name: bytes
    display_name: bytes
    attributes: Mapping[int, bytes]
    references: tuple[tuple[bytes, bytes], ...]
    there: bytes
    super: bytes = b""
    is_type: bool = False
    """Whether it is a type or belongs to one: its value is that of a declaration, and stays."""


@dataclass(frozen=True, slots=True)
class Model:
    """What one import found. ``tops`` hang below its holder."""

    holder: str
    nodes: Mapping[bytes, ImportedNode] = field(default_factory=dict)
    tops: tuple[bytes, ...] = ()
    usable: float = 3.0
    """Seconds for which its values are usable once the device is gone."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a method answered. ``outputs`` are encoded Variants, ``arguments`` a StatusCode each."""

    status: Quality
    outputs: Sequence[bytes] = ()
    arguments: Sequence[Quality] = ()


class Device(Protocol):
    """The downstream server, as far as imported nodes need it."""

    @property
    def name(self) -> str:
        """The source's name."""
        ...

    def acting(self, asker: Asker) -> Hand:
        """In whose name it goes for whoever asks. Raises Denied for whom nothing is sent."""
        ...


class Hand(Protocol):
    """The way to a downstream server in one name."""

    @property
    def acts_as(self) -> str:
        """That name, for the audit log."""
        ...

    async def ready(self) -> None:
        """Have a session in that name; nothing is sent. Raises Unreachable, Denied."""
        ...

    async def write_node(self, node: bytes, variant: bytes) -> Quality:
        """Write the value of an imported node, once; both in our names.

        Raises ConnectionLost where nobody knows whether it was carried out, Unreachable without a connection.
        """
        ...

    async def call_method(self, holder: bytes, method: bytes, inputs: Sequence[bytes]) -> CallResult:
        """Call an imported method, once; all in our names. Raises as `write_node`."""
        ...


class Mirror(Protocol):
    """Whoever shows imported nodes. It must not block; what is synchronous is never cancelled midway."""

    def index(self, uri: str) -> int:
        """The index here of a namespace, which is added where it is new."""
        ...

    async def show(self, device: Device, model: Model, values: Mapping[bytes, Raw]) -> None:
        """Show what an import found, in place of what it found before; the rest stays as it is.

        Where it is cancelled, the next time sets right what was left half done.
        """
        ...

    def take(self, device: Device, values: Sequence[tuple[bytes, Raw]]) -> None:
        """Take values in, in their order."""
        ...

    def lose(self, device: Device, quality: Quality) -> None:
        """The device is gone: mark what it brought."""
        ...

    def miss(self, device: Device) -> None:
        """The device was not reached: values of which nothing is known say so."""
        ...


@runtime_checkable
class CanImport(Protocol):
    """A source whose nodes can be imported."""

    def mirror(self, mirror: Mirror, imports: Sequence[Wanted]) -> None:
        """Have nodes imported and shown there, and no others; at once where it is connected."""
        ...


def own_uri(uri: str, source: str, given: Mapping[str, str]) -> str:
    """The namespace here of a namespace there: each source's own, so that two like machines differ."""
    return uri if uri == UA_URI else given.get(uri) or f"{uri}#{source}"


def their_uri(uri: str, source: str, given: Mapping[str, str]) -> str:
    """The way back: the namespace there of one here."""
    there = next((one for one, here in given.items() if here == uri), None)
    return there or uri.removesuffix(f"#{source}")
