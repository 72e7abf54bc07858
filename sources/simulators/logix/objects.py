"""The objects beside tags: identity, program name, symbols, templates, wall clock, changes."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Final

from sources.simulators.logix.cip import (
    CipError,
    ClassId,
    Extended,
    Reply,
    Request,
    Service,
    Status,
    unpack,
)
from sources.simulators.logix.database import Database, Scope, Symbol
from sources.simulators.logix.epath import Logical, LogicalType
from sources.simulators.logix.faults import LogixFaults
from sources.simulators.logix.identity import Identity
from sources.simulators.logix.tags import MAX_DIMENSIONS
from sources.simulators.logix.template import attribute, definition, definition_words, type_word

_WORD: Final = struct.Struct("<H")
_PART: Final = struct.Struct("<IH")
_BASE_TAG: Final = 1 << 26
"""Bit of a symbol's software control: no alias."""


class Objects:
    """What a client asks about the controller itself."""

    def __init__(self, identity: Identity, database: Database, faults: LogixFaults) -> None:
        self._identity = identity
        self._database = database
        self._faults = faults
        self._clock_offset = 0
        self._daylight = 0
        self._single: dict[int, Callable[[Request], Reply]] = {
            ClassId.IDENTITY: self._identify,
            ClassId.PROGRAM_NAME: self._program_name,
            ClassId.WALL_CLOCK: self._wall_clock,
            ClassId.CHANGES: self._changes,
        }

    def answer(self, class_id: int, request: Request, instance: int, room: int) -> Reply:
        """Answer a request to an object; ``room`` is how much reply data fits. Raises CipError."""
        if class_id == ClassId.TEMPLATE and not self._faults.single:
            return self._template(request, instance, room)
        handler = self._single.get(class_id)
        hidden = class_id == ClassId.CHANGES and self._faults.no_counters
        if handler is None or hidden or instance != 1:
            raise CipError(Status.PATH_DESTINATION_UNKNOWN, Extended.NONE)
        return handler(request)

    def _identify(self, request: Request) -> Reply:
        """Class 0x01."""
        attributes = self._identity.attributes(self._faults.mode)
        return self._attributes(request, attributes.get, everything=b"".join(attributes.values()))

    def _program_name(self, request: Request) -> Reply:
        """Class 0x64: the name of the project."""
        name = self._identity.controller.encode("ascii")
        value = _WORD.pack(len(name)) + name
        return self._attributes(request, {1: value}.get, everything=value)

    def _wall_clock(self, request: Request) -> Reply:
        """Class 0x8B: attributes 6 and 11 are microseconds since 1970, 10 is daylight saving time."""
        if request.service == Service.SET_ATTRIBUTE_LIST:
            return self._set_clock(request.data)
        now = struct.pack("<Q", time.time_ns() // 1000 + self._clock_offset)
        return self._attributes(request, {6: now, 10: bytes((self._daylight,)), 11: now}.get)

    def _set_clock(self, data: bytes) -> Reply:
        (count,) = unpack(_WORD, data)
        position, answers, status = _WORD.size, [_WORD.pack(count)], Status.SUCCESS
        for _ in range(count):
            (number,) = unpack(_WORD, data, position)
            position += _WORD.size
            if number in {6, 11}:
                (wanted,) = unpack(struct.Struct("<Q"), data, position)
                position += 8
                self._clock_offset = wanted - time.time_ns() // 1000
            elif number == 10:
                (self._daylight,) = unpack(struct.Struct("<B"), data, position)
                position += 1
            else:
                # How long its value is, nobody knows: the list ends here.
                answers.append(struct.pack("<HH", number, Status.ATTRIBUTE_NOT_SUPPORTED))
                status = Status.ATTRIBUTE_LIST_ERROR
                break
            answers.append(struct.pack("<HH", number, Status.SUCCESS))
        else:
            self._faults.check_end(data, position)
        return Reply(b"".join(answers), status)

    def _changes(self, request: Request) -> Reply:
        """Class 0xAC: numbers that change with the program, so that clients know when to upload again."""
        edits = self._database.downloads
        values = {
            1: struct.pack("<H", 5 + edits),
            2: struct.pack("<H", 1),
            3: struct.pack("<I", 0x80C5B203 + edits & 0xFFFFFFFF),
            4: struct.pack("<I", 0x80C5B203 + edits & 0xFFFFFFFF),
            10: struct.pack("<I", 0x47DEB8F8 ^ edits),
        }
        return self._attributes(request, values.get)

    def symbol_list(self, request: Request, scope: Scope, start: int, room: int) -> Reply:
        """Get_Instance_Attribute_List of class 0x6B: as many symbols as fit, status 06 where more follow."""
        numbers = self._attribute_numbers(request.data)
        answer = bytearray()
        for instance, symbol in scope.symbols(start):
            entry = bytearray(struct.pack("<I", instance))
            for number in numbers:
                value = self._symbol_attribute(symbol, instance, number)
                if value is None:
                    raise CipError(Status.ATTRIBUTE_NOT_SUPPORTED)
                entry += value
            if len(answer) + len(entry) > room:
                if not answer:
                    # Partial with nothing in it would make clients ask for ever.
                    raise CipError(Status.REPLY_DATA_TOO_LARGE)
                return Reply(bytes(answer), Status.PARTIAL_TRANSFER)
            answer += entry
        return Reply(bytes(answer))

    def symbol(self, request: Request, scope: Scope, instance: int) -> Reply:
        """Attributes of one symbol of class 0x6B."""
        symbol = scope.symbol(instance)
        if symbol is None:
            raise CipError(Status.PATH_DESTINATION_UNKNOWN, Extended.NONE)
        return self._attributes(request, lambda number: self._symbol_attribute(symbol, instance, number))

    def _symbol_attribute(self, symbol: Symbol, instance: int, number: int) -> bytes | None:
        tag = symbol.tag
        dimensions = tag.dimensions if tag else ()
        match number:
            case 1:
                name = symbol.name.encode("ascii")
                return _WORD.pack(len(name)) + name
            case 2:
                word = (
                    type_word(tag.type, len(dimensions), self._database.template_instance)
                    if tag
                    else symbol.system
                )
                return _WORD.pack(word)
            case 3 | 5:
                return struct.pack("<I", (number << 24) + instance * 0x40)
            case 6:
                return struct.pack("<I", _BASE_TAG)
            case 7:
                return _WORD.pack(tag.type.size if tag else 0)
            case 8:
                return struct.pack("<3I", *dimensions, *(0,) * (MAX_DIMENSIONS - len(dimensions)))
            case 10:
                return bytes((tag.access if tag else 0,))
            case _:
                return None

    def _template(self, request: Request, instance: int, room: int) -> Reply:
        """Class 0x6C: attributes of a structure, and its definition by service 4C."""
        kind = self._database.template(instance)
        if kind is None:
            raise CipError(Status.PATH_DESTINATION_UNKNOWN, Extended.NONE)
        if request.service != Service.READ_TEMPLATE:
            return self._attributes(
                request, lambda number: attribute(kind, number, self._database.template_instance)
            )
        offset, length = unpack(_PART, request.data)
        self._faults.check_end(request.data, _PART.size)
        body = definition(kind, self._database.template_instance)
        if offset > definition_words(body) * 4:
            raise CipError(Status.GENERAL_ERROR, Extended.OFFSET_BEYOND_END)
        if room < 1:
            raise CipError(Status.REPLY_DATA_TOO_LARGE)
        # Padded to what was asked: some clients ask on until they have it all.
        part = body[offset : offset + length].ljust(length, b"\0")
        if len(part) > room:
            return Reply(part[:room], Status.PARTIAL_TRANSFER)
        return Reply(part)

    def _attribute_numbers(self, data: bytes) -> list[int]:
        (count,) = unpack(_WORD, data)
        end = _WORD.size * (count + 1)
        if len(data) < end:
            raise CipError(Status.ATTRIBUTE_LIST_SHORTAGE)
        self._faults.check_end(data, end)
        return list(struct.unpack_from(f"<{count}H", data, _WORD.size))

    def _attributes(
        self, request: Request, value_of: Callable[[int], bytes | None], everything: bytes | None = None
    ) -> Reply:
        """The three services that get attributes. One that is not there is told in the list (status 0A)."""
        match request.service:
            case Service.GET_ATTRIBUTES_ALL if everything is not None:
                self._faults.check_end(request.data, 0)
                return Reply(everything)
            case Service.GET_ATTRIBUTE_LIST:
                numbers = self._attribute_numbers(request.data)
                answers = [_WORD.pack(len(numbers))]
                status = Status.SUCCESS
                for number in numbers:
                    value = value_of(number)
                    if value is None:
                        status = Status.ATTRIBUTE_LIST_ERROR
                        answers.append(struct.pack("<HH", number, Status.ATTRIBUTE_NOT_SUPPORTED))
                    else:
                        answers.append(struct.pack("<HH", number, Status.SUCCESS) + value)
                return Reply(b"".join(answers), status)
            case Service.GET_ATTRIBUTE_SINGLE:
                self._faults.check_end(request.data, 0)
                value = value_of(_attribute_of(request))
                if value is None:
                    raise CipError(Status.ATTRIBUTE_NOT_SUPPORTED)
                return Reply(value)
            case _:
                raise CipError(Status.SERVICE_NOT_SUPPORTED)


def _attribute_of(request: Request) -> int:
    for segment in request.path:
        if isinstance(segment, Logical) and segment.type is LogicalType.ATTRIBUTE:
            return segment.value
    raise CipError(Status.PATH_SEGMENT_ERROR, Extended.NONE)
