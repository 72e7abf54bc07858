"""Against asyncua's client: its channel, its sessions and its way with subscriptions are none of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.crypto import security_policies as policies
from support import pki
from support.discovery_server import certificate, discovery_server
from support.memory import Memory, node_id
from support.opcua import OBSERVER, OBSERVER_PASSWORD, OPERATOR, Running, prepared, serving
from support.rawclient import encode, raw

from server.opcua.types import AttributeIds, StatusCodes, UaError, UaStatusCodeError, error_code

pytestmark = pytest.mark.interop

Mode = ua.MessageSecurityMode
POLICIES: list[Any] = [
    policies.SecurityPolicyBasic256Sha256,
    policies.SecurityPolicyAes128Sha256RsaOaep,
    policies.SecurityPolicyAes256Sha256RsaPss,
]
WAYS = [
    (None, Mode.None_),
    *((policy, mode) for policy in POLICIES for mode in (Mode.Sign, Mode.SignAndEncrypt)),
]
TEXT, NUMBERS, FOLDER = node_id("Text"), node_id("Numbers"), node_id("")
ADD, SLOW = (ua.NodeId.from_string(node_id(name)) for name in ("Add", "Slow"))

Join = Callable[..., AbstractAsyncContextManager[Client]]


def named(value: Any) -> str:
    if value is None:
        return "None"
    return str(getattr(value, "__name__", getattr(value, "name", value))).removeprefix("SecurityPolicy")


@pytest.fixture
def join(remembering: tuple[Running, Memory], tmp_path: Path) -> Join:
    """Connects asyncua's client to the server that remembers."""

    @asynccontextmanager
    async def joined(**wishes: Any) -> AsyncIterator[Client]:
        async with await prepared(remembering[0], tmp_path, **wishes) as client:
            yield client

    return joined


async def code(work: Any) -> int:
    """What the server refuses it with."""
    with pytest.raises(UaStatusCodeError) as refused:
        await work
    return error_code(refused.value)


def int32(value: Any) -> Any:
    return cast("Any", ua.Variant)(value, ua.VariantType.Int32)


class Noting:
    """A subscription's handler."""

    def __init__(self) -> None:
        self.values: asyncio.Queue[Any] = asyncio.Queue()

    def datachange_notification(self, _node: Node, value: Any, _data: Any) -> None:
        self.values.put_nowait(value)


@pytest.mark.parametrize("user", [None, OPERATOR], ids=["anonymous", "user"])
@pytest.mark.parametrize(("policy", "mode"), WAYS, ids=named)
async def test_every_policy_and_mode_serves_everything(
    join: Join, policy: Any, mode: Any, user: str | None
) -> None:
    async with join(policy=policy, mode=mode, user=user) as client:
        text = client.get_node(TEXT)
        write = text.write_value(f"{named(policy)} {named(mode)}")
        if user:
            await write
            assert await text.read_value() == f"{named(policy)} {named(mode)}"
        else:
            assert await code(write) == StatusCodes.BadUserAccessDenied
        assert await client.get_node(FOLDER).call_method(ADD, int32(2), int32(3)) == 5
        names = [(await node.read_browse_name()).Name for node in await client.nodes.root.get_children()]
        assert names == ["Objects", "Types", "Views"]
        handler = Noting()
        subscription = await client.create_subscription(50, handler)
        await subscription.subscribe_data_change(client.nodes.server_state)
        assert await asyncio.wait_for(handler.values.get(), 5) == ua.ServerState.Running
        await subscription.delete()


async def test_paths_names_and_parts_as_its_helpers_ask(join: Join) -> None:
    async with join(user=OPERATOR) as client:
        found = await client.nodes.objects.get_child(["1:Memory", "1:Numbers"])
        assert found.nodeid.to_string() == NUMBERS
        await found.write_value(list(range(10)), ua.VariantType.Int32)
        wanted = cast("Any", ua.ReadValueId)(found.nodeid, AttributeIds.Value, "2:4")
        parameters = cast("Any", ua.ReadParameters)(NodesToRead=[wanted])
        (part,) = cast("Any", await client.uaclient.read(parameters))
        assert part.Value.Value == [2, 3, 4]
        assert await client.get_namespace_index("urn:test:isthmus") == 1
        registered = await client.register_nodes([found])
        assert registered[0].nodeid != found.nodeid or registered[0].basenodeid is not None
        assert await registered[0].read_value() == list(range(10))
        await client.unregister_nodes(registered)
        assert await client.nodes.objects.get_path() is not None


