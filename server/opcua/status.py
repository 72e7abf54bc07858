"""What a client is told when its certificate is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from certs.errors import Step
from server.opcua.types import StatusCodes

# OPC 10000-4 §6.1.3 and OPC 10000-6 §6.7.6: whoever is not trusted learns no more than that.
_CODES: Final[Mapping[Step, int]] = {
    Step.Structure: StatusCodes.BadSecurityChecksFailed,
    Step.Chain: StatusCodes.BadSecurityChecksFailed,
    Step.Signature: StatusCodes.BadSecurityChecksFailed,
    Step.Policy: StatusCodes.BadSecurityChecksFailed,
    Step.Trust: StatusCodes.BadSecurityChecksFailed,
    Step.Validity: StatusCodes.BadCertificateTimeInvalid,
    Step.IssuerValidity: StatusCodes.BadCertificateIssuerTimeInvalid,
    Step.ApplicationUri: StatusCodes.BadCertificateUriInvalid,
    Step.Usage: StatusCodes.BadCertificateUseNotAllowed,
    Step.IssuerUsage: StatusCodes.BadCertificateIssuerUseNotAllowed,
    Step.Revoked: StatusCodes.BadSecurityChecksFailed,
    Step.IssuerRevoked: StatusCodes.BadSecurityChecksFailed,
}


def certificate_status(step: Step) -> int:
    """The StatusCode for a certificate that fails that check."""
    return _CODES[step]
