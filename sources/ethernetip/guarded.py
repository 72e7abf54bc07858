"""What all connections of pycomm3 have in common: their channel, their end, and what errors mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from sources.ethernetip import status
from sources.ethernetip.channel import Channel
from sources.ethernetip.failures import Broken, Rejected
from sources.insight import Traffic

_T = TypeVar("_T")


class GuardedLink:
    """A connection while it lasts. All of it but `abort` belongs to one thread."""

    answers: ClassVar[type[Exception]] = Rejected
    """What the driver raises that says what the controller answered: passed on as it is."""

    def __init__(self, channel: Channel, driver: Any) -> None:
        """``driver`` is pycomm3's, on that channel."""
        self._channel = channel
        self._driver = driver

    @property
    def until(self) -> float:
        """Until when (of `time.monotonic`) what is under way may take."""
        return self._channel.until

    @property
    def traffic(self) -> Traffic:
        """What went over this connection so far."""
        channel = self._channel
        return Traffic(channel.sent, channel.bytes_out, channel.bytes_in)

    def farewell(self, within: float) -> None:
        """Give the connection and the session back. Raises Broken, after ``within`` seconds at the latest."""
        self._channel.allow(within)
        self._run(self._driver.close)

    def abort(self, reason: str) -> None:
        """Make whoever uses it stop, from any thread."""
        self._channel.abort(reason)

    def close(self) -> None:
        """Release the socket, without a word to the controller."""
        self._channel.close()

    def _run(self, work: Callable[[], _T]) -> _T:
        """Run something of pycomm3's, and tell what it raises by what happened to the connection."""
        try:
            return work()
        except self.answers:
            raise
        except Exception as error:
            failure = self._channel.failure
            if failure is not None:
                raise Broken(str(failure), failure.quality) from error
            raise Rejected(self._words(error)) from error

    @staticmethod
    def _words(error: Exception) -> str:
        """What an error of pycomm3's says to people."""
        return str(error)


def why_refused(channel: Channel) -> str:
    """In words why the controller opened no connection."""
    refusal = channel.conversation.refusal
    return status.describe(*refusal) if refusal else "its reply made no sense"
