"""What a client hears of its refused certificate, and what the log says (OPC 10000-4 §6.1.3)."""

from __future__ import annotations

import pytest

from certs.errors import Step
from server.opcua.status import audit_status, peer_status
from server.opcua.types import StatusCodes

TOLD = {
    Step.Validity: StatusCodes.BadCertificateTimeInvalid,
    Step.IssuerValidity: StatusCodes.BadCertificateIssuerTimeInvalid,
    Step.ApplicationUri: StatusCodes.BadCertificateUriInvalid,
    Step.Usage: StatusCodes.BadCertificateUseNotAllowed,
    Step.IssuerUsage: StatusCodes.BadCertificateIssuerUseNotAllowed,
}
KEPT = {
    Step.Structure: StatusCodes.BadCertificateInvalid,
    Step.Chain: StatusCodes.BadCertificateChainIncomplete,
    Step.Signature: StatusCodes.BadCertificateInvalid,
    Step.Policy: StatusCodes.BadCertificatePolicyCheckFailed,
    Step.Trust: StatusCodes.BadCertificateUntrusted,
    Step.RevocationList: StatusCodes.BadCertificateRevocationUnknown,
    Step.Revoked: StatusCodes.BadCertificateRevoked,
    Step.IssuerRevocationList: StatusCodes.BadCertificateIssuerRevocationUnknown,
    Step.IssuerRevoked: StatusCodes.BadCertificateIssuerRevoked,
}


@pytest.mark.parametrize("step", Step)
def test_every_check_has_its_codes(step: Step) -> None:
    assert audit_status(step) == (TOLD | KEPT)[step]
    assert peer_status(step) == TOLD.get(step, StatusCodes.BadSecurityChecksFailed)
