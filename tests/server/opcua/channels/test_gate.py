"""Whom the gatekeeper lets in, and what the audit hears of it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from support import pki
from support.channels import POLICIES, all_offers, identity

from certs.store import TrustList
from server.opcua.channels.asymmetric import AsymmetricHeader
from server.opcua.channels.gate import Gatekeeper
from server.opcua.transport.framing import TransportError
from server.opcua.types import StatusCodes


def gate(folder: Path, *, require_crl: bool) -> tuple[Gatekeeper, AsymmetricHeader]:
    """One that trusts a CA without a revocation list, and a client of that CA."""
    plant_ca = pki.authority()
    trust = TrustList(folder / "pki", require_crl=require_crl)
    trust.prepare()
    (folder / "pki" / "trusted" / "certs" / "ca.der").write_bytes(pki.der(plant_ca.certificate))
    own = identity()
    client = pki.application("Anna", private=pki.key(11), issuer=plant_ca)
    ours = hashlib.sha1(own.der, usedforsecurity=False).digest()
    uri = POLICIES["Basic256Sha256"].URI
    return Gatekeeper(all_offers(), own, trust), AsymmetricHeader(0, uri, pki.der(client), ours, 0)


def test_a_missing_revocation_list_keeps_its_clients_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, header = gate(tmp_path, require_crl=True)
    with caplog.at_level(logging.WARNING, "isthmus.audit"), pytest.raises(TransportError) as refused:
        keeper.admit(header, "10.1.2.3:5")
    assert refused.value.code == StatusCodes.BadSecurityChecksFailed
    (told,) = [record for record in caplog.records if record.name == "isthmus.audit"]
    assert told.__dict__["status"] == "BadCertificateRevocationUnknown"


def test_where_lists_are_optional_the_audit_hears_what_was_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, header = gate(tmp_path, require_crl=False)
    with caplog.at_level(logging.WARNING, "isthmus.audit"):
        assert keeper.admit(header, "10.1.2.3:5").certificate == header.certificates
    (told,) = [record for record in caplog.records if record.name == "isthmus.audit"]
    assert told.__dict__["status"] == "BadCertificateRevocationUnknown"
    assert "opened all the same" in told.getMessage()
