"""Call by OPC 10000-4 §5.12.2: which method, who may, with what arguments, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, cast

import pytest
from asyncua import ua
from support.nodes import access, request, session
from support.world import (
    ALL,
    HAS_COMPONENT,
    HAS_ENCODING,
    HAS_SUBTYPE,
    HAS_TYPE_DEFINITION,
    HIDDEN,
    LOOK,
    OBJECT_TYPE,
    World,
    answered,
    argument,
    decoded,
)

from server.opcua.limits import MAX_NODES_PER_METHOD_CALL
from server.opcua.services.arguments import InvalidArguments
from server.opcua.services.method import Methods
from server.opcua.sessions.session import Session
from server.opcua.space.node import Node
from server.opcua.space.permissions import Restriction
from server.opcua.tokens import Identity
from server.opcua.types import ServiceFault, StatusCodes, UaStatusCodeError, node_id, status_name
from server.opcua.wire import structs
from server.opcua.wire.nodeid import key, numeric, to_ua
from server.opcua.wire.writer import int32, qualified_name
from server.plant.model import Role

T = ua.VariantType
Call = tuple[Any, Any, Sequence[ua.Variant]]

STRING, STRUCTURE, NUMBER, INTEGER, UINTEGER, INT32 = 12, 22, 26, 27, 28, 6
ANY, DURATION, ENUMERATION, REDUNDANCY, ARGUMENT, RANGE = 24, 290, 29, 851, 296, 884


class Client:
    """A session that calls methods of a world."""

    def __init__(self, world: World, whose: Session | None = None) -> None:
        self.world = world
        self.methods = Methods(world.space)
        self.session = whose or session()
        self.heard: list[tuple[Node, list[Any]]] = []

    async def hear(self, _session: Session, found: Node, inputs: list[ua.Variant]) -> list[ua.Variant]:
        """A handler that answers with what it heard."""
        self.heard.append((found, [value.Value for value in inputs]))
        return inputs

    async def call(self, *calls: Call) -> list[ua.CallMethodResult]:
        answer = self.methods.call(self.session, request(body(*calls)))
        return decoded(ua.CallMethodResult, await answered(answer))

    async def one(self, found: Any, method: Any, *inputs: ua.Variant) -> str:
        (result,) = await self.call((found, method, inputs))
        return str(result.StatusCode.name)


def body(*calls: Call) -> bytes:
    make: Any = ua.CallMethodRequest
    return int32(len(calls)) + b"".join(
        structs.encode(make(ObjectId=named(found), MethodId=named(method), InputArguments=list(inputs)))
        for found, method, inputs in calls
    )


def named(what: Any) -> ua.NodeId:
    return to_ua(what.key) if isinstance(what, Node) else what


@pytest.fixture
def world() -> World:
    """A machine of a type that has a supertype; Start is the type's, Stop the supertype's, Reset its own."""
    made = World()
    above = made.node("BaseMachine", None, OBJECT_TYPE)
    kind = made.node("Machine", None, OBJECT_TYPE)
    made.link(above, HAS_SUBTYPE, kind)
    made.method("Machine/Start", kind, argument("Speed", DURATION))
    made.method("BaseMachine/Stop", above)
    filler = made.node("Filler", made.objects)
    made.link(filler, HAS_TYPE_DEFINITION, kind)
    made.method("Filler/Start", filler, argument("Speed", DURATION))
    made.method("Filler/Reset", filler)
    other = made.node("Other", made.objects)
    made.method("Other/Reset", other)
    return made


def node(world: World, name: str) -> Node:
    return world.space.nodes[key(name, 2)]


# --- Object and method


async def test_a_method_gets_object_and_inputs_and_its_outputs_come_back(world: World) -> None:
    client = Client(world)
    client.methods.add(key("Filler/Start", 2), client.hear)
    speed = ua.Variant(2.5, T.Double)
    (result,) = await client.call((node(world, "Filler"), node(world, "Filler/Start"), [speed]))
    assert result.StatusCode.name == "Good"
    assert result.OutputArguments == [speed]
    assert result.InputArgumentResults == []
    assert client.heard == [(node(world, "Filler"), [2.5])]


async def test_the_method_of_the_type_stands_for_the_objects_own(world: World) -> None:
    client = Client(world)
    client.methods.add(key("Filler/Start", 2), client.hear)
    speed = ua.Variant(1.0, T.Double)
    assert await client.one(node(world, "Filler"), node(world, "Machine/Start"), speed) == "Good"
    # The object's own method decides, not the one that was named.
    node(world, "Filler/Start").role_permissions = LOOK
    assert await client.one(node(world, "Filler"), node(world, "Machine/Start"), speed) == (
        "BadUserAccessDenied"
    )


async def test_what_carries_out_the_types_method_carries_out_its_instances(world: World) -> None:
    client = Client(world)
    client.methods.add(key("Machine/Start", 2), client.hear)
    client.methods.add(key("BaseMachine/Stop", 2), client.hear)
    filler = node(world, "Filler")
    assert await client.one(filler, node(world, "Filler/Start"), ua.Variant(1.0, T.Double)) == "Good"
    assert await client.one(filler, node(world, "BaseMachine/Stop")) == "Good"
    assert [found for found, _ in client.heard] == [filler, filler]


async def test_a_method_may_be_called_on_its_type(world: World) -> None:
    client = Client(world)
    client.methods.add(key("BaseMachine/Stop", 2), client.hear)
    assert await client.one(node(world, "BaseMachine"), node(world, "BaseMachine/Stop")) == "Good"
    assert await client.one(node(world, "Machine"), node(world, "BaseMachine/Stop")) == "Good"
    assert await client.one(node(world, "BaseMachine"), node(world, "Machine/Start")) == "BadMethodInvalid"


async def test_object_and_method_have_to_belong_together(world: World) -> None:
    client = Client(world)
    filler, reset = node(world, "Filler"), node(world, "Filler/Reset")
    client.methods.add(reset.key, client.hear)
    assert await client.one(node(world, "Other"), reset) == "BadMethodInvalid"
    assert await client.one(filler, node(world, "Other/Reset")) == "BadMethodInvalid"
    assert await client.one(filler, filler) == "BadMethodInvalid"
    assert await client.one(filler, node_id(4711, 2)) == "BadMethodInvalid"
    assert await client.one(node_id(4711, 2), reset) == "BadNodeIdUnknown"
    assert await client.one(ua.NodeId(), reset) == "BadNodeIdInvalid"
    assert await client.one(reset, reset) == "BadNodeIdInvalid"
    assert client.heard == []


async def test_registered_handles_are_resolved(world: World) -> None:
    client = Client(world)
    client.methods.add(key("Filler/Reset", 2), client.hear)
    client.session.handles |= {numeric(1, 1): key("Filler", 2), numeric(2, 1): key("Filler/Reset", 2)}
    assert await client.one(node_id(1, 1), node_id(2, 1)) == "Good"


# --- Rights


async def test_call_is_granted_by_role_on_object_and_method(world: World) -> None:
    nobody, operator = Client(world), Client(world, session(Role.Anonymous, Role.Operator))
    for client in (nobody, operator):
        client.methods.add(key("Filler/Reset", 2), client.hear)
    filler, reset = node(world, "Filler"), node(world, "Filler/Reset")
    for denying in (filler, reset):
        denying.role_permissions = LOOK
        assert await nobody.one(filler, reset) == "BadUserAccessDenied"
        assert await operator.one(filler, reset) == "Good"
        denying.role_permissions = ALL


async def test_what_may_not_be_browsed_is_not_there(world: World) -> None:
    client = Client(world)
    client.methods.add(key("Filler/Reset", 2), client.hear)
    filler, reset = node(world, "Filler"), node(world, "Filler/Reset")
    reset.role_permissions = HIDDEN
    assert await client.one(filler, reset) == "BadMethodInvalid"
    reset.role_permissions, filler.role_permissions = ALL, HIDDEN
    assert await client.one(filler, reset) == "BadNodeIdUnknown"


async def test_restrictions_ask_for_a_safe_channel(world: World) -> None:
    client = Client(world)
    client.methods.add(key("Filler/Reset", 2), client.hear)
    node(world, "Filler/Reset").access_restrictions = Restriction.EncryptionRequired
    assert await client.one(node(world, "Filler"), node(world, "Filler/Reset")) == "Good"
    client.session.access = access(Role.Anonymous, signed=True, encrypted=False)
    assert await client.one(node(world, "Filler"), node(world, "Filler/Reset")) == (
        "BadSecurityModeInsufficient"
    )


async def test_what_is_not_executable_is_not_executed(world: World) -> None:
    client = Client(world)
    off = world.method("Filler/Off", node(world, "Filler"), executable=False)
    client.methods.add(off.key, client.hear)
    assert await client.one(node(world, "Filler"), off) == "BadNotExecutable"
    assert client.heard == []


async def test_what_nothing_carries_out_is_not_executable(world: World) -> None:
    client = Client(world)
    reset = node(world, "Filler/Reset")
    assert await client.one(node(world, "Filler"), reset) == "BadNotExecutable"
    client.methods.add(reset.key, client.hear)
    assert reset.key in client.methods
    client.methods.remove(reset.key)
    assert reset.key not in client.methods
    assert await client.one(node(world, "Filler"), reset) == "BadNotExecutable"


def test_a_method_is_carried_out_by_one(world: World) -> None:
    client = Client(world)
    client.methods.add(key("Filler/Reset", 2), client.hear)
    with pytest.raises(ValueError, match="Filler/Reset"):
        client.methods.add(key("Filler/Reset", 2), Client(world).hear)


# --- Arguments


async def taken(world: World, wanted: ua.Argument, value: ua.Variant) -> str:
    """How a method with that argument answers to that value; for an invalid one, the argument's result."""
    client = Client(world)
    method = world.method(f"Filler/M{len(world.space)}", node(world, "Filler"), wanted)
    client.methods.add(method.key, client.hear)
    (result,) = await client.call((node(world, "Filler"), method, [value]))
    if result.StatusCode.name != "BadInvalidArgument":
        assert result.InputArgumentResults == []
        return str(result.StatusCode.name)
    assert not client.heard
    (code,) = result.InputArgumentResults
    return str(code.name)


