"""Official files that a checkout beside this one may hold, and small NodeSet2 texts for tests."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Final

from nodesets.reader import read_nodeset
from nodesets.records import NodeRecord, NodeSet

_ROOT: Final = Path(__file__).resolve().parents[2]
SHARED: Final = Path(os.environ.get("ISTHMUS_SHARED") or _ROOT.parent / "shared")
"""Where the official files lie; they are not part of this repository."""

NODESETS: Final = "http://opcfoundation.org/UA/2011/03/UANodeSet.xsd"
TYPES: Final = "http://opcfoundation.org/UA/2008/02/Types.xsd"
PLANT: Final = "urn:test:plant"
"""Namespace 1 of the texts made here."""


def found(pattern: str) -> list[Path]:
    """The official files of that pattern, none where there is no such folder."""
    return sorted(SHARED.glob(pattern))


def nodeset(body: str, *, uris: tuple[str, ...] = (PLANT,), head: str = "") -> bytes:
    """A NodeSet2 file: the namespaces, whatever ``head`` holds, then ``body``."""
    listed = "".join(f"<Uri>{uri}</Uri>" for uri in uris)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n'
        f'<UANodeSet xmlns="{NODESETS}" xmlns:uax="{TYPES}" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
        f"<NamespaceUris>{listed}</NamespaceUris>\n{head}\n{body}\n</UANodeSet>\n"
    ).encode()


def read(content: bytes) -> NodeSet:
    """Read a file's content, under the name ``test.xml``."""
    return read_nodeset(io.BytesIO(content), name="test.xml")


def read_one(element: str, *, head: str = "") -> NodeRecord:
    """Read a file that holds one node."""
    (node,) = read(nodeset(element, head=head)).nodes
    return node


def variable(value: str) -> bytes:
    """A file that holds one variable with that value."""
    return nodeset(f'<UAVariable NodeId="ns=1;i=1" BrowseName="1:V"><Value>{value}</Value></UAVariable>')
