"""Outside programs that tests talk to: absent ones skip the test, except in CI, where they fail it."""

from __future__ import annotations

import os
import shutil

import pytest


def need(program: str) -> str:
    """The path of a program; skips the test where it is absent, fails it under CI=true."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is not None:
        return found
    reason = f"needs {program}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}: CI must install it", pytrace=False)
    pytest.skip(reason)
