from __future__ import annotations

import pytest
from support.modbus_peer import Peer, excepting, frame, modbus_peer, mute
from support.modbus_tags import settings
from support.net import free_port
from support.simulator import filler

from sources.errors import ConnectionLost, Refused, Unreachable
from sources.modbus.identify import identify
from sources.simulators.modbus.device import ModbusDevice


def _objects(peer: Peer, *replies: str) -> None:
    """Answer one request after the other with what stands behind the function code and MEI type."""
    left = [bytes.fromhex(reply) for reply in replies]
    peer.spoil = lambda request, _: frame(request, b"\x2b\x0e" + left.pop(0))


async def test_a_simulator_says_what_it_is() -> None:
    """Its reply is pymodbus's."""
    device = ModbusDevice(filler())
    async with device.listening() as (_, port):
        found = await identify(settings(port))
    assert found == {
        "VendorName": "Isthmus",
        "ProductCode": "modbus-simulator",
        "MajorMinorRevision": "1.0",
        "ProductName": "Simulated Modbus device",
        "ModelName": "FillerPLC",
    }


async def test_what_comes_in_pieces_is_put_together() -> None:
    async with modbus_peer() as peer:
        _objects(
            peer,
            "03 83 ff 02 02" + "00 03 414243" + "01 02 5831",
            "03 83 ff 80 01" + "02 03 312e30",
            "03 83 00 00 01" + "80 04 c3bc0007",
        )
        assert await identify(settings(peer.port)) == {
            "VendorName": "ABC",
            "ProductCode": "X1",
            "MajorMinorRevision": "1.0",
            "Object 0x80": "ü??",
        }
    assert [request[3] for request in peer.requests] == [0, 2, 0x80]


async def test_a_device_that_goes_round_in_circles_is_left() -> None:
    async with modbus_peer() as peer:
        peer.spoil = lambda request, _: frame(request, bytes.fromhex("2b0e 03 83 ff 00 01 00 01 41"))
        assert await identify(settings(peer.port)) == {"VendorName": "A"}
    assert len(peer.requests) == 1


async def test_a_device_with_basic_objects_only_is_asked_for_them() -> None:
    async with modbus_peer() as peer:

        def basic(request: bytes, _: bytes) -> bytes:
            if request[9] != 1:
                return frame(request, b"\xab\x03")
            return frame(request, bytes.fromhex("2b0e 01 01 00 00 01 00 01 41"))

        peer.spoil = basic
        assert await identify(settings(peer.port)) == {"VendorName": "A"}


async def test_a_device_without_the_function_yields_nothing() -> None:
    async with modbus_peer() as peer:
        peer.spoil = excepting(1)
        assert await identify(settings(peer.port)) == {}


@pytest.mark.parametrize(
    "reply", ["", "03 83 00 00", "03 83 00 00 02 00 01 41", "03 83 00 00 01 00 09 41", "01 83 00 00 00"]
)
async def test_a_broken_reply_is_refused(reply: str) -> None:
    async with modbus_peer() as peer:
        _objects(peer, reply)
        with pytest.raises(Refused, match="identification"):
            await identify(settings(peer.port))


async def test_trouble_on_the_way_is_told() -> None:
    with pytest.raises(Unreachable, match="refused"):
        await identify(settings(free_port()))
    async with modbus_peer() as peer:
        peer.spoil = mute
        with pytest.raises(Unreachable, match="unit 1 does not answer"):
            await identify(settings(peer.port, timeout="50ms"))
        peer.spoil = excepting(4)
        with pytest.raises(Refused, match="exception 4"):
            await identify(settings(peer.port))

        def hang_up(_request: bytes, _reply: bytes) -> None:
            peer.hang_up()

        peer.spoil = hang_up
        with pytest.raises(ConnectionLost, match="closed the connection"):
            await identify(settings(peer.port))