@pytest.mark.parametrize(
    ("data_type", "value", "status"),
    [
        (STRING, ua.Variant("a", T.String), "Good"),
        (STRING, ua.Variant(1, T.Int32), "BadTypeMismatch"),
        (STRING, ua.Variant(b"a", T.ByteString), "BadTypeMismatch"),
        (STRING, ua.Variant(None, T.Null), "BadTypeMismatch"),
        (DURATION, ua.Variant(1.0, T.Double), "Good"),
        (DURATION, ua.Variant(1.0, T.Float), "BadTypeMismatch"),
        (NUMBER, ua.Variant(1.0, T.Float), "Good"),
        (NUMBER, ua.Variant(1, T.Byte), "Good"),
        (NUMBER, ua.Variant(True, T.Boolean), "BadTypeMismatch"),
        (INTEGER, ua.Variant(1, T.Int64), "Good"),
        (INTEGER, ua.Variant(1, T.UInt32), "BadTypeMismatch"),
        (UINTEGER, ua.Variant(1, T.UInt32), "Good"),
        (UINTEGER, ua.Variant(1.0, T.Double), "BadTypeMismatch"),
        (ENUMERATION, ua.Variant(1, T.Int32), "Good"),
        (REDUNDANCY, ua.Variant(1, T.Int32), "Good"),
        (REDUNDANCY, ua.Variant(1, T.UInt32), "BadTypeMismatch"),
        (ANY, ua.Variant("a", T.String), "Good"),
        (ANY, ua.Variant(ua.Range(1.0, 2.0), T.ExtensionObject), "Good"),
        (STRUCTURE, ua.Variant(ua.Range(1.0, 2.0), T.ExtensionObject), "Good"),
        (RANGE, ua.Variant(ua.Range(1.0, 2.0), T.ExtensionObject), "Good"),
        (ARGUMENT, ua.Variant(ua.Range(1.0, 2.0), T.ExtensionObject), "BadTypeMismatch"),
        (RANGE, ua.Variant("a", T.String), "BadTypeMismatch"),
        (4711, ua.Variant("a", T.String), "BadTypeMismatch"),
    ],
)
async def test_an_argument_is_of_its_data_type_or_below(
    world: World, data_type: int, value: ua.Variant, status: str
) -> None:
    assert await taken(world, argument("A", data_type), value) == status


