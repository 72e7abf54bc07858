"""Asks a controller which program it runs and which data files that has, a request at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from sources.ethernetip.slc.directory import (
    Directory,
    Processor,
    find_directory,
    parse_processor,
)
from sources.ethernetip.slc.link import Refused, SlcLink

_PIECE: Final = 80
"""Bytes of one read that every controller takes."""
_LARGEST: Final = 4 * 1024
"""Bytes of a directory in which its data files are over: 256 of them take 2,560 behind its head."""
_TRIES: Final = 3
_KINDS: Final = (1, 2, 3, 0)
"""Types that file 0 has in one processor or another, where what is known of a processor is wrong."""

Ask: TypeAlias = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Has a link do something in its thread. Raises Refused, and whatever ends a connection."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a controller; None for what it does not tell, and ``why``."""

    processor: Processor | None = None
    directory: Directory | None = None
    why: str = ""


async def survey(ask: Ask, link: SlcLink) -> Survey:
    """Which program runs, and its data files. The program is the same before and after."""
    for _ in range(_TRIES):
        before = await look(ask, link)
        if isinstance(before, str):
            return Survey(why=before)
        directory = await _any_directory(ask, link, before)
        after = await look(ask, link)
        if isinstance(after, Processor) and after.same == before.same:
            if isinstance(directory, str):
                return Survey(after, None, directory)
            return Survey(after, directory)
    return Survey(why="its program changed each time while its files were looked at")


async def look(ask: Ask, link: SlcLink) -> Processor | str:
    """Which program runs; why that is not known."""
    try:
        return parse_processor(await ask(link.status))
    except Refused as error:
        return f"it gives no diagnostic status: {error}"
    except ValueError as error:
        return str(error)


async def _any_directory(ask: Ask, link: SlcLink, processor: Processor) -> Directory | str:
    """File 0 by the type that the processor should have, else by the others; why there is none."""
    reasons: list[str] = []
    for kind in dict.fromkeys((processor.directory_type, *_KINDS)):
        found = await _directory(ask, link, kind)
        if isinstance(found, Directory):
            return found
        reasons.append(found)
    return f"{reasons[0]} (processor {processor.bulletin})"


async def _directory(ask: Ask, link: SlcLink, kind: int) -> Directory | str:
    """File 0, piece by piece until all of its data files have come; why there is none."""
    data, size, refusal = b"", _PIECE, ""
    while size and len(data) < _LARGEST:
        # Its length is not asked for: where that stands differs from one processor to the next.
        word, wanted = len(data) // 2, size

        def read(word: int = word, wanted: int = wanted) -> bytes:
            return link.file_zero(kind, word, wanted)

        try:
            data += await ask(read)
        except Refused as error:
            refusal = str(error)
            size = size // 4 * 2
            continue
        if (found := find_directory(data, whole=False)) is not None:
            return found
    found = find_directory(data, whole=True)
    if found is not None:
        return found
    if not data:
        return f"it does not give its file directory: {refusal}"
    return "its file directory is laid out in a way that is not known here"
