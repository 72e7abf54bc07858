"""A machine's way through the PackML states (ANSI/ISA-TR88.00.02; numbers as in OPC 30050)."""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Collection
from typing import Final


class State(enum.IntEnum):
    """The seventeen states."""

    Clearing = 1
    Stopped = 2
    Starting = 3
    Idle = 4
    Suspended = 5
    Execute = 6
    Stopping = 7
    Aborting = 8
    Aborted = 9
    Holding = 10
    Held = 11
    Unholding = 12
    Suspending = 13
    Unsuspending = 14
    Resetting = 15
    Completing = 16
    Complete = 17


_START: Final = ((State.Stopped, 0.3), (State.Resetting, 0.2), (State.Idle, 0.2), (State.Starting, 0.4))
"""The way into the first Execute, with seconds: quick, so that something moves at once."""

_EXECUTE: Final = (45.0, 120.0)
_ACTING: Final = (0.8, 2.0)
_WAITING: Final = (3.0, 8.0)

_RESTART: Final = (State.Resetting, State.Idle, State.Starting)
_EXCURSIONS: Final[tuple[tuple[int, tuple[State, ...]], ...]] = (
    # How often, of a hundred, and the way from Execute back to it.
    (45, (State.Suspending, State.Suspended, State.Unsuspending)),  # starved or blocked by its neighbours
    (25, (State.Holding, State.Held, State.Unholding)),  # the machine's own cause
    (15, (State.Completing, State.Complete, *_RESTART)),
    (10, (State.Stopping, State.Stopped, *_RESTART)),
    (5, (State.Aborting, State.Aborted, State.Clearing, State.Stopped, *_RESTART)),
)
_WAIT_STATES: Final = frozenset(
    {State.Stopped, State.Idle, State.Suspended, State.Aborted, State.Held, State.Complete}
)


class StateMachine:
    """Mostly Execute, with plausible excursions; visits none but the states ``allowed``.

    ``allowed`` must contain Execute. A state that is left out is passed in no time, as by a
    controller that knows fewer states.
    """

    def __init__(self, random_: random.Random, allowed: Collection[int] = tuple(State)) -> None:
        if State.Execute not in allowed:
            raise ValueError("a PackML machine needs the state Execute (6)")
        self._random = random_
        self._allowed = frozenset(allowed)
        self._way = deque((state, seconds) for state, seconds in _START if state in self._allowed)
        self.state = State.Execute
        self._left = 0.0
        self._next()

    @property
    def executing(self) -> bool:
        """Whether it produces."""
        return self.state is State.Execute

    def advance(self, seconds: float) -> None:
        """Let time pass; several states may."""
        self._left -= seconds
        while self._left <= 0:
            self._next()

    def _next(self) -> None:
        if not self._way:
            self._plan()
        self.state, seconds = self._way.popleft()
        self._left += seconds

    def _plan(self) -> None:
        """Execute for a while, and what follows it."""
        self._way.append((State.Execute, self._random.uniform(*_EXECUTE)))
        weights = [weight for weight, _ in _EXCURSIONS]
        (_, way), *_ = self._random.choices(_EXCURSIONS, weights)
        for state in way:
            if state in self._allowed:
                between = _WAITING if state in _WAIT_STATES else _ACTING
                self._way.append((state, self._random.uniform(*between)))
