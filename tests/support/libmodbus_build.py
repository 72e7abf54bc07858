"""Compiles a program on libmodbus, once a run."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.programs import need


@functools.cache
def _built(source: Path) -> tuple[Path, str]:
    """The program, and what the compiler had to complain of."""
    directory = Path(tempfile.mkdtemp(prefix="isthmus-libmodbus-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    program = directory / source.stem
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-I/usr/include/modbus", "-I/usr/local/include/modbus"]
    command += ["-o", str(program), str(source), "-lmodbus"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return program, "" if done.returncode == 0 else done.stderr


def compiled(source: Path) -> Path:
    """The program; skips the test where libmodbus is absent, fails it under CI=true."""
    need("gcc")
    program, complaint = _built(source)
    if not complaint:
        return program
    if "modbus.h" not in complaint and "-lmodbus" not in complaint:
        pytest.fail(f"{source.name} does not compile:\n{complaint}", pytrace=False)
    if os.environ.get("CI") == "true":
        pytest.fail("needs libmodbus: CI must install libmodbus-dev", pytrace=False)
    pytest.skip("needs libmodbus")
