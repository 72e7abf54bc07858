"""A Modbus master on libmodbus: compiled once, one process for each command."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.programs import need

_SOURCE = Path(__file__).with_name("libmodbus_client.c")


@functools.cache
def _built() -> tuple[Path, str]:
    """The program, and what the compiler had to complain of."""
    directory = Path(tempfile.mkdtemp(prefix="isthmus-libmodbus-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    program = directory / "client"
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-I/usr/include/modbus", "-I/usr/local/include/modbus"]
    command += ["-o", str(program), str(_SOURCE), "-lmodbus"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return program, "" if done.returncode == 0 else done.stderr


def master_program() -> Path:
    """The compiled client; skips the test where libmodbus is absent, fails it under CI=true."""
    need("gcc")
    program, complaint = _built()
    if not complaint:
        return program
    if "modbus.h" not in complaint and "-lmodbus" not in complaint:
        pytest.fail(f"{_SOURCE.name} does not compile:\n{complaint}", pytrace=False)
    if os.environ.get("CI") == "true":
        pytest.fail("needs libmodbus: CI must install libmodbus-dev", pytrace=False)
    pytest.skip("needs libmodbus")


async def libmodbus(port: int, command: str, *arguments: float, unit: int = 1) -> str:
    """What one command of the client answers; ``libmodbus_client.c`` lists them.

    Raises LookupError with libmodbus's own words where it failed.
    """
    words = [str(port), str(unit), command, *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(
        str(master_program()), *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        answer, complaint = await process.communicate()
    if process.returncode:
        raise LookupError(complaint.decode().strip())
    return answer.decode().strip()
