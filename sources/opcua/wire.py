"""What a subscription sends, decoded here: a notification's values in columns (OPC 10000-6 §5.2).

The stack takes about 6 µs a value for objects that are thrown away at once. Numbers with their
usual timestamps are one unpack each; whatever is rarer is read field by field. No length is
believed: what runs past the end raises `Malformed`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sources.tag import Value

_EVENT, _STATUS, _DATA_CHANGE = 916, 820, 811
"""The ids of the binary encodings of the three notifications."""
_PUBLISH_RESPONSE: Final = 829

_u16: Final = struct.Struct("<H").unpack_from
_u32: Final = struct.Struct("<I").unpack_from
_i32: Final = struct.Struct("<i").unpack_from
_i64: Final = struct.Struct("<q").unpack_from

_FORMATS: Final = {
    1: "?",
    2: "b",
    3: "B",
    4: "h",
    5: "H",
    6: "i",
    7: "I",
    8: "q",
    9: "Q",
    10: "f",
    11: "d",
    13: "q",
}
"""The numbers, and DateTime in ticks, of OPC 10000-6 §5.1.2, by their built-in type."""

_SIZES: Final = {kind: struct.calcsize("<" + form) for kind, form in _FORMATS.items()} | {
    14: 16,  # Guid
    19: 4,  # StatusCode
}
_READ: Final = {kind: struct.Struct("<" + form).unpack_from for kind, form in _FORMATS.items()}
_STRING, _BYTE_STRING, _XML = 12, 15, 16
_MAX_DEPTH: Final = 50
_MAX_PARTS: Final = 1000
"""Notifications in one message, and strings of its header: a DataChangeNotification holds all values."""

DATE_TIME: Final = 13
LAST_TIME: Final = 2_650_467_743_990_000_000
"""9999-12-31T23:59:59Z: no DateTime is later (OPC 10000-6 §5.2.2.5)."""

NOTHING: Final = 0
"""The kind of a value that is not there."""
ARRAY: Final = 0x80


class Malformed(Exception):
    """Bytes that are no such message."""


def _table() -> dict[int, tuple[Any, int]]:
    """Unpacker and size by mask and type: handle, value, then status and source time where they are."""
    made = {}
    for mask in range(64):
        if not mask & 1 or (mask & 0x10 and not mask & 4) or (mask & 0x20 and not mask & 8):
            continue
        tail = (
            ("I" if mask & 2 else "")
            + ("q" if mask & 4 else "")
            + ("2x" if mask & 0x10 else "")
            + ("8x" if mask & 8 else "")
            + ("2x" if mask & 0x20 else "")
        )
        for kind, form in _FORMATS.items():
            layout = struct.Struct(f"<I2x{form}{tail}")
            made[mask << 8 | kind] = layout.unpack_from, layout.size
    return made


_FAST: Final[Mapping[int, tuple[Any, int]]] = _table()


@dataclass(slots=True)
class Changes:
    """A DataChangeNotification in columns.

    ``kinds`` are built-in types, with `ARRAY` for an array and NOTHING where no value came. What is no
    number and no string stands among ``values`` as the bytes of its Variant. ``times`` has 0 where the
    server gave no SourceTimestamp.
    """

    handles: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    values: list[Value | bytes] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    def without(self, handles: AbstractSet[int]) -> Changes:
        """The same but for what is of these handles."""
        rows = [row for row, handle in enumerate(self.handles) if handle not in handles]
        return Changes(
            [self.handles[row] for row in rows],
            [self.kinds[row] for row in rows],
            [self.values[row] for row in rows],
            [self.statuses[row] for row in rows],
            [self.times[row] for row in rows],
        )


class Notification(NamedTuple):
    """One part of a NotificationMessage: the id of its encoding and its body."""

    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Publish:
    """A PublishResponse. ``sequence`` of a keep-alive, one without notifications, is that of the next."""

    result: int
    subscription: int = 0
    more: bool = False
    sequence: int = 0
    notifications: tuple[Notification, ...] = ()


def publish(data: bytes) -> Publish:
    """Decode a PublishResponse or a ServiceFault. Raises Malformed."""
    try:
        result, at = _response_header(data)
        kind = _u16(data, 2)[0]
        if kind != _PUBLISH_RESPONSE:
            if result & 0x80000000:
                return Publish(result)
            raise Malformed(f"a message of type {kind} instead of a PublishResponse")
        if result & 0x80000000:
            return Publish(result)
        (subscription,) = _u32(data, at)
        at = _skip_uint32s(data, at + 4)
        more = data[at] != 0
        (sequence,) = _u32(data, at + 1)
        notifications, at = _notifications(data, at + 13)
        _skip_uint32s(data, at)
    except (struct.error, IndexError) as error:
        raise Malformed(f"a PublishResponse ends too early: {error}") from None
    return Publish(result, subscription, more, sequence, notifications)


def republished(data: bytes) -> Publish:
    """Decode a RepublishResponse: a NotificationMessage alone. Raises Malformed."""
    try:
        result, at = _response_header(data)
        if result & 0x80000000:
            return Publish(result)
        (sequence,) = _u32(data, at)
        notifications, _ = _notifications(data, at + 12)
    except (struct.error, IndexError) as error:
        raise Malformed(f"a RepublishResponse ends too early: {error}") from None
    return Publish(result, sequence=sequence, notifications=notifications)


def _response_header(data: bytes) -> tuple[int, int]:
    """The ServiceResult, and where the parameters begin."""
    if data[:2] != b"\x01\x00":
        raise Malformed("an answer without the id of its type")
    (result,) = _u32(data, 16)
    at = _skip_diagnostics(data, 20)
    (count,) = _i32(data, at)
    at += 4
    if count > _MAX_PARTS:
        raise Malformed(f"an answer with {count} strings of its own")
    for _ in range(max(count, 0)):
        at = _skip_string(data, at)
    return result, _skip_extension_object(data, at)


def _skip_uint32s(data: bytes, at: int) -> int:
    (count,) = _i32(data, at)
    at += 4 + 4 * max(count, 0)
    _fits(data, at, 0)
    return at


def _notifications(data: bytes, at: int) -> tuple[tuple[Notification, ...], int]:
    (count,) = _i32(data, at)
    at += 4
    if count > _MAX_PARTS:
        raise Malformed(f"a message of {count} notifications")
    found: list[Notification] = []
    for _ in range(max(count, 0)):
        start = at
        at = _skip_extension_object(data, at)
        if data[start] == 1 and data[start + 1] == 0:
            kind, body = _u16(data, start + 2)[0], start + 4
        elif data[start] == 2 and data[start + 1 : start + 3] == b"\0\0":
            kind, body = _u32(data, start + 3)[0], start + 7
        else:
            raise Malformed("a notification of an unknown type")
        if data[body] != 1:
            raise Malformed("a notification that is not binary")
        found.append(Notification(kind, data[body + 5 : at]))
    return tuple(found), at


def is_data_change(notification: Notification) -> bool:
    """Whether it holds values."""
    return notification.kind == _DATA_CHANGE


def is_event(notification: Notification) -> bool:
    """Whether it holds events."""
    return notification.kind == _EVENT


def status_change(notification: Notification) -> int | None:
    """The status a StatusChangeNotification tells of the subscription; None for another notification."""
    if notification.kind != _STATUS:
        return None
    try:
        return int(_u32(notification.body, 0)[0])
    except struct.error:
        raise Malformed("a StatusChangeNotification ends too early") from None


def value_count(data: bytes) -> int:
    """How many values the body of a DataChangeNotification says it holds. Raises Malformed."""
    try:
        return max(0, int(_i32(data, 0)[0]))
    except struct.error:
        raise Malformed("a DataChangeNotification ends too early") from None


def changes(data: bytes) -> Changes:
    """Decode the body of a DataChangeNotification. Raises Malformed."""
    found = Changes()
    handle_of, kind_of, value_of = found.handles.append, found.kinds.append, found.values.append
    status_of, time_of = found.statuses.append, found.times.append
    fast_of = _FAST.get
    try:
        (count,) = _i32(data, 0)
        at = 4
        for _ in range(max(count, 0)):
            mask = data[at + 4]
            kind = data[at + 5] if mask & 1 else NOTHING
            fast = fast_of(mask << 8 | kind)
            if fast is not None:
                handle, value, *rest = fast[0](data, at)
                at += fast[1]
                status = rest.pop(0) if mask & 2 else 0
                time = rest[0] if mask & 4 else 0
            else:
                (handle,) = _u32(data, at)
                kind, value, status, time, at = data_value(data, at + 4)
            handle_of(handle)
            kind_of(kind)
            value_of(value)
            status_of(status)
            time_of(time)
    except (struct.error, IndexError) as error:
        raise Malformed(f"a DataChangeNotification ends too early: {error}") from None
    return found


def data_value(data: bytes, at: int) -> tuple[int, Value | bytes, int, int, int]:
    """Kind, value, status, source time of a DataValue, and where it ends (OPC 10000-6 §5.2.2.17).

    Raises Malformed, struct.error, IndexError.
    """
    mask = data[at]
    at += 1
    kind: int = NOTHING
    value: Value | bytes = None
    if mask & 1:
        kind, value, at = variant(data, at)
    status, time, at = _tail(data, at, mask)
    return kind, value, status, time, at


def _tail(data: bytes, at: int, mask: int) -> tuple[int, int, int]:
    """Status and source time of a DataValue, which stand behind its value, and where it ends."""
    status = time = 0
    if mask & 2:
        (status,) = _u32(data, at)
        at += 4
    if mask & 4:
        (time,) = _i64(data, at)
        at += 8
    at += (2 if mask & 0x10 else 0) + (8 if mask & 8 else 0) + (2 if mask & 0x20 else 0)
    if at > len(data):
        raise Malformed("a DataValue ends too early")
    return status, time, at


def variant(data: bytes, at: int) -> tuple[int, Value | bytes, int]:
    """Kind and value of a Variant, and where it ends: a number or a text, or else the Variant's bytes."""
    kind = data[at]
    reader = _READ.get(kind)
    if reader is not None:
        return kind, reader(data, at + 1)[0], at + 1 + _SIZES[kind]
    if kind == _STRING:
        (size,) = _i32(data, at + 1)
        at += 5
        if size < 0:
            return kind, None, at
        _fits(data, at, size)
        return kind, data[at : at + size].decode("utf-8", "replace"), at + size
    if kind == NOTHING:
        return NOTHING, None, at + 1
    end = skip_variant(data, at)
    return kind & 0xBF, data[at:end], end


