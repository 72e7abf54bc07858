"""The largest messages that are taken, made to become as large as can be in memory."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable

import pytest
from support.fuzz.instances import Maker
from support.fuzz.world import World, request_class

from server.opcua.transport.limits import LIMITS

MOST = 160 << 20
"""Bytes of memory that a request may take while it is answered: its own few times, what it is decoded to."""

LARGE = LIMITS.message - 200


def array(length: int) -> bytes:
    return struct.pack("<i", length)


def counted(head: bytes, piece: bytes) -> bytes:
    """As many pieces as a message holds, and their count."""
    count = (LARGE - len(head) - 4) // len(piece)
    return head + array(count) + piece * count


def variant(kind: int, piece: bytes) -> bytes:
    """A WriteValue whose Value is an array of these."""
    return counted(_HEAD + bytes((0x80 | kind,)), piece)


_HEAD = array(1) + b"\x00\x55\x0d\x00\x00\x00\xff\xff\xff\xff\x01"
_WIDE = "\U0001f3ed".encode()
"""A character that makes all of a string four bytes wide."""
CASES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "Read of nothing": ("Read", lambda: counted(struct.pack("<di", 0, 0), b"\0" * 16)),
    "Write of nulls": ("Write", lambda: counted(b"", b"\0" * 11)),
    "Write of Variants": ("Write", lambda: variant(24, b"\x00")),
    "Write of DataValues": ("Write", lambda: variant(23, b"\x00")),
    "Write of ExtensionObjects": ("Write", lambda: variant(22, b"\0\0\0")),
    "Write of Int16": ("Write", lambda: variant(4, b"\x01\x33")),
    "Write of Strings": ("Write", lambda: variant(12, b"\xff\xff\xff\xff")),
    "Write of one String": (
        "Write",
        lambda: _HEAD + b"\x0c" + array(LARGE - 50) + b"a" * (LARGE - 54) + _WIDE,
    ),
    "Call of Variants": ("Call", lambda: counted(array(1) + b"\x00\x55\x00\x55", b"\x00")),
    "Browse of nulls": ("Browse", lambda: counted(b"\0" * 18, b"\0" * 17)),
    "paths": (
        "TranslateBrowsePathsToNodeIds",
        lambda: counted(array(1) + b"\x00\x55", b"\0\0\0\0\0\0\xff\xff\xff\xff"),
    ),
    "many paths": ("TranslateBrowsePathsToNodeIds", lambda: counted(b"", b"\x00\x55\0\0\0\0")),
    "RegisterNodes": ("RegisterNodes", lambda: counted(b"", b"\x00\x55")),
    "names": ("GetEndpoints", lambda: counted(array(-1), b"\xff\xff\xff\xff")),
    "continuation points": ("BrowseNext", lambda: counted(b"\0", b"\xff\xff\xff\xff")),
    "numbers": ("DeleteSubscriptions", lambda: counted(b"", b"\1\0\0\0")),
    "acknowledgements": ("Publish", lambda: counted(b"", b"\1\0\0\0\1\0\0\0")),
    "software certificates": ("ActivateSession", lambda: counted(b"\xff" * 8, b"\xff" * 8)),
    "profiles": ("CreateSession", lambda: b"\xff" * 8 + b"\0" + array(0) + counted(b"\xff" * 8, b"\xff" * 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_large_message_stays_within_memory(name: str, world: World) -> None:
    service, make = CASES[name]
    data = make()
    assert len(data) <= LARGE + 100
    world.request("Read", b"")  # the session is there
    tracemalloc.start()
    try:
        world.request(service, data)
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


def test_nothing_is_kept_of_what_was_refused(world: World) -> None:
    known = world.known()
    names = [name for name in world.services if name not in {"Publish", "CloseSession"}]

    def some(start: int) -> None:
        for seed in range(start, start + 40):
            rng = random.Random(seed)
            for name in names:
                kind = request_class(world.services[name])
                assert kind is not None
                data = Maker(rng, known).parameters(kind)
                world.request(name, data[: rng.randrange(len(data) + 1)])

    some(0)
    tracemalloc.start()
    try:
        some(100)
        before = tracemalloc.get_traced_memory()[0]
        some(200)
        assert tracemalloc.get_traced_memory()[0] - before < 4 << 20
    finally:
        tracemalloc.stop()