async def test_a_structure_nobody_knows_is_told_by_its_encoding(world: World) -> None:
    own = world.node("OwnType", world.space.number(STRUCTURE), 64, HAS_SUBTYPE)
    encoding = world.put(numeric(5001, 2), 1, qualified_name("Default Binary"), "Default Binary")
    world.link(own, HAS_ENCODING, encoding)
    make: Any = ua.ExtensionObject
    value = ua.Variant(make(to_ua(encoding.key), b"1234"), T.ExtensionObject)
    assert await taken(world, argument("A", STRUCTURE), value) == "Good"
    assert await taken(world, argument("A", RANGE), value) == "BadTypeMismatch"


@pytest.mark.parametrize(
    ("rank", "dimensions", "value", "status"),
    [
        (-1, [], 1, "Good"),
        (-1, [], [1], "BadTypeMismatch"),
        (1, [], [1, 2], "Good"),
        (1, [], [], "Good"),
        (1, [], 1, "BadTypeMismatch"),
        (1, [], [[1], [2]], "BadTypeMismatch"),
        (2, [], [[1], [2]], "Good"),
        (0, [], [1], "Good"),
        (0, [], 1, "BadTypeMismatch"),
        (-2, [], 1, "Good"),
        (-2, [], [[1], [2]], "Good"),
        (-3, [], 1, "Good"),
        (-3, [], [1], "Good"),
        (-3, [], [[1], [2]], "BadTypeMismatch"),
        (1, [2], [1, 2], "Good"),
        (1, [2], [1, 2, 3], "BadOutOfRange"),
        (1, [0], [1, 2, 3], "Good"),
        (2, [2, 1], [[1], [2]], "Good"),
        (2, [1, 1], [[1], [2]], "BadOutOfRange"),
    ],
)
async def test_an_argument_has_its_rank_and_dimensions(
    world: World, rank: int, dimensions: list[int], value: Any, status: str
) -> None:
    make: Any = ua.Variant
    sent = make(value, T.Int32, is_array=isinstance(value, list))
    assert await taken(world, argument("A", INT32, rank, dimensions), sent) == status


