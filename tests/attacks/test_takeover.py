"""Who is not the client of a session gets nothing of it, whatever he knows but its keys."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary
from support import channels, pki
from support.rawclient import (
    RawClient,
    message,
    raw,
    read_value,
    reading,
    user_token,
)
from support.victim import Victim
from support.wire import error_code

from server.opcua.types import StatusCodes

OPERATOR = ("operator", "line-one-runs")
OBSERVER = ("observer", "only-looking")
STATE = ("i=2259", 13)

OTHER_KEY, STRANGER_KEY = 21, 22


@asynccontextmanager
async def operator(server: Victim) -> AsyncIterator[RawClient]:
    """The client whose session is wanted."""
    async with raw(server.port, peer=server.peer()) as client:
        await client.ready(OPERATOR)
        yield client


@asynccontextmanager
async def application(server: Victim, number: int = OTHER_KEY) -> AsyncIterator[RawClient]:
    """Another application that is trusted: it has a channel, and nothing else."""
    certificate = pki.application(f"Application {number}", private=pki.key(number))
    server.trust(certificate)
    async with raw(server.port, peer=server.peer(certificate, pki.key(number))) as client:
        await client.open()
        yield client


async def is_untouched(server: Victim, client: RawClient, intruder: RawClient | None = None) -> None:
    """Its session is served on its own channel, for its own user, and nowhere else."""
    (found,) = await client.read(STATE)
    assert found.Value is not None
    assert found.Value.Value == 0
    if intruder is None:
        return
    for service in ("Read", "Browse", "CloseSession"):
        answer = await intruder.call(service, service_body(service), token=client.token)
        assert answer.fault in {
            StatusCodes.BadSecureChannelIdInvalid,
            StatusCodes.BadSecurityPolicyRejected,
        }
    assert (await client.read(STATE))[0].Value is not None
    # Its last nonce is still the one to sign: it activates again without asking anybody.
    await client.activate(
        user_token(*OPERATOR, client.nonce, server.certificate),
        server=server.certificate,
        private=client.private,
    )


def service_body(service: str) -> object:
    bodies: dict[str, object] = {
        "Read": reading([read_value("i=2259")]),
        "Browse": ua.BrowseParameters(),
        "CloseSession": b"\x01",
    }
    return bodies[service]


async def test_no_session_is_taken_over_none(lenient: Victim) -> None:
    async with operator(lenient) as client, raw(lenient.port) as intruder:
        await intruder.open()
        answer = await intruder.call("ActivateSession", intruder.activation(), token=client.token)
        assert answer.fault == StatusCodes.BadSecurityChecksFailed
        await is_untouched(lenient, client, intruder)


async def test_no_session_is_taken_where_none_is_not_offered(strict: Victim) -> None:
    async with operator(strict) as client, raw(strict.port) as intruder:
        await intruder.open()
        answer = await intruder.call("ActivateSession", intruder.activation(), token=client.token)
        assert answer.fault == StatusCodes.BadSecurityPolicyRejected
        await is_untouched(strict, client, intruder)


async def test_a_session_over_none_is_not_taken_from_another_address(lenient: Victim) -> None:
    async with raw(lenient.port) as client, raw(lenient.port, source="127.0.0.7") as intruder:
        await client.ready()
        await intruder.open()
        answer = await intruder.call("ActivateSession", intruder.activation(), token=client.token)
        assert answer.fault == StatusCodes.BadSecurityChecksFailed
        assert (await client.read(STATE))[0].Value is not None


async def test_no_session_is_taken_with_the_certificate_of_another_application(strict: Victim) -> None:
    async with operator(strict) as client, application(strict) as intruder:
        answer = await intruder.call(
            "ActivateSession",
            intruder.activation(
                user_token(*OPERATOR, client.nonce, strict.certificate),  # even of the same user
                server=strict.certificate,
                private=intruder.private,
                nonce=client.nonce,
            ),
            token=client.token,
        )
        assert answer.fault == StatusCodes.BadSecurityChecksFailed
        await is_untouched(strict, client, intruder)


async def test_no_channel_is_opened_for_a_certificate_nobody_trusts(strict: Victim) -> None:
    certificate = pki.application("Stranger", private=pki.key(STRANGER_KEY))
    async with operator(strict) as client:
        async with raw(strict.port, peer=strict.peer(certificate, pki.key(STRANGER_KEY))) as intruder:
            await intruder.wire.greet()
            assert intruder.peer is not None
            intruder.wire.send(intruder.peer.opening())
            assert error_code(await intruder.wire.end()) == StatusCodes.BadSecurityChecksFailed
        await is_untouched(strict, client)


@pytest.mark.parametrize(
    ("user", "code"),
    [
        (None, StatusCodes.BadIdentityTokenRejected),
        (("operator", "guessed"), StatusCodes.BadUserAccessDenied),
        (OBSERVER, StatusCodes.BadIdentityChangeNotSupported),
    ],
)
async def test_the_clients_own_application_takes_no_session_without_its_user(
    strict: Victim, user: tuple[str, str] | None, code: int
) -> None:
    async with operator(strict) as client, raw(strict.port, peer=strict.peer()) as intruder:
        await intruder.open()
        token = None if user is None else user_token(*user, client.nonce, strict.certificate)
        wanted = intruder.activation(
            token, server=strict.certificate, private=intruder.private, nonce=client.nonce
        )
        answer = await intruder.call("ActivateSession", wanted, token=client.token)
        assert answer.fault == code
        await is_untouched(strict, client, intruder)


@pytest.mark.parametrize("why", ["nonce", "key", "none"])
async def test_an_activation_that_is_not_signed_for_now_changes_nothing(strict: Victim, why: str) -> None:
    async with operator(strict) as client, raw(strict.port, peer=strict.peer()) as intruder:
        await intruder.open()
        wanted = intruder.activation(
            user_token(*OPERATOR, client.nonce, strict.certificate),
            server=None if why == "none" else strict.certificate,
            private=pki.key(STRANGER_KEY) if why == "key" else intruder.private,
            nonce=os.urandom(32) if why == "nonce" else client.nonce,
        )
        answer = await intruder.call("ActivateSession", wanted, token=client.token)
        assert answer.fault == StatusCodes.BadApplicationSignatureInvalid
        await is_untouched(strict, client, intruder)


async def test_an_activation_cannot_be_said_again(strict: Victim) -> None:
    """The signature and the password are for one nonce, which every activation uses up."""
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.open()
        await client.create()
        once = client.activation(
            user_token(*OPERATOR, client.nonce, strict.certificate),
            server=strict.certificate,
            private=client.private,
        )
        assert (await client.call("ActivateSession", once)).code == 0
        assert (await client.call("ActivateSession", once)).fault == (
            StatusCodes.BadApplicationSignatureInvalid
        )
        assert (await client.read(STATE))[0].Value is not None


async def test_the_right_client_moves_its_session_and_its_old_channel_loses_it(strict: Victim) -> None:
    async with operator(strict) as client, raw(strict.port, peer=strict.peer()) as again:
        await again.open()
        again.token, again.nonce = client.token, client.nonce
        await again.activate(
            user_token(*OPERATOR, client.nonce, strict.certificate),
            server=strict.certificate,
            private=again.private,
        )
        assert (await again.read(STATE))[0].Value is not None
        answer = await client.call("Read", service_body("Read"))
        assert answer.fault == StatusCodes.BadSecureChannelIdInvalid


async def test_tokens_cannot_be_guessed_from_tokens(lenient: Victim) -> None:
    async with raw(lenient.port) as client:
        await client.open()
        tokens = []
        for _ in range(20):
            made = await client.create()
            tokens.append(made.AuthenticationToken.Identifier)
        assert len({bytes(token) for token in tokens}) == 20
        assert all(len(token) == 32 for token in tokens)
        # No two of them share more than chance lets them.
        numbers = sorted(int.from_bytes(token, "big") for token in tokens)
        assert min(b - a for a, b in pairwise(numbers)) > 2**200


# --- SecurityPolicy None where it is not offered


async def test_over_none_nothing_but_discovery_is_served_where_it_is_not_offered(strict: Victim) -> None:
    async with raw(strict.port) as intruder:
        await intruder.open()
        assert (await intruder.call("GetEndpoints", struct.pack("<iii", -1, -1, -1))).code == 0
        assert (await intruder.call("FindServers", struct.pack("<iii", -1, -1, -1))).code == 0
        for service, body in (
            ("CreateSession", intruder.creation()),
            ("ActivateSession", intruder.activation()),
            ("Read", service_body("Read")),
            ("CloseSession", b"\x01"),
            ("Publish", struct.pack("<i", -1)),
        ):
            answer = await intruder.call(service, body)
            assert answer.fault == StatusCodes.BadSecurityPolicyRejected, service


# --- Certificates that are claimed


async def test_a_borrowed_certificate_makes_no_session(strict: Victim) -> None:
    """What CreateSession claims has to be what the channel proved."""
    async with application(strict) as intruder:
        for claimed in (pki.der(channels.client_certificate()), pki.der(strict.certificate), b"", None, b"x"):
            answer = await intruder.call("CreateSession", intruder.creation(ClientCertificate=claimed))
            assert answer.fault == StatusCodes.BadSecurityChecksFailed
            if answer.fault and claimed is None:
                break


async def test_refused_too_often_the_connection_ends(strict: Victim) -> None:
    async with application(strict) as intruder:
        for _ in range(5):
            answer = await intruder.call("CreateSession", intruder.creation(ClientCertificate=b""))
            assert answer.fault == StatusCodes.BadSecurityChecksFailed
        assert error_code(await intruder.wire.end()) == StatusCodes.BadSecurityChecksFailed


async def test_over_none_a_certificate_claimed_is_of_no_use(lenient: Victim) -> None:
    """It opens no way to the sessions of whoever has its key."""
    async with operator(lenient) as client, raw(lenient.port) as intruder:
        await intruder.open()
        await intruder.create(ClientCertificate=pki.der(channels.client_certificate()))
        answer = await intruder.call("ActivateSession", intruder.activation(), token=client.token)
        assert answer.fault == StatusCodes.BadSecurityChecksFailed
        await is_untouched(lenient, client)


async def test_an_application_uri_that_is_not_the_certificates_makes_no_session(strict: Victim) -> None:
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.open()
        described = ua.ApplicationDescription()
        described.ApplicationUri = "urn:somebody:else"
        answer = await client.call("CreateSession", client.creation(ClientDescription=described))
        assert answer.fault == StatusCodes.BadCertificateUriInvalid


# --- Before activation


@pytest.mark.parametrize(
    "service",
    [
        "Read", "Write", "Browse", "BrowseNext", "TranslateBrowsePathsToNodeIds", "RegisterNodes", "Call",
        "CreateSubscription", "CreateMonitoredItems", "Publish", "Republish",
        "TransferSubscriptions", "Cancel",
    ],
)  # fmt: skip
async def test_a_session_that_is_not_activated_is_of_no_use_and_ends_when_it_is_used(
    strict: Victim, service: str
) -> None:
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.open()
        assert (await client.call(service)).fault == StatusCodes.BadSessionIdInvalid
        await client.create()
        assert (await client.call(service)).fault == StatusCodes.BadSessionNotActivated
        answer = await client.call(
            "ActivateSession",
            client.activation(
                user_token(*OPERATOR, client.nonce, strict.certificate),
                server=strict.certificate,
                private=client.private,
            ),
        )
        assert answer.fault == StatusCodes.BadSessionIdInvalid


# --- What belongs to another session


def browsing(node: str = "i=85", most: int = 1) -> ua.BrowseParameters:
    made: Any = ua.BrowseParameters
    wanted = ua.BrowseDescription()
    wanted.NodeId = ua.NodeId.from_string(node)
    wanted.IncludeSubtypes = True
    wanted.ResultMask = 63
    found: ua.BrowseParameters = made(RequestedMaxReferencesPerNode=most, NodesToBrowse=[wanted])
    return found


async def test_a_continuation_point_is_of_use_to_its_own_session_alone(strict: Victim) -> None:
    made: Any = ua.BrowseNextParameters
    async with operator(strict) as client, raw(strict.port, peer=strict.peer()) as other:
        await other.ready(OPERATOR)
        (first,) = (await client.call("Browse", browsing())).whole(ua.BrowseResponse).Results
        point = first.ContinuationPoint
        assert point
        answer = await other.call("BrowseNext", made(True, [point]))  # releases nothing of somebody else's
        assert answer.whole(ua.BrowseNextResponse).Parameters.Results == []
        answer = await other.call("BrowseNext", made(False, [point]))
        (theirs,) = answer.whole(ua.BrowseNextResponse).Parameters.Results
        assert theirs.StatusCode is not None
        assert theirs.StatusCode.value == StatusCodes.BadContinuationPointInvalid
        answer = await client.call("BrowseNext", made(False, [point]))
        (second,) = answer.whole(ua.BrowseNextResponse).Parameters.Results
        assert len(second.References) == 1


async def test_a_registered_node_is_a_handle_in_its_own_session_alone(strict: Victim) -> None:
    made: Any = ua.RegisterNodesParameters
    async with operator(strict) as client, raw(strict.port, peer=strict.peer()) as other:
        await other.ready(OBSERVER)
        wanted = made(NodesToRegister=[ua.NodeId.from_string(strict.node("Recipe"))])
        answer = await client.call("RegisterNodes", wanted)
        (handle,) = answer.whole(ua.RegisterNodesResponse).Parameters.RegisteredNodeIds
        assert (await client.read((handle.to_string(), 13)))[0].Value is not None
        (found,) = await other.read((handle.to_string(), 13))
        assert found.StatusCode is not None
        assert found.StatusCode.value == StatusCodes.BadNodeIdUnknown
        del_made: Any = ua.UnregisterNodesParameters
        await other.call("UnregisterNodes", del_made(NodesToUnregister=[handle]))
        assert (await client.read((handle.to_string(), 13)))[0].Value is not None


async def test_a_subscription_is_of_use_to_its_own_session_alone(strict: Victim) -> None:
    """It may move to another session of its user (OPC 10000-4 §5.14.7), and to nobody else's."""
    async with operator(strict) as client, raw(strict.port, peer=strict.peer()) as other:
        await other.ready(OBSERVER)
        made = (await client.call("CreateSubscription", ua.CreateSubscriptionParameters())).of(
            ua.CreateSubscriptionResult
        )
        number = struct.pack("<I", made.SubscriptionId)
        one = struct.pack("<i", 1) + number
        for service, body in (
            ("ModifySubscription", number + struct.pack("<dIIIB", 100.0, 100, 10, 0, 0)),
            ("CreateMonitoredItems", number + struct.pack("<Ii", 2, 0)),
            ("ModifyMonitoredItems", number + struct.pack("<Ii", 2, 0)),
            ("SetMonitoringMode", number + struct.pack("<Iii", 0, 1, 1)),
            ("DeleteMonitoredItems", number + struct.pack("<iI", 1, 1)),
            ("Republish", number + struct.pack("<I", 1)),
        ):
            assert (await other.call(service, body)).fault == StatusCodes.BadSubscriptionIdInvalid, service
        for service, body, code in (
            ("SetPublishingMode", b"\0" + one, StatusCodes.BadSubscriptionIdInvalid),
            ("DeleteSubscriptions", one, StatusCodes.BadSubscriptionIdInvalid),
            ("TransferSubscriptions", one + b"\0", StatusCodes.BadUserAccessDenied),
        ):
            answer = await other.call(service, body)
            assert struct.unpack_from("<iI", answer.body) == (1, code), service
        answer = await client.call("DeleteSubscriptions", one)
        assert struct.unpack_from("<iI", answer.body) == (1, 0)


