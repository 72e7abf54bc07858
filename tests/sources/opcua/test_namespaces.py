"""A server that gives its namespaces other indexes, while it is connected and while it is not."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.downstream import SAFE, named, protected, source
from support.large import Large, serving_large
from support.mirrored import Mirrored
from support.net import until
from support.proxy import Proxy, proxy_to
from support.scanning import FAST, Listener, scanning

from server.opcua.space import encode
from server.opcua.space.value import StoredValue
from server.opcua.subscriptions.emitter import Emitter
from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import key
from sources.asking import Asker
from sources.errors import ConnectionLost, Unreachable
from sources.opcua.address import parse_address
from sources.opcua.driver import OpcUaSource
from sources.opcua.imports import Wanted
from sources.opcua.planning import Planning
from sources.opcua.wire import Raw
from sources.quality import BAD_NOT_WRITABLE

OURS, OTHERS = "urn:maker:ours", "urn:maker:others"


class Renaming:
    """Two makers' nodes of the same identifiers; ours hold less than 10, the others' more."""

    def __init__(self, large: Large) -> None:
        self.large = large
        imported = large.running.server.imported
        assert imported is not None
        self.indexes = (imported.index(OURS), imported.index(OTHERS))
        self.values: dict[str, StoredValue] = {}
        self._fill()

    def _fill(self) -> None:
        space = self.large.space
        root = space.nodes[key("Large", 1)]
        ours, others = self.indexes
        for index, number in ((ours, 1.0), (others, 11.0)):
            name = b"Large.Speed"
            itself = b"\x11\x03" + struct.pack("<Hi", index, len(name)) + name
            self.large.variable(root, "Speed", double(number), index=index)
            self.large.variable(root, "Itself", itself, index=index)

    def swap(self) -> None:
        """Each has the other's index from now on, and its nodes have other NodeIds: `come` brings them."""
        for index in self.indexes:
            self.large.space.delete([key(f"Large.{name}", index) for name in ("Speed", "Itself")])
        self.indexes = self.indexes[::-1]
        self.shows({OURS: self.indexes[0], OTHERS: self.indexes[1]})

    def come(self) -> None:
        """Bring the nodes. This server has who watches a NodeId go on with whatever node has it now."""
        self._fill()

    def shows(self, indexes: dict[str, int]) -> None:
        """Have the NamespaceArray say so."""
        server = self.large.running.server
        uris = list(server._names.uris)
        for uri, index in indexes.items():
            uris[index] = uri
        array = self.large.space.number(ObjectIds.Server_NamespaceArray).value
        assert isinstance(array, StoredValue)
        array.set(encode.strings(uris))

    def set(self, number: float) -> None:
        """Another value of ours."""
        value = self.large.space.nodes[key("Large.Speed", self.indexes[0])].value
        assert isinstance(value, StoredValue)
        value.set(double(number))


def double(number: float) -> bytes:
    return b"\x0b" + struct.pack("<d", number)


@contextmanager
def renaming(data: Path) -> Iterator[Renaming]:
    with serving_large(data, {}) as large:
        yield large.running.do(lambda: Renaming(large))


def seen(*listeners: Listener) -> set[object]:
    """Every value that ever came."""
    return {value for one in listeners for batch in one.batches if batch.values for value in batch.values}


SPEED = f"nsu={OURS};s=Large.Speed"


