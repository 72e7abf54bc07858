"""The plan in words: each packet, and why it ends where it ends."""

from __future__ import annotations

from sources.ethernetip.device import Device
from sources.ethernetip.plan import Limits, Packet
from sources.insight import PlannedBlock


def explain(device: Device) -> list[PlannedBlock]:
    """What is read of a controller at present, class by class, in the order it was packed."""
    packets = sorted(device.packets, key=lambda packet: (packet.scan.period, packet.scan.name))
    return [
        PlannedBlock(
            str(packet),
            packet.scan.name,
            _size(packet),
            len(packet.tags),
            _end(packet, following, device.limits),
        )
        for packet, following in zip(packets, [*packets[1:], None], strict=False)  # there may be none
    ]


def _size(packet: Packet) -> str:
    size = sum(read.size for read in packet.reads)
    reads = "1 read" if len(packet.reads) == 1 else f"{len(packet.reads)} reads"
    return f"{reads} of {size} bytes"


def _end(packet: Packet, following: Packet | None, limits: Limits) -> str:
    """Why nothing more is read together with it."""
    if packet.fragments > 1:
        return f"larger than a packet of {limits.size} bytes: takes {packet.fragments}"
    if not limits.multiple:
        return "controller takes one read a request"
    if following is None or following.scan != packet.scan:
        return "last of its class"
    return f"connection's maximum of {limits.size} bytes"
