"""From a failed certificate check to a StatusCode: one for the peer, one for the log and the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from certs.errors import Step
from server.opcua.types import StatusCodes


@dataclass(frozen=True, slots=True)
class _Codes:
    audit: int
    peer: int = StatusCodes.BadSecurityChecksFailed


def _told(code: int) -> _Codes:
    return _Codes(code, code)


# OPC 10000-4 §6.1.3, Table 100 (and errata 1.04.12): a client that is not trusted, or no longer,
# learns nothing but that. Whether a revocation list is at hand concerns nobody outside either.
# What is wrong with a certificate that is trusted it may know: its owner has to see to it.
_CODES: Final[Mapping[Step, _Codes]] = {
    Step.Structure: _Codes(StatusCodes.BadCertificateInvalid),
    Step.Chain: _Codes(StatusCodes.BadCertificateChainIncomplete),
    Step.Signature: _Codes(StatusCodes.BadCertificateInvalid),
    Step.Policy: _Codes(StatusCodes.BadCertificatePolicyCheckFailed),
    Step.Trust: _Codes(StatusCodes.BadCertificateUntrusted),
    Step.Validity: _told(StatusCodes.BadCertificateTimeInvalid),
    Step.IssuerValidity: _told(StatusCodes.BadCertificateIssuerTimeInvalid),
    Step.ApplicationUri: _told(StatusCodes.BadCertificateUriInvalid),
    Step.Usage: _told(StatusCodes.BadCertificateUseNotAllowed),
    Step.IssuerUsage: _told(StatusCodes.BadCertificateIssuerUseNotAllowed),
    Step.RevocationList: _Codes(StatusCodes.BadCertificateRevocationUnknown),
    Step.Revoked: _Codes(StatusCodes.BadCertificateRevoked),
    Step.IssuerRevocationList: _Codes(StatusCodes.BadCertificateIssuerRevocationUnknown),
    Step.IssuerRevoked: _Codes(StatusCodes.BadCertificateIssuerRevoked),
}


def peer_status(step: Step) -> int:
    """The StatusCode the peer is told for a certificate that fails that check (OPC 10000-4 §6.1.3)."""
    return _CODES[step].peer


def audit_status(step: Step) -> int:
    """The StatusCode of that check itself, for the log and audit events (OPC 10000-4 §6.1.3)."""
    return _CODES[step].audit