# --- What is passed over


def skip_variant(data: bytes, at: int, depth: int = 0) -> int:
    """Where a Variant ends. Raises Malformed, struct.error, IndexError."""
    if depth > _MAX_DEPTH:
        raise Malformed("a value nested too deeply")
    mask = data[at]
    kind = mask & 0x3F
    at += 1
    if not mask & 0x80:
        return at if kind == NOTHING else skip(data, at, kind, depth)
    (count,) = _i32(data, at)
    at += 4
    size = _SIZES.get(kind)
    if size is not None:
        at += size * max(count, 0)
        _fits(data, at, 0)
    else:
        for _ in range(max(count, 0)):
            at = skip(data, at, kind, depth)
    if mask & 0x40:
        (count,) = _i32(data, at)
        at += 4 + 4 * max(count, 0)
        _fits(data, at, 0)
    return at


def skip(data: bytes, at: int, kind: int, depth: int = 0) -> int:
    """Where a value of a built-in type ends. Raises Malformed, struct.error, IndexError."""
    size = _SIZES.get(kind)
    if size is not None:
        _fits(data, at, size)
        return at + size
    if kind in {_STRING, _BYTE_STRING, _XML}:
        return _skip_string(data, at)
    if kind == 23:
        return _skip_data_value(data, at, depth)
    if kind == 24:
        return skip_variant(data, at, depth + 1)
    skip = _SKIPS.get(kind)
    if skip is None:
        raise Malformed(f"a value of the unknown type {kind}")
    return skip(data, at)


