"""A tree against its models: every error at once, and what is left when the errors are taken out.

What is left goes on to be resolved, so that a mistake in one key hides none in another.
The places that had errors are remembered: what follows from them is not a mistake of its own.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from server.config.errors import closest
from server.config.report import Report
from server.config.translate import keys_at, translate
from server.config.tree import Loc, Mapping, find, to_plain

ModelT = TypeVar("ModelT", bound=BaseModel)

_ROUNDS: Final = 50
"""Each round takes at least one key out, and most take out all that is wrong."""


class Damage:
    """The places that had errors."""

    def __init__(self) -> None:
        self._places: set[Loc] = set()
        self._around: set[Loc] = set()

    def add(self, loc: Loc) -> None:
        """Remember a place."""
        self._places.add(loc)
        self._around.update(loc[:length] for length in range(len(loc) + 1))

    def at(self, loc: Loc) -> bool:
        """Whether this very place, or one it lies in, had an error."""
        return any(loc[:length] in self._places for length in range(1, len(loc) + 1))

    def within(self, loc: Loc) -> bool:
        """Whether this place, one it lies in, or one that lies in it, had an error."""
        return loc in self._around or self.at(loc)


def validate(
    model: type[ModelT], loc: Loc, report: Report, damage: Damage, drop: tuple[str, ...] = ()
) -> ModelT | None:
    """The stanza at ``loc`` without what is wrong in it, or None where too little is left.

    Keys named in ``drop`` are somebody else's and left out. Sequences become what the
    model wants (lists, tuples, sets), as in JSON; nothing else is converted.
    """
    plain = to_plain(find(report.tree, loc)[1])
    if isinstance(plain, dict):
        for key in drop:
            plain.pop(key, None)
    for _ in range(_ROUNDS):
        try:
            return model.model_validate_json(json.dumps(plain), strict=True)
        except ValidationError as error:
            details = _distinct(error.errors(include_url=False))
        wrong_places = [place for detail in details if (place := _tell(detail, model, loc, report, damage))]
        for place in wrong_places:  # only now: one error of a stanza hides no other of the same round
            damage.add(place)
        wrong = {_existing(plain, _target(detail)) for detail in details}
        if () in wrong:
            return None
        for place in wrong:
            _take_out(plain, place)
    return None


def _distinct(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Unknown keys first, since one that was misspelt is not missing as well.

    Without the complaint that a list is too short because an entry of it was refused.
    """
    around = {detail["loc"][:-1] for detail in details}
    kept = [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in around]
    return sorted(kept, key=lambda detail: detail["type"] != "extra_forbidden")


def _target(detail: ErrorDetails) -> Loc:
    """What has to go for this error to go: the key, or what lacks one."""
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    return loc[:-1] if detail["type"] == "missing" else loc


def _tell(
    detail: ErrorDetails, model: type[BaseModel], base: Loc, report: Report, damage: Damage
) -> Loc | None:
    """Report one error, unless it follows from another. The place it damages, if it does."""
    inner = tuple(part for part in detail["loc"] if part != "[key]")
    loc = (*base, *inner)
    if damage.at(loc):
        return None  # it is missing because it was wrong and has been taken out
    _, node = find(report.tree, loc)
    message, hint = translate(detail, node, model)
    if detail["type"] == "extra_forbidden":
        report.key_error(loc, message, hint)
        meant = closest(str(inner[-1]), keys_at(model, inner[:-1]))
        _, holder = find(report.tree, loc[:-1])
        if meant is not None and isinstance(holder, Mapping) and meant not in holder.entries:
            damage.add((*loc[:-1], meant))
        return None
    if detail["loc"][-1:] == ("[key]",):
        report.key_error(loc, message, hint)
    else:
        report.error(loc, message, hint)
    return (*base, *_target(detail))


def _existing(plain: Any, loc: Loc) -> Loc:
    """The place, or the nearest around it that is a key."""
    here = plain
    for length, part in enumerate(loc):
        if not isinstance(here, dict) or part not in here:
            return loc[:length]
        here = here[part]
    return loc


def _take_out(plain: Any, loc: Loc) -> None:
    here = plain
    for part in loc[:-1]:
        if part not in here:
            return  # gone with what was around it
        here = here[part]
    here.pop(loc[-1], None)
