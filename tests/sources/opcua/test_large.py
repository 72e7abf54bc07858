"""Servers that have more than one answer holds, or more than an import may take."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.contract.opcua import OpcUaCase
from support.contract.proxy import frame_proxy
from support.downstream import named, settings, source
from support.large import LARGE, URI, serving_large, text, texts
from support.mirrored import Mirrored, imported
from support.net import until
from support.scanning import FAST, scanning
from support.turns import counting_turns

import server.opcua.channels.channel as theirs
import server.opcua.services.read as reading
from server.opcua.space.value import StoredValue
from server.opcua.subscriptions.emitter import Emitter
from server.opcua.types import ObjectIds
from server.opcua.wire.nodeid import key
from sources.errors import ConnectionLost, Unreachable
from sources.opcua import channel as ours
from sources.opcua import walk as walking
from sources.opcua.address import UA_URI, parse_address
from sources.opcua.connection import Connection, connect
from sources.opcua.importing import Importing
from sources.opcua.imports import Wanted
from sources.opcua.reading import read_raw
from sources.opcua.security import Surroundings
from sources.opcua.stack import ua
from sources.opcua.wire import Raw
from sources.quality import BAD_RESOURCE_UNAVAILABLE, GOOD

BAD_RESPONSE_TOO_LARGE, BAD_TOO_MANY_OPERATIONS = 0x80B90000, 0x80100000
WANTED = Wanted("Acme", parse_address(LARGE), FAST)
VALUE = int(ua.AttributeIds.Value)


@asynccontextmanager
async def connected(port: int, **more: Any) -> AsyncIterator[Connection]:
    connection = await connect(settings(port, **more), Surroundings())
    try:
        yield connection
    finally:
        await connection.end()


def variables(count: int) -> list[tuple[Any, int]]:
    return [(ua.NodeId(f"Large.V{number}", 1), VALUE) for number in range(count)]


@pytest.mark.parametrize("heeds", [True, False], ids=["that heeds our limit", "that does not"])
async def test_of_a_server_what_is_too_large_by_itself_is_lost_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, heeds: bool
) -> None:
    """At first all in one answer, then by halves, down to the one that no answer of ours holds."""
    monkeypatch.setattr(ours, "MAX_MESSAGE", 400_000)
    if not heeds:
        limit = property(lambda _: 1 << 30, lambda *_: None)
        monkeypatch.setattr(theirs.SecureChannel, "_max_body", limit, raising=False)
    values = {f"V{number}": text(50_000) for number in range(20)} | {"Huge": text(500_000)}
    with serving_large(tmp_path, values) as there:
        device = source(there.running, [])
        async with connected(there.running.port) as connection:
            mirror, watched = await imported(device, connection, WANTED)
            found = mirror.named("Acme")
            assert len(found) == 21
            huge = found.pop("Huge")
            assert (huge.variant, huge.status) == (b"", BAD_RESPONSE_TOO_LARGE)
            assert {raw.variant for raw in found.values()} == {text(50_000)}
            assert len(watched) == 20  # what cannot be read would not be reported either
            assert not connection.channel.lost.done()
            await read_raw(connection, [(ua.NodeId("Large.Huge", 1), VALUE)])
    told = [r.getMessage() for r in caplog.records if "cannot be read" in r.getMessage()]
    assert len(told) == 1
    assert "the Value of ns=1;s=Large.Huge cannot be read: BadResponseTooLarge" in told[0]


async def test_a_server_that_does_not_heed_our_limit_is_asked_for_messages_that_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "MAX_MESSAGE", 400_000)
    limit = property(lambda _: 1 << 30, lambda *_: None)
    monkeypatch.setattr(theirs.SecureChannel, "_max_body", limit, raising=False)
    speed = named("Speed")
    with serving_large(tmp_path, {f"V{number}": text(50_000) for number in range(20)}) as there:
        there.running.feed("Speed", 1.0)
        device, mirror = source(there.running, [speed]), Mirrored()
        device.mirror(mirror, [WANTED])
        async with scanning(device) as its:
            await its.good(speed)
            await until(lambda: device.device.plan is not None)
            for number in range(20):
                there.set(f"V{number}", text(50_001))
            await until(lambda: {len(raw.variant) for raw in mirror.named("Acme").values()} == {50_006})
            assert not its.task.done()


async def test_a_server_takes_fewer_in_one_read_than_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_NODES_PER_READ", 7)
    with serving_large(tmp_path, {f"V{number}": text(number) for number in range(30)}) as there:
        async with connected(there.running.port) as connection:
            found = await read_raw(connection, variables(30))
            assert [raw.variant for raw in found] == [text(number) for number in range(30)]
            assert 3 <= connection.limits.read <= 7  # and is not asked for more again


async def test_a_message_the_server_gives_up_is_lost_by_itself(tmp_path: Path) -> None:
    """An Abort chunk (OPC 10000-6 §6.7.3) in the middle of an answer."""
    begun, aborted = set[bytes](), set[bytes]()

    def spoil(frame: bytes) -> Iterable[bytes]:
        request = frame[20:24]
        if frame[:4] == b"MSGC" and not aborted:
            begun.add(request)
        elif frame[:4] == b"MSGF" and request in begun - aborted:
            aborted.add(request)
            body = frame[8:24] + BAD_RESPONSE_TOO_LARGE.to_bytes(4, "little") + b"\xff" * 4
            return (b"MSGA" + (8 + len(body)).to_bytes(4, "little") + body,)
        return (frame,)

    with serving_large(tmp_path, {f"V{number}": text(50_000) for number in range(4)}) as there:
        async with (
            frame_proxy(lambda: there.running.port, OpcUaCase.framing) as between,
            connected(between.port) as connection,
        ):
            between.spoil = spoil
            found = await read_raw(connection, variables(4))
            assert [raw.variant for raw in found] == [text(50_000)] * 4
            assert len(aborted) == 1


async def test_an_import_that_takes_too_much_memory_stops_and_tags_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    speed = named("Speed")
    with serving_large(tmp_path, {f"V{number}": text(50_000) for number in range(200)}) as there:
        there.running.feed("Speed", 1.0)
        device = source(there.running, [speed], import_mib=1)
        mirror = Mirrored()
        device.mirror(mirror, [WANTED, Wanted("Beside", None, FAST, (parse_address("i=2258"),))])
        async with scanning(device) as its:
            await its.good(speed)
            await until(lambda: device.device.plan is not None)
            found = mirror.named("Acme")
            assert 15 < len(found) < 21
            assert sum(len(raw.variant) for raw in mirror.values.values()) <= 1 << 20
            # What was taken in is whole, and lives.
            assert all(raw.status == GOOD and raw.variant for raw in found.values())
            there.running.feed("Speed", 2.0)
            await until(lambda: its.listener.value(speed) == 2.0)
    (told,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert f"the import for Acme stops at {len(mirror.models['Acme'].nodes)} nodes" in told
    assert "takes more than import_mib: 1" in told


async def test_values_that_grow_beyond_the_memory_of_imports_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving_large(tmp_path, {name: text(10) for name in ("A", "B")}) as there:
        device = source(there.running, [], import_mib=1)
        mirror = Mirrored()
        device.mirror(mirror, [WANTED])
        async with scanning(device):
            await until(lambda: device.device.plan is not None)

            async def becomes(name: str, size: int, status: int) -> None:
                there.set(name, text(size))
                wanted = (text(size) if status == GOOD else b"", status)
                await until(lambda: mirror.named("Acme")[name][:2] == wanted)

            await becomes("A", 900_000, GOOD)
            await becomes("B", 500_000, BAD_RESOURCE_UNAVAILABLE)
            await becomes("A", 20, GOOD)
            await becomes("B", 500_001, GOOD)
    told = [r.getMessage() for r in caplog.records if "import_mib" in r.getMessage()]
    assert len(told) == 1


async def test_no_import_has_more_nodes_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(walking, "MAX_NODES", 10)
    with serving_large(tmp_path, {f"V{number}": text(1) for number in range(30)}) as there:
        async with connected(there.running.port) as connection:
            mirror, watched = await imported(source(there.running, []), connection, WANTED)
            assert (len(mirror.models["Acme"].nodes), len(watched)) == (10, 9)
    (told,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "more than 10 nodes to import for Acme" in told


async def test_references_that_take_too_much_memory_stop_an_import(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving_large(tmp_path, {f"V{number}": text(1) for number in range(3000)}) as there:
        async with connected(there.running.port, import_mib=1) as connection:
            mirror, _ = await imported(source(there.running, [], import_mib=1), connection, WANTED)
            assert not mirror.models["Acme"].nodes
            # The server holds no continuation point for us any more.
            (references,) = await connection.browse([ua.NodeId("Large", 1)])
            assert len(references) == 3000
    assert "the import for Acme stops at 0 nodes" in caplog.text


@pytest.mark.parametrize("path", [False, True])
async def test_what_is_to_be_imported_and_not_there_yet_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, path: bool
) -> None:
    """The server tells of no change of its model."""
    monkeypatch.setattr(Emitter, "model_changed", lambda *_: None)
    there_now = parse_address(f"/Objects/nsu={URI};Large/nsu={URI};Later" if path else f"{LARGE}.Later")
    with serving_large(tmp_path, {"Now": text(1)}) as there:
        device, mirror = source(there.running, [], recheck=0.2), Mirrored()
        nodes = (parse_address(f"{LARGE}.Now"), there_now)
        device.mirror(mirror, [Wanted("Acme", None, FAST, nodes), Wanted("Below", there_now, FAST)])
        async with scanning(device):
            await until(lambda: device.device.plan is not None)
            assert mirror.named("Acme").keys() == {"Now"}
            root = there.space.nodes[key("Large", 1)]
            there.running.do(lambda: there.variable(root, "Later", text(5)))
            await until(lambda: mirror.named("Acme").keys() == {"Now", "Later"})
            await until(lambda: "Below" in mirror.models and mirror.named("Below").keys() == {"Later"})
            there.set("Later", text(6))
            await until(lambda: mirror.named("Acme")["Later"].variant == text(6))
            told = [r.getMessage() for r in caplog.records if "is not imported for Acme" in r.getMessage()]
            assert len(told) == 1
            monkeypatch.undo()
            there.running.do(lambda: there.space.delete([key("Large.Later", 1)]))
            await until(lambda: not mirror.models["Below"].nodes)


async def test_many_values_with_names_in_them_let_others_have_their_turns() -> None:
    """None of them is large enough by itself to be done beside the loop."""
    mirror = Mirrored()
    importing = Importing(source(1, []), settings(1), mirror)
    importing.connection = cast("Any", SimpleNamespace(namespaces=(UA_URI, "urn:x"), largest=1 << 20))
    names = b"\x91" + struct.pack("<i", 2_000) + b"\x01\x01\x05\x00" * 2_000
    watched = [b"\x00" + bytes((number,)) for number in range(100)]
    async with counting_turns() as turns:
        await importing.receive(watched, [(place, Raw(names, GOOD, 0)) for place in range(100)])
    assert len(mirror.values) == 100
    assert turns.count > 20


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        ("_MOST_REFERENCES", 299, "the answer to Browse is not taken: more than 299 references at once"),
        ("_MOST_REFERENCES", 300, ""),
        ("_MOST_TARGETS", 299, "BrowsePathsToNodeIds is not taken: more than 299 targets at once"),
        ("_MOST_TARGETS", 300, ""),
        ("_MOST_DECODED", 10_000, "bytes where 10000 would do"),
    ],
)
async def test_nothing_is_made_of_an_answer_that_says_it_holds_more_than_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, told: str
) -> None:
    """What the stack makes of them takes a hundred times the bytes, and seconds that nobody can cut short."""
    monkeypatch.setattr(ours, limit, value)
    with serving_large(tmp_path, {"V" * 20 + f"{number:03}": text(1) for number in range(300)}) as there:
        async with connected(there.running.port, max_nodes=1_000) as connection:
            path = parse_address(f"/Objects/nsu={URI};Large/nsu={URI};{'V' * 20}000")

            async def asked() -> None:
                if limit == "_MOST_REFERENCES":
                    (found,) = await connection.browse([ua.NodeId("Large", 1)], ResultMask=63)
                    assert len([one for one in found if one.ReferenceTypeId.Identifier == 47]) == 300
                elif limit == "_MOST_TARGETS":
                    assert len(await connection.resolve([path] * 300)) == 300
                else:
                    request = ua.ReadRequest()
                    request.Parameters.NodesToRead = [
                        ua.ReadValueId(NodeId=ua.NodeId("Large", 1), AttributeId=ua.AttributeIds.BrowseName)
                    ] * 1_500
                    await connection.ask(request, ua.ReadResponse)

            if told:
                with pytest.raises(ConnectionLost, match=told):
                    await asked()
            else:
                await asked()


async def test_a_namespace_array_of_any_size_is_not_looked_into(tmp_path: Path) -> None:
    with serving_large(tmp_path, {}) as there:
        array = there.space.number(ObjectIds.Server_NamespaceArray).value
        assert isinstance(array, StoredValue)
        device, mirror = source(there.running, [speed := named("Speed")]), Mirrored()
        there.running.feed("Speed", 1.0)
        device.mirror(mirror, [WANTED])
        before = array.variant
        async with scanning(device) as its:
            await its.good(speed)
            await until(lambda: device.device.plan is not None)
            there.running.do(lambda: array.set(texts(100_000)))
            assert "a NamespaceArray of 400005 bytes" in str(await its.lost())
            with pytest.raises(Unreachable, match="or one of more than 131072 bytes"):
                await connect(settings(there.running), Surroundings())
        there.running.do(lambda: array.set(before))


@pytest.mark.parametrize("odd", ["118005", "11030100ffffffff"], ids=["with flags", "null"])
async def test_a_data_type_that_is_none_costs_its_variable_nothing_else(tmp_path: Path, odd: str) -> None:
    with serving_large(tmp_path, {"A": text(1), "B": text(2)}) as there:
        node = there.space.nodes[key("Large.A", 1)]
        attributes = {**node.attributes, int(ua.AttributeIds.DataType): bytes.fromhex(odd)}
        there.running.do(lambda: setattr(node, "attributes", attributes))
        async with connected(there.running.port) as connection:
            mirror, watched = await imported(source(there.running, []), connection, WANTED)
    assert "B" in mirror.named("Acme")
    assert watched
