"""Ways to spoil a frame, whatever the protocol."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from support.contract.proxy import End, Part, Spoil


class Once:
    """Spoils the first frame that matches, and is honest before and after; ``done`` tells when it was."""

    def __init__(self, matches: Callable[[bytes], bool], how: Spoil) -> None:
        self._matches = matches
        self._how = how
        self.done = asyncio.Event()

    def __call__(self, frame: bytes) -> Iterable[Part]:
        if self.done.is_set() or not self._matches(frame):
            return (frame,)
        self.done.set()
        return self._how(frame)


class Replayed:
    """Once, sends an earlier reply, which brought other values, in place of the right one or before it.

    ``payload`` is what a frame brings, None where it brings no values.
    """

    def __init__(self, payload: Callable[[bytes], bytes | None], *, right_too: bool) -> None:
        self._payload = payload
        self._right_too = right_too
        self._before: bytes | None = None
        self.done = asyncio.Event()

    def __call__(self, frame: bytes) -> Iterable[Part]:
        payload = self._payload(frame)
        if self.done.is_set() or payload is None:
            return (frame,)
        if self._before is None or self._payload(self._before) == payload:
            self._before = frame
            return (frame,)
        self.done.set()
        return (self._before, frame) if self._right_too else (self._before,)


def held(until: asyncio.Event) -> Spoil:
    """The frame leaves when the event is set; nothing passes before."""
    return lambda frame: (until, frame)


def late(seconds: float) -> Spoil:
    """Each frame is so much later."""
    return lambda frame: (seconds, frame)


def twice(frame: bytes) -> Iterable[Part]:
    """The frame comes a second time."""
    return frame, frame


def cut(kept: float) -> Spoil:
    """A part of the frame, 0 to 1 of it, then the end of the connection."""
    return lambda frame: (frame[: int(len(frame) * kept)], End.HANG_UP)


def cut_header(frame: bytes) -> Iterable[Part]:
    """Three bytes, then the end of the connection."""
    return frame[:3], End.HANG_UP


def stopped(frame: bytes) -> Iterable[Part]:
    """Half the frame; the rest never comes, though the connection stands."""
    return (frame[: len(frame) // 2],)


def dribbled(frame: bytes) -> Iterable[Part]:
    """Byte by byte."""
    for index in range(len(frame)):
        yield frame[index : index + 1]
        yield 0.0


def glued(count: int) -> Spoil:
    """So many frames in one piece, as a busy network delivers them; honest with one request at a time."""
    waiting: list[bytes] = []

    def spoil(frame: bytes) -> Iterable[Part]:
        waiting.append(frame)
        if len(waiting) < count:
            return ()
        whole = b"".join(waiting)
        waiting.clear()
        return (whole,)

    return spoil


def garbage(seed: int, *, instead: bool) -> Spoil:
    """As many random bytes as the frame has, before it or instead."""
    source = random.Random(seed)

    def spoil(frame: bytes) -> Iterable[Part]:
        noise = source.randbytes(len(frame))
        return (noise,) if instead else (noise, frame)

    return spoil


def flipped(at: int) -> Spoil:
    """One byte of the frame is another; counted from the end where negative."""

    def spoil(frame: bytes) -> Iterable[Part]:
        changed = bytearray(frame)
        changed[at] ^= 0x55
        return (bytes(changed),)

    return spoil
