"""Imported nodes in the address space: added, followed, taken away; their devices carry out their methods."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import reprlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from asyncua import ua

from server.opcua.ids import Namespaces
from server.opcua.imported.losses import Losses
from server.opcua.imported.published import Published
from server.opcua.imported.value import ImportedValue
from server.opcua.services.arguments import InvalidArguments
from server.opcua.services.method import Methods, Outputs, check_rights
from server.opcua.services.sight import access_of
from server.opcua.sessions.session import Session
from server.opcua.space import defaults, encode
from server.opcua.space.build import NOTHING_WRITABLE
from server.opcua.space.namespaces import show_namespace
from server.opcua.space.node import Node
from server.opcua.space.permissions import Access
from server.opcua.space.space import Space
from server.opcua.space.value import StoredValue
from server.opcua.types import AttributeIds, ObjectIds, ServiceFault, StatusCodes
from server.opcua.wire import structs
from server.opcua.wire.nodeid import Key, text
from server.opcua.wire.reader import DecodingError
from server.plant.commands import Caller
from server.plant.model import Import, Role
from sources.errors import Denied
from sources.opcua.imports import CallResult, Device, ImportedNode, Model
from sources.opcua.wire import Raw
from sources.quality import (
    BAD_NODE_ID_UNKNOWN,
    BAD_OUT_OF_SERVICE,
    BAD_TIMEOUT,
    BAD_WAITING_FOR_INITIAL_DATA,
    Quality,
    is_bad,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_OBJECT, _VARIABLE, _METHOD, _VARIABLE_TYPE = 1, 2, 4, 16
_A: Final = AttributeIds
_WRITE: Final = 0x02
_A_SLICE: Final = 200

Forward = Callable[
    [str, Mapping[str, Any], Callable[[], Awaitable[None]], Callable[[], Awaitable[Quality]]],
    Awaitable[Quality],
]
"""See `server.plant.commands.Commands.forward`."""

Withhold = Callable[[str, Mapping[str, Any], Denied], Awaitable[Quality]]
"""See `server.plant.commands.Commands.withhold`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """An equipment that holds an import: its node, and what is imported."""

    key: Key
    wanted: Import
    name: str
    """The string identifier of the node."""


