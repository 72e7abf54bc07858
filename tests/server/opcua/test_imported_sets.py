"""What of imported nodes is published: which variables, in which sets, by which names."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from support.changing import Changing
from support.devices import OneName
from support.line import line
from support.scanning import FAST
from support.uaclient import ua

from server.opcua.imported import sets
from server.opcua.imported.nodes import Holder, ImportedNodes
from server.opcua.services.method import Methods
from server.opcua.space import encode
from server.opcua.types import AttributeIds
from server.opcua.wire import structs
from server.opcua.wire.nodeid import key
from server.opcua.wire.writer import localized_text, qualified_name
from server.plant.mirrored import DataType, Form, MirroredSet, Mirroring
from server.plant.model import Import, Range
from sources.opcua.imports import CallResult, ImportedNode, Model
from sources.opcua.wire import Raw
from sources.quality import (
    BAD_NOT_CONNECTED,
    BAD_OUT_OF_SERVICE,
    BAD_WAITING_FOR_INITIAL_DATA,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
)

ORGANIZES, HAS_COMPONENT, HAS_PROPERTY, HAS_TYPE = key(35), key(47), key(46), key(40)
URI = "urn:maker#F"
OWN = f"nsu={URI};s="
HOLDER = "Acme/Line1/Filler"
"""An equipment of the plant."""


class There(OneName):
    """A device that is not asked anything."""

    def __init__(self, name: str = "F") -> None:
        self.name = name

    async def write_node(self, _node: bytes, _variant: bytes) -> int:
        raise AssertionError

    async def call_method(self, _holder: bytes, _method: bytes, _inputs: Any) -> CallResult:
        raise AssertionError


_worlds: list[World] = []


@functools.cache
def shared() -> Changing:
    """It takes a moment to make."""
    return Changing(line())


@pytest.fixture(autouse=True)
async def cleared() -> AsyncIterator[None]:
    """Have what was imported go again."""
    yield
    while _worlds:
        world = _worlds.pop()
        await world.nodes.change({})
        world.nodes.close()


class World:
    """An address space with imports."""

    def __init__(self, *, writable: bool = False, **mqtt: bool | tuple[str, ...]) -> None:
        """The imports' equipment, each with what it chooses."""
        plant = shared()
        self.names = plant.names
        holder = key(HOLDER, self.names.index("urn:acme:plant"))
        holders = {
            path: Holder(holder, Import("F", None, FAST, mqtt=which), path) for path, which in mqtt.items()
        }

        async def forward(*_: Any) -> int:
            raise AssertionError

        async def withhold(*_: Any) -> int:
            raise AssertionError

        self.nodes = ImportedNodes(
            plant.space,
            self.names,
            Methods(plant.space),
            holders,
            writable=writable,
            forward=forward,
            withhold=withhold,
        )
        _worlds.append(self)
        self.index = self.nodes.index(URI)
        self.device = There()

    def object(self, name: str, *references: tuple[bytes, str]) -> ImportedNode:
        return self.node(name, 1, {}, (HAS_TYPE, key(58)), *self.to(references))

    def variable(
        self, name: str, *references: tuple[bytes, str], kind: int | bytes = 11, called: str = ""
    ) -> ImportedNode:
        attributes = {
            int(AttributeIds.AccessLevel): encode.byte(1),
            int(AttributeIds.DataType): encode.node_id(kind if isinstance(kind, bytes) else key(kind)),
            int(AttributeIds.ValueRank): encode.int32(-1),
        }
        return self.node(name, 2, attributes, (HAS_TYPE, key(63)), *self.to(references), called=called)

    def property(self, name: str, called: str, kind: int) -> ImportedNode:
        made = self.variable(name, kind=kind)
        return ImportedNode(
            made.key, 2, qualified_name(called), made.display_name, made.attributes, made.references, made.key
        )

    def to(self, references: tuple[tuple[bytes, str], ...]) -> list[tuple[bytes, bytes]]:
        return [(kind, key(name, self.index)) for kind, name in references]

    def node(
        self,
        name: str,
        node_class: int,
        attributes: Mapping[int, bytes],
        *references: tuple[bytes, bytes],
        called: str = "",
    ) -> ImportedNode:
        its = key(name, self.index)
        shown = called or name.rpartition(".")[2]
        return ImportedNode(
            its,
            node_class,
            qualified_name(shown, self.index),
            localized_text(shown),
            attributes,
            references,
            its,
        )

    async def mirroring(
        self, *nodes: ImportedNode, path: str = "A", values: Mapping[str, Any] | None = None
    ) -> Mirroring:
        """Of an import of these, the first at its top."""
        raw = {
            key(name, self.index): Raw(structs.encode_variant(value), 0, 5)
            for name, value in (values or {}).items()
        }
        await self.nodes.show(self.device, Model(path, {one.key: one for one in nodes}, (nodes[0].key,)), raw)
        return await self.nodes.published.mirroring()


