"""The time in which simulated clocks run: what every format of a date has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

EARLIEST: Final = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
LATEST: Final = int(datetime(2068, 12, 31, tzinfo=UTC).timestamp())
"""In Unix seconds."""