async def test_the_types_load_and_structures_are_read(join: Join) -> None:
    async with join() as client:
        await client.load_data_type_definitions()
        unit = await client.get_node(node_id("Unit")).read_value()
        assert unit.DisplayName.Text == "mm"
        status = await client.get_node("i=2256").read_value()
        assert (status.State, status.BuildInfo.ProductUri) == (ua.ServerState.Running, "urn:isthmus")


async def test_wrong_arguments_are_told_one_by_one(join: Join) -> None:
    async with join() as client:
        folder = client.get_node(FOLDER)
        assert await code(folder.call_method(ADD, int32(1))) == StatusCodes.BadArgumentsMissing
        assert await code(folder.call_method(ADD, int32(1), "x")) == StatusCodes.BadInvalidArgument
        assert await code(folder.call_method(ua.NodeId.from_string(TEXT))) == StatusCodes.BadMethodInvalid


@pytest.mark.parametrize(("user", "password"), [(OBSERVER, "wrong"), ("nobody", "wrong")])
async def test_a_wrong_password_is_refused_and_tells_nothing(join: Join, user: str, password: str) -> None:
    with pytest.raises(UaError) as refused:
        async with join(policy=POLICIES[0], user=user, password=password):
            pass
    assert error_code(cast("UaStatusCodeError", refused.value)) == StatusCodes.BadUserAccessDenied


async def test_a_slow_call_and_many_reads_share_a_session(
    join: Join, remembering: tuple[Running, Memory]
) -> None:
    running, memory = remembering
    async with join(policy=POLICIES[2], user=OBSERVER, password=OBSERVER_PASSWORD) as client:
        call = asyncio.create_task(client.get_node(FOLDER).call_method(SLOW))
        text = client.get_node(TEXT)
        reads = await asyncio.wait_for(asyncio.gather(*(text.read_data_value() for _ in range(50))), 5)
        assert all(cast("Any", value.StatusCode).is_good() for value in reads)
        assert not call.done()
        running.do(memory.slow.set)
        await asyncio.wait_for(call, 5)
        running.do(memory.slow.clear)


async def test_a_call_is_answered_in_the_time_its_client_waits(
    remembering: tuple[Running, Memory],
) -> None:
    make = cast("Any", ua.CallMethodRequest)
    call = make(ObjectId=ua.NodeId.from_string(FOLDER), MethodId=SLOW, InputArguments=[])
    async with raw(remembering[0].port) as client:
        await client.ready()
        began = asyncio.get_running_loop().time()
        answer = await client.call("Call", b"\x01\x00\x00\x00" + encode(call), hint=200)
        assert answer.code == StatusCodes.BadTimeout
        assert 0.15 < asyncio.get_running_loop().time() - began < 2
        (value,) = await client.read((TEXT, 13))
        assert cast("Any", value.StatusCode).is_good()


async def test_every_endpoint_found_can_be_used(join: Join, remembering: tuple[Running, Memory]) -> None:
    async with join() as client:
        endpoints = await client.get_endpoints()
        (server,) = await client.find_servers()
    assert server.ApplicationUri == "urn:test:isthmus"
    assert len(endpoints) == len(WAYS)
    found = {(one.SecurityPolicyUri.rpartition("#")[2], one.SecurityMode) for one in endpoints}
    assert found == {
        ("None" if policy is None else policy.URI.rpartition("#")[2], mode) for policy, mode in WAYS
    }
    assert {one.EndpointUrl for one in endpoints} == {remembering[0].url}
    levels = [one.SecurityLevel for one in endpoints]
    assert levels == sorted(levels, reverse=True)
    assert all(
        {token.PolicyId for token in one.UserIdentityTokens} == {"anonymous", "username"} for one in endpoints
    )


async def test_a_running_server_registers_with_a_discovery_server_and_leaves_it(tmp_path: Path) -> None:
    async with discovery_server() as lds:
        known = tmp_path / "pki" / "trusted" / "certs"
        known.mkdir(parents=True)
        (known / "lds.der").write_bytes(pki.der(certificate()))
        serve = serving(tmp_path, discovery_server=lds.url)
        running = await asyncio.to_thread(serve.__enter__)
        (first,) = await lds.registrations(1)
        assert (first.server.ServerUri, first.server.IsOnline) == ("urn:test:isthmus", True)
        assert first.server.DiscoveryUrls == [running.url]
        assert first.policy != policies.SecurityPolicyNone.URI
        await asyncio.to_thread(serve.__exit__, None, None, None)
        *_, last = await lds.registrations(2)
        assert last.server.IsOnline is False