def _skip_data_value(data: bytes, at: int, depth: int) -> int:
    mask = data[at]
    at += 1
    if mask & 1:
        at = skip_variant(data, at, depth + 1)
    for bit, size in ((2, 4), (4, 8), (0x10, 2), (8, 8), (0x20, 2)):
        if mask & bit:
            at += size
    _fits(data, at, 0)
    return at


def skip_node_id(data: bytes, at: int) -> int:
    """Where a NodeId ends, the flags of an ExpandedNodeId aside."""
    match data[at] & 0x3F:
        case 0:
            end = at + 2
        case 1:
            end = at + 4
        case 2:
            end = at + 7
        case 3 | 5:
            return _skip_string(data, at + 3)
        case 4:
            end = at + 19
        case other:
            raise Malformed(f"a NodeId of the unknown kind {other}")
    _fits(data, end, 0)
    return end


def _skip_expanded(data: bytes, at: int) -> int:
    flags = data[at]
    at = skip_node_id(data, at)
    if flags & 0x80:
        at = _skip_string(data, at)
    if flags & 0x40:
        at += 4
        _fits(data, at, 0)
    return at


def _skip_string(data: bytes, at: int) -> int:
    size: int = _i32(data, at)[0]
    end = at + 4 + max(size, 0)
    _fits(data, end, 0)
    return end


