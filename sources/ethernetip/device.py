"""What is known of one controller over all connections: what to read, who it was, how the scanning went."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sources.ethernetip.bindings import Bindings
from sources.ethernetip.config import LogixSettings
from sources.ethernetip.decode import LogixTag
from sources.ethernetip.identity import Identity
from sources.ethernetip.plan import Limits, Packet
from sources.ethernetip.worker import Counters
from sources.insight import Traffic
from sources.resolve import Resolver
from sources.statistics import ScanStatistics
from sources.tag import Tag

log = logging.getLogger(__name__)

_NAMED: Final = 5
"""So many tags are named in one line of the log."""
_TOLD: Final = 20
"""So many wrong bindings get a line each; of more only their number is told."""


@dataclass(slots=True)
class Device:
    """One controller. ``recheck`` is how often, in seconds, wrong bindings are looked at again.

    ``tags`` may be replaced while it is scanned.
    """

    name: str
    settings: LogixSettings
    tags: tuple[LogixTag, ...]
    recheck: float
    resolver: Resolver = field(init=False)
    statistics: dict[str, ScanStatistics] = field(default_factory=dict)
    """By the name of the scan class."""
    workers: Counters = field(default_factory=Counters)
    identity: Identity | None = None
    fingerprint: str | None = None
    """Of the tags that were uploaded last."""
    told: frozenset[str] = frozenset()
    """What stands in the log of wrong bindings."""
    packets: tuple[Packet, ...] = ()
    """What is read at present, or was before the connection was lost."""
    limits: Limits = field(default_factory=lambda: Limits(0, multiple=True))
    """What a packet could hold when these were planned."""
    refused: tuple[str, ...] = ()
    """The tags that are not read, as they fit nothing the controller has."""
    traffic: Traffic = field(default_factory=Traffic)
    without_list: str = ""
    """Why there is no tag list, as it stands in the log."""
    on_retag: Callable[[], None] | None = None
    """Called when the tags are others, by whoever scans them. Must not raise."""

    def __post_init__(self) -> None:
        self.resolver = Resolver(self.settings.host, self.settings.port)

    def retag(self, tags: Iterable[LogixTag]) -> None:
        """Have other tags."""
        self.tags = tuple(tags)
        if self.on_retag is not None:
            self.on_retag()

    @property
    def is_micro800(self) -> bool:
        """Whether the controller that answered last is a Micro800."""
        return self.identity is not None and self.identity.is_micro800

    def meet(self, identity: Identity) -> None:
        """Take note of who answered, and tell when it is another one than before."""
        if self.identity is None:
            log.info("%s: the controller is a %s", self.name, identity)
        elif identity.same != self.identity.same:
            log.warning(
                "%s: another controller answers: %s; before it was %s", self.name, identity, self.identity
            )
        self.identity = identity

    def upload(self, fingerprint: str | None) -> None:
        """Take note of an upload, and tell when the tags are not those of before."""
        if None not in {fingerprint, self.fingerprint} and fingerprint != self.fingerprint:
            log.warning("%s: the controller's tag list has changed; reading is planned anew", self.name)
        self.fingerprint = fingerprint or self.fingerprint
        if fingerprint is not None:
            self.without_list = ""

    def no_list(self, reason: str) -> None:
        """Tell once that the controller gives no tag list."""
        if reason != self.without_list:
            log.warning(
                "%s: the controller gives no tag list (%s): bindings are not validated and each tag is read "
                "by itself; validate: false spares the attempt",
                self.name,
                reason,
            )
        self.without_list = reason

    def tell(self, bindings: Bindings) -> None:
        """One line for each binding that is wrong, once; and one when all are right again."""
        problems = [f"{name}: {why}; its value is Bad" for name, why in bindings.refused.items()]
        problems += [f"{name}: {why}; writes are refused" for name, why in bindings.unwritable.items()]
        new = [problem for problem in problems if problem not in self.told]
        self.refused = tuple(bindings.refused)
        for problem in new[:_TOLD]:
            log.warning("%s: %s", self.name, problem)
        if len(new) > _TOLD:
            log.warning("%s: and %d more bindings do not fit the controller", self.name, len(new) - _TOLD)
        if self.told and not problems:
            log.info("%s: all bindings fit the controller now", self.name)
        self.told = frozenset(problems)


def named(tags: Iterable[Tag[Any]]) -> str:
    """Some names for the log: ``A, B and 10 more``."""
    names = [tag.name for tag in tags]
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
