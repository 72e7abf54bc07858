"""What is told of every attempt: a record of the audit log, and a line for those who watch."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from server.audit.errors import AuditError
from server.plant.commands.attempt import Attempt, Outcome, Result
from server.plant.commands.rules import MAX_TEXT
from server.plant.model import Role
from sources.quality import Quality, quality_name
from sources.tag import Part

_SHOWN: Final = 64
"""Characters of a longer text that are shown."""

_ELEMENTS: Final = 1024
"""Elements of the longest array that is recorded in full."""

_EVENT: Final = "write"

audit = logging.getLogger("isthmus.audit")
log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Keeps records that are never changed."""

    async def record(self, event: str, fields: Mapping[str, Any], *, durable: bool = False) -> int:
        """Keep a record; its number. Raises AuditError.

        With ``durable`` no power failure takes it any more.
        """
        ...

    def note(self, event: str, fields: Mapping[str, Any]) -> None:
        """Keep a record without waiting."""
        ...


Listener = Callable[[Attempt, Result], None]


class Trail:
    """Tells of attempts. Without a recorder there are lines alone."""

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._listeners: list[Listener] = []
        self._failing = False

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have the end of every attempt told; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def ask(self, attempt: Attempt) -> int | None:
        """Record that it is about to be sent; the record's number. Raises AuditError."""
        if self._recorder is None:
            return None
        fields = _fields(attempt) | {"outcome": Outcome.Asked.value}
        return await self._recorder.record(_EVENT, fields, durable=True)

    async def end(self, attempt: Attempt, result: Result, asked: int | None = None) -> None:
        """Record how it ended. ``asked`` is the number of the record before it was sent."""
        stranger = Role.AuthenticatedUser not in attempt.caller.roles
        if result.outcome is Outcome.Refused and stranger and asked is None:
            # Strangers can try without end: the line below is recorded as far as there is room for such.
            # What has a record that it was asked has one of its end.
            self._tell(attempt, result)
            return
        number = await self._record(_EVENT, _ended(attempt, result, asked))
        self._tell(attempt, result, record=number)

    async def _record(self, event: str, fields: Mapping[str, Any]) -> int | None:
        """Record how something ended, if that can be; the record's number."""
        if self._recorder is None:
            return None
        try:
            number = await self._recorder.record(event, fields)
        except AuditError as error:
            # What was done cannot be undone, and what was refused is so all the same.
            level = logging.DEBUG if self._failing else logging.ERROR
            log.log(level, "%s: an outcome was not recorded: %s", fields["node"], error)
            self._failing = True
            return None
        self._failing = False
        return number

    async def withheld(self, event: str, fields: Mapping[str, Any], quality: Quality, reason: str) -> None:
        """Record that something was not sent."""
        ended = _outcome(fields, Outcome.Refused, quality, None, reason)
        _tell_forwarded(event, ended, await self._record(event, ended))

    async def before(self, event: str, fields: Mapping[str, Any]) -> int | None:
        """Record what is about to be sent as it was given; the record's number. Raises AuditError."""
        if self._recorder is None:
            return None
        asked = {**fields, "outcome": Outcome.Asked.value}
        return await self._recorder.record(event, asked, durable=True)

    def after(
        self,
        event: str,
        fields: Mapping[str, Any],
        outcome: Outcome,
        quality: Quality,
        asked: int | None,
        reason: str = "",
    ) -> None:
        """Record how that ended, without waiting."""
        ended = _outcome(fields, outcome, quality, asked, reason)
        if self._recorder is not None:
            self._recorder.note(event, ended)
        _tell_forwarded(event, ended, asked)

    def note(self, attempt: Attempt, result: Result, asked: int | None) -> None:
        """As `end`, where nothing can be waited for."""
        if self._recorder is not None:
            self._recorder.note(_EVENT, _ended(attempt, result, asked))
        self._tell(attempt, result, record=asked)

    def _tell(self, attempt: Attempt, result: Result, **more: int | None) -> None:
        """``record`` is the number of its record; left out, whoever collects the lines may record it."""
        for listener in self._listeners:
            listener(attempt, result)
        key, caller, outcome = attempt.property.key, attempt.caller, quality_name(result.quality)
        new = brief(attempt.asked)
        audit.info(
            "write %s by %s: %r -> %r: %s%s",
            key,
            caller.user,
            brief(attempt.old),
            new,
            outcome,
            f" ({result.reason})" if result.reason else "",
            extra={
                "event": _EVENT,
                "node": key,
                "user": caller.user,
                "client": caller.client,
                **({"as": attempt.acts_as} if attempt.acts_as else {}),
                "old": brief(attempt.old),
                "new": new,
                "held": brief(result.held),
                "outcome": result.outcome.value,
                "status": outcome,
                **more,
            },
        )


def _fields(attempt: Attempt) -> dict[str, Any]:
    prop, caller = attempt.property, attempt.caller
    return {
        "user": caller.user,
        "client": caller.client,
        **({"entry": caller.entry} if caller.entry else {}),
        "node": prop.key,
        **({"source": prop.binding.source} if prop.binding is not None else {}),
        **({"as": attempt.acts_as} if attempt.acts_as else {}),
        "old": brief(attempt.old),
        "asked": brief(attempt.asked),
    }


def _ended(attempt: Attempt, result: Result, asked: int | None) -> dict[str, Any]:
    fields = _fields(attempt) | {
        "held": brief(result.held),
        "outcome": result.outcome.value,
        "status": quality_name(result.quality),
    }
    if result.reason:
        fields["reason"] = result.reason
    if asked is not None:
        fields["of"] = asked
    return fields


def _outcome(
    fields: Mapping[str, Any], outcome: Outcome, quality: Quality, asked: int | None, reason: str
) -> dict[str, Any]:
    ended = {**fields, "outcome": outcome.value, "status": quality_name(quality)}
    if reason:
        ended["reason"] = reason
    if asked is not None:
        ended["of"] = asked
    return ended


def _tell_forwarded(event: str, ended: Mapping[str, Any], record: int | None) -> None:
    audit.info(
        "%s %s by %s: %s",
        event,
        ended["node"],
        ended["user"],
        ended["status"],
        extra={**ended, "event": event, "record": record},
    )


class _Short(reprlib.Repr):
    """Texts of arrays that are no longer than a line, whoever sent them."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2

    def repr_float(self, value: float, _level: int) -> str:
        return repr(value)

    def repr_instance(self, value: object, _level: int) -> str:
        return f"<{type(value).__name__}>"


_SHORT: Final = _Short()


def brief(value: object) -> object:
    """The whole value where it could be written, else its beginning."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Part):
        return {"first": value.first, "values": brief(value.values)}
    if isinstance(value, tuple) and len(value) <= _ELEMENTS:
        return [brief(element) for element in value]
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else f"{value[:_SHOWN]}... of {len(value)} characters"
    return _SHORT.repr(value)
