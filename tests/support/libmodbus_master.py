"""A Modbus master on libmodbus: compiled once, one process for each command."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.libmodbus_build import compiled

_SOURCE = Path(__file__).with_name("libmodbus_client.c")


def master_program() -> Path:
    """The compiled client; skips the test where libmodbus is absent, fails it under CI=true."""
    return compiled(_SOURCE)


async def libmodbus(port: int | str, command: str, *arguments: float, unit: int = 1) -> str:
    """What one command of the client answers; ``libmodbus_client.c`` lists them. A path as port means RTU.

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
