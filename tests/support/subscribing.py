"""A small server without a network, for subscriptions: nodes, values, sessions, a clock moved by hand."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Generator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, cast
from unittest.mock import patch

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary
from support.world import (
    HAS_PROPERTY,
    HAS_SUBTYPE,
    OBJECT,
    OBJECT_TYPE,
    REFERENCE_TYPE,
    VARIABLE,
    World,
    decoded,
    names,
)

from server.opcua.requests import Needs, Request, Service
from server.opcua.sessions.session import ChannelKey, Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import ROLE_IDS, Access, Permission, RolePermissions
from server.opcua.space.value import StoredValue
from server.opcua.subscriptions import item_services
from server.opcua.subscriptions.engine import Engine
from server.opcua.subscriptions.item_services import ItemServices
from server.opcua.subscriptions.services import SubscriptionServices
from server.opcua.tokens import Identity
from server.opcua.types import AttributeIds
from server.opcua.wire import structs
from server.opcua.wire.nodeid import NULL, Key, key, numeric, to_ua
from server.opcua.wire.reader import Reader
from server.opcua.wire.writer import int32, qualified_name, uint32, variant
from server.plant.model import Binding, Equipment, EquipmentLevel, Plant, Property, PropertyType, Role
from server.plant.values import ValueStore
from sources.batch import Batch
from sources.clock import TICKS_PER_SECOND
from sources.quality import GOOD, Quality
from sources.tag import ScanClass, Tag, Value, ValueType

EPOCH: Final = 133_000_000_000_000_000
"""The wall clock when the other stands at 0."""
START: Final = 1000.0

EVERYBODY: Final = ROLE_IDS[Role.Anonymous]
_SEE: Final = Permission.Browse | Permission.Read | Permission.ReceiveEvents
OPEN: Final = RolePermissions(dict.fromkeys(ROLE_IDS.values(), _SEE))
OPERATORS: Final = RolePermissions({ROLE_IDS[Role.Operator]: _SEE})

_LISTS: Final = {
    "CreateMonitoredItems": ua.MonitoredItemCreateResult,
    "ModifyMonitoredItems": ua.MonitoredItemModifyResult,
    "DeleteMonitoredItems": ua.StatusCode,
    "DeleteSubscriptions": ua.StatusCode,
}
"""Services whose response is but a list of those."""


class Refusal(NamedTuple):
    """A ServiceFault."""

    code: int

    @property
    def name(self) -> str:
        return str(cast("Any", ua.StatusCode)(self.code).name)


class Peer:
    """A connection that notes what it is given to send."""

    def __init__(self, name: str = "10.0.0.1:50000") -> None:
        self.name = name
        self.address = name.partition(":")[0]
        self.backlogged = False
        self.closed = False
        self.sessions: dict[Key, Session] = {}
        self.refusals = 0
        self.answers: list[tuple[int, ua.PublishResult | Refusal]] = []
        """RequestHandle and what came, in order."""
        self.raw: list[bytes] = []

        self.channel: Any = SimpleNamespace(largest=1 << 24)

    def sessions_changed(self) -> None:
        """Nothing to be done about it."""

    def respond(self, request: Request, body: bytes | list[bytes]) -> None:
        if request.answered:
            return
        request.answered = True
        whole = body if isinstance(body, bytes) else b"".join(body)
        self.raw.append(whole)
        self.answers.append((request.handle, decode(ua.PublishResult, whole)))

    def refuse(self, request: Request, code: int) -> None:
        if not request.answered:
            request.answered = True
            self.answers.append((request.handle, Refusal(code)))

    def cancel(self, session: Session, handle: int) -> int:
        raise NotImplementedError

    def end(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def take(self) -> list[ua.PublishResult | Refusal]:
        """What came since this was asked last."""
        found, self.answers = self.answers, []
        return [answer for _, answer in found]


def decode(kind: Any, body: bytes) -> Any:
    """A structure by the stack's codec, with nothing behind it."""
    data = cast("Any", Buffer)(body)
    found = ua_binary.struct_from_binary(kind, data)
    assert len(data) == 0, bytes(data)
    return found