async def test_their_number_is_that_of_the_signature(world: World) -> None:
    client = Client(world)
    filler = node(world, "Filler")
    two = world.method("Filler/Two", filler, argument("A", INT32), argument("B", STRING))
    for method in (two, node(world, "Filler/Reset")):
        client.methods.add(method.key, client.hear)
    number, text = ua.Variant(1, T.Int32), ua.Variant("a", T.String)
    assert await client.one(filler, two) == "BadArgumentsMissing"
    assert await client.one(filler, two, number) == "BadArgumentsMissing"
    assert await client.one(filler, two, number, text, text) == "BadTooManyArguments"
    assert await client.one(filler, node(world, "Filler/Reset"), number) == "BadTooManyArguments"
    assert client.heard == []
    assert await client.one(filler, two, number, text) == "Good"


async def test_each_argument_has_its_result(world: World) -> None:
    client = Client(world)
    filler = node(world, "Filler")
    three = world.method("Filler/Three", filler, *[argument(name, INT32) for name in "ABC"])
    client.methods.add(three.key, client.hear)
    good, bad = ua.Variant(1, T.Int32), ua.Variant("a", T.String)
    (result,) = await client.call((filler, three, [good, bad, good]))
    assert result.StatusCode.name == "BadInvalidArgument"
    assert [code.name for code in result.InputArgumentResults] == ["Good", "BadTypeMismatch", "Good"]
    assert result.OutputArguments == []


async def test_other_input_arguments_count_at_once(world: World) -> None:
    client = Client(world)
    filler, start = node(world, "Filler"), node(world, "Filler/Start")
    client.methods.add(start.key, client.hear)
    assert await client.one(filler, start) == "BadArgumentsMissing"
    value: Any = node(world, "Filler/Start.InputArguments").value
    value.set(structs.encode_variant(ua.Variant([], T.ExtensionObject)))
    assert await client.one(filler, start) == "Good"


# --- How a call ends