class ImportedNodes:
    """See `sources.opcua.imports.Mirror`."""

    def __init__(
        self,
        space: Space,
        namespaces: Namespaces,
        methods: Methods,
        holders: Mapping[str, Holder],
        *,
        writable: bool,
        forward: Forward,
        withhold: Withhold,
        added: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``holders`` are by the path of the equipment; ``added`` is told of each new namespace."""
        self._space = space
        self._namespaces = namespaces
        self._methods = methods
        self.holders = dict(holders)
        self._writable = writable
        self._added = added
        self._forward = forward
        self._withhold = withhold
        self._models: dict[tuple[str, str], Model] = {}
        """By source and holder."""
        self._owners: dict[Key, set[tuple[str, str]]] = {}
        """Who imported a node: two imports of one source share their types."""
        self._values: dict[str, dict[Key, ImportedValue]] = {}
        """By source."""
        self._hung: dict[tuple[str, str], Key] = {}
        """The node that the tops of an import hang below."""
        self._showing = asyncio.Lock()
        """Held while nodes come and go: one import after the other."""
        self.published = Published(space, namespaces, self.holders, self._models, self._values, self._showing)
        """What of them is published beside OPC UA."""
        self._losses = Losses(self._models, self._values, self.published.tell)

    def close(self) -> None:
        """Let time no longer pass."""
        self._losses.close()

    # --- Mirror

    def index(self, uri: str) -> int:
        """See Mirror."""
        if uri not in self._namespaces:
            index = self._namespaces.add(uri)
            array = self._space.number(ObjectIds.Server_NamespaceArray).value
            assert isinstance(array, StoredValue)  # noqa: S101  # see ServerObject
            array.set(encode.strings(self._namespaces.uris))
            show_namespace(self._space, self._namespaces, index)
            self._added(uri)
        return self._namespaces.index(uri)

    async def show(self, device: Device, model: Model, values: Mapping[Key, Raw]) -> None:
        """See Mirror. Slice by slice: others get their turns, and no event tells of too much at once."""
        async with self._showing:
            holder = self.holders.get(model.holder)
            if holder is None or holder.wanted.source != device.name:
                return  # taken out of the configuration, or another device's by now
            await self._show(device, model, values)

    async def _show(self, device: Device, model: Model, values: Mapping[Key, Raw]) -> None:
        owner = (device.name, model.holder)
        former = self._models.get(owner, Model(model.holder))
        before = former.nodes
        held = self._values.setdefault(device.name, {})
        changed = {
            key
            for key, node in model.nodes.items()
            if key in before and before[key] != node and owner in self._owners.get(key, ())
        }
        # Until all is done both are the model: what is cut off here is set right the next time.
        self._models[owner] = dataclasses.replace(
            model, nodes={**model.nodes, **before}, tops=(*model.tops, *former.tops)
        )
        gone = [key for key in before if key not in model.nodes]
        await self._take_out(owner, [*changed, *gone], held, but=changed)
        new = 0
        for part in _slices(list(model.nodes.values())):
            with self._space.changing():
                for node in part:
                    new += self._put(device, node, owner, values, held)
            await asyncio.sleep(0)
        taken = sum(not self._is_own(device, node) for node in model.nodes.values())
        if taken:
            log.error(
                "%s: %d of the nodes for %s have NodeIds that are taken here, and are left out; give the "
                "source namespaces of its own",
                device.name,
                taken,
                model.holder,
            )
        if new:
            for part in _slices(list(model.nodes.values())):
                with self._space.changing():
                    self._link_all(node for node in part if self._is_own(device, node))
                await asyncio.sleep(0)
        self._hang(owner, model.tops, former.tops)
        self._models[owner] = model
        self.take(device, [(key, raw) for key, raw in values.items() if key in held])
        self.published.changed()  # units and ranges may be others, though no node is
        log.info(
            "%s: %d nodes below %s: %d new, %d changed, %d gone",
            device.name,
            len(model.nodes),
            model.holder,
            new - len(changed),
            len(changed),
            len(gone),
        )

    async def _take_out(
        self,
        owner: tuple[str, str],
        keys: Sequence[Key],
        held: dict[Key, ImportedValue],
        but: Collection[Key] = (),
    ) -> None:
        """Have these go where no other import has them; ``but`` go in any case, for they come again."""
        for part in _slices(list(keys)):
            with self._space.changing():
                self._remove([key for key in part if key in but or self._give_up(key, owner)], held)
            await asyncio.sleep(0)

    def _put(
        self,
        device: Device,
        node: ImportedNode,
        owner: tuple[str, str],
        values: Mapping[Key, Raw],
        held: dict[Key, ImportedValue],
    ) -> bool:
        """Put a node in, or share it where it is the device's own; whether it is new."""
        owners = self._owners.get(node.key, set())
        if self._space.find(node.key) is None:
            self._owners[node.key] = owners | {owner}
            self._add(device, node, values, held)
            return True
        if self._is_own(device, node):
            if owner not in owners:
                owners.add(owner)
                self._grant(node)
            self._hand_over(device, node.key, held)
        return False

    def _hand_over(self, device: Device, key: Key, held: dict[Key, ImportedValue]) -> None:
        """The source may be another object than that which brought the node: its settings changed."""
        value = held.get(key)
        if value is not None:
            value.device = device
        elif key in self._methods:
            self._methods.remove(key)
            self._methods.add(key, self._caller(device, key))

    def _is_own(self, device: Device, node: ImportedNode) -> bool:
        """Whether the node that is there was imported from that device."""
        owners = self._owners.get(node.key)
        return bool(owners) and all(source == device.name for source, _ in owners or ())

    def _give_up(self, key: Key, owner: tuple[str, str]) -> bool:
        """Take a node from an import; whether nobody else has it."""
        owners = self._owners.get(key, set())
        if owner not in owners:
            return False  # another's, whose NodeId ours has
        owners.discard(owner)
        if owners:
            self._grant(self._models[next(iter(owners))].nodes[key])
            return False
        self._owners.pop(key, None)
        return True

    def take(self, device: Device, values: Sequence[tuple[Key, Raw]]) -> None:
        """See Mirror."""
        held = self._values.get(device.name, {})
        told: list[ImportedValue] = []
        for key, raw in values:
            value = held.get(key)
            if value is not None:
                value.take(raw)
                told.append(value)
        self._losses.heard(device.name)
        self.published.tell(told)

    def lose(self, device: Device, quality: Quality) -> None:
        """See Mirror. After a while the values are no longer usable."""
        self._losses.lost(device, quality)

    def miss(self, device: Device) -> None:
        """See Mirror."""
        self._losses.missed(device)

    # --- Another configuration

    async def change(self, holders: Mapping[str, Holder]) -> None:
        """Have imports held by others, or by none. Has to run to its end.

        Nodes of those that are no more go, and what may be done with the others follows; what comes is
        shown by the sources.
        """
        async with self._showing:
            before = dict(self.holders)
            self.holders.clear()
            self.holders.update(holders)
            for path, was in before.items():
                now, owner = holders.get(path), (was.wanted.source, path)
                if now is None or now.wanted.source != was.wanted.source:
                    await self._withdraw(owner)
                elif _rights(now.wanted) != _rights(was.wanted):
                    await self._grant_all(owner)
            if before != holders:
                self.published.changed()

    def rehang(self) -> None:
        """Have what is imported below the nodes that hold it now: they may be others."""
        for owner, model in self._models.items():
            if owner[1] in self.holders:
                self._hang(owner, model.tops, ())

    def renew(self, sources: Iterable[str]) -> None:
        """These are other devices from now on: what was held of them is worth nothing."""
        for source in sources:
            self._losses.mark(source, BAD_WAITING_FOR_INITIAL_DATA)

    def retire(self, sources: Iterable[str]) -> None:
        """These are dialled no more, as the configuration says."""
        for source in sources:
            self._losses.mark(source, BAD_OUT_OF_SERVICE)

    async def _withdraw(self, owner: tuple[str, str]) -> None:
        """Have the nodes of an import go."""
        model = self._models.get(owner)
        if model is not None:
            await self._take_out(owner, list(model.nodes), self._values.setdefault(owner[0], {}))
            log.info("%s: %d nodes below %s: gone with their import", owner[0], len(model.nodes), owner[1])
            # A node that another import has too hangs on below its own holder only.
            holder = self._space.find(self._hung.pop(owner, b""))
            for key in model.tops:
                top = self._space.find(key)
                if holder is not None and top is not None:
                    self._space.unlink(holder, self._space.number(ObjectIds.Organizes), top)
            del self._models[owner]

    async def _grant_all(self, owner: tuple[str, str]) -> None:
        model = self._models.get(owner)
        for part in _slices(list(model.nodes.values()) if model is not None else []):
            with self._space.changing():
                for node in part:
                    if owner in self._owners.get(node.key, ()):
                        self._grant(node)
            await asyncio.sleep(0)

    # --- Nodes

    def _add(
        self, device: Device, node: ImportedNode, values: Mapping[Key, Raw], held: dict[Key, ImportedValue]
    ) -> None:
        made = self._made(node)
        raw = values.get(node.key)
        if node.node_class == _VARIABLE and not node.is_type:
            first = raw or Raw(b"", BAD_WAITING_FOR_INITIAL_DATA, 0)
            made.value = held[node.key] = ImportedValue(device, node.key, first)
        elif node.node_class in {_VARIABLE, _VARIABLE_TYPE}:
            made.value = StoredValue(raw.variant if raw else b"", raw.status if raw else 0)
        self._space.add(made)
        if node.node_class == _METHOD:
            self._methods.add(node.key, self._caller(device, node.key))

    def _made(self, node: ImportedNode) -> Node:
        """A node with all it has but its value and its references."""
        return Node(
            node.key,
            node.node_class,
            node.browse_name,
            node.display_name,
            self._attributes(node),
            self._permissions(node),
        )

    def _remove(self, keys: Iterable[Key], held: dict[Key, ImportedValue]) -> None:
        for key in keys:
            held.pop(key, None)
            self._methods.remove(key)
            self._space.delete([key])

    def _roles(self, node: ImportedNode) -> frozenset[Role]:
        """Who may write a variable or call a method: whom one of the imports that share it allows it."""
        if not self._writable:
            return frozenset()
        found: frozenset[Role] = frozenset()
        for source, path in self._owners[node.key]:
            holder = self.holders.get(path)
            if holder is None or holder.wanted.source != source:
                continue  # on its way out, as the one that shared it
            wanted = holder.wanted
            found |= wanted.writers if node.node_class == _VARIABLE else wanted.callers
        return found

    def _grant(self, node: ImportedNode) -> None:
        """Who has imported it is another: who may do what to it may be, too."""
        self._space.alter(self._space.nodes[node.key], self._made(node))

    def _attributes(self, node: ImportedNode) -> Mapping[int, bytes]:
        found: dict[int, bytes] = {int(_A.WriteMask): NOTHING_WRITABLE, **node.attributes}
        if node.node_class == _OBJECT:
            # Its events are not forwarded, and nobody waits in vain for them.
            found[_A.EventNotifier] = encode.byte(0)
        if node.node_class == _VARIABLE:
            level = found[_A.AccessLevel][1]
            found[_A.AccessLevel] = encode.byte(level if self._roles(node) else level & ~_WRITE)
            found[_A.Historizing] = encode.FALSE
        if node.node_class == _METHOD and not self._roles(node):
            found[_A.Executable] = encode.FALSE
        return found

    def _permissions(self, node: ImportedNode) -> Any:
        if node.is_type and node.node_class != _METHOD:
            return defaults.STANDARD
        roles = self._roles(node)
        if node.node_class == _VARIABLE and roles:
            return defaults.plant_writers(roles)
        if node.node_class in {_OBJECT, _METHOD} and roles:
            return defaults.plant_callers(roles)
        return defaults.PLANT

    def _link_all(self, nodes: Iterable[ImportedNode]) -> None:
        """References between what is imported, and to what was there. The others lead to what is not."""
        space = self._space
        subtype = space.number(ObjectIds.HasSubtype)
        for node in nodes:
            here = space.find(node.key)
            if here is None:
                continue
            if node.super and (above := space.find(node.super)) is not None:
                space.link(above, subtype, here)
            for kind_key, target_key in node.references:
                kind, target = space.find(kind_key), space.find(target_key)
                if kind is not None and target is not None:
                    space.link(here, kind, target)

    def _hang(self, owner: tuple[str, str], tops: Sequence[Key], former: Sequence[Key]) -> None:
        """Have the tops below the holder, and those of before no longer that are none now."""
        key = self.holders[owner[1]].key
        holder, organizes = self._space.find(key), self._space.number(ObjectIds.Organizes)
        component = self._space.number(ObjectIds.HasComponent)
        if holder is None:
            return  # it is about to come: see `rehang`
        with self._space.changing():
            for one in former:
                top = self._space.find(one)
                if one not in tops and top is not None:
                    self._space.unlink(holder, component if top.node_class == _METHOD else organizes, top)
            for one in tops:
                top = self._space.find(one)
                if top is not None:
                    # A method is called on what has it as a component (OPC 10000-4 §5.12.2.2).
                    self._space.link(holder, component if top.node_class == _METHOD else organizes, top)
        self._hung[owner] = key

    # --- Methods

    def _caller(self, device: Device, method: Key) -> Callable[..., Any]:
        async def call(session: Session, found: Node, inputs: list[ua.Variant]) -> Outputs:
            return await self._call(device, method, session, found, inputs)

        return call

    async def _call(
        self, device: Device, method: Key, session: Session, found: Node, inputs: list[ua.Variant]
    ) -> Outputs:
        """Forward a call, once, in the name of whoever asks. Raises ServiceFault, InvalidArguments."""
        found_out: list[CallResult] = []
        caller, access = session.caller(), access_of(session)
        fields = _told(caller, device, method, inputs)
        try:
            hand = device.acting(caller.asker)
        except Denied as denied:
            raise ServiceFault(await self._withhold("call", fields, denied)) from None

        async def send() -> Quality:
            if not session.is_of(caller.user, access):
                raise Denied("its client is gone, or may not call any more", BAD_TIMEOUT)
            self._check_again(access, found, method)
            given = [structs.encode_variant(value) for value in inputs]
            found_out.append(await hand.call_method(found.key, method, given))
            return found_out[0].status

        code = await self._forward("call", {**fields, "as": hand.acts_as}, hand.ready, send)
        if is_bad(code):
            if code == StatusCodes.BadInvalidArgument and found_out and found_out[0].arguments:
                raise InvalidArguments(found_out[0].arguments)
            raise ServiceFault(code)
        try:
            return [structs.decode_variant(output) for output in found_out[0].outputs]
        except DecodingError as error:  # it was carried out; what it answered is not to be understood
            raise ServiceFault(StatusCodes.BadDecodingError, str(error)) from error

    def _check_again(self, access: Access, found: Node, method: Key) -> None:
        """What allowed it may be so no longer: disk and device took their time. Raises Denied."""
        own = self._space.find(method)
        if own is None or method not in self._methods or self._space.find(found.key) is not found:
            raise Denied("the method was removed or changed meanwhile", BAD_NODE_ID_UNKNOWN)
        try:
            check_rights(access, found, own)
        except ServiceFault as fault:
            raise Denied("it may not be called any more", fault.code) from None


def _rights(wanted: Import) -> tuple[frozenset[Role], frozenset[Role]]:
    return wanted.writers, wanted.callers


def _slices(items: list[T]) -> Iterator[list[T]]:
    """So many at a time that the loop does not notice."""
    return (items[at : at + _A_SLICE] for at in range(0, len(items), _A_SLICE))


def _told(caller: Caller, device: Device, method: Key, inputs: list[ua.Variant]) -> dict[str, Any]:
    """Who asks for which call."""
    return {
        "user": caller.user,
        "client": caller.client,
        "node": text(method),
        "source": device.name,
        "inputs": reprlib.repr([value.Value for value in inputs]),
    }
