"""The rules that hold for every test are rules that a test can break."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPED = "import pytest\ndef test_it():\n    pytest.skip('{reason}')\n"
LEAKED = """import asyncio
async def test_it():
    globals()["t"] = asyncio.create_task(asyncio.sleep(9))
"""


def outcome(folder: Path, test: str, *, ci: bool) -> int:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder / "conftest.py")
    (folder / "test_it.py").write_text(test, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    environment = os.environ | {"CI": "true" if ci else "false"}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [("needs a coffee", True, 1), ("needs a coffee", False, 0), ("needs /proc", True, 0)],
)
def test_ci_takes_no_skip_but_the_listed(tmp_path: Path, reason: str, ci: bool, code: int) -> None:
    assert outcome(tmp_path, SKIPPED.format(reason=reason), ci=ci) == code


def test_a_leaked_task_fails_its_test(tmp_path: Path) -> None:
    assert outcome(tmp_path, LEAKED, ci=False) == 1