async def test_a_session_is_closed_on_its_own_channel_alone(strict: Victim) -> None:
    async with operator(strict) as client, application(strict) as intruder:
        answer = await intruder.call("CloseSession", b"\x01", token=client.token)
        assert answer.fault == StatusCodes.BadSecureChannelIdInvalid
        await is_untouched(strict, client, intruder)


async def test_the_id_of_a_session_is_not_its_token(strict: Victim) -> None:
    """The SessionId is in the diagnostics, for everybody who may read those."""
    async with raw(strict.port, peer=strict.peer()) as client:
        await client.open()
        made = await client.create()
        assert made.SessionId != made.AuthenticationToken
        answer = await client.call(
            "ActivateSession", client.activation(), token=nodeid_to_binary(made.SessionId)
        )
        assert answer.fault == StatusCodes.BadSessionIdInvalid


async def test_a_request_number_that_is_in_use_ends_the_connection(strict: Victim) -> None:
    """Two answers of one number could not be told apart."""
    async with operator(strict) as client, operator(strict) as bystander:
        token = user_token(*OPERATOR, client.nonce, strict.certificate)
        wanted = client.activation(token, server=strict.certificate, private=client.private)
        client.say(message("ActivateSession", wanted, token=client.token), 77)
        client.say(message("Read", service_body("Read"), token=client.token), 77)
        assert error_code(await client.wire.end()) == StatusCodes.BadTcpMessageTypeInvalid
        await is_untouched(strict, bystander)
