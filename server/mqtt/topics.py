"""The topic tree (OPC 10000-14 §7.3.4.7) and how a plant path becomes one level of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_FOREIGN: Final = re.compile(
    r"[^A-Za-z0-9_-]"  # what a topic level may not hold
    r"|_(?=_|[^A-Za-z0-9_-])|^_|_$"  # what would look like the sign between two parts
    r"|_(?=x[0-9A-F]{4,6}_)"  # what would look like an escape
)


def level(path: str) -> str:
    """A plant path as one topic level of ``[A-Za-z0-9_-]``: ``Acme/Lyon/Filler`` is ``Acme__Lyon__Filler``.

    Parts are joined by two underscores; any other character becomes ``_xHHHH_``, its code
    point in hexadecimal. Two different paths never give the same level.
    """
    return "__".join(_FOREIGN.sub(_escape, part) for part in path.split("/"))


def _escape(match: re.Match[str]) -> str:
    return f"_x{ord(match[0]):04X}_"


@dataclass(frozen=True, slots=True)
class Topics:
    """Where one publisher's messages go; ``writer`` is a DataSetWriter's name."""

    prefix: str
    publisher_id: str
    group: str

    def data(self, writer: str) -> str:
        """Key frames, delta frames and keep-alives of one writer; not retained."""
        return f"{self.prefix}/json/data/{self.publisher_id}/{self.group}/{writer}"

    def metadata(self, writer: str) -> str:
        """The DataSetMetaData of one writer; retained."""
        return f"{self.prefix}/json/metadata/{self.publisher_id}/{self.group}/{writer}"

    @property
    def status(self) -> str:
        """The PubSubState of the publisher, and its will; retained."""
        return f"{self.prefix}/json/status/{self.publisher_id}"

    @property
    def connection(self) -> str:
        """The configuration of the publisher; retained."""
        return f"{self.prefix}/json/connection/{self.publisher_id}"

    @property
    def all_metadata(self) -> str:
        """A filter for the metadata of every writer, of groups that are no more too."""
        return f"{self.prefix}/json/metadata/{self.publisher_id}/#"

    def is_metadata(self, topic: str) -> bool:
        """Whether the topic is among those of `all_metadata`."""
        return topic.startswith(self.all_metadata.removesuffix("#"))

    @property
    def all_data(self) -> str:
        """A filter for the data of every writer."""
        return f"{self.prefix}/json/data/{self.publisher_id}/#"