async def test_names_that_change_while_connected_lead_to_the_same_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The array alone tells of it, no event."""
    monkeypatch.setattr(Emitter, "model_changed", lambda *_: None)
    speed = named("Speed", address=SPEED)
    with renaming(tmp_path) as there:
        device, mirror = source(there.large.running, [speed], recheck=0.2), Mirrored()
        nodes = tuple(parse_address(f"nsu={OURS};s=Large.{name}") for name in ("Speed", "Itself"))
        device.mirror(mirror, [Wanted("Acme", None, FAST, nodes)])
        async with scanning(device) as its:
            await its.good(speed)
            await until(lambda: "Acme" in mirror.models)
            before = dict(mirror.named("Acme"))
            connection = its.session._connection
            there.large.running.do(there.swap)
            await until(lambda: connection.index(OURS) == there.indexes[0])
            there.large.running.do(there.come)
            there.large.running.do(lambda: there.set(2.0))
            await until(lambda: its.listener.value(speed) == 2.0)
            batch = await its.session.read([speed])
            assert batch.values == (2.0,)
            await until(lambda: mirror.named("Acme")["Speed"].variant == double(2.0))
            # Names within values too: here it is called as before.
            assert mirror.named("Acme")["Itself"].variant == before["Itself"].variant
            assert len(mirror.uris) == 2
            assert seen(its.listener) <= {None, 1.0, 2.0}
            assert not its.task.done()


@pytest.mark.parametrize("held", ["again", "_import"])
async def test_nothing_of_before_is_believed_while_nodes_are_looked_for_by_their_new_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """Before the next plan has begun, and while the one that was being made is not done."""
    real, going = getattr(Planning, held), asyncio.Event()

    async def slowly(planning: Planning, *given: Any) -> None:
        await going.wait()
        await real(planning, *given)

    monkeypatch.setattr(Planning, held, slowly)
    speed = named("Speed", address=SPEED, writable=True)
    with renaming(tmp_path) as there:
        device = source(there.large.running, [speed])
        async with scanning(device) as its:
            await its.good(speed)
            await until(lambda: device.device.plan is not None or held == "_import")
            connection = its.session._connection
            there.large.running.do(there.swap)
            await until(lambda: connection.index(OURS) == there.indexes[0])
            there.large.running.do(there.come)
            assert (await its.session.read([speed])).values == (1.0,)
            going.set()
            for _ in range(10):
                assert (await its.session.read([speed])).values == (1.0,)
            await until(lambda: device.device.plan is not None)
            assert (await its.session.read([speed])).values == (1.0,)


async def lose(device: OpcUaSource, proxy: Proxy, listener: Listener) -> None:
    """Connect until there is a value, and lose the connection. Raises ConnectionLost."""
    async with device.connect() as session:
        scan = asyncio.create_task(session.scan(listener))
        await until(lambda: 1.0 in seen(listener) and device.device.plan is not None)
        proxy.cut()
        await scan


@pytest.mark.parametrize(("changes", "transferred"), [("nothing", 1), ("names", 0), ("start", 0)])
async def test_subscriptions_of_another_server_than_it_was_are_not_taken_over(
    tmp_path: Path, changes: str, transferred: int
) -> None:
    """It has other names, or was started since: what it would hand over may watch other nodes."""
    speed = named("Speed", address=SPEED)
    with renaming(tmp_path / "there") as there:
        async with proxy_to(there.large.running.port) as proxy:
            device, first = source(proxy.port, [speed], **SAFE), Listener()
            device.settle(protected(there.large.running, tmp_path))
            with pytest.raises(ConnectionLost):
                await lose(device, proxy, first)
            if changes == "names":
                there.large.running.do(there.swap)
                there.large.running.do(there.come)
            elif changes == "start":
                start = there.large.space.number(2257).value
                assert isinstance(start, StoredValue)
                later = struct.pack("<q", struct.unpack("<q", start.variant[1:])[0] + 10_000_000)
                there.large.running.do(lambda: start.set(b"\x0d" + later))
            there.large.running.do(lambda: there.set(2.0))
            async with scanning(device) as its:
                await until(lambda: its.listener.value(speed) == 2.0)
                assert device.device.transferred == transferred
                assert seen(first, its.listener) <= {None, 1.0, 2.0}


@pytest.mark.parametrize("held", ["again", "_import"])
async def test_nothing_imported_is_read_or_written_by_names_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """Until what is imported is looked at again nobody knows the way to it."""
    monkeypatch.setattr(Emitter, "model_changed", lambda *_: None)
    real, going = getattr(Planning, held), asyncio.Event()
    going.set()

    async def slowly(planning: Planning, *given: Any) -> None:
        await going.wait()
        await real(planning, *given)

    monkeypatch.setattr(Planning, held, slowly)
    with renaming(tmp_path) as there:
        device, mirror = source(there.large.running, []), Mirrored()
        nodes = tuple(parse_address(f"nsu={OURS};s=Large.{name}") for name in ("Speed", "Itself"))
        device.mirror(mirror, [Wanted("Acme", None, FAST, nodes)])
        async with scanning(device) as its:
            await until(lambda: device.device.plan is not None)
            importing = device.device.importing
            assert importing is not None
            by_name = {node.browse_name[6:].decode(): k for k, node in mirror.models["Acme"].nodes.items()}
            connection, before = its.session._connection, dict(mirror.named("Acme"))
            hand = device.acting(Asker("anna"))
            going.clear()
            there.large.running.do(there.swap)
            await until(lambda: connection.index(OURS) == there.indexes[0])
            there.large.running.do(there.come)
            await importing.read(list(by_name.values()))
            itself = b"\x11\x03" + struct.pack("<Hi", there.indexes[0], 11) + b"Large.Speed"
            await importing.receive([by_name["Itself"]], [(0, Raw(itself, 0, 0))])
            for name, raw in mirror.named("Acme").items():
                assert raw.variant in {before[name].variant, b""}  # empty since they went there
            with pytest.raises(Unreachable, match="its namespaces have changed"):
                await hand.write_node(by_name["Speed"], double(2.0))
            with pytest.raises(Unreachable, match="its namespaces have changed"):
                await hand.call_method(by_name["Speed"], by_name["Speed"], [])
            going.set()
            await until(lambda: device.device.plan is not None)
            assert mirror.named("Acme")["Itself"].variant == before["Itself"].variant
            assert await hand.write_node(by_name["Speed"], double(2.0)) == BAD_NOT_WRITABLE


async def test_nodes_that_were_looked_for_by_names_of_before_are_not_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names change when the nodes are found, and before they are watched."""
    real, asked = Planning._delete, []
    speed = named("Speed", address=SPEED)
    with renaming(tmp_path) as there:
        device = source(there.large.running, [speed])
        async with scanning(device) as its:
            await its.good(speed)
            await until(lambda: device.device.plan is not None)
            connection = its.session._connection

            async def meanwhile(planning: Planning, ids: list[int]) -> None:
                asked.append(ids)
                if len(asked) == 1:
                    there.large.running.do(there.swap)
                    await until(lambda: connection.index(OURS) == there.indexes[0])
                    there.large.running.do(there.come)
                await real(planning, ids)

            monkeypatch.setattr(Planning, "_delete", meanwhile)
            root = there.large.space.nodes[key("Large", 1)]
            there.large.running.do(lambda: there.large.variable(root, "Another", double(5.0)))
            await until(lambda: asked, what="planned again")
            await until(lambda: connection.index(OURS) == there.indexes[0])
            await until(lambda: len(asked) > 1 and device.device.plan is not None, what="and once more")
            there.large.running.do(lambda: there.set(2.0))
            await until(lambda: its.listener.value(speed) == 2.0)
            assert seen(its.listener) <= {None, 1.0, 2.0}
