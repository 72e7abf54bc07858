"""Whether certificates that were accepted still are: a peer stays only as long as it would be let in."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from certs import files
from certs.errors import CertificateRefused
from certs.snapshot import TrustSnapshot
from certs.store import TrustList
from certs.validate import RSA_2048_TO_4096, KeyRules, Usage, assess

K = TypeVar("K")


class Revalidation:
    """Checks the chains of connected peers again and again, and only where the answer can have changed.

    That is when the trust list changed, when a certificate or revocation list a chain was
    accepted with runs out, and for a chain not seen before.
    """

    def __init__(
        self, trust: TrustList, *, usage: Usage = Usage.Client, rules: KeyRules = RSA_2048_TO_4096
    ) -> None:
        self._trust = trust
        self._usage = usage
        self._rules = rules
        self._lock = threading.Lock()
        self._snapshot: TrustSnapshot | None = None
        self._good: dict[bytes, datetime] = {}

    def refused(self, chains: Mapping[K, bytes], now: datetime) -> dict[K, CertificateRefused]:
        """Those of the peers that would not be let in now, and why.

        ``chains`` has of every connected peer the certificates as it sent them, one DER
        after the other (OPC 10000-6 §6.2.6); peers without a certificate have no place in
        it. Touches the disk and verifies signatures: call it off the loop.
        """
        with self._lock:
            snapshot = self._trust.snapshot()
            if snapshot is not self._snapshot:
                self._snapshot = snapshot
                self._good.clear()
            verdicts = {sent: self._judge(sent, snapshot, now) for sent in set(chains.values())}
            self._good = {sent: until for sent, until in self._good.items() if sent in verdicts}
        return {peer: verdict for peer, sent in chains.items() if (verdict := verdicts[sent]) is not None}

    def _judge(self, sent: bytes, snapshot: TrustSnapshot, now: datetime) -> CertificateRefused | None:
        until = self._good.get(sent)
        if until is not None and now <= until:
            return None
        self._good.pop(sent, None)
        try:
            accepted = assess(
                files.read_chain(sent),
                snapshot,
                usage=self._usage,
                now=now,
                rules=self._rules,
                tolerated=_told_already,
            )
        except CertificateRefused as refused:
            return refused
        self._good[sent] = accepted.until
        return None


def _told_already(_refused: CertificateRefused) -> None:
    """What is passed over was told when the peer was let in."""
