"""A downstream OPC UA server, and sources of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import pki
from support.line import MACHINE
from support.opcua import OPERATOR, OPERATOR_PASSWORD, Running
from support.scanning import FAST

from certs.own import load_or_make
from certs.store import TrustList
from sources.opcua.config import DownstreamSettings, OpcUaTag, parse_tag
from sources.opcua.driver import OpcUaSource
from sources.opcua.security import Surroundings
from sources.spec import TagSpec
from sources.tag import ScanClass, ValueType

PLANT = "urn:acme:plant"


def settings(where: Running | int | str, **more: Any) -> DownstreamSettings:
    """Unprotected, and quick to find a dead link."""
    url = where if isinstance(where, str) else None
    port = where.port if isinstance(where, Running) else where
    given: dict[str, Any] = {
        "url": url or f"opc.tcp://127.0.0.1:{port}/",
        "security": "none",
        "keepalive": "500ms",
    }
    return DownstreamSettings(**given | more)


def named(
    name: str,
    kind: ValueType = ValueType.Double,
    *,
    address: str | None = None,
    scan: ScanClass = FAST,
    writable: bool = False,
    length: int | None = None,
) -> OpcUaTag:
    """A tag of the machine of `support.line`."""
    spec = TagSpec(
        f"There.{name}",
        address or f"nsu={PLANT};s={MACHINE}.{name}",
        kind,
        scan,
        writable=writable,
        length=length,
    )
    return parse_tag(spec, DownstreamSettings(url="opc.tcp://127.0.0.1"))


def source(where: Running | int | str, tags: Sequence[OpcUaTag], **more: Any) -> OpcUaSource:
    """A source of those tags; ``recheck`` in seconds."""
    recheck = more.pop("recheck", 60.0)
    return OpcUaSource("There", settings(where, **more), tags, recheck=recheck)


def protected(running: Running, folder: Path, *, mutual: bool = True) -> Surroundings:
    """An application and its trust list; it and the server trust each other, or (not mutual) nobody does."""
    own = folder / "pki" / "own"
    own.mkdir(parents=True, exist_ok=True)
    (own / "private-key.pem").write_bytes(pki.key_pem(pki.key(12)))
    (own / "private-key.pem").chmod(0o600)
    identity = load_or_make(folder / "pki", application_uri="urn:test:upstream")
    trust = TrustList(folder / "pki")
    trust.prepare()
    if mutual:
        trust.trust(running.bench.data / "pki" / "own" / "certificate.der")
        running.bench.trust.trust(own / "certificate.der")
    return Surroundings(identity, trust, folder)


SAFE: dict[str, Any] = {"security": "sign_and_encrypt"}
OPERATING = SAFE | {"user": OPERATOR, "password": "env:DOWNSTREAM_PASSWORD"}
"""What a source needs that comes as the operator; see `lend_password`."""


def lend_password(patch: pytest.MonkeyPatch) -> None:
    """Put the operator's password where the settings look for it."""
    patch.setenv("DOWNSTREAM_PASSWORD", OPERATOR_PASSWORD)
