"""node-opcua's server downstream: it shares no code with ours."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import pki
from support.downstream import named, source
from support.mirrored import Mirrored
from support.net import until
from support.node import INTEROP, install
from support.programs import need
from support.proxy import proxy_to
from support.scanning import FAST, Listener, scanning

from certs.files import thumbprint
from certs.own import load_or_make
from certs.store import TrustList
from server.opcua.wire.nodeid import key
from sources.asking import Asker
from sources.errors import ConnectionLost, Denied, Refused
from sources.opcua import wire
from sources.opcua.address import parse_address
from sources.opcua.browse import browse
from sources.opcua.config import DownstreamSettings, OpcUaTag
from sources.opcua.connection import connect
from sources.opcua.driver import OpcUaSource
from sources.opcua.importing import Importing
from sources.opcua.imports import Wanted
from sources.opcua.security import Surroundings
from sources.opcua.stack import decode_variant, encode_variant, status_name, ua
from sources.quality import GOOD
from sources.tag import ValueType

pytestmark = pytest.mark.interop

PACKER = "nsu=urn:maker:packer;s=Packer"


class Packer:
    """The running server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self.answer("ready ").split(":")[2].split("/")[0])

    def answer(self, prefix: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(prefix):
                return line[len(prefix) :].strip()
        raise AssertionError("node-opcua's server has ended")

    def __call__(self, order: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self.answer("value ")


@pytest.fixture(scope="module")
def packer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packer]:
    node = need("node")
    install()
    folder = tmp_path_factory.mktemp("packer")
    with (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [node, "server.js", str(folder)],
            cwd=INTEROP,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        killer = threading.Timer(120, process.kill)
        killer.start()
        try:
            yield Packer(process)
        finally:
            killer.cancel()
            process.kill()
            process.communicate()


def tags() -> list[OpcUaTag]:
    return [
        named("Speed", address=f"{PACKER}.Speed", writable=True),
        named("Count", ValueType.UInt32, address=f"{PACKER}.Count"),
        named("Recipe", ValueType.String, address=f"{PACKER}.Recipe", writable=True),
    ]


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    monkeypatch.setenv("DOWNSTREAM_PASSWORD", "correct horse")
    own = tmp_path / "pki" / "own"
    own.mkdir(parents=True)
    (own / "private-key.pem").write_bytes(pki.key_pem(pki.key(12)))
    (own / "private-key.pem").chmod(0o600)
    trust = TrustList(tmp_path / "pki")
    trust.prepare()
    return Surroundings(load_or_make(tmp_path / "pki", application_uri="urn:test:upstream"), trust, tmp_path)


async def trusted(
    port: int, surroundings: Surroundings, wanted: list[OpcUaTag], **more: object
) -> OpcUaSource:
    """A source that comes as anna over an encrypted channel, once a person has trusted the server."""
    device = source(
        port,
        wanted,
        security="sign_and_encrypt",
        user="anna",
        password="env:DOWNSTREAM_PASSWORD",
        **more,
    )
    device.settle(surroundings)
    with pytest.raises(Refused, match="isthmus certs trust"):
        async with device.connect():
            pass
    assert surroundings.trust is not None
    surroundings.trust.trust(surroundings.trust.rejected()[0].thumbprint)
    return device


async def test_values_and_writes_over_a_protected_channel(packer: Packer, surroundings: Surroundings) -> None:
    speed, count, recipe = wanted = tags()
    device = await trusted(packer.port, surroundings, wanted)
    async with scanning(device) as its:
        await its.good(*wanted)
        assert its.listener.value(count) == 7
        assert await its.session.write([(speed, 412.5), (recipe, "Lemon")]) == [GOOD, GOOD]
        await until(lambda: (its.listener.value(speed), its.listener.value(recipe)) == (412.5, "Lemon"))
        assert await asyncio.to_thread(packer, "get Speed") == "412.5"
        await asyncio.to_thread(packer, "set Count 8")
        await until(lambda: its.listener.value(count) == 8)


async def test_subscriptions_outlive_the_connection(packer: Packer, surroundings: Surroundings) -> None:
    _, count, _ = wanted = tags()
    await asyncio.to_thread(packer, "set Count 10")
    async with proxy_to(packer.port) as proxy:
        device = await trusted(proxy.port, surroundings, wanted, queue=100)
        first = Listener()
        with pytest.raises(ConnectionLost):
            await _cut(device, first, count, proxy.cut)
        await asyncio.to_thread(packer, "set Count 11")
        async with scanning(device) as its:
            await its.good(*wanted)
            await until(lambda: its.listener.value(count) == 11)
            assert device.device.transferred == 1
            await asyncio.to_thread(packer, "set Count 12")
            await until(lambda: its.listener.value(count) == 12)
            assert device.device.lost_messages == 0


async def _cut(device: OpcUaSource, listener: Listener, its: OpcUaTag, cut: object) -> None:
    async with device.connect() as session:
        scan = asyncio.create_task(session.scan(listener))
        await until(lambda: listener.value(its) == 10)
        cut()  # type: ignore[operator]
        await scan


async def test_each_user_s_calls_come_as_whom_the_configuration_names(
    packer: Packer, surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By password and by certificate: the server itself says who called."""
    monkeypatch.setenv("BERT", "battery staple")
    own = pki.key(13)
    certificate = pki.application("Carl", uri="urn:test:carl", private=own)
    file, key_file = pki.write(surroundings.base, certificate, own)
    identity = {
        "map": [
            {"users": ["bert"], "user": "bert", "password": "env:BERT"},
            {"roles": ["Engineer"], "certificate": file.name, "key": str(key_file)},
            {"users": ["dora"], "user": "bert", "password": "env:DOWNSTREAM_PASSWORD"},
        ],
        "others": "service",
    }
    mirror = Mirrored()
    device = await trusted(packer.port, surroundings, [], identity=identity)
    device.mirror(mirror, [Wanted("Acme/Packer", parse_address(PACKER), FAST)])
    async with scanning(device):
        await until(lambda: "Acme/Packer" in mirror.models)
        index = mirror.index("urn:maker:packer#There")

        async def who(user: str, *roles: str) -> tuple[str, object]:
            way = device.acting(Asker(user, frozenset(roles)))
            await way.ready()
            result = await way.call_method(key("Packer", index), key("Packer.Who", index), [])
            assert result.status == GOOD
            return way.acts_as, decode_variant(result.outputs[0]).Value

        inputs = [b"\x07\x05\x00\x00\x00", b"\x0b" + bytes(8)]  # a UInt32 and a Double
        way = device.acting(Asker("anybody"))
        filled = await way.call_method(key("Packer", index), key("Packer.Fill", index), inputs)
        assert [status_name(code) for code in (filled.status, *filled.arguments)] == [
            "BadInvalidArgument",
            "Good",
            "BadOutOfRange",
        ]

        assert await who("anybody", "Operator") == ("service:anna", "anna")
        assert await who("bert", "Operator") == ("user:bert", "bert")
        assert await who("carl", "Engineer") == (f"certificate:{file.name}", thumbprint(certificate))
        with pytest.raises(Denied, match="ActivateSession: Bad") as denied:
            await who("dora")
        assert status_name(denied.value.quality) in {"BadUserAccessDenied", "BadIdentityTokenRejected"}


async def test_what_it_is_and_has(packer: Packer) -> None:
    settings = DownstreamSettings(url=f"opc.tcp://127.0.0.1:{packer.port}", security="none")
    found = await browse(settings, below=PACKER)
    assert found.identity.product
    assert {(one.address, one.type, one.writable) for one in found.variables} == {
        (f"{PACKER}.Speed", "Double", True),
        (f"{PACKER}.Count", "UInt32", True),
        (f"{PACKER}.Recipe", "String", True),
    }


async def test_chosen_nodes_come_with_their_types_and_properties(packer: Packer) -> None:
    """Within its limits: it reads fifty attributes at once, and browses fewer."""
    tank = "nsu=urn:maker:packer;s=Tank"
    nodes = tuple(parse_address(f"{tank}{name}") for name in ("", ".Level", ".Drain"))
    device, mirror = source(packer.port, []), Mirrored()
    importing = Importing(device, device.device.settings, mirror)
    connection = await connect(device.device.settings, Surroundings())
    importing.connection = connection
    try:
        watched = await importing.run(Wanted("Acme", None, FAST, nodes))
        found = {node.browse_name[6:].decode(): node for node in mirror.models["Acme"].nodes.values()}
        assert found.keys() == {"Tank", "Level", "EURange", "Drain", "InputArguments", "OutputArguments"}
        values = mirror.named("Acme")
        assert wire.variant(values["Level"].variant, 0)[1] == 150.0
        limits = decode_variant(values["EURange"].variant).Value
        assert (limits.Low, limits.High) == (100.0, 200.0)
        assert len(watched) == 4
        analog, property_of = b"\x01\x00" + (2368).to_bytes(2, "little"), b"\x00\x2e"
        assert (b"\x00\x28", analog) in found["Level"].references
        assert (property_of, found["EURange"].key) in found["Level"].references
        rate = encode_variant(ua.Variant(2.5, ua.VariantType.Double))
        here = b"\x01\x63\x01\x00"  # the equipment, of which the device knows nothing
        answer = await importing.call(connection, here, found["Drain"].key, [rate])
        assert (answer.status, decode_variant(answer.outputs[0]).Value) == (0, 5.0)
    finally:
        await connection.end()
