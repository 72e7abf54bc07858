"""Whether an issuer took a certificate back (OPC 10000-4 §6.1.3: find revocation list, revocation check).

Every list that a CA signed counts for what it names, out of date or not: who was revoked
stays revoked. To say that a certificate is *not* revoked, a list must be up to date and
must speak of all certificates of its kind: not a delta list, not one of some reasons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from cryptography import x509

from certs import files
from certs.errors import CertificateRefused, Step
from certs.snapshot import TrustSnapshot
from certs.structure import extension, is_authority

Tolerated = Callable[[CertificateRefused], None]
"""Is told of a check that failed and does not count, by the administrator's choice."""

FOREVER: Final = datetime.max.replace(tzinfo=UTC)


def check_revocation(
    chain: Sequence[x509.Certificate], trust: TrustSnapshot, now: datetime, tolerated: Tolerated
) -> datetime:
    """Check each certificate of the chain against its issuer's lists; gives when a list needed runs out.

    A root answers for itself: nobody could revoke it. Without ``trust.require_crl`` a list
    that is missing or out of date is told to ``tolerated``.

    Raises CertificateRefused (RevocationList, Revoked, IssuerRevocationList, IssuerRevoked).
    """
    until = FOREVER
    for depth, (certificate, issuer) in enumerate(pairwise(chain)):
        lists = trust.lists_of(issuer)
        current = [c for c in lists if _is_current(c, now) and _speaks_of(c, certificate)]
        if current:
            until = min(until, max(c.next_update_utc or FOREVER for c in current))
        else:
            refused = CertificateRefused(
                Step.IssuerRevocationList if depth else Step.RevocationList,
                f"whether {files.title(certificate)} is revoked cannot be told: "
                f"{_what_is_missing(issuer, lists, trust, now)}",
            )
            if trust.require_crl:
                raise refused
            tolerated(refused)
        if any(_names(crl, certificate) for crl in lists):
            raise CertificateRefused(
                Step.IssuerRevoked if depth else Step.Revoked,
                f"{files.title(certificate)} was revoked by its issuer {files.title(issuer)}",
            )
    return until


def missing_lists(trust: TrustSnapshot, now: datetime, *of: x509.Certificate) -> list[str]:
    """For each CA without a revocation list that is up to date, what is missing.

    ``of`` restricts it to some certificates; without it all of the trust list are meant.
    """
    missing = []
    for authority in dict.fromkeys(of or (*trust.trusted, *trust.issuers)):
        if not is_authority(authority):
            continue
        lists = trust.lists_of(authority)
        if not any(_is_current(c, now) and _is_whole(c) for c in lists):
            missing.append(_what_is_missing(authority, lists, trust, now))
    return missing


def kind_of(crl: x509.CertificateRevocationList) -> str:
    """What tells the lists apart that one CA issues side by side; empty for the one of everything."""
    point = extension(crl, x509.IssuingDistributionPoint)
    parts = ["delta"] if extension(crl, x509.DeltaCRLIndicator) is not None else []
    if point is not None:
        parts.append(hashlib.sha256(point.public_bytes()).hexdigest()[:8])
    return " ".join(parts)


def _is_current(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    return crl.last_update_utc <= now <= (crl.next_update_utc or FOREVER)


def _is_whole(crl: x509.CertificateRevocationList) -> bool:
    """Neither a delta list, nor an indirect one, nor one of some reasons only (RFC 5280 §5.2)."""
    if extension(crl, x509.DeltaCRLIndicator) is not None:
        return False
    point = extension(crl, x509.IssuingDistributionPoint)
    return point is None or not (
        point.indirect_crl or point.only_some_reasons or point.only_contains_attribute_certs
    )


def _speaks_of(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether the certificate is not revoked when that list does not name it."""
    if not _is_whole(crl):
        return False
    point = extension(crl, x509.IssuingDistributionPoint)
    if point is None:
        return True
    constraints = extension(certificate, x509.BasicConstraints)
    ca = constraints is not None and constraints.ca
    if (ca and point.only_contains_user_certs) or (not ca and point.only_contains_ca_certs):
        return False
    return not point.full_name or bool(set(point.full_name) & _distribution_points(certificate))


def _distribution_points(certificate: x509.Certificate) -> set[x509.GeneralName]:
    points = extension(certificate, x509.CRLDistributionPoints)
    return {name for point in points or () for name in point.full_name or ()}


def _names(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    try:
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is None:
            return False
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return True
    except files.PARSE_ERRORS:
        return True  # a list that cannot be read to its end clears nobody
    return reason is not x509.ReasonFlags.remove_from_crl


def _what_is_missing(
    issuer: x509.Certificate,
    lists: Sequence[x509.CertificateRevocationList],
    trust: TrustSnapshot,
    now: datetime,
) -> str:
    folder = "trusted/crl" if issuer in trust.anchors else "issuers/crl"
    remedy = f"put a new one into {folder} (isthmus certs crl FILE)"
    whole = [crl for crl in lists if _is_whole(crl)]
    if not whole:
        also = ", only a partial one" if lists else ""
        remedy = f"put it into {folder} (isthmus certs crl FILE)"
        return f"the revocation list of {files.title(issuer)} is not here{also}; {remedy}"
    newest = max(whole, key=lambda crl: crl.last_update_utc)
    if newest.last_update_utc > now:
        return (
            f"the revocation list of {files.title(issuer)} is valid only from "
            f"{newest.last_update_utc:%Y-%m-%d %H:%M} on"
        )
    if newest.next_update_utc is not None and newest.next_update_utc < now:
        return (
            f"the revocation list of {files.title(issuer)} was good until "
            f"{newest.next_update_utc:%Y-%m-%d %H:%M}; {remedy}"
        )
    return f"the revocation list of {files.title(issuer)} does not speak of that certificate; {remedy}"
