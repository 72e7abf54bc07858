"""Imported nodes in the address space: shared, given up, never in the place of another's."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import pytest
from asyncua.client.client import Client
from support.auditing import last
from support.line import line
from support.net import until
from support.opcua import OBSERVER, OBSERVER_PASSWORD, OPERATOR, OPERATOR_PASSWORD, Bench
from support.scanning import FAST
from support.uaclient import ua

from server.audit.log import AuditLog, _File
from server.opcua.errors import SpaceError
from server.opcua.imported.nodes import ImportedNodes
from server.opcua.server import OpcUaServer
from server.opcua.sessions.registry import Ending
from server.opcua.space import encode
from server.opcua.types import AttributeIds
from server.opcua.wire.nodeid import key
from server.opcua.wire.writer import localized_text, qualified_name
from server.plant.difference import difference, reconcile
from server.plant.model import Equipment, EquipmentLevel, Import, Role
from sources.asking import Asker
from sources.errors import Denied
from sources.opcua.imports import CallResult, ImportedNode, Model
from sources.opcua.wire import Raw
from sources.quality import BAD_NO_COMMUNICATION, BAD_USER_ACCESS_DENIED
from sources.quality import UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE as LAST_USABLE

HAS_TYPE, HAS_COMPONENT, VARIABLE_TYPE = key(40), key(47), key(63)


class There:
    """A device that keeps what it is sent, and answers as it is told."""

    acts_as = "service:anonymous"

    def __init__(self, name: str) -> None:
        self.name = name
        self.denied: Denied | None = None
        self.askers: list[Asker] = []
        self.opening = asyncio.Event()
        self.opening.set()
        self.written: list[tuple[bytes, bytes]] = []
        self.called: list[tuple[bytes, bytes, tuple[bytes, ...]]] = []
        self.answer = CallResult(0)
        self.before: Callable[[], None] = lambda: None

    def acting(self, asker: Asker) -> Self:
        self.askers.append(asker)
        if self.denied is not None:
            raise self.denied
        return self

    async def ready(self) -> None:
        await self.opening.wait()

    async def write_node(self, node: bytes, variant: bytes) -> int:
        self.before()
        self.written.append((node, variant))
        return self.answer.status

    async def call_method(self, holder: bytes, method: bytes, inputs: Sequence[bytes]) -> CallResult:
        self.before()
        self.called.append((holder, method, tuple(inputs)))
        return self.answer


OPERATORS = frozenset({Role.Operator})


def holder(name: str, writers: frozenset[Role] = OPERATORS, source: str = "F") -> Equipment:
    imported = Import(source, None, FAST, writers, writers)
    return Equipment(f"Acme/{name}", EquipmentLevel.ProductionLine, imported=imported)


@asynccontextmanager
async def serving(bench: Bench) -> AsyncIterator[OpcUaServer]:
    bench.plant = replace(
        bench.plant,
        equipment=(
            *bench.plant.equipment,
            holder("A"),
            holder("B"),
            holder("Closed", frozenset()),
            holder("OfG", source="G"),
        ),
    )
    made = bench.server()
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[OpcUaServer]:
    async with serving(Bench(tmp_path, allow_none=True, anonymous=True)) as made:
        yield made


@dataclass
class World:
    """A server whose imported nodes may be written, and its audit log."""

    server: OpcUaServer
    audit: Path

    def client(self, user: str = OPERATOR, password: str = OPERATOR_PASSWORD) -> Client:
        made = Client(self.server.endpoints[0].url, timeout=20)
        made.set_user(user)
        made.set_password(password)
        return made

    def records(self, event: str) -> list[dict[str, Any]]:
        return last(self.audit, 100, {"event": event})


@pytest.fixture
async def writable(tmp_path: Path) -> AsyncIterator[World]:
    bench = Bench(tmp_path, allow_none=True, anonymous=True, writable=True)
    await bench.add_users()
    log = AuditLog(tmp_path / "audit")
    log.open(version="1.2.3")
    bench.recorder = log
    try:
        async with serving(bench) as made:
            yield World(made, tmp_path / "audit")
    finally:
        await log.close()


async def write(client: Client, its_key: tuple[str, int], value: object) -> None:
    node = client.get_node(ua.NodeId(*its_key))
    await node.write_attribute(ua.AttributeIds.Value, ua.DataValue(ua.Variant(value)))


async def call(client: Client, index: int, *inputs: ua.Variant) -> Any:
    return await client.get_node(ua.NodeId("Machine", index)).call_method(ua.NodeId("Start", index), *inputs)


def setpoint(index: int, name: str = "One") -> ImportedNode:
    made = variable(key(name, index), name)
    return replace(made, attributes={**made.attributes, int(AttributeIds.AccessLevel): encode.byte(3)})


def machine(index: int) -> tuple[ImportedNode, ImportedNode]:
    """An object and its method, without arguments."""
    executable = {int(AttributeIds.Executable): encode.TRUE}
    start, its = key("Start", index), key("Machine", index)
    return (
        ImportedNode(
            its,
            1,
            qualified_name("Machine"),
            localized_text("Machine"),
            {},
            ((HAS_TYPE, key(58)), (HAS_COMPONENT, start)),
            its,
        ),
        ImportedNode(start, 4, qualified_name("Start"), localized_text("Start"), executable, (), start),
    )


def variable(its_key: bytes, name: str, *references: tuple[bytes, bytes]) -> ImportedNode:
    attributes = {
        int(AttributeIds.AccessLevel): encode.byte(1),
        int(AttributeIds.DataType): encode.node_id(key(11)),
        int(AttributeIds.ValueRank): encode.int32(-1),
    }
    own = (HAS_TYPE, VARIABLE_TYPE)
    return ImportedNode(
        its_key, 2, qualified_name(name), localized_text(name), attributes, (own, *references), its_key
    )


def model(place: str, *nodes: ImportedNode) -> Model:
    return Model(f"Acme/{place}", {node.key: node for node in nodes}, (nodes[0].key,) if nodes else ())


def there(imported: ImportedNodes, its_key: bytes) -> bool:
    return imported._space.find(its_key) is not None


async def test_what_two_imports_share_stays_until_both_have_given_it_up(server: OpcUaServer) -> None:
    imported, device = server.imported, There("F")
    index = imported.index("urn:x#F")
    shared, only = (key(name, index) for name in ("Shared", "Only"))
    value = {shared: Raw(encode.double(1.5), 0, 5)}
    await imported.show(device, model("A", variable(shared, "Shared"), variable(only, "Only")), value)
    await imported.show(device, model("B", variable(shared, "Shared")), value)
    await imported.show(device, model("A"), {})
    assert (there(imported, shared), there(imported, only)) == (True, False)
    await imported.show(device, model("B"), {})
    assert not there(imported, shared)


async def test_a_node_that_changes_is_another_and_the_others_are_the_same(server: OpcUaServer) -> None:
    imported, device = server.imported, There("F")
    index = imported.index("urn:x#F")
    one, two = key("One", index), key("Two", index)
    await imported.show(device, model("A", variable(one, "One"), variable(two, "Two")), {})
    before = imported._space.find(one), imported._space.find(two)
    await imported.show(device, model("A", variable(one, "One"), variable(two, "Renamed")), {})
    after = imported._space.find(one), imported._space.find(two)
    assert after[0] is before[0]
    assert after[1] is not before[1]
    assert after[1] is not None
    assert after[1].browse_name == qualified_name("Renamed")


async def test_no_import_takes_the_place_of_another_s_node(
    server: OpcUaServer, caplog: pytest.LogCaptureFixture
) -> None:
    imported, first, second = server.imported, There("F"), There("G")
    index = imported.index("urn:same")
    mine, own = key("Mine", index), key("Own", index)
    plant = key("Acme", server.namespace_index("urn:acme:plant"))
    await imported.show(first, model("A", variable(mine, "Mine")), {})
    held = imported._space.find(mine), imported._space.find(plant)
    caplog.set_level(logging.ERROR)
    stolen = model("OfG", variable(own, "Own"), variable(mine, "Other"), variable(plant, "Acme"))
    await imported.show(second, stolen, {})
    assert "2 of the nodes" in caplog.text
    await imported.show(second, model("OfG", variable(mine, "Again")), {})
    await imported.show(second, model("OfG"), {})
    assert (imported._space.find(mine), imported._space.find(plant)) == held
    assert not there(imported, own)


async def test_no_other_plant_takes_the_place_of_an_imported_node(server: OpcUaServer) -> None:
    imported, device = server.imported, There("F")
    index = server.namespace_index("urn:acme:plant")
    taken = key("Acme/Line2", index)
    await imported.show(device, model("A", variable(taken, "Line2")), {})
    before = line()
    added = Equipment("Acme/Line2", EquipmentLevel.ProductionLine)
    after = reconcile(before, replace(before, equipment=(*before.equipment, added))).plant
    with pytest.raises(SpaceError, match=r"nsu=urn:acme:plant;s=Acme/Line2 .* imported node"):
        server.prepare(before, after, difference(before, after), {})
    # What comes after that is found before anything is touched.
    await imported.show(device, model("A"), {})
    ready = server.prepare(before, after, difference(before, after), {})
    assert not ready.clash()
    await imported.show(device, model("A", variable(taken, "Line2")), {})
    assert "Acme/Line2" in ready.clash()


async def test_values_of_a_device_that_is_gone_end_by_themselves(server: OpcUaServer) -> None:
    imported, device = server.imported, There("F")
    index = imported.index("urn:x#F")
    one = key("One", index)
    await imported.show(
        device, replace(model("A", variable(one, "One")), usable=0.01), {one: Raw(encode.double(1.5), 0, 5)}
    )
    value = imported._values["F"][one]
    assert value.variant == encode.double(1.5)
    imported.lose(device, LAST_USABLE)
    assert (value.variant, value.status) == (encode.double(1.5), LAST_USABLE)
    await until(lambda: value.status == BAD_NO_COMMUNICATION)
    assert value.variant == b""
    imported.take(device, [(one, Raw(encode.double(2.5), 0, 6))])
    assert (value.variant, value.status, value.source_time) == (encode.double(2.5), 0, 6)


async def test_what_comes_again_in_time_stays_and_the_rest_ends(server: OpcUaServer) -> None:
    imported, device = server.imported, There("F")
    index = imported.index("urn:x#F")
    one, two = key("One", index), key("Two", index)
    shown = replace(model("A", variable(one, "One"), variable(two, "Two")), usable=0.2)
    await imported.show(device, shown, {its: Raw(encode.double(1.5), 0, 5) for its in (one, two)})
    first, second = (imported._values["F"][its] for its in (one, two))
    imported.lose(device, LAST_USABLE)
    imported.take(device, [(one, Raw(encode.double(2.5), 0, 6))])
    assert (first.status, second.status) == (0, LAST_USABLE)
    await until(lambda: second.status == BAD_NO_COMMUNICATION)
    assert (first.variant, first.status) == (encode.double(2.5), 0)


async def test_a_connection_that_brings_nothing_makes_nothing_usable_for_longer(server: OpcUaServer) -> None:
    imported, device = server.imported, There("F")
    one = key("One", imported.index("urn:x#F"))
    await imported.show(
        device, replace(model("A", variable(one, "One")), usable=0.3), {one: Raw(encode.double(1.5), 0, 5)}
    )
    value = imported._values["F"][one]
    loop = asyncio.get_running_loop()
    imported.lose(device, LAST_USABLE)
    since = value.lost

    def flapping() -> bool:
        imported.lose(device, LAST_USABLE)
        return value.status == BAD_NO_COMMUNICATION

    await until(flapping)
    assert since is not None
    assert loop.time() - since >= 0.3
    assert value.lost == since


# --- Writes and calls


async def test_what_is_sent_to_a_device_is_recorded_before_and_after(writable: World) -> None:
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    await imported.show(
        device,
        model("A", setpoint(index), *machine(index)),
        {key("One", index): Raw(encode.double(1.0), 0, 5)},
    )
    seen: list[list[str]] = []
    device.before = lambda: seen.append(
        [one["outcome"] for event in ("write", "call") for one in writable.records(event)]
    )
    async with writable.client() as client:
        await write(client, ("One", index), 2.0)
        device.answer = CallResult(0x803C0000)
        with pytest.raises(ua.UaStatusCodeError, match="BadOutOfRange"):
            await call(client, index)
    assert seen == [["asked"], ["asked", "done", "asked"]]
    await until(lambda: len(writable.records("call")) == 2, what="recorded")
    (asked, done), (called, failed) = writable.records("write"), writable.records("call")
    common = {"user": OPERATOR, "node": f"ns={index};s=One", "source": "F", "as": "service:anonymous"}
    assert common | {"old": 1.0, "asked": 2.0, "outcome": "asked"} == {
        name: asked[name] for name in (*common, "old", "asked", "outcome")
    }
    assert (done["of"], done["outcome"], done["status"]) == (asked["seq"], "done", "Good")
    assert (called["inputs"], called["node"]) == ("[]", f"ns={index};s=Start")
    assert (failed["of"], failed["outcome"], failed["status"]) == (called["seq"], "failed", "BadOutOfRange")


async def test_what_cannot_be_recorded_is_not_sent_to_a_device(
    writable: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    await imported.show(device, model("A", setpoint(index), *machine(index)), {})
    async with writable.client() as client:
        with monkeypatch.context() as disk:
            full = OSError(28, "No space left on device")
            disk.setattr("server.audit.log._File.add", lambda *_, **__: (0, full))
            with pytest.raises(ua.UaStatusCodeError, match="BadResourceUnavailable"):
                await write(client, ("One", index), 2.0)
            with pytest.raises(ua.UaStatusCodeError, match="BadResourceUnavailable"):
                await call(client, index)
    assert (device.written, device.called) == ([], [])


async def recorded(world: World, event: str, count: int) -> None:
    await until(lambda: len(world.records(event)) == count, what="recorded")


async def test_who_has_no_name_there_is_refused_and_that_is_recorded(writable: World) -> None:
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    await imported.show(device, model("A", setpoint(index), *machine(index)), {})
    device.denied = Denied("no identity for operator", BAD_USER_ACCESS_DENIED)
    async with writable.client() as client:
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
            await write(client, ("One", index), 2.0)
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
            await call(client, index)
    assert (device.written, device.called) == ([], [])
    assert {asker.user for asker in device.askers} == {OPERATOR}
    for event in ("write", "call"):
        await recorded(writable, event, 1)
        (record,) = writable.records(event)
        wanted = ("user", "outcome", "status", "reason", "source")
        assert [record[key] for key in wanted] == [
            OPERATOR,
            "refused",
            "BadUserAccessDenied",
            "no identity for operator",
            "F",
        ]


@pytest.mark.parametrize("event", ["write", "call"])
async def test_a_client_that_goes_while_a_session_is_opened_there_has_nothing_sent(
    writable: World, event: str
) -> None:
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    await imported.show(device, model("A", setpoint(index), *machine(index)), {})
    device.opening.clear()
    async with writable.client() as client:
        asking = write(client, ("One", index), 2.0) if event == "write" else call(client, index)
        task = asyncio.create_task(asking)
        await recorded(writable, event, 1)
        for session in list(writable.server._sessions):
            writable.server._sessions.close(session, Ending.Closed)
        device.opening.set()
        await recorded(writable, event, 2)
        await asyncio.gather(task, return_exceptions=True)
    assert writable.records(event)[1]["outcome"] == "refused"
    assert (device.written, device.called) == ([], [])


async def test_another_source_of_the_name_takes_over_what_is_sent(writable: World) -> None:
    imported, old, new = writable.server.imported, There("F"), There("F")
    index = imported.index("urn:x#F")
    shown = model("A", setpoint(index), *machine(index))
    await imported.show(old, shown, {})
    await imported.show(new, shown, {})
    async with writable.client() as client:
        await write(client, ("One", index), 2.0)
        await call(client, index)
    assert (old.written, old.called) == ([], [])
    assert new.written == [(key("One", index), encode.double(2.0))]
    assert new.called == [(key("Machine", index), key("Start", index), ())]


async def test_what_a_call_answers_and_nobody_can_read_is_told(writable: World) -> None:
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    await imported.show(device, model("A", *machine(index)), {})
    device.answer = CallResult(0, [b"\x0c\x02\0\0\0\xff\xff"])
    async with writable.client() as client:
        with pytest.raises(ua.UaStatusCodeError, match="BadDecodingError"):
            await call(client, index)
    assert len(device.called) == 1


async def test_what_the_device_says_of_each_argument_reaches_the_client(writable: World) -> None:
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    await imported.show(device, model("A", *machine(index)), {})
    asked = ua.CallMethodRequest(ObjectId=ua.NodeId("Machine", index), MethodId=ua.NodeId("Start", index))
    async with writable.client() as client:
        device.answer = CallResult(0x80AB0000, (), (0, 0x803C0000))
        (result,) = await client.uaclient.call([asked])
        assert result.StatusCode.name == "BadInvalidArgument"
        assert [code.name for code in result.InputArgumentResults] == ["Good", "BadOutOfRange"]
        device.answer = CallResult(0x80AB0000)
        (result,) = await client.uaclient.call([asked])
        assert (result.StatusCode.name, result.InputArgumentResults) == ("BadInvalidArgument", [])


async def test_nobody_writes_or_calls_what_the_import_does_not_open(writable: World) -> None:
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    shown = setpoint(index), *machine(index)

    async def levels(asking: Any) -> list[object]:
        """Of the variable, for all and for the user; whether the method may be called, likewise."""
        one, start = asking.get_node(ua.NodeId("One", index)), asking.get_node(ua.NodeId("Start", index))
        of_variable = await one.read_attributes(
            [ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel]
        )
        of_method = await start.read_attributes([ua.AttributeIds.Executable, ua.AttributeIds.UserExecutable])
        return [found.Value.Value for found in (*of_variable, *of_method)]

    async with writable.client() as client:
        await imported.show(device, model("Closed", *shown), {})
        assert await levels(client) == [1, 1, False, False]
        with pytest.raises(ua.UaStatusCodeError, match="BadNotWritable"):
            await write(client, ("One", index), 2.0)
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
            await call(client, index)
        # Another import of the same nodes opens them, as long as it has them.
        await imported.show(device, model("A", *shown), {})
        assert await levels(client) == [3, 3, True, True]
        async with writable.client(OBSERVER, OBSERVER_PASSWORD) as watching:
            assert await levels(watching) == [3, 1, True, False]
        await write(client, ("One", index), 2.0)
        await call(client, index)
        await imported.show(device, model("A"), {})
        assert await levels(client) == [1, 1, False, False]
    assert (len(device.written), len(device.called)) == (1, 1)


# --- What is cut off midway


@pytest.mark.parametrize("turns", [1, 2, 4])
async def test_what_is_cut_off_while_it_is_shown_is_set_right_the_next_time(
    server: OpcUaServer, turns: int
) -> None:
    imported, device = server.imported, There("F")
    index = imported.index("urn:x#F")
    before = len(imported._space)

    async def cut(shown: Model) -> None:
        task = asyncio.create_task(imported.show(device, shown, {}))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    many = [[variable(key(f"N{n}.{turn}", index), f"N{n}") for n in range(1000)] for turn in range(2)]
    for nodes in many:
        await cut(model("A", *nodes))
    await imported.show(device, model("A", *many[0]), {})
    assert len(imported._space) == before + 1000
    await cut(model("A"))
    await imported.show(device, model("A"), {})
    assert len(imported._space) == before


@pytest.mark.parametrize("event", ["write", "call"])
async def test_what_ceases_to_be_open_while_a_session_is_opened_there_is_not_sent(
    writable: World, event: str
) -> None:
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    shown = model("A", setpoint(index), *machine(index))
    await imported.show(device, shown, {})
    device.opening.clear()
    async with writable.client() as client:
        asking = write(client, ("One", index), 2.0) if event == "write" else call(client, index)
        task = asyncio.create_task(asking)
        await recorded(writable, event, 1)
        held = imported.holders["Acme/A"]
        closed = replace(held.wanted, writers=frozenset(), callers=frozenset())
        imported.holders["Acme/A"] = replace(held, wanted=closed)
        await imported.show(device, shown, {})
        for node in shown.nodes.values():
            imported._grant(node)
        device.opening.set()
        await recorded(writable, event, 2)
        with pytest.raises(ua.UaStatusCodeError):
            await task
    assert writable.records(event)[1]["outcome"] == "refused"
    assert (device.written, device.called) == ([], [])


@pytest.mark.parametrize("event", ["write", "call"])
async def test_what_one_user_asked_for_is_not_sent_once_the_session_is_another_s(
    writable: World, event: str
) -> None:
    """Of the same roles: nothing but the name tells them apart."""
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    await imported.show(device, model("A", setpoint(index), *machine(index)), {})
    device.opening.clear()
    async with writable.client() as client:
        asking = write(client, ("One", index), 2.0) if event == "write" else call(client, index)
        task = asyncio.create_task(asking)
        await recorded(writable, event, 1)
        (session,) = writable.server._sessions
        assert session.identity is not None
        session.identity = replace(session.identity, user="somebody else")
        device.opening.set()
        await recorded(writable, event, 2)
        with pytest.raises(ua.UaStatusCodeError):
            await task
    assert [(one["user"], one["outcome"]) for one in writable.records(event)] == [
        (OPERATOR, "asked"),
        (OPERATOR, "refused"),
    ]
    assert (device.written, device.called) == ([], [])


async def test_the_rest_of_a_request_is_not_written_in_the_name_of_who_came_after(
    writable: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "isthmus.audit")
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    await imported.show(device, model("A", setpoint(index), setpoint(index, "Two")), {})
    async with writable.client() as client:

        def another() -> None:
            (session,) = writable.server._sessions
            assert session.identity is not None
            session.identity = replace(session.identity, user="somebody else")

        device.before = another
        request = ua.WriteParameters()
        request.NodesToWrite = [
            ua.WriteValue(
                NodeId=ua.NodeId(name, index),
                AttributeId=ua.AttributeIds.Value,
                Value=ua.DataValue(ua.Variant(2.0)),
            )
            for name in ("One", "Two")
        ]
        codes = [code.name for code in await client.uaclient.write(request)]
    assert codes == ["Good", "BadUserAccessDenied"]
    assert device.written == [(key("One", index), encode.double(2.0))]
    told = [vars(one) for one in caplog.records if getattr(one, "event", "") == "write"]
    assert [(one["user"], one["status"]) for one in told] == [
        (OPERATOR, "Good"),
        (OPERATOR, "BadUserAccessDenied"),
    ]


async def test_who_is_refused_without_end_takes_no_records_of_others_their_place(
    writable: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = _File.add

    def slowly(*given: Any, **how: Any) -> Any:
        time.sleep(0.002)
        return add(*given, **how)

    monkeypatch.setattr("server.audit.log._File.add", slowly)
    log = cast("AuditLog", writable.server._commands._trail._recorder)
    log._entries.maxsize = 20
    imported, device = writable.server.imported, There("F")
    index = imported.index("urn:x#F")
    await imported.show(device, model("A", setpoint(index)), {})
    device.denied = Denied("no identity for operator", BAD_USER_ACCESS_DENIED)
    request = ua.WriteParameters()
    one = ua.WriteValue(
        NodeId=ua.NodeId("One", index),
        AttributeId=ua.AttributeIds.Value,
        Value=ua.DataValue(ua.Variant(2.0)),
    )
    request.NodesToWrite = [one] * 100
    async with writable.client() as client, writable.client() as other:
        await asyncio.gather(client.uaclient.write(request), other.uaclient.write(request))
    assert log.status.unrecorded == 0
    assert len(last(writable.audit, 10_000, {"event": "write"})) == 200
