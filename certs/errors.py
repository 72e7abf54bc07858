"""What can be wrong with a certificate.

CertificateError
├── CertificateRefused      a peer's certificate fails a check of OPC 10000-4 §6.1.3; ``step`` says which
└── CertificateFileError    a file of this application's own cannot be used; the text says what to do
"""

from __future__ import annotations

import enum
from typing import Final


class Step(enum.Enum):
    """The checks of OPC 10000-4 §6.1.3, in the order they are made.

    The host name stands between IssuerValidity and ApplicationUri: a client's to check.
    """

    Structure = "structure"
    Chain = "chain"
    Signature = "signature"
    Policy = "policy"
    Trust = "trust"
    Validity = "validity"
    IssuerValidity = "issuer validity"
    ApplicationUri = "application URI"
    Usage = "usage"
    IssuerUsage = "issuer usage"
    RevocationList = "revocation list"
    Revoked = "revoked"
    IssuerRevocationList = "issuer revocation list"
    IssuerRevoked = "issuer revoked"

    @property
    def order(self) -> int:
        """How many checks are made before it."""
        return _ORDER[self]


_ORDER: Final = {step: number for number, step in enumerate(Step)}


class CertificateError(Exception):
    """Base of all certificate errors; its text is meant for people."""


class CertificateRefused(CertificateError):
    """A certificate fails the check ``step``."""

    def __init__(self, step: Step, message: str) -> None:
        super().__init__(message)
        self.step = step


class CertificateFileError(CertificateError):
    """A key or certificate file is missing, broken or of the wrong kind."""
