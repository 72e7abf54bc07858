"""Runs one target under atheris: ``python -m support.fuzz.target NAME CORPUS [options of libFuzzer]``.

``python -m support.fuzz.target --seed FOLDER`` writes the corpora they begin with, made of real messages.
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TARGETS = ("requests", "stream", "structures", "certificates")

_SEEDS = 6
"""Of each service."""


def main() -> None:
    """See the module."""
    if sys.argv[1] == "--seed":
        write_seeds(Path(sys.argv[2]))
        return
    import atheris

    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["server.opcua", "certs"], enable_loader_override=False):
        from support.fuzz import world
    with globals()[name](world) as one:
        atheris.Setup(sys.argv, one)
        atheris.Fuzz()


@contextmanager
def requests(world: Any) -> Iterator[Callable[[bytes], None]]:
    """A request of a session: the first byte chooses the service, the rest are its parameters.

    Of the highest numbers the rest is the whole message, header and all.
    """
    with tempfile.TemporaryDirectory() as folder, world.World(Path(folder)) as server:
        names = list(server.services)

        def one(data: bytes) -> None:
            if not data:
                return
            if data[0] >= 250:
                server.request("anything", b"", body=data[1:])
            else:
                server.request(names[data[0] % len(names)], data[1:])

        yield one


@contextmanager
def stream(world: Any) -> Iterator[Callable[[bytes], None]]:
    """Everything a connection sends from its Hello on; the first byte cuts it."""
    with tempfile.TemporaryDirectory() as folder, world.World(Path(folder)) as server:

        def one(data: bytes) -> None:
            step = (data[0] if data else 0) * 5 or 1 << 16
            data = data[1:]
            server.stream([data[at : at + step] for at in range(0, len(data), step)])

        yield one


@contextmanager
def structures(_: Any) -> Iterator[Callable[[bytes], None]]:
    """A structure by the number of its encoding, or a Variant; what is decoded has to be encoded again."""
    from server.opcua.wire import structs
    from server.opcua.wire.reader import DecodingError, Reader

    kinds = clear_kinds()

    def one(data: bytes) -> None:
        try:
            if len(data) < 2 or data[0] == 0xFF:
                structs.encode_variant(structs.decode_variant(data[1:]))
                return
            kind: Any = kinds[int.from_bytes(data[:2], "little") % len(kinds)]
            structs.encode(structs.decode(kind, Reader(data, 2)))
        except DecodingError:
            return

    yield one


def clear_kinds() -> list[type]:
    """The stack's structures, in an order that stays."""
    from asyncua import ua

    from server.opcua.wire.decode import Unclear, structure

    found = []
    for kind in sorted(set(ua.extension_objects_by_typeid.values()), key=lambda kind: kind.__name__):
        with suppress(Unclear):
            structure(kind)
            found.append(kind)
    return found


@contextmanager
def certificates(_: Any) -> Iterator[Callable[[bytes], None]]:
    """A chain of certificates, validated against a trust list."""
    from datetime import UTC, datetime

    from certs.errors import CertificateRefused
    from certs.files import read_chain
    from certs.store import TrustList
    from certs.validate import Usage, validate

    with tempfile.TemporaryDirectory() as folder:
        trust = TrustList(Path(folder))
        trust.prepare()
        lists, now = trust.snapshot(), datetime.now(UTC)

        def one(data: bytes) -> None:
            try:
                validate(read_chain(data), lists, usage=Usage.Client, now=now)
            except CertificateRefused:
                return

        yield one


# --- Seeds


def write_seeds(folder: Path) -> None:
    """A folder of seeds for each target."""
    from support.fuzz import world

    with tempfile.TemporaryDirectory() as data, world.World(Path(data)) as server:
        made: dict[str, list[bytes]] = {
            "requests": list(_requests(server)),
            "stream": list(_streams(server)),
            "structures": list(_structures()),
            "certificates": list(_chains()),
        }
    for name, seeds in made.items():
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (target / f"{number:04}").write_bytes(seed)


def _requests(server: Any) -> Iterator[bytes]:
    from support.fuzz.instances import Maker
    from support.fuzz.world import request_class
    from support.rawclient import message

    known = server.known()
    for number, (name, service) in enumerate(server.services.items()):
        kind = request_class(service)
        assert kind is not None
        for seed in range(_SEEDS):
            parameters = Maker(random.Random(seed), known).parameters(kind)
            yield bytes((number,)) + parameters
        yield b"\xff" + message(name, Maker(random.Random(7), known).parameters(kind))


def _streams(server: Any) -> Iterator[bytes]:
    from support.rawclient import message
    from support.wire import hello

    nothing = struct.pack("<iii", -1, -1, -1)
    for name, parameters in (("GetEndpoints", nothing), ("FindServers", nothing), ("Read", b"")):
        body = message(name, parameters)
        link = server.loop.run_until_complete(_ended(server))
        yield b"\x00" + hello() + link.opening() + link.known().seal(body, 3)
        link = server.loop.run_until_complete(_ended(server))
        opening = link.opening()
        pieces = link.known().seal(body[:20], 3, b"C") + link.seal(body[20:], 3)
        yield b"\x07" + hello() + opening + pieces
    link = server.loop.run_until_complete(_ended(server))
    yield b"\x01" + hello() + link.opening() + link.known().seal(b"", 4, kind=b"CLO")


async def _ended(server: Any) -> Any:
    """A connection that makes chunks, and is over."""
    link = server.link()
    link.connection.abort()
    await link.settle()
    return link


def _structures() -> Iterator[bytes]:
    from asyncua import ua
    from support.fuzz.instances import Maker

    from server.opcua.wire import structs

    for seed in range(60):
        yield b"\xff" + structs.encode_variant(Maker(random.Random(seed)).make(ua.Variant))
    kinds = clear_kinds()
    for name in ("WriteParameters", "CallMethodRequest", "ActivateSessionParameters", "EventFilter"):
        number = next((n for n, kind in enumerate(kinds) if kind.__name__ == name), None)
        if number is not None:
            yield struct.pack("<H", number) + structs.encode(Maker(random.Random(1)).make(kinds[number]))


def _chains() -> Iterator[bytes]:
    from support import pki

    root = pki.authority("Root")
    yield pki.der(pki.application("Client", uri="urn:test:client", private=pki.key(11)))
    issued = pki.application("Client", uri="urn:test:client", private=pki.key(11), issuer=root)
    yield pki.der(issued)
    yield pki.der(issued) + pki.der(root.certificate)


if __name__ == "__main__":
    main()
