"""Names that the command line gives to what goes into a configuration."""

from __future__ import annotations

import re

from server.config.fields import NAME, NAME_HINT
from server.tools.errors import UsageError


def source_name(text: str) -> str:
    """A source's name. Raises UsageError."""
    if re.fullmatch(NAME, text) is None:
        raise UsageError(f"--source: {text!r} is not a name; {NAME_HINT}")
    return text


def under_path(text: str) -> str:
    """The path of an equipment, or nothing. Raises UsageError."""
    path = text.strip("/")
    if path and any(re.fullmatch(NAME, part) is None for part in path.split("/")):
        raise UsageError(f"--under: {text!r} is no path of an equipment, as Acme/Lyon; in it {NAME_HINT}")
    return path