def named(made: Mirroring) -> dict[str, list[str]]:
    return {one.name: [field.name for field in one.fields] for one in made.sets}


async def test_each_object_has_its_variables_by_their_path() -> None:
    world = World(A=True)
    unit = ua.EUInformation(
        NamespaceUri="urn:u",
        UnitId=7,
        DisplayName=ua.LocalizedText("bpm"),
        Description=ua.LocalizedText("b/m"),
    )
    made = await world.mirroring(
        world.object("M", (HAS_COMPONENT, "M.Speed"), (HAS_COMPONENT, "M.Drive"), (HAS_PROPERTY, "M.Serial")),
        world.variable("M.Speed", (HAS_PROPERTY, "R"), (HAS_PROPERTY, "U"), (HAS_COMPONENT, "M.Speed.Raw")),
        world.property("R", "EURange", 884),
        world.property("U", "EngineeringUnits", 887),
        world.variable("M.Speed.Raw"),
        world.object("M.Drive", (ORGANIZES, "M.Drive.Temp"), (HAS_COMPONENT, "M")),
        world.variable("M.Drive.Temp"),
        world.variable("M.Serial", kind=12),
        values={
            "R": ua.Variant(ua.Range(Low=0.0, High=900.0), ua.VariantType.ExtensionObject),
            "U": ua.Variant(unit, ua.VariantType.ExtensionObject),
        },
    )
    assert named(made) == {"A/M": ["Speed", "Serial", "Speed.Raw"], "A/M/Drive": ["Temp"]}
    assert [one.key for one in made.sets] == [f"A@{OWN}M", f"A@{OWN}M.Drive"]
    speed = made.sets[0].fields[0]
    assert (speed.node_id, speed.built_in, speed.data_type) == (f"{OWN}M.Speed", 11, "i=11")
    assert speed.range == Range(0.0, 900.0)
    assert speed.unit is not None
    assert (speed.unit.symbol, speed.unit.unit_id) == ("bpm", 7)
    assert (made.pending, made.left_out) == ({}, {})


async def test_a_range_that_is_another_is_published_when_the_nodes_are_looked_at() -> None:
    world = World(A=True)
    changed = asyncio.Event()
    world.nodes.published.follow(lambda _: None, changed.set)
    nodes = world.variable("V", (HAS_PROPERTY, "R")), world.property("R", "EURange", 884)
    for high in (10.0, 20.0):
        changed.clear()
        its = ua.Variant(ua.Range(Low=0.0, High=high), ua.VariantType.ExtensionObject)
        made = await world.mirroring(*nodes, values={"R": its})
        assert changed.is_set()
        assert made.sets[0].fields[0].range == Range(0.0, high)


