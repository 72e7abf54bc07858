"""The plan in words: each packet, and why it ends where it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sources.ethernetip.device import Device
from sources.ethernetip.plan import Limits, Packet
from sources.insight import PlannedBlock


def explain(device: Device) -> list[PlannedBlock]:
    """What is read of a controller at present, class by class, in the order it was packed."""
    return [told for _, told in explained(device.packets, device.limits)]


def explained(packets: Iterable[Packet], limits: Limits) -> Iterator[tuple[Packet, PlannedBlock]]:
    """Each packet of a plan with what is told of it."""
    ordered = sorted(packets, key=lambda packet: (packet.scan.period, packet.scan.name))
    for packet, following in zip(ordered, [*ordered[1:], None], strict=False):  # there may be none
        reason = _end(packet, following, limits)
        yield packet, PlannedBlock(str(packet), packet.scan.name, _size(packet), len(packet.tags), reason)


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
    if packet.guard and not following.guard:
        return "last of those that need the program's counters"
    return f"connection's maximum of {limits.size} bytes"