class Stage:
    """Everything a subscription needs, and the services to be called."""

    def __init__(self, properties: Mapping[str, tuple[ValueType, float]]) -> None:
        """``properties`` by name: type, and seconds of the scan period (0 for a constant)."""
        self.now = START
        self.world = World()
        self.tags: dict[str, tuple[Tag[Any], ...]] = {}
        plant = self._plant(properties)
        self.store = ValueStore(plant, time=self.wall())
        self.nodes = {name: self._variable(name, kind) for name, (kind, _) in properties.items()}
        self.server = self._server()
        self.engine = Engine(self.world.space, self.store, clock=lambda: self.now, wall=self.wall, first=1)
        self._services = {
            service.name: service
            for service in (
                *SubscriptionServices(self.engine).services(),
                *ItemServices(self.engine).services(),
            )
        }
        self._handles = itertools.count(1)

    def wall(self) -> int:
        return EPOCH + round(self.now * TICKS_PER_SECOND)

    # --- The plant

    def _plant(self, properties: Mapping[str, tuple[ValueType, float]]) -> Plant:
        made = []
        for name, (kind, period) in properties.items():
            scan = ScanClass(f"every {period}", period)
            self.tags[name] = (Tag(name, None, kind, scan),)
            binding = Binding("PLC", self.tags[name][0]) if period else None
            made.append(Property("P", PropertyType(name, kind), binding=binding))
        return Plant("urn:p", "urn:t", (Equipment("P", EquipmentLevel.WorkUnit, tuple(made)),))

    def _variable(self, name: str, kind: ValueType, parent: Node | None = None) -> Node:
        attributes = {
            int(AttributeIds.DataType): variant(17, numeric(kind.value)),
            int(AttributeIds.ValueRank): variant(6, int32(-1)),
            int(AttributeIds.AccessLevel): variant(3, b"\x01"),
        }
        if kind.value not in {6, 11, 12}:
            self.data_type(kind.value)
        return self.world.node(
            f"P.{name}",
            parent or self.world.objects,
            VARIABLE,
            permissions=OPEN,
            value=self.store.points[f"P.{name}"],
            attributes=attributes,
        )

    def data_type(self, number: int) -> None:
        """A built-in data type below Number or BaseDataType."""
        if self.world.space.find(numeric(number)) is None:
            made = self.world.standard(number, f"Type{number}", 64, permissions=OPEN)
            above = 26 if 2 <= number <= 11 else 24
            self.world.link(self.world.space.number(above), HAS_SUBTYPE, made)

    def _server(self) -> Node:
        world = self.world
        for number, name, above in ((36, "HasEventSource", 33), (48, "HasNotifier", 36)):
            world.link(world.space.number(above), HAS_SUBTYPE, world.standard(number, name, REFERENCE_TYPE))
        for number, name, above in (
            (2041, "BaseEventType", 58),
            (2132, "BaseModelChangeEventType", 2041),
            (2133, "GeneralModelChangeEventType", 2132),
            (3035, "EventQueueOverflowEventType", 2041),
        ):
            world.link(
                world.space.number(above),
                HAS_SUBTYPE,
                world.standard(number, name, OBJECT_TYPE, permissions=OPEN),
            )
        return world.standard(2253, "Server", OBJECT, permissions=OPEN, attributes={12: variant(3, b"\x01")})

    def stored(self, name: str, encoded: bytes, data_type: int = 6, **more: Any) -> StoredValue:
        """A variable whose value the server holds."""
        value = StoredValue(encoded, 0, self.wall())
        attributes = {
            int(AttributeIds.DataType): variant(17, numeric(data_type)),
            int(AttributeIds.AccessLevel): variant(3, b"\x01"),
        }
        self.nodes[name] = self.world.node(
            f"P.{name}",
            self.world.objects,
            VARIABLE,
            permissions=OPEN,
            value=value,
            attributes=attributes,
            **more,
        )
        return value

    def eu_range(self, name: str, low: float, high: float) -> None:
        """An EURange for a variable."""
        body = struct.pack("<dd", low, high)
        encoded = variant(22, numeric(886) + b"\x01" + int32(len(body)) + body)
        made = self.world.put(
            key(f"P.{name}.EURange", 2),
            VARIABLE,
            qualified_name("EURange"),
            "EURange",
            permissions=OPEN,
            value=StoredValue(encoded),
        )
        self.world.link(self.nodes[name], HAS_PROPERTY, made)

    def set(self, name: str, value: Value, quality: Quality = GOOD, time: int | None = None) -> None:
        """A scan brings a value."""
        self.store.ingest(
            Batch(self.tags[name], [value], quality, None if time is None else [time], self.wall())
        )

    # --- Time

    def sleep(self, seconds: float) -> None:
        """Let time pass; whatever is due on the way happens when it is."""
        end = self.now + seconds
        while (due := self.engine.timers.next) <= end:
            self.now = max(self.now, due)
            self.engine.step()
        self.now = end
        self.engine.step()

    # --- Clients

    def session(
        self,
        user: str = "anna",
        roles: Sequence[Role] = (Role.Anonymous, Role.AuthenticatedUser, Role.Operator),
        *,
        mode: int = 3,
        certificate: bytes = b"client",
    ) -> Client:
        """An activated session."""
        peer = Peer()
        session = Session(1, cast("Any", peer), ChannelKey(certificate, "policy", mode), 60.0)
        client = Client(self, session, peer)
        client.become(user, roles)
        return client

    def run(
        self, name: str, session: Session, parameters: Any, peer: Any, **more: Any
    ) -> tuple[Request, Any]:
        """Call a service; the request, and what the service gave back."""
        service: Service = self._services[name]
        body = parameters if isinstance(parameters, bytes) else structs.encode(parameters)
        deadline = more.get("deadline")
        request = Request(peer, 1, service, NULL, next(self._handles), deadline, Reader(body))
        assert service.needs is Needs.Session
        with patch.object(item_services, "in_turns", in_one_turn):
            return request, service.run(session, request)


