"""Which event loop the commands run on."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

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