async def test_of_nodes_that_are_half_shown_nothing_is_published() -> None:
    world = World(A=True)
    names = [f"V{number}" for number in range(450)]
    top = world.object("M", *((HAS_COMPONENT, name) for name in names))
    await world.mirroring(top, *(world.variable(name) for name in names))
    # All are others: they go, slice by slice, and come again.
    others = {one.key: one for one in (top, *(world.variable(name, kind=10) for name in names))}
    showing = asyncio.create_task(world.nodes.show(world.device, Model("A", others, (top.key,)), {}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    made = await world.nodes.published.mirroring()
    await showing
    assert (len(made.sets[0].fields), made.left_out) == (450, {})
    assert {field.built_in for field in made.sets[0].fields} == {10}


async def test_variables_without_an_object_are_the_import_s_own() -> None:
    world = World(A=True)
    made = await world.mirroring(world.variable("Alone", (HAS_PROPERTY, "P")), world.variable("P"))
    assert named(made) == {"A/@F": ["Alone"]}


async def test_like_names_are_told_apart() -> None:
    world = World(A=True)
    made = await world.mirroring(
        world.object(
            "M", (HAS_COMPONENT, "1"), (HAS_COMPONENT, "2"), (HAS_COMPONENT, "X"), (HAS_COMPONENT, "Y")
        ),
        world.variable("1", called="Speed"),
        world.variable("2", called="Speed"),
        world.node("X", 1, {}, *world.to(((HAS_COMPONENT, "X.V"),)), called="Same"),
        world.node("Y", 1, {}, *world.to(((HAS_COMPONENT, "Y.V"),)), called="Same"),
        world.variable("X.V"),
        world.variable("Y.V"),
    )
    assert named(made) == {
        "A/M": [f"Speed {OWN}1", f"Speed {OWN}2"],
        "A/M/Same": ["V"],
        f"A/M/Same/@{OWN}Y": ["V"],
    }


async def test_only_what_was_chosen_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(A=("M/S*", "M/Drive/*", "M/Lost"))
    nodes = (
        world.object("M", (HAS_COMPONENT, "M.Speed"), (HAS_COMPONENT, "M.Count"), (HAS_COMPONENT, "M.Drive")),
        world.variable("M.Speed"),
        world.variable("M.Count"),
        world.object("M.Drive", (HAS_COMPONENT, "M.Drive.Temp")),
        world.variable("M.Drive.Temp"),
    )
    chosen = await world.mirroring(*nodes)
    assert named(chosen) == {"A/M": ["Speed"], "A/M/Drive": ["Temp"]}
    assert chosen.hints == ["mqtt of the import of A: no variable is named M/Lost"]
    monkeypatch.setattr(sets, "MOST", 1)
    assert named(await world.nodes.published.mirroring()) == named(chosen)
    await world.nodes.change({})
    nothing = World(A=False)
    assert not (await nothing.mirroring(*nodes)).sets
    # Without a choice, more than can be meant are none, and the reason is told with how many.
    await nothing.nodes.change({})
    everything = await World(A=True).mirroring(*nodes)
    assert (everything.sets, list(everything.left_out.values())) == ([], [3])
    assert "chooses none" in next(iter(everything.left_out))


async def test_of_what_is_chosen_a_bracket_is_one() -> None:
    world = World(A=("M/Axis[1].*",))
    made = await world.mirroring(
        world.object("M", (HAS_COMPONENT, "1"), (HAS_COMPONENT, "2")),
        world.variable("1", called="Axis[1].Position"),
        world.variable("2", called="Axis1.Position"),
    )
    assert (named(made), made.hints) == ({"A/M": ["Axis[1].Position"]}, [])


async def test_more_objects_than_there_are_numbers_for_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(A=True)
    monkeypatch.setattr(sets, "MOST_SETS", 1)
    made = await world.mirroring(
        world.object("M", (HAS_COMPONENT, "M.V"), (HAS_COMPONENT, "N")),
        world.variable("M.V"),
        world.object("N", (HAS_COMPONENT, "N.V")),
        world.variable("N.V"),
    )
    assert (named(made), list(made.left_out.values())) == ({"A/M": ["V"]}, [1])


async def test_names_that_are_too_long_for_a_topic_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(A=True)
    monkeypatch.setattr(sets, "LONGEST", 40)
    names = [f"{number:03}" for number in range(31)]
    objects = [
        world.object(
            name, (HAS_COMPONENT, f"{name}.V"), *((HAS_COMPONENT, below) for below in names[at : at + 1])
        )
        for at, name in enumerate(names, 1)
    ]
    made = await world.mirroring(
        *objects,
        *(world.variable(f"{name}.V") for name in names[1:]),
        world.variable("000.V", (HAS_COMPONENT, "X"), called="V" * 41),
        world.variable("X"),
    )
    # A chain of objects takes no more memory than what is published of it.
    assert [one.name for one in made.sets] == ["A/" + "/".join(names[:end]) for end in range(2, 11)]
    assert list(made.left_out.values()) == [21 + 2]


async def test_no_two_have_one_name_whatever_the_device_calls_them() -> None:
    world = World(A=True)
    made = await world.mirroring(
        world.object("M", (HAS_COMPONENT, "1"), (HAS_COMPONENT, "2"), (HAS_COMPONENT, "3")),
        world.variable("1", called="Speed"),
        world.variable("2", called="Speed"),
        world.variable("3", called=f"Speed {OWN}2"),
    )
    assert named(made) == {"A/M": [f"Speed {OWN}1", f"Speed {OWN}2"]}
    assert [one.node_id for one in made.sets[0].fields] == [f"{OWN}1", f"{OWN}3"]
    assert list(made.left_out.values()) == [1]


async def test_a_variable_of_no_type_that_is_known_is_left_out() -> None:
    world = World(A=True)
    unknown = key("Nowhere", world.index)
    made = await world.mirroring(
        world.object("M", (HAS_COMPONENT, "M.V"), (HAS_COMPONENT, "M.Odd")),
        world.variable("M.V"),
        world.variable("M.Odd", kind=unknown),
    )
    assert (named(made), list(made.left_out.values())) == ({"A/M": ["V"]}, [1])


async def test_what_two_imports_share_is_published_once() -> None:
    world = World(A=True, B=True)
    nodes = world.object("M", (HAS_COMPONENT, "M.V")), world.variable("M.V")
    made = await world.mirroring(*nodes)
    assert (named(made), made.pending) == ({"A/M": ["V"]}, {"B@": "B"})
    made = await world.mirroring(*nodes, path="B")
    assert (named(made), made.pending) == ({"A/M": ["V"]}, {})


async def test_imports_that_share_nodes_may_go_at_once() -> None:
    world = World(writable=True, A=True, B=True)
    nodes = world.object("M", (HAS_COMPONENT, "M.V")), world.variable("M.V")
    await world.mirroring(*nodes)
    await world.mirroring(*nodes, path="B")
    await world.nodes.change({})
    assert not (await world.nodes.published.mirroring()).sets
    assert not [node for node in nodes if node.key in shared().space.nodes]


async def test_a_simple_type_of_the_maker_s_is_described() -> None:
    world = World(A=True)
    index = world.index
    abstract = {int(AttributeIds.IsAbstract): encode.FALSE}
    level = ImportedNode(
        key("Level", index),
        64,
        qualified_name("Level", index),
        localized_text("Level"),
        abstract,
        (),
        key("Level", index),
        key(6),
        is_type=True,
    )
    made = await world.mirroring(world.variable("V", kind=level.key), level)
    (only,) = made.sets
    assert only.types.by_id == {
        f"{OWN}Level": DataType(f"{OWN}Level", f"nsu={URI};Level", Form.Simple, 6, "i=6")
    }


async def test_names_that_are_half_a_character_are_names_all_the_same() -> None:
    world = World(A=True)
    half = b"\x03" + world.index.to_bytes(2, "little") + b"\x03\x00\x00\x00V\xed\xa0"
    node = world.variable("V")
    odd = ImportedNode(
        half, 2, b"\x00\x00\x02\x00\x00\x00\xed\xa0", node.display_name, node.attributes, (), half
    )
    made = await world.mirroring(odd)
    assert named(made) == {"A/@F": ["_"]}
    made.sets[0].fields[0].node_id.encode()


async def test_values_and_sets_are_told() -> None:
    world = World(A=True)
    told: list[Any] = []
    changed = asyncio.Event()
    world.nodes.published.follow(told.extend, changed.set)
    made = await world.mirroring(world.variable("V"), values={"V": ua.Variant(1.5)})
    assert changed.is_set()
    (only,) = made.sets
    cell = only.fields[0].cell
    assert (cell.value, cell.status, cell.source_time) == (structs.encode_variant(ua.Variant(1.5)), 0, 5)
    changed.clear()
    told.clear()
    held = key("V", world.index)
    world.nodes.take(world.device, [(held, Raw(structs.encode_variant(ua.Variant(2.5)), 0, 5))])
    assert (told, changed.is_set()) == ([cell], False)
    assert isinstance(only, MirroredSet)
    told.clear()
    world.nodes.lose(world.device, 0x408F0000)
    world.nodes.close()
    assert (told, cell.status) == ([cell], 0x408F0000)


async def test_a_source_that_becomes_another_device_is_not_marked_for_the_end_of_the_former() -> None:
    world = World(A=True)
    made = await world.mirroring(world.variable("V"), values={"V": ua.Variant(1.5)})
    cell = made.sets[0].fields[0].cell
    world.nodes.miss(world.device)
    assert cell.status == 0  # it was there a moment ago
    world.nodes.renew(["F"])
    assert cell.status == BAD_WAITING_FOR_INITIAL_DATA
    world.nodes.lose(world.device, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE)
    world.nodes.miss(world.device)
    assert cell.status == BAD_WAITING_FOR_INITIAL_DATA
    other = There()
    world.nodes.miss(other)
    assert cell.status == BAD_NOT_CONNECTED
    await world.nodes.show(
        other,
        Model("A", {key("V", world.index): world.variable("V")}, (key("V", world.index),)),
        {key("V", world.index): Raw(structs.encode_variant(ua.Variant(2.5)), 0, 5)},
    )
    world.nodes.miss(other)
    assert cell.status == 0
    world.nodes.retire(["F"])
    assert (cell.value, cell.status) == (None, BAD_OUT_OF_SERVICE)