def _skip_localized(data: bytes, at: int) -> int:
    mask = data[at]
    at += 1
    if mask & 1:
        at = _skip_string(data, at)
    if mask & 2:
        at = _skip_string(data, at)
    return at


def _skip_extension_object(data: bytes, at: int) -> int:
    at = skip_node_id(data, at)
    return at + 1 if data[at] == 0 else _skip_string(data, at + 1)


def _skip_diagnostics(data: bytes, at: int) -> int:
    for _ in range(_MAX_DEPTH):
        mask = data[at]
        at += 1
        for bit in (1, 2, 8, 4):
            if mask & bit:
                at += 4
        if mask & 0x10:
            at = _skip_string(data, at)
        if mask & 0x20:
            at += 4
        _fits(data, at, 0)
        if not mask & 0x40:
            return at
    raise Malformed("diagnostics nested too deeply")


def _skip_qualified(data: bytes, at: int) -> int:
    return _skip_string(data, at + 2)


_SKIPS: Final[Mapping[int, Callable[[bytes, int], int]]] = {
    17: skip_node_id,
    18: _skip_expanded,
    20: _skip_qualified,
    21: _skip_localized,
    22: _skip_extension_object,
    25: _skip_diagnostics,
}
"""By built-in type."""


def _fits(data: bytes, at: int, size: int) -> None:
    if at + size > len(data):
        raise Malformed("a value ends behind its message")


# --- How much there is, before the stack makes objects of it


def check_references(data: bytes, most: int) -> None:
    """Raises Malformed where the answer to a Browse or BrowseNext has more references in all."""
    _check_lists(data, most, "references", _skip_reference, points=True)


def check_targets(data: bytes, most: int) -> None:
    """Raises Malformed where the answer to TranslateBrowsePathsToNodeIds has more targets in all."""
    _check_lists(data, most, "targets", _skip_target, points=False)


def _check_lists(
    data: bytes, most: int, what: str, skip_one: Callable[[bytes, int], int], *, points: bool
) -> None:
    total = 0
    try:
        result, at = _response_header(data)
        if result & 0x80000000:
            return
        (results,) = _i32(data, at)
        at += 4
        for _ in range(max(results, 0)):
            at = _skip_string(data, at + 4) if points else at + 4
            (count,) = _i32(data, at)
            at += 4
            total += max(count, 0)
            if total > most:
                raise Malformed(f"more than {most} {what} at once")
            for _ in range(max(count, 0)):
                at = skip_one(data, at)
    except (struct.error, IndexError) as error:
        raise Malformed(f"an answer ends too early: {error}") from None


def _skip_reference(data: bytes, at: int) -> int:
    at = _skip_expanded(data, skip_node_id(data, at) + 1)
    return _skip_expanded(data, _skip_localized(data, _skip_qualified(data, at)) + 4)


def _skip_target(data: bytes, at: int) -> int:
    return _skip_expanded(data, at) + 4


# --- Values for tags


INTEGERS: Final[Sequence[int]] = (2, 3, 4, 5, 6, 7, 8, 9)
LOCALIZED: Final = 21


def text_of(encoded: bytes) -> str | None:
    """The text of a Variant of a LocalizedText."""
    mask, at = encoded[1], 2
    if mask & 1:
        at = _skip_string(encoded, at)
    if not mask & 2:
        return None
    return encoded[at + 4 : _skip_string(encoded, at)].decode("utf-8", "replace")


