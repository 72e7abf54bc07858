"""Outside programs that tests talk to: absent ones skip the test, except in CI, where they fail it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

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


def need_library(name: str, pattern: str) -> Path:
    """The path of a shared library; skips or fails as `need` does."""
    found = sorted(Path("/").glob(pattern.lstrip("/")))
    if found:
        return found[0]
    reason = f"needs {name}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}: CI must install it", pytrace=False)
    pytest.skip(reason)
