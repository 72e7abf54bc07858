"""What can go wrong with the audit log."""

from __future__ import annotations


class AuditError(Exception):
    """Something cannot be recorded, or the log cannot be read; the text says why and what to do."""


class BrokenRecord(Exception):
    """A line that is no record of the log, or not the one that was written."""