def in_one_turn(work: Generator[None, None, Any], _: Request) -> Any:
    """What comes of work that others are not to have their turn in between."""
    try:
        while True:
            next(work)
    except StopIteration as stop:
        return stop.value


class Change(NamedTuple):
    """A MonitoredItemNotification."""

    handle: int
    value: Any
    status: int = 0


class Client:
    """A session, and short ways to call services for it."""

    def __init__(self, stage: Stage, session: Session, peer: Peer) -> None:
        self.stage = stage
        self.session = session
        self.peer = peer

    def become(self, user: str, roles: Sequence[Role]) -> None:
        """Activate the session for somebody."""
        record: Any = None if user == "anonymous" else object()
        access = Access(
            frozenset(ROLE_IDS[role] for role in roles), signed=True, encrypted=self.session.channel.mode == 3
        )
        self.session.admit(Identity(user, frozenset(roles), record), access)

    def call(self, name: str, parameters: Any, result: Any = None) -> Any:
        """The result of a service, decoded; raises what the service raises."""
        _, answer = self.stage.run(name, self.session, parameters, self.peer)
        body = answer if isinstance(answer, bytes) else b"".join(answer)
        if (kind := _LISTS.get(name)) is not None:
            return decoded(kind, body)
        if result is None:
            result = getattr(ua, getattr(ua, f"{name}Response").__dataclass_fields__["Parameters"].type[4:-1])
        return decode(result, body)

    # --- Subscriptions

    def subscribe(
        self,
        interval: float = 100.0,
        *,
        lifetime: int = 30,
        keep_alive: int = 10,
        most: int = 0,
        enabled: bool = True,
        priority: int = 0,
    ) -> int:
        """CreateSubscription; its id."""
        return int(
            self.create_subscription(interval, lifetime, keep_alive, most, enabled, priority).SubscriptionId
        )

    def create_subscription(self, *parameters: Any) -> Any:
        return self.call("CreateSubscription", make(ua.CreateSubscriptionParameters, *parameters))

    def modify_subscription(self, *parameters: Any) -> Any:
        return self.call("ModifySubscription", make(ua.ModifySubscriptionParameters, *parameters))

    def set_publishing(self, enabled: bool, *subscriptions: int) -> list[str]:
        made = make(ua.SetPublishingModeParameters, enabled, list(subscriptions))
        return names(self.call("SetPublishingMode", made).Results)

    def delete_subscriptions(self, *subscriptions: int) -> list[str]:
        body = struct.pack(f"<i{len(subscriptions)}I", len(subscriptions), *subscriptions)
        return names(self.call("DeleteSubscriptions", body))

    def publish(
        self, *acknowledged: tuple[int, int], deadline: float | None = None, peer: Any = None
    ) -> Request:
        """Send a Publish request."""
        body = int32(len(acknowledged)) + b"".join(uint32(a) + uint32(b) for a, b in acknowledged)
        request, answer = self.stage.run("Publish", self.session, body, peer or self.peer, deadline=deadline)
        assert answer is None
        return request

    def republish(self, subscription: int, sequence: int) -> Any:
        return self.call("Republish", uint32(subscription) + uint32(sequence), ua.NotificationMessage)

    def transfer(self, *subscriptions: int, initial: bool = False) -> Any:
        made = make(ua.TransferSubscriptionsParameters, list(subscriptions), initial)
        return self.call("TransferSubscriptions", made).Results

    # --- Items

    def create(self, subscription: int, *wanted: Any, timestamps: int = 2) -> Any:
        """CreateMonitoredItems: the results."""
        body = uint32(subscription) + int32(timestamps) + int32(len(wanted))
        return self.call("CreateMonitoredItems", body + b"".join(map(structs.encode, wanted)))

    def watch(self, subscription: int, name: str, **more: Any) -> int:
        """Create one item; its id."""
        timestamps = more.pop("timestamps", 2)
        (result,) = self.create(subscription, self.stage_item(name, **more), timestamps=timestamps)
        assert result.StatusCode.value == 0, result.StatusCode.name
        return int(result.MonitoredItemId)

    def stage_item(self, name: str, **more: Any) -> Any:
        return wanted(self.stage.nodes[name], **more)

    def modify(self, subscription: int, item: int, *, timestamps: int = 2, **more: Any) -> Any:
        """ModifyMonitoredItems of one item: the result."""
        body = uint32(subscription) + int32(timestamps) + int32(1) + uint32(item)
        (result,) = self.call("ModifyMonitoredItems", body + structs.encode(parameters(**more)))
        return result

    def set_mode(self, subscription: int, mode: int, *items: int) -> list[str]:
        body = uint32(subscription) + int32(mode) + struct.pack(f"<i{len(items)}I", len(items), *items)
        return names(self.call("SetMonitoringMode", body).Results)

    def trigger(
        self, subscription: int, item: int, add: Sequence[int] = (), remove: Sequence[int] = ()
    ) -> tuple[list[str], list[str]]:
        made = make(ua.SetTriggeringParameters, subscription, item, list(add), list(remove))
        found = self.call("SetTriggering", made)
        return names(found.AddResults), names(found.RemoveResults)

    def delete_items(self, subscription: int, *items: int) -> list[str]:
        made = make(ua.DeleteMonitoredItemsParameters, subscription, list(items))
        return names(self.call("DeleteMonitoredItems", made))

    # --- What came

    def heard(self) -> list[list[Change] | str]:
        """Each answer since last time: its data changes, none for a keep-alive, or what went wrong."""
        return [
            changes(answer) if not isinstance(answer, Refusal) else answer.name for answer in self.peer.take()
        ]

    def end(self, *, keep: bool = False) -> None:
        """The session ends."""
        self.session.keeps_subscriptions = keep
        self.session.end()


