"""``make soak``: a server over devices that fail at random, and whether it stays right and small.

Several simulated devices of every driver, each a process behind a proxy, have one fault
after the other: restarts, silence, lateness, replies cut, doubled, replayed, shortened,
garbage, program downloads. A client subscribes to everything, another writes, MQTT goes
to a sink. At the end the faults stop, and every value must be the device's. Exit code 0
where all is well, 1 where something is not; the report tells what.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
from pathlib import Path

from support.soak.report import Report
from support.soak.run import Soak


def main() -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES", "30")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SOAK_SEED", "0")) or None)
    parser.add_argument(
        "--each", type=int, default=3, help="devices of every driver, the last without a fault"
    )
    options = parser.parse_args()
    seed = options.seed or random.SystemRandom().randrange(1, 10**6)
    print(f"soak: {options.minutes:g} minutes, SOAK_SEED={seed}", flush=True)  # noqa: T201 - a tool
    with tempfile.TemporaryDirectory(prefix="isthmus-soak-") as folder:
        soak = Soak(Path(folder), seed, options.minutes * 60, options.each)
        report: Report = asyncio.run(soak.run(tell=lambda line: print(line, flush=True)))  # noqa: T201
    print(report.text())  # noqa: T201
    return 0 if report.well else 1


if __name__ == "__main__":
    sys.exit(main())
