"""asyncua's client and types, past annotations that its own documentation's examples do not pass."""

from __future__ import annotations

from typing import Any

import asyncua.client.client
import asyncua.ua

Client: Any = asyncua.client.client.Client
ua: Any = asyncua.ua