_STACK_ERROR: Exception = cast("Any", UaStatusCodeError)(StatusCodes.BadOutOfRange)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServiceFault(StatusCodes.BadInvalidState), StatusCodes.BadInvalidState),
        (_STACK_ERROR, StatusCodes.BadOutOfRange),
        (ZeroDivisionError(), StatusCodes.BadInternalError),
        (ServiceFault(0), StatusCodes.BadInternalError),
    ],
)
async def test_what_a_handler_raises_is_the_result(
    world: World, error: Exception, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> list[ua.Variant]:
        raise error

    client = Client(world)
    client.methods.add(key("Filler/Reset", 2), fail)
    with caplog.at_level(logging.ERROR):
        assert await client.one(node(world, "Filler"), node(world, "Filler/Reset")) == status_name(code)
    assert [record.message for record in caplog.records] == (
        ["the method ns=2;s=Filler/Reset failed: a fault of ours"]
        if isinstance(error, ZeroDivisionError)
        else []
    )


async def test_a_handler_may_refuse_single_arguments(world: World) -> None:
    async def refuse(*_: Any) -> list[ua.Variant]:
        raise InvalidArguments([StatusCodes.BadOutOfRange])

    client = Client(world)
    client.methods.add(key("Filler/Start", 2), refuse)
    (result,) = await client.call(
        (node(world, "Filler"), node(world, "Filler/Start"), [ua.Variant(1.0, T.Double)])
    )
    assert result.StatusCode.name == "BadInvalidArgument"
    assert [code.name for code in result.InputArgumentResults] == ["BadOutOfRange"]


async def test_outputs_that_cannot_be_encoded_are_a_fault_of_ours(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def odd(*_: Any) -> list[ua.Variant]:
        return [ua.Variant("text", T.Int32)]

    client = Client(world)
    client.methods.add(key("Filler/Reset", 2), odd)
    assert await client.one(node(world, "Filler"), node(world, "Filler/Reset")) == "BadInternalError"
    assert "a fault of ours" in caplog.text


async def test_methods_of_one_request_run_beside_each_other_and_are_answered_in_order(world: World) -> None:
    begun: list[str] = []
    all_begun = asyncio.Event()

    async def wait(_session: Session, found: Node, _inputs: list[ua.Variant]) -> list[ua.Variant]:
        begun.append(found.key[7:].decode())
        if len(begun) == 2:
            all_begun.set()
        await all_begun.wait()
        return [ua.Variant(found.key[7:].decode(), T.String)]

    client = Client(world)
    for name in ("Filler", "Other"):
        client.methods.add(key(f"{name}/Reset", 2), wait)
    calls: list[Call] = [
        (node(world, name), node(world, f"{name}/Reset"), []) for name in ("Other", "Filler")
    ]
    calls.insert(1, (node(world, "Filler"), node(world, "Other/Reset"), []))
    results = await asyncio.wait_for(client.call(*calls), 5)
    assert [result.StatusCode.name for result in results] == ["Good", "BadMethodInvalid", "Good"]
    assert [result.OutputArguments[0].Value for result in (results[0], results[2])] == ["Other", "Filler"]
    assert begun == ["Other", "Filler"]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_call_that_is_given_up_ends_its_methods(world: World, count: int) -> None:
    ended = 0

    async def hang(*_: Any) -> list[ua.Variant]:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended += 1
        return []

    client = Client(world)
    client.methods.add(key("Filler/Reset", 2), hang)
    calls: list[Call] = [(node(world, "Filler"), node(world, "Filler/Reset"), [])] * count
    answer = client.methods.call(client.session, request(body(*calls)))
    assert isinstance(answer, Coroutine)
    task = asyncio.ensure_future(answer)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == count


@pytest.mark.parametrize(
    ("count", "code"),
    [(0, StatusCodes.BadNothingToDo), (MAX_NODES_PER_METHOD_CALL + 1, StatusCodes.BadTooManyOperations)],
)
async def test_nothing_and_too_much_are_refused(world: World, count: int, code: int) -> None:
    with pytest.raises(ServiceFault) as refused:
        await Client(world).call(*[(node(world, "Filler"), node(world, "Filler/Reset"), [])] * count)
    assert refused.value.code == code


async def test_a_component_by_a_subtype_of_has_component_counts(world: World) -> None:
    own = world.standard(9001, "HasStep", 32)
    world.link(world.space.number(HAS_COMPONENT), HAS_SUBTYPE, own)
    filler, step = node(world, "Filler"), world.method("Elsewhere/Step", node(world, "Other"))
    world.space.link(filler, own, step)
    client = Client(world)
    client.methods.add(step.key, client.hear)
    assert await client.one(filler, step) == "Good"


async def test_a_call_whose_session_is_another_user_s_once_it_is_decoded_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(world)
    client.methods.add(key("Filler/Reset", 2), client.hear)
    client.session.identity = Identity("anna", frozenset({Role.Operator}))
    real = client.methods._decoding.read

    async def slowly(*given: Any) -> Any:
        found = await real(*given)
        client.session.identity = Identity("bert", frozenset({Role.Operator}))
        return found

    monkeypatch.setattr(client.methods._decoding, "read", slowly)
    with pytest.raises(ServiceFault, match="BadUserAccessDenied"):
        await client.one(node(world, "Filler"), node(world, "Filler/Reset"))
    assert not client.heard
