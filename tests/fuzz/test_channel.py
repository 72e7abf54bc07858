"""Spoiled chunks of a secure channel: each is refused as such, whatever came before it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st
from support import channels
from support.channels import ENCRYPT, NONE, POLICIES, SIGN
from support.fuzz.budget import INPUTS, budget
from support.fuzz.mutate import mutated

from server.opcua.channels.channel import SecureChannel
from server.opcua.channels.gate import Gatekeeper
from server.opcua.transport.framing import TransportError

MODES = [("None", NONE), *((name, mode) for name in POLICIES for mode in (SIGN, ENCRYPT))]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gatekeeper:
    offers = channels.all_offers(none=True)
    return channels.gatekeeper(tmp_path_factory.mktemp("gate"), channels.client_certificate(), offers=offers)


def opened(gate: Gatekeeper, name: str, mode: ua.MessageSecurityMode) -> tuple[SecureChannel, channels.Peer]:
    """A channel, and the client that opened it."""
    peer, channel = channels.peer(name, mode), channels.channel(gate)
    (answer,) = asyncio.run(channel.open(peer.opening()))
    peer.opened(answer)
    return channel, peer


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_a_chunk_is_taken_as_it_was_sent_or_not_at_all(
    gate: Gatekeeper, name: str, mode: ua.MessageSecurityMode
) -> None:
    @budget(25, shrink=False)
    @given(st.integers(0, 2**63))
    def spoil(seed: int) -> None:
        rng = random.Random(seed)
        channel, peer = opened(gate, name, mode)
        bodies = [rng.randbytes(rng.choice((1, 40, 3000))) for _ in range(4)]
        first, *sent = [peer.seal(body) for body in bodies]
        message = channel.receive(first, early=False)
        assert message is not None
        assert message.body == bodies[0]
        for _ in range(60):
            INPUTS["channel, messages"] += 1
            spoiled = mutated(rng, rng.choice(sent), sent)
            try:
                found = channel.receive(spoiled, early=rng.random() < 0.5)
            except TransportError:
                continue
            # Over None nobody can tell; elsewhere nothing passes but what the client made.
            assert name == "None" or spoiled in sent or found is None

    spoil()


@pytest.mark.parametrize(("name", "mode"), [("None", NONE), ("Basic256Sha256", ENCRYPT)])
def test_an_opening_is_granted_or_refused(gate: Gatekeeper, name: str, mode: ua.MessageSecurityMode) -> None:
    examples = 60 if name == "None" else 10

    @budget(examples, shrink=False)
    @given(st.integers(0, 2**63))
    def spoil(seed: int) -> None:
        rng = random.Random(seed)
        opening = channels.peer(name, mode).opening()

        async def tried() -> None:
            for _ in range(10):
                INPUTS["channel, openings"] += 1
                channel = channels.channel(gate)
                try:
                    await channel.open(mutated(rng, opening))
                except TransportError:
                    assert not channel.opened

        asyncio.run(tried())

    spoil()


def test_a_request_to_open_may_hold_anything_within_its_seal(gate: Gatekeeper) -> None:
    @budget(25, shrink=False)
    @given(st.integers(0, 2**63))
    def spoil(seed: int) -> None:
        rng = random.Random(seed)
        peer = channels.peer("Basic256Sha256", ENCRYPT)
        plain = channels.peer("None", NONE).opening()
        body = plain[plain.index(b"\x01\x00\xbe\x01") :]
        INPUTS["channel, openings"] += 1
        channel = channels.channel(gate)
        sealed = peer.seal(mutated(rng, body), ua.MessageType.SecureOpen)

        async def tried() -> None:
            try:
                await channel.open(sealed)
            except TransportError:
                assert not channel.opened

        asyncio.run(tried())

    spoil()


def test_chains_of_certificates_are_refused_or_trusted(gate: Gatekeeper, tmp_path: Path) -> None:
    from support import pki

    from server.opcua.channels.asymmetric import AsymmetricHeader

    root = pki.authority("Root")
    issued = pki.application("Client", uri="urn:test:client", private=pki.key(11), issuer=root)
    chains = [
        pki.der(channels.client_certificate()),
        pki.der(issued) + pki.der(root.certificate),
        pki.der(issued),
    ]

    @budget(60, shrink=False)
    @given(st.integers(0, 2**63))
    def spoil(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(10):
            INPUTS["certificates"] += 1
            sent = mutated(rng, rng.choice(chains), chains)
            thumbprint = channels.thumbprint(channels.identity().certificate)
            try:
                client = gate.admit(AsymmetricHeader(0, "", sent, thumbprint, 0), "10.1.2.3:1")
            except TransportError:
                continue
            assert client.certificate == chains[0]

    spoil()
    del tmp_path
