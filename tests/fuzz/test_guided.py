"""Fuzzing by coverage: atheris, in a process of its own, looks for inputs that lead somewhere new."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.fuzz.budget import EFFORT, INPUTS
from support.fuzz.target import TARGETS

TESTS = Path(__file__).parents[1]
SECONDS = {"requests": 12, "stream": 6, "structures": 6, "certificates": 4}
NO_ATHERIS = "atheris has no wheel for this Python or machine"
"""It is installed with the tests where it has; see pyproject.toml."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus for each target; what was found before is kept where ISTHMUS_FUZZ_CORPUS says."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip(NO_ATHERIS)
    folder = Path(os.environ.get("ISTHMUS_FUZZ_CORPUS") or tmp_path_factory.mktemp("corpus"))
    run("--seed", str(folder / "seeds"))
    return folder


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The targets' program.

    A shell stands between: a process starts with the peak memory of its parent, which is held against it.
    """
    return subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "support.fuzz.target", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_leads_to_a_fault(target: str, seeds: Path, tmp_path: Path) -> None:
    found = seeds / "found" / target
    found.mkdir(parents=True, exist_ok=True)
    ended = run(
        target,
        str(found),
        str(seeds / "seeds" / target),
        f"-max_total_time={SECONDS[target] * EFFORT}",
        f"-seed={1 if EFFORT == 1 else 0}",
        f"-artifact_prefix={tmp_path}/",
        "-timeout=10",  # seconds for one input
        "-rss_limit_mb=600",
        "-malloc_limit_mb=200",
        "-max_len=16384",
        "-print_final_stats=1",
    )
    count = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
    INPUTS[f"guided, {target}"] += int(count[1]) if count else 0
    artifacts = [path.name.split("-")[0] + " " + path.read_bytes().hex() for path in tmp_path.iterdir()]
    assert ended.returncode == 0, "\n".join([*artifacts, ended.stdout[-4000:], ended.stderr[-4000:]])
    assert count is not None
    assert int(count[1]) > 100
