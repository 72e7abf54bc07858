"""Dialling: from settings to a link that stands, over whatever transport."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Sequence
from pathlib import Path

from sources.errors import Refused, Unreachable
from sources.modbus.config import ModbusSettings
from sources.modbus.link import Link, Watcher
from sources.modbus.mbap import MbapDatagrams, MbapStream
from sources.modbus.plan import BITS_A_CHARACTER
from sources.modbus.serialframe import Ascii, Rtu
from sources.modbus.serialline import SerialLink
from sources.modbus.serialport import attach, open_port, released
from sources.resolve import Endpoint, Resolver
from sources.settings import SecretError, read_secret

_FAST_BAUD = 19_200
_FAST_SILENCE = 0.00175
"""Above 19200 baud the silence between frames no longer shrinks (Serial Line V1.02 §2.5.1.1)."""


async def dial(settings: ModbusSettings, watcher: Watcher, resolver: Resolver) -> Link:
    """One link. Raises Unreachable with the cause, and Refused where only a person can help."""
    if settings.is_serial_port:
        await released(settings.device, settings.timeout)
        return _open_port(settings, watcher)
    context = _tls(settings) if settings.transport == "tls" else None
    until = asyncio.get_running_loop().time() + settings.timeout
    try:
        async with asyncio.timeout_at(until):
            endpoints = await resolver.resolve()
    except TimeoutError:
        raise Unreachable(f"the host name is not resolved within {settings.timeout:g} s") from None
    try:
        return await _call_each(settings, watcher, context, endpoints, until)
    except TimeoutError:
        raise Unreachable(f"no answer to the call within {settings.timeout:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise Refused(f"the device's certificate is not trusted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise Unreachable(f"no TLS connection: {(error.reason or str(error)).lower()}") from None
    except OSError as error:
        raise Unreachable(_cause(error)) from None


async def _call_each(
    settings: ModbusSettings,
    watcher: Watcher,
    context: ssl.SSLContext | None,
    endpoints: Sequence[Endpoint],
    until: float,
) -> Link:
    """Call one address after the other, each for its share of the time.

    A silent one must not hide one that answers.
    """
    clock = asyncio.get_running_loop().time
    last: OSError = OSError("the host name has no address")
    for tried, (_, address) in enumerate(endpoints):
        try:
            async with asyncio.timeout((until - clock()) / (len(endpoints) - tried)):
                return await _call(settings, watcher, context, address[:2])
        except ssl.SSLError:
            raise
        except OSError as error:
            last = error
    raise last


async def _call(
    settings: ModbusSettings, watcher: Watcher, context: ssl.SSLContext | None, address: tuple[str, int]
) -> Link:
    """Call an address in numbers, which the loop need not look up."""
    loop = asyncio.get_running_loop()
    if settings.transport == "udp":
        _, datagrams = await loop.create_datagram_endpoint(
            lambda: MbapDatagrams(watcher), remote_addr=address
        )
        return datagrams
    if settings.transport == "rtu-over-tcp":
        _, serial = await loop.create_connection(lambda: SerialLink(watcher, Rtu()), *address)
        return serial
    name = (settings.server_name or settings.host) if context else None
    _, stream = await loop.create_connection(
        lambda: MbapStream(watcher), *address, ssl=context, server_hostname=name
    )
    return stream


def _open_port(settings: ModbusSettings, watcher: Watcher) -> Link:
    is_ascii = settings.transport == "ascii"
    port = open_port(
        settings.device,
        baud=settings.baud,
        data_bits=settings.data_bits or (7 if is_ascii else 8),
        parity=settings.parity,
        stop_bits=settings.stop_bits or (2 if settings.parity == "none" else 1),
    )
    character = BITS_A_CHARACTER / settings.baud
    silence = 0.0 if is_ascii else 3.5 * character if settings.baud <= _FAST_BAUD else _FAST_SILENCE
    link = SerialLink(watcher, Ascii() if is_ascii else Rtu(), silence=silence, character=character)
    attach(port, link)
    return link


def _tls(settings: ModbusSettings) -> ssl.SSLContext:
    """Read anew for each connection: certificates may be renewed while we run. Raises Refused."""
    try:
        context = ssl.create_default_context(cafile=settings.ca)
    except ssl.SSLError as error:
        raise Refused(f"ca: {settings.ca} holds no certificate in PEM: {error.reason or error}") from None
    except OSError as error:
        raise Refused(f"ca: {settings.ca} cannot be read: {error.strerror}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.certificate is not None and settings.key is not None:
        _load_pair(context, settings, settings.certificate, settings.key)
    return context


def _load_pair(context: ssl.SSLContext, settings: ModbusSettings, certificate: Path, key: Path) -> None:
    def password() -> str:
        if settings.key_password is None:
            raise Refused(f"key: {key} is encrypted; add key_password")
        try:
            return read_secret(settings.key_password, Path())
        except SecretError as error:
            raise Refused(f"key_password: {error}") from None

    for name, path in (("certificate", certificate), ("key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise Refused(f"{name}: {path} cannot be read: {error.strerror}") from None
    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        raise Refused(
            f"certificate and key: {certificate} and {key} do not fit: {error.reason or error}"
        ) from None


def _cause(error: OSError) -> str:
    """The operating system's words, without asyncio's ``Connect call failed ('10.0.0.1', 502)``."""
    numbers = [error.errno] if error.errno else [int(n) for n in re.findall(r"\[Errno (\d+)\]", str(error))]
    return ", ".join(dict.fromkeys(os.strerror(n).lower() for n in numbers)) or str(error)
