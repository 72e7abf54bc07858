"""A command on a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time


def screen(command: list[str], wanted: str, *, within: float = 40.0) -> str:
    """What a command writes to a terminal until it says ``wanted``; it is interrupted then."""
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    seen, end = "", time.monotonic() + within
    try:
        while wanted not in seen and time.monotonic() < end:
            if select.select([mine], [], [], 0.5)[0]:
                try:
                    seen += os.read(mine, 65536).decode(errors="replace")
                except OSError:  # the terminal is gone with its last process
                    break
    finally:
        process.terminate()
        process.wait(20)
        os.close(mine)
    return seen
