"""Fuzzes on and on: ``python tests/fuzz/run.py [FOLDER]`` until it finds something or is stopped.

Each round takes others, and ever more, of the inputs of CI; what atheris finds to lead
somewhere new is kept in the folder, and is where it goes on.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """See the module."""
    corpus = Path(sys.argv[1] if len(sys.argv) > 1 else ".fuzz").absolute()
    for number in itertools.count(1):
        effort = min(2**number, 64)
        print(f"--- round {number}: {effort} times the inputs of CI", flush=True)  # noqa: T201  # a tool
        command = [sys.executable, "-m", "pytest", str(HERE), "-q", "-x", "-p", "no:cacheprovider"]
        more = {"ISTHMUS_FUZZ": str(effort), "ISTHMUS_FUZZ_CORPUS": str(corpus)}
        ended = subprocess.run([*command, "-o", "faulthandler_timeout=0"], env=os.environ | more, check=False)
        if ended.returncode:
            return ended.returncode
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
