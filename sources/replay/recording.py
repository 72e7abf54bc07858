"""What a recording is on disk: lines of JSON, compressed with gzip, so that any tool reads it.

The first line says what the file is: ``{"isthmus-recording": 1, "begun": ticks}``. Then each
source with all its tags, ``{"source": …, "tags": [[name, address, type], …]}``, and, among the
batches, each block before its first batch, ``{"block": 0, "source": …, "tags": [[…], …]}``. A
block number may be given anew. The type of an array has its length behind it, ``Int16[8]``, or none
where it may have any, ``Int16[]``; its value is a list. A batch is
``[block, received, qualities, values, device times]``: times in ticks, qualities one for all or
one each, values and device times null where there were none. Where it is of some tags of the
block only, their places in it stand at the end. Numbers are exact; NaN and the infinities are
written as Python's `json` does.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from sources.batch import Batch
from sources.errors import SourceError
from sources.quality import Quality
from sources.tag import ANY_LENGTH, Tag, Value, ValueType

FORMAT: Final = 1
MAX_LINE: Final = 64 * 1024 * 1024
"""Bytes of one line: the tags of a source with several hundred thousand of them."""
MAX_BLOCKS: Final = 4096
"""Block numbers in use at a time."""

_KEY: Final = "isthmus-recording"
_COMPRESSION: Final = 4


class RecordingError(SourceError):
    """A file that is no recording, or a damaged one; the text names the file and the line."""


class Unrecordable(ValueError):
    """A value of a kind that a recording has no form for."""


@dataclass(frozen=True, slots=True)
class RecordedTag:
    """A tag as it was: ``address`` is the text of the driver that read it."""

    name: str
    address: str
    type: ValueType
    length: int | None = None


RecordedTags: TypeAlias = tuple[RecordedTag, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """A recorded batch; ``tags`` is the same object for every frame of a block."""

    source: str
    tags: RecordedTags
    values: Sequence[Value] | None
    qualities: Quality | Sequence[Quality]
    device_times: Sequence[int] | None
    received: int
    places: Sequence[int] | None = None
    """As in `sources.batch`."""


class Writer:
    """Writes one file. Blocking: for a thread of its own. Raises OSError."""

    def __init__(self, path: Path, begun: int, sources: Mapping[str, Sequence[Tag[Any]]]) -> None:
        self._raw = path.open("wb")
        try:
            self._zip = gzip.GzipFile(filename="", mode="wb", compresslevel=_COMPRESSION, fileobj=self._raw)
            self._blocks: dict[int, tuple[tuple[Tag[Any], ...], int]] = {}
            """By the identity of the tuple of tags, which is held here so that it stays the only one."""
            self._line({_KEY: FORMAT, "begun": begun})
            for name, tags in sources.items():
                self._line({"source": name, "tags": [_described(tag) for tag in tags]})
        except BaseException:
            self._raw.close()
            raise

    @property
    def size(self) -> int:
        """Bytes in the file so far; what is still being compressed comes on top."""
        return self._raw.tell()

    def batch(self, source: str, batch: Batch) -> None:
        """Append a batch. Raises Unrecordable, and has written nothing of it then."""
        qualities = batch.qualities if isinstance(batch.qualities, int) else list(batch.qualities)
        values = None if batch.values is None else list(batch.values)
        times = None if batch.device_times is None else list(batch.device_times)
        some = [] if batch.places is None else [list(batch.places)]
        rest = _json([batch.received, qualities, values, times, *some])
        number = self._block(source, batch.tags)
        self._zip.write(b"[%d,%s\n" % (number, rest[1:]))

    def flush(self) -> None:
        """Bring what there is to disk in a form that can be read should no more follow."""
        self._zip.flush(zlib.Z_SYNC_FLUSH)
        self._raw.flush()

    def close(self) -> None:
        """Finish the file."""
        try:
            self._zip.close()
        finally:
            self._raw.close()

    def _block(self, source: str, tags: tuple[Tag[Any], ...]) -> int:
        known = self._blocks.get(id(tags))
        if known is not None:
            return known[1]
        if len(self._blocks) >= MAX_BLOCKS:
            self._blocks.clear()
        number = len(self._blocks)
        self._line({"block": number, "source": source, "tags": [_described(tag) for tag in tags]})
        self._blocks[id(tags)] = tags, number
        return number

    def _line(self, content: object) -> None:
        self._zip.write(_json(content) + b"\n")


def _json(content: object) -> bytes:
    try:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=_special).encode()
    except (ValueError, UnicodeEncodeError) as error:
        raise Unrecordable(str(error)) from None


def _special(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        return {"bytes": base64.b64encode(value).decode("ascii")}
    raise Unrecordable(f"a value of type {type(value).__name__} cannot be recorded")


def _described(tag: Tag[Any]) -> tuple[str, str, str]:
    shape = "" if tag.length is None else f"[{tag.length or ''}]"
    return tag.name, str(tag.address), tag.type.name + shape


class Reader:
    """Reads one file from its beginning. Blocking: for a thread of its own. Raises RecordingError.

    ``sources`` are the tags of every source that was recorded, as they were at its beginning.
    ``cut`` says, once it is read, that it has no end, as that of a server that was killed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self._held: Any = None
        self.cut = False
        self.sources: dict[str, RecordedTags] = {}
        try:
            self._file = gzip.open(path, "rb")  # noqa: SIM115  # closed by close()
        except OSError as error:
            raise RecordingError(f"the recording {path} cannot be read: {error.strerror or error}") from None
        try:
            self._check_head(self._next())
            while isinstance(line := self._next(), dict) and "block" not in line and "source" in line:
                self.sources[str(line["source"])] = self._tags(line)
            self._held = line
        except BaseException:
            self.close()
            raise

    def _check_head(self, head: Any) -> None:
        if not isinstance(head, dict) or _KEY not in head:
            raise self._broken("this is no recording")
        if head[_KEY] != FORMAT:
            raise self._broken(
                f"the recording is of format {head[_KEY]!r}; this version of Isthmus reads {FORMAT}"
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def frames(self) -> Iterator[Frame]:
        """Every batch, in order; once."""
        blocks: dict[int, tuple[str, RecordedTags]] = {}
        line, self._held = self._held, None
        while line is not None:
            if isinstance(line, dict):
                if (number := line.get("block")) is not None:
                    if not isinstance(number, int) or not 0 <= number < MAX_BLOCKS:
                        raise self._broken(f"{number!r} is no number of a block")
                    blocks[number] = str(line.get("source")), self._tags(line)
            else:
                yield self._frame(line, blocks)
            line = self._next()

    def _next(self) -> Any:
        """The next line's content, None at the end."""
        self._number += 1
        try:
            line = self._file.readline(MAX_LINE + 1)
        except EOFError:
            self.cut = True
            return None
        except (OSError, zlib.error) as error:
            raise self._broken(f"it cannot be read any further: {error}") from None
        if not line:
            return None
        if not line.endswith(b"\n"):
            if len(line) > MAX_LINE:
                raise self._broken("the line is too long for a recording")
            self.cut = True
            return None
        try:
            return json.loads(line, object_hook=_bytes)
        except (ValueError, RecursionError):
            raise self._broken("the line makes no sense") from None

    def _tags(self, line: Mapping[str, Any]) -> RecordedTags:
        try:
            return tuple(
                RecordedTag(str(name), str(address), *_shape(kind)) for name, address, kind in line["tags"]
            )
        except (KeyError, TypeError, ValueError):
            raise self._broken("the tags make no sense") from None

    def _frame(self, line: Any, blocks: Mapping[int, tuple[str, RecordedTags]]) -> Frame:
        try:
            number, received, qualities, values, times, *some = line
            source, tags = blocks[number]
            places = _places(some, len(tags))
            count = len(tags) if places is None else len(places)
            columns = [column for column in (values, times) if column is not None]
            if not isinstance(qualities, int):
                columns.append(qualities)
            if not isinstance(received, int) or any(len(column) != count for column in columns):
                raise ValueError  # noqa: TRY301
        except (KeyError, TypeError, ValueError):
            raise self._broken("the batch makes no sense") from None
        return Frame(source, tags, values, qualities, times, received, places)

    def _broken(self, problem: str) -> RecordingError:
        return RecordingError(f"{self._path}, line {self._number}: {problem}")


def _shape(text: str) -> tuple[ValueType, int | None]:
    """Type and length of a tag. Raises KeyError and ValueError."""
    name, bracket, rest = text.partition("[")
    if not bracket:
        return ValueType[name], None
    if not rest.endswith("]"):
        raise ValueError(text)
    return ValueType[name], int(rest[:-1] or ANY_LENGTH)


def _places(some: Sequence[Any], count: int) -> list[int] | None:
    """What stands behind a batch of some tags of a block that has so many. Raises ValueError."""
    if not some:
        return None
    (places,) = some
    if not isinstance(places, list) or not all(type(place) is int for place in places):
        raise ValueError
    if len(set(places)) != len(places) or not all(0 <= place < count for place in places):
        raise ValueError
    return places


def _bytes(found: dict[str, Any]) -> Any:
    if found.keys() == {"bytes"} and isinstance(found["bytes"], str):
        return base64.b64decode(found["bytes"])
    return found