def changes(answer: ua.PublishResult) -> list[Change]:
    """The data changes of an answer."""
    found = []
    for part in answer.NotificationMessage.NotificationData or ():
        if isinstance(part, ua.DataChangeNotification):
            found += [
                Change(
                    item.ClientHandle,
                    item.Value.Value.Value if item.Value.Value is not None else None,
                    item.Value.StatusCode.value if item.Value.StatusCode is not None else 0,
                )
                for item in part.MonitoredItems
            ]
    return found


def events(answer: ua.PublishResult) -> list[list[Any]]:
    """The fields of the events of an answer, the ClientHandle before them."""
    found = []
    for part in answer.NotificationMessage.NotificationData or ():
        if isinstance(part, ua.EventNotificationList):
            found += [[e.ClientHandle, *(field.Value for field in e.EventFields)] for e in part.Events]
    return found


def status_changes(answer: ua.PublishResult) -> list[str]:
    """The codes of the StatusChangeNotifications of an answer."""
    return [
        str(part.Status.name)
        for part in answer.NotificationMessage.NotificationData or ()
        if isinstance(part, ua.StatusChangeNotification)
    ]


def make(kind: Any, *values: Any) -> Any:
    """A structure of the stack's, by position."""
    return kind(*values)


def wanted(
    node: Node | Key | ua.NodeId,
    *,
    attribute: int = 13,
    index_range: str | None = None,
    encoding: str | None = None,
    mode: int = 2,
    **more: Any,
) -> Any:
    """A MonitoredItemCreateRequest."""
    where = node if isinstance(node, ua.NodeId) else to_ua(node.key if isinstance(node, Node) else node)
    value_id = make(ua.ReadValueId, where, attribute, index_range, make(ua.QualifiedName, encoding, 0))
    return make(ua.MonitoredItemCreateRequest, value_id, ua.MonitoringMode(mode), parameters(**more))


def parameters(
    *,
    handle: int = 1,
    sampling: float = 0.0,
    queue: int = 1,
    oldest: bool = True,
    filter: Any = None,  # noqa: A002
) -> Any:
    """MonitoringParameters."""
    return make(ua.MonitoringParameters, handle, sampling, filter, queue, oldest)


def data_filter(trigger: int = 1, deadband: int = 0, value: float = 0.0) -> Any:
    """A DataChangeFilter."""
    return make(ua.DataChangeFilter, ua.DataChangeTrigger(trigger), deadband, value)
