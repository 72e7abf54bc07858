"""An upload of a controller's tags and types through pycomm3, for one thread.

pycomm3 registers a session and opens a connection of its own for it, and is left when the
upload is done: what is read and written goes through `client`. Its private parts are used,
hence the exact pin.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, Literal

from pycomm3 import LogixDriver
from pycomm3.const import INSUFFICIENT_PACKETS, MICRO800_PREFIX
from pycomm3.exceptions import PycommError, ResponseError

from sources.ethernetip import status
from sources.ethernetip.channel import Channel
from sources.ethernetip.client import LARGE, SMALL
from sources.ethernetip.codec import FramingError
from sources.ethernetip.config import LogixSettings
from sources.ethernetip.failures import Rejected
from sources.ethernetip.guarded import GuardedLink, why_refused
from sources.ethernetip.symbols import SymbolTable
from sources.ethernetip.upload import symbol_table

# Its annotations are few, and several say less than it takes: seen as it is, it is untyped.
_PYCOMM3: Any = LogixDriver

# pycomm3 logs each failure with a traceback. What a plant needs to know of a connection is
# told once, by the supervisor; who wants more sets this logger's level first.
if logging.getLogger("pycomm3").level == logging.NOTSET:
    logging.getLogger("pycomm3").setLevel(logging.CRITICAL)


class Link(GuardedLink):
    """A connection while it lasts. All of it but `abort` belongs to one thread.

    ``host`` is the controller's address, looked up already.
    """

    def __init__(self, settings: LogixSettings, host: str) -> None:
        self._settings = settings
        channel = Channel(host, settings.port, settings.timeout)
        super().__init__(channel, _Driver(settings, channel))

    def open(self) -> None:
        """Connect, register, open the connection. Raises Broken and Rejected, their texts for people."""
        self._channel.allow(10 * self._settings.timeout)
        if not self._run(self._driver.open):
            raise Rejected("the device gave no session")

    def upload(self, wanted: Collection[str] | None, programs: Collection[str] | None) -> SymbolTable:
        """The tags of the controller and of these programs, with the types of those wanted.

        Names are given in lower case; None stands for all. Raises Broken, and Rejected where
        the controller gives no list or one that makes no sense.
        """
        self._channel.allow(self._settings.upload_timeout)
        uploaded: tuple[list[dict[str, Any]], list[str]] = self._run(
            lambda: self._driver.upload(wanted, programs)
        )
        try:
            return symbol_table(*uploaded)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise Rejected(f"its tag list makes no sense: {error!r}") from error

    @staticmethod
    def _words(error: Exception) -> str:
        return _root(error)


def _root(error: BaseException) -> str:
    """The first cause: pycomm3 wraps errors in others that say less."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) if isinstance(error, PycommError | FramingError) else repr(error)


class _Driver(_PYCOMM3):  # type: ignore[misc] # untyped, as said above
    """pycomm3's driver on our channel, with its endless loops ended."""

    _auto_slot_cip_path = False

    def __init__(self, settings: LogixSettings, channel: Channel) -> None:
        super().__init__(f"controller/{settings.path}" if settings.path else "controller")
        self._sock = channel
        self._channel = channel
        self._sizes = settings.connection
        self._wanted: Collection[str] | None = ()
        self._last_instance = 0
        self._cfg["use_instance_ids"] = False

    def _initialize_driver(self, **_: object) -> None:
        """What follows the session; without pycomm3's own upload, and the program's name."""
        identity = self.identify()
        self._micro800 = str(identity.get("product_name", "")).startswith(MICRO800_PREFIX)
        if self._micro800:
            self._cfg["cip_path"] = []
        try:
            self._info = self.get_plc_info()
        except ResponseError:
            if self._channel.failure is None and self._channel.conversation.refusal is not None:
                why = status.describe(*self._channel.conversation.refusal)
                raise Rejected(f"no controller answers over this route: {why}") from None
            raise
        self._open_connection(self._sizes)

    def identify(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._list_identity()
        return found

    def _open_connection(self, sizes: Literal["auto", "large", "small"]) -> None:
        for size in {"auto": (LARGE, SMALL), "large": (LARGE,), "small": (SMALL,)}[sizes]:
            self._cfg["extended forward open"] = size == LARGE
            self._cfg["connection_size"] = size
            if self._forward_open():
                return
        raise Rejected(f"the controller refused the connection: {why_refused(self._channel)}")

    def generic_message(self, *args: Any, **kwargs: Any) -> Any:
        """Without a route there is nothing to route through: not even an empty one."""
        if not self._cfg["cip_path"] and not kwargs.get("connected", True) and "route_path" not in kwargs:
            kwargs |= {"route_path": b"", "unconnected_send": False}
        return super().generic_message(*args, **kwargs)

    def send(self, request: Any) -> Any:
        response = super().send(request)
        # "There is more", and nothing of it: pycomm3 would ask again for ever.
        if response.service_status == INSUFFICIENT_PACKETS and not response.data:
            raise ResponseError("the controller says that there is more, and sends nothing")
        return response

    def upload(
        self, wanted: Collection[str] | None, programs: Collection[str] | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """pycomm3's descriptions of tags, and the names of all programs."""
        self._wanted = wanted
        self._cache: dict[str, dict[Any, Any]] = {
            "tag_name:id": {},
            "id:struct": {},
            "handle:id": {},
            "id:udt": {},
        }
        self._info |= {"programs": {}, "tasks": {}, "modules": {}}
        tags: list[dict[str, Any]] = self._get_tag_list()
        there: list[str] = list(self._info["programs"])
        for program in there:
            if programs is None or program.casefold() in programs:
                tags += self._get_tag_list(program)
        return tags, there

    def _get_instance_attribute_list_service(self, program: str | None = None) -> Any:
        self._last_instance = 0
        return super()._get_instance_attribute_list_service(program)

    def _parse_instance_attribute_list(self, response: Any, tag_list: list[dict[str, Any]]) -> int:
        following: int = super()._parse_instance_attribute_list(response, tag_list)
        if following != -1 and following <= self._last_instance:
            raise ResponseError("the controller's tag list goes round in circles")
        self._last_instance = following
        return following

    def _create_tag(self, name: str, raw_tag: dict[str, Any]) -> dict[str, Any]:
        """A tag's description; of a structure that nobody asks for, without its template."""
        is_structure = raw_tag["symbol_type"] & 0x8000
        if not is_structure or self._wanted is None or name.casefold() in self._wanted:
            try:
                made: dict[str, Any] = super()._create_tag(name, raw_tag)
            except ResponseError:
                # One template that pycomm3 cannot read must not cost all other tags.
                if self._channel.failure is not None:
                    raise
            else:
                return made
        dimensions = (raw_tag["symbol_type"] >> 13) & 3
        return {
            "tag_name": name,
            "dim": dimensions,
            "dimensions": raw_tag["dimensions"],
            "external_access": raw_tag["external_access"],
            "tag_type": "struct" if is_structure else "atomic",
            "data_type": None,
            "data_type_name": "a structure" if is_structure else None,
        }
