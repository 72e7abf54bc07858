"""How much is tried: the same inputs in every run of CI, ever others and many more by ``make fuzz``."""

from __future__ import annotations

import os
from collections import Counter
from typing import Final

from hypothesis import HealthCheck, Phase, settings

EFFORT: Final = int(os.environ.get("ISTHMUS_FUZZ", "1"))
"""How many times the inputs of CI are tried."""

INPUTS: Final[Counter[str]] = Counter()
"""How many inputs ran, by what they were for; told at the end of a run."""


def budget(examples: int, *, shrink: bool = True) -> settings:
    """So many examples, the same ones every time unless there is more effort than CI's.

    Without ``shrink`` an example is only the seed of inputs, and the failure tells the input.
    """
    return settings(
        max_examples=examples * EFFORT,
        deadline=None,
        database=None,
        derandomize=EFFORT == 1,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
