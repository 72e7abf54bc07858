"""Channels and sessions as an independent client has them: users, moves, renewals, losses, long messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from support.memory import node_id
from support.node import NodeClient, Refused, Speaker, raw_bytes, variant
from support.opcua import OBSERVER, OBSERVER_PASSWORD, OPERATOR, OPERATOR_PASSWORD, Running, serving
from support.proxy import proxy_to

pytestmark = pytest.mark.interop

Speak = Callable[..., AbstractContextManager[Speaker]]
POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
WAYS = [("None", "None"), *((policy, mode) for policy in POLICIES for mode in ("Sign", "SignAndEncrypt"))]
WHO: list[dict[str, str]] = [{}, {"user": OPERATOR, "password": OPERATOR_PASSWORD}]
SAFE = {"policy": "Basic256Sha256", "mode": "SignAndEncrypt"}
TEXT, ANYTHING = node_id("Text"), node_id("Anything")
MEGABYTE = 1 << 20


def write_text(speaker: Speaker, text: str) -> str:
    value = {"nodeId": TEXT, "attributeId": 13, "value": {"value": variant("String", text)}}
    (status,) = speaker.good("Write", nodesToWrite=[value])["results"]
    assert isinstance(status, str)
    return status


@pytest.mark.parametrize("who", WHO, ids=["anonymous", "user"])
@pytest.mark.parametrize(("policy", "mode"), WAYS)
def test_every_policy_and_mode_carries_reads_writes_and_calls(
    speak: Speak, policy: str, mode: str, who: dict[str, str]
) -> None:
    with speak("somebody", policy=policy, mode=mode, **who) as somebody:
        assert somebody.read("i=2256")[0]["status"] == "Good"
        assert write_text(somebody, f"{policy} {mode}") == ("Good" if who else "BadUserAccessDenied")
        call = {
            "objectId": node_id(""),
            "methodId": node_id("Add"),
            "inputArguments": [variant("Int32", 1), variant("Int32", 2)],
        }
        (result,) = somebody.good("Call", methodsToCall=[call])["results"]
        assert result["outputArguments"][0]["value"] == 3
        encrypted = somebody.read(node_id("Encrypted"))[0]["status"]
        assert encrypted == ("Good" if mode == "SignAndEncrypt" else "BadSecurityModeInsufficient")


def test_a_session_goes_on_for_another_user_with_that_users_rights(node: NodeClient, speak: Speak) -> None:
    with speak("somebody", **SAFE) as somebody:
        session = node("about", **{"as": "somebody"})["session"]
        assert write_text(somebody, "first") == "BadUserAccessDenied"
        assert node("identity", **{"as": "somebody"}, user=OPERATOR, password=OPERATOR_PASSWORD) == "Good"
        assert write_text(somebody, "second") == "Good"
        wrong = node("identity", **{"as": "somebody"}, user=OBSERVER, password="wrong")
        assert wrong in {"BadUserAccessDenied", "BadIdentityTokenRejected"}
        assert write_text(somebody, "third") == "Good", "a failed change changes nothing"
        assert node("identity", **{"as": "somebody"}, user=OBSERVER, password=OBSERVER_PASSWORD) == "Good"
        assert write_text(somebody, "fourth") == "BadUserAccessDenied"
        assert node("about", **{"as": "somebody"})["session"] == session


def test_a_session_moves_to_a_new_channel_of_its_client(node: NodeClient, speak: Speak) -> None:
    way = SAFE | {"user": OPERATOR, "password": OPERATOR_PASSWORD}
    with speak("somebody", **way) as somebody:
        before = node("about", **{"as": "somebody"})
        handle = somebody.good("RegisterNodes", nodesToRegister=[TEXT])["registeredNodeIds"][0]
        speak("again", **SAFE, session=False).__enter__()  # its channel is the session's from here on
        node("move", **{"as": "somebody"}, to="again")
        after = node("about", **{"as": "somebody"})
        assert after["session"] == before["session"]
        assert after["channel"] != before["channel"]
        assert somebody.read(handle)[0]["status"] == "Good", "what was registered still is"
        assert write_text(somebody, "moved") == "Good"


def test_a_session_does_not_move_to_a_channel_of_another_policy(node: NodeClient, speak: Speak) -> None:
    with speak("somebody", **SAFE) as somebody, speak("other", session=False) as _:
        with pytest.raises(Refused):
            node("move", **{"as": "somebody"}, to="other")
        assert somebody.read(TEXT)[0]["status"] == "Good"


async def test_a_client_whose_connection_is_cut_goes_on_with_its_session(
    node: NodeClient, speak: Speak, remembering: tuple[Running, Any]
) -> None:
    running = remembering[0]
    async with proxy_to(running.port) as proxy:
        url = f"opc.tcp://127.0.0.1:{proxy.port}/isthmus"
        speaking = speak("somebody", **SAFE, url=url, retries=20, user=OPERATOR, password=OPERATOR_PASSWORD)
        somebody = await asyncio.to_thread(speaking.__enter__)
        before = await asyncio.to_thread(node, "about", **{"as": "somebody"})
        proxy.cut()
        await asyncio.sleep(0.5)
        (found,) = await asyncio.to_thread(somebody.read, TEXT)
        assert found["status"] == "Good"
        after = await asyncio.to_thread(node, "about", **{"as": "somebody"})
        assert (after["session"], after["channel"] != before["channel"]) == (before["session"], True)
        await asyncio.to_thread(speaking.__exit__, None, None, None)


@pytest.mark.parametrize(("policy", "mode"), WAYS)
def test_a_channel_is_renewed_while_it_is_read(
    node: NodeClient, speak: Speak, policy: str, mode: str
) -> None:
    with speak("somebody", policy=policy, mode=mode, renewal=150) as somebody:
        end = time.monotonic() + 20.0
        while node("about", **{"as": "somebody"})["renewals"] < 3:
            assert time.monotonic() < end
            assert {one["status"] for one in somebody.read(TEXT, "i=2258")} == {"Good"}


@pytest.mark.parametrize(("policy", "mode"), [WAYS[0], WAYS[1], WAYS[6]])
def test_a_long_value_travels_in_many_chunks_both_ways(speak: Speak, policy: str, mode: str) -> None:
    small = {"sendBufferSize": 8192, "receiveBufferSize": 8192, "maxMessageSize": 16 * MEGABYTE}
    way = {"policy": policy, "mode": mode, "transport": small | {"maxChunkCount": 4000}}
    content = bytes(range(256)) * (3 * MEGABYTE // 256)
    with speak("somebody", **way, user=OPERATOR, password=OPERATOR_PASSWORD) as somebody:
        value = {"value": variant("ByteString", raw_bytes(content))}
        wanted = {"nodeId": ANYTHING, "attributeId": 13, "value": value}
        assert somebody.good("Write", nodesToWrite=[wanted])["results"] == ["Good"]
        (part,) = somebody.read({"nodeId": ANYTHING, "attributeId": 13, "indexRange": "100:355"})
        assert bytes(part["value"]) == content[100:356]
        (whole,) = somebody.read(ANYTHING)
        assert len(whole["value"]) == len(content)
        assert bytes(whole["value"]) == content


def test_an_answer_larger_than_the_client_takes_is_refused_and_the_channel_stays(speak: Speak) -> None:
    tight = {"maxMessageSize": 64 * 1024, "maxChunkCount": 8}
    with speak("somebody", **SAFE, transport=tight) as somebody:
        nodes = [{"nodeId": "i=2255", "attributeId": 13}] * 1000
        assert somebody("Read", nodesToRead=nodes)["result"] == "BadResponseTooLarge"
        assert somebody.read(TEXT)[0]["status"] == "Good"


def test_only_so_many_sessions_and_only_so_many_of_one_user(
    node: NodeClient, order: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"allow_none": True, "anonymous": True, "max_sessions": 4, "max_sessions_per_user": 1}
    with serving(tmp_path, **settings) as narrow:
        here = order | {"url": narrow.url}
        operator = {"user": OPERATOR, "password": OPERATOR_PASSWORD}
        node("connect", **{"as": "first"}, **here, **operator)
        with pytest.raises(Refused, match="BadTooManySessions"):
            node("connect", **{"as": "more"}, **here, **operator)
        for number in range(3):
            node("connect", **{"as": f"anybody {number}"}, **here)
        with pytest.raises(Refused, match="BadTooManySessions"):
            node("connect", **{"as": "more"}, **here, user=OBSERVER, password=OBSERVER_PASSWORD)
        node("disconnect", **{"as": "anybody 0"})
        node("connect", **{"as": "more"}, **here, user=OBSERVER, password=OBSERVER_PASSWORD)
        for name in ("first", "anybody 1", "anybody 2", "more"):
            node("disconnect", **{"as": name})


def test_a_client_hears_that_the_server_will_stop(
    node: NodeClient, order: dict[str, Any], tmp_path: Path
) -> None:
    me = {"as": "listener"}
    with serving(tmp_path, allow_none=True, anonymous=True) as stopping:
        node("connect", **me, **order | {"url": stopping.url})
        node("subscribe", **me, node="i=2259")
        node("notifications", **me, count=1)
    running, shutdown = node("notifications", **me, count=2)
    assert (running["value"], shutdown["value"]) == (0, 4)
    node("forget", **me)
