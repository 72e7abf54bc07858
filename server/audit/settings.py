"""The ``audit`` section of the configuration."""

from __future__ import annotations

from pydantic import Field

from sources.settings import SettingsModel


class AuditSettings(SettingsModel):
    """The audit log."""

    refuse_unrecorded: bool = Field(
        True, description="Refuse a write that cannot be recorded first, because the disk is full, say."
    )
    sync: bool = Field(
        True, description="Have the disk itself hold that a write was asked for before it is sent."
    )
    file_mib: int = Field(
        16, ge=1, le=1024, description="A file that has grown to this is followed by the next."
    )