def elements(encoded: bytes) -> tuple[int, Sequence[Value | bytes] | None]:
    """Kind and elements of a Variant that is an array; None of one of several dimensions.

    Each is as `variant` has it. Raises Malformed, struct.error, IndexError.
    """
    kind, at = encoded[0] & 0x3F, 5
    count = max(_i32(encoded, 1)[0], 0)
    form = _FORMATS.get(kind)
    found: Sequence[Value | bytes]
    if form is not None:
        _fits(encoded, at, _SIZES[kind] * count)
        found = struct.unpack_from(f"<{count}{form}", encoded, at)
        at += _SIZES[kind] * count
    else:
        parts: list[Value | bytes] = []
        for _ in range(count):
            end = skip(encoded, at, kind)
            parts.append(variant(bytes((kind,)) + encoded[at:end], 0)[1])
            at = end
        found = parts
    several = encoded[0] & 0x40 and _i32(encoded, at)[0] > 1
    return kind, None if several else found


# --- Values as they are, for nodes that are passed on


class Raw(NamedTuple):
    """A DataValue: the bytes of its Variant (empty for none), its StatusCode, its SourceTimestamp or 0."""

    variant: bytes
    status: int
    time: int


def raw_value(data: bytes, at: int) -> tuple[Raw, int]:
    """A DataValue as it is, and where it ends. Raises Malformed, struct.error, IndexError."""
    mask = data[at]
    at += 1
    value = b""
    if mask & 1:
        end = skip_variant(data, at)
        value = data[at:end]
        at = end
    status, time, at = _tail(data, at, mask)
    return Raw(value, status, time), at


def read_results(data: bytes, most: int) -> tuple[int, list[Raw]]:
    """Decode a ReadResponse: its ServiceResult, and ``most`` values as they are. Raises Malformed."""
    try:
        result, at = _response_header(data)
        if result & 0x80000000:
            return result, []
        (count,) = _i32(data, at)
        if count > most:
            raise Malformed(f"{count} values for {most} that were asked")
        at += 4
        found = []
        for _ in range(max(count, 0)):
            value, at = raw_value(data, at)
            found.append(value)
    except (struct.error, IndexError) as error:
        raise Malformed(f"a ReadResponse ends too early: {error}") from None
    return result, found


class Called(NamedTuple):
    """A CallMethodResult: its StatusCode, one for each argument, and its outputs as they are."""

    status: int
    arguments: list[int]
    outputs: list[bytes]


def call_result(data: bytes) -> tuple[int, Called | None]:
    """Decode a CallResponse: its ServiceResult, and its one result where that is good. Raises Malformed."""
    try:
        result, at = _response_header(data)
        if result & 0x80000000:
            return result, None
        (count,) = _i32(data, at)
        if count != 1:
            raise Malformed(f"{max(count, 0)} results of one call")
        (status,) = _u32(data, at + 4)
        start = at + 12
        at = _skip_uint32s(data, at + 8)
        arguments = [int.from_bytes(data[place : place + 4], "little") for place in range(start, at, 4)]
        (count,) = _i32(data, at)
        at += 4
        for _ in range(max(count, 0)):
            at = _skip_diagnostics(data, at)
        (count,) = _i32(data, at)
        if count > _MAX_PARTS:
            raise Malformed(f"{count} outputs of one call")
        at += 4
        outputs = []
        for _ in range(max(count, 0)):
            end = skip_variant(data, at)
            outputs.append(data[at:end])
            at = end
    except (struct.error, IndexError) as error:
        raise Malformed(f"a CallResponse ends too early: {error}") from None
    return result, Called(status, arguments, outputs)


def raw_changes(data: bytes) -> list[tuple[int, Raw]]:
    """Decode the body of a DataChangeNotification: handles, and values as they are. Raises Malformed."""
    found = []
    try:
        (count,) = _i32(data, 0)
        at = 4
        for _ in range(max(count, 0)):
            (handle,) = _u32(data, at)
            value, at = raw_value(data, at + 4)
            found.append((handle, value))
    except (struct.error, IndexError) as error:
        raise Malformed(f"a DataChangeNotification ends too early: {error}") from None
    return found
