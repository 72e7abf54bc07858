"""Which event loop the commands run on, and what signals do to it."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys

import pytest

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

SHOW = "import asyncio\nfrom server.cli.loop import run_until_stopped\n"
SHOW += "async def main():\n    print(type(asyncio.get_running_loop()).__module__)\nrun_until_stopped(main)\n"


def shown(before: str = "") -> str:
    return subprocess.run(
        [sys.executable, "-c", before + SHOW], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_it_is_uvloop_where_that_is_installed() -> None:
    installed = importlib.util.find_spec("uvloop") is not None
    assert (shown() == "uvloop") is installed


def test_it_is_asyncios_own_elsewhere() -> None:
    assert shown("import sys\nsys.modules['uvloop'] = None\n").startswith("asyncio.")


def test_what_is_raised_is_passed_on() -> None:
    script = "from server.cli.loop import run_until_stopped\n"
    script += "async def main():\n    raise RuntimeError('on purpose')\nrun_until_stopped(main)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: on purpose" in done.stderr


HANGUP = """\
import asyncio, fcntl, sys, termios
from server.cli.loop import on_hangup, run_until_stopped
if sys.stdin.isatty():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
async def main():
    on_hangup(lambda: print("again", flush=True))
    print("up", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("stopped", flush=True)
run_until_stopped(main)
"""


def hung_up(stdin: int) -> subprocess.Popen[str]:
    """A process that waits for what SIGHUP means, leader of a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HANGUP], stdin=stdin, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


@posix
def test_a_hangup_is_an_order_and_ends_nothing() -> None:
    with hung_up(subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "again\n"
        process.terminate()
        assert process.stdout.read() == "stopped\n"
    assert process.returncode == 0


@posix
def test_a_terminal_that_closes_ends_what_runs_there() -> None:
    ours, theirs = os.openpty()
    with hung_up(theirs) as process:
        os.close(theirs)
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "again\n"
        os.close(ours)
        assert process.stdout.read() == "stopped\n"
    assert process.returncode == 0
