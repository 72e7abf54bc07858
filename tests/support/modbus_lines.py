"""Simulators on every transport, and the settings that reach them."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from support import pki
from support.simulator import RunningSimulator, filler, running_simulator

from sources.modbus.config import ModbusSettings

TRANSPORTS = ("tcp", "tls", "udp", "rtu-over-tcp", "rtu", "ascii")


_ROLE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.50316.802.1"), b"\x0c\x07Monitor")
"""RoleOID of Modbus/TCP Security with a role that would not do for writing: it has to be ignored."""


class Certificates:
    """A CA, a device's certificate and ours, as files; both have a role."""

    def __init__(self, folder: Path) -> None:
        ca = pki.authority(extra=pki.key_ids(pki.key(1), pki.key(1)))
        ids = [*pki.key_ids(pki.key(), pki.key(1)), (_ROLE, False)]
        device = pki.application("PLC", issuer=ca, extended=ExtendedKeyUsageOID.SERVER_AUTH, extra=ids)
        ours = pki.application("Isthmus", issuer=ca, extra=ids)
        self.ca = folder / "ca.pem"
        folder.mkdir(parents=True, exist_ok=True)
        self.ca.write_bytes(pki.pem(ca.certificate))
        self.device = pki.write(folder / "device", device, pki.key())
        self.ours = pki.write(folder / "ours", ours, pki.key())


@asynccontextmanager
async def simulator_on(
    transport: str, folder: Path, **more: Any
) -> AsyncIterator[tuple[RunningSimulator, ModbusSettings]]:
    """A filler on a transport, and what reaches it."""
    spec: dict[str, Any] = {"transport": transport}
    given: dict[str, Any] = {"driver": "modbus", "transport": transport} | more
    if transport == "tls":
        files = Certificates(folder)
        spec |= {"ca": str(files.ca), "certificate": str(files.device[0]), "key": str(files.device[1])}
        given |= {"ca": str(files.ca), "certificate": str(files.ours[0]), "key": str(files.ours[1])}
    async with running_simulator(filler(**spec)) as simulator:
        if transport in {"rtu", "ascii"}:
            # A pseudo terminal knows no parity, and eight bits only.
            given |= {"device": simulator.address, "baud": 115_200, "parity": "none", "data_bits": 8}
        else:
            given |= {"host": "127.0.0.1", "port": simulator.port}
        yield simulator, ModbusSettings.model_validate(given)


def _pass_on(reads: int, writes: int) -> None:
    os.write(writes, os.read(reads, 4096))


@contextmanager
def cable() -> Iterator[tuple[str, str]]:
    """The paths of two terminals; what is written to one is read from the other. Needs a running loop."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        (one, one_end), (other, other_end) = os.openpty(), os.openpty()
        for number in (one, one_end, other, other_end):
            stack.callback(os.close, number)
        for number in (one_end, other_end):
            tty.setraw(number)
        for reads, writes in ((one, other), (other, one)):
            loop.add_reader(reads, _pass_on, reads, writes)
            stack.callback(loop.remove_reader, reads)
        yield os.ttyname(one_end), os.ttyname(other_end)
