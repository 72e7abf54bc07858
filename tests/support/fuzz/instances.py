"""Makes up instances of the stack's types from their annotations, a random choice at a time."""

from __future__ import annotations

import dataclasses
import enum
import functools
import random
import struct
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import Any, cast

from asyncua import ua
from asyncua.ua import ua_binary

_ua = cast("Any", ua)
_BITS = {
    "SByte": 8,
    "Byte": -8,
    "Int16": 16,
    "UInt16": -16,
    "Int32": 32,
    "UInt32": -32,
    "Int64": 64,
    "UInt64": -64,
}
_FLOATS = (0.0, 1.0, -1.0, 100.0, 1000.0, 1e308, float("inf"), float("-inf"), float("nan"), 2.0**31)
_NUMBERS = (0, 0, 1, 2, 3, 13, 15, 22, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, -1)
_TEXTS = ("", "1", "0:1", "1:2,0", "Default Binary", "äöü €", "\0", "\U0001f3ed", "%s{0}", "x" * 300)
_STATUS = (0, 0x80000000, 0x40000000, 0xFFFFFFFF, 0x80340000)
_DEEPEST = 4
_USUAL = 0.85


@dataclass(frozen=True)
class Known:
    """What a server knows, so that a request goes past its first check."""

    nodes: Sequence[Any] = ()
    numbers: Sequence[int] = ()
    texts: Sequence[str] = ()
    structures: Sequence[type] = (ua.EUInformation, ua.Range, ua.Argument)
    """What ExtensionObjects hold."""
    fields: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    """What fields of that name have, most of the time: values, or types to make one of; the same in lists."""


class Maker:
    """Makes instances; the same random numbers make the same ones."""

    def __init__(self, rng: random.Random, known: Known | None = None) -> None:
        self._rng = rng
        self._known = known or Known()
        self._depth = 0
        self._built_in: dict[str, Callable[[], Any]] = {
            "Boolean": lambda: rng.random() < 0.5,
            "Float": lambda: struct.unpack("<f", rng.randbytes(4))[0],
            "Double": self._float,
            "String": self._text,
            "CharArray": self._text,
            "DateTime": self._time,
            "Guid": lambda: uuid.UUID(bytes=rng.randbytes(16)),
            "ByteString": self._bytes,
            "Bytes": self._bytes,
            "XmlElement": lambda: _ua.XmlElement(self._text()),
            "NodeId": self._node,
            "ExpandedNodeId": self._expanded,
            "StatusCode": lambda: _ua.StatusCode(rng.choice(_STATUS)),
            "QualifiedName": lambda: _ua.QualifiedName(self._text(), rng.choice((0, 1, 4, 32767))),
            "LocalizedText": lambda: _ua.LocalizedText(self._text(), self._text()),
            "ExtensionObject": self._structure,
            "DataValue": self._data_value,
            "Variant": self._variant,
            "DiagnosticInfo": _ua.DiagnosticInfo,
        }

    def make(self, kind: Any) -> Any:
        """An instance of a dataclass or of a built-in type."""
        origin = typing.get_origin(kind)
        if origin is not None:
            return self._generic(origin, typing.get_args(kind)[0])
        bits = _BITS.get(kind.__name__)
        if bits is not None:
            return self._number(bits)
        made = self._built_in.get(kind.__name__)
        if made is not None:
            return made()
        if issubclass(kind, enum.Enum):
            return self._rng.choice(list(kind)) if list(kind) else kind(0)
        assert is_dataclass(kind), kind
        made_of = {name: self._field(name, hint) for name, hint in _hints(cast("Any", kind))}
        return cast("Any", kind)(**made_of)

    def parameters(self, request: type) -> bytes:
        """The parameters of such a request, encoded: what follows its RequestHeader."""
        return b"".join(
            ua_binary.to_binary(hint, self._field(name, hint))
            for name, hint in _hints(request)
            if name not in {"TypeId", "RequestHeader"}
        )

    def _field(self, name: str, hint: Any) -> Any:
        usual = self._known.fields.get(name)
        if not usual or self._rng.random() > _USUAL:
            return self.make(hint)
        chosen = self._rng.choice(usual)
        if isinstance(chosen, list) is not (typing.get_origin(hint) is list):
            return self.make(hint)  # another field of the same name
        if isinstance(chosen, list):
            return [self.make(one) if isinstance(one, type) else one for one in chosen]
        return self.make(chosen) if isinstance(chosen, type) else chosen

    def _generic(self, origin: Any, inner: Any) -> Any:
        if origin is list:
            most = 3 if self._depth < _DEEPEST else 0
            self._depth += 1
            found = [self.make(inner) for _ in range(self._rng.randint(0, most))]
            self._depth -= 1
            return found
        if origin in {UnionType, typing.Union}:
            return None if self._rng.random() < 0.5 else self.make(inner)
        return self.make(inner)

    def _number(self, bits: int) -> int:
        low, high = (0, 2**-bits - 1) if bits < 0 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if self._known.numbers and self._rng.random() < 0.4:
            found = self._rng.choice(self._known.numbers)
        elif self._rng.random() < 0.7:
            found = self._rng.choice(_NUMBERS)
        else:
            found = self._rng.randint(low, high)
        return int(min(max(found, low), high))

    def _float(self) -> float:
        return self._rng.choice(_FLOATS) if self._rng.random() < 0.8 else self._rng.uniform(-1e6, 1e6)

    def _text(self) -> str | None:
        if self._rng.random() < 0.3:
            return None
        return self._rng.choice((*_TEXTS, *self._known.texts))

    def _bytes(self) -> bytes | None:
        return (
            None if self._rng.random() < 0.3 else self._rng.randbytes(self._rng.choice((0, 1, 16, 32, 300)))
        )

    def _time(self) -> datetime:
        return datetime(1601, 1, 1, tzinfo=UTC) + timedelta(days=self._rng.randrange(3_000_000))

    def _node(self) -> Any:
        if self._known.nodes and self._rng.random() < 0.8:
            return self._rng.choice(self._known.nodes)
        return ua.NodeId(self._identifier(), self._rng.choice((0, 1, 4, 65535)))  # type: ignore[arg-type]

    def _identifier(self) -> Any:
        rng = self._rng
        return rng.choice(
            (
                rng.randrange(300),
                rng.randrange(2**32),
                self._text() or "",
                rng.randbytes(5),
                uuid.UUID(int=rng.getrandbits(128)),
            )
        )

    def _expanded(self) -> Any:
        if self._rng.random() < 0.6:
            return self._node()
        return _ua.ExpandedNodeId(self._identifier(), 1, None, self._text(), self._rng.randrange(3))

    def _structure(self) -> Any:
        chance = self._rng.random()
        if chance < 0.2 or self._depth > _DEEPEST:
            return _ua.ExtensionObject()
        if chance < 0.4:
            return _ua.ExtensionObject(ua.NodeId(self._rng.randrange(1, 300), 4), self._bytes())  # type: ignore[arg-type]
        self._depth += 1
        found = self.make(self._rng.choice(self._known.structures))
        self._depth -= 1
        return found

    def _data_value(self) -> Any:
        chance = self._rng.random
        if chance() < 0.5:
            return _ua.DataValue(
                _ua.Variant(*self._rng.choice(((1.5, ua.VariantType.Double), (1, ua.VariantType.Int32))))
            )
        return _ua.DataValue(
            self._variant(),
            None if chance() < 0.7 else self.make(ua.StatusCode),
            None if chance() < 0.7 else self._time(),
            None if chance() < 0.8 else self._time(),
        )

    def _variant(self) -> Any:
        number = self._rng.randrange(0 if self._depth > _DEEPEST else 1, 25)
        kind = ua.VariantType(number)
        if not number:
            return _ua.Variant()
        shape = self._rng.choice((0, 0, 1, 2)) if number != 24 else 1
        self._depth += 1
        made = [self.make(getattr(ua, kind.name)) for _ in range((1, self._rng.randrange(4), 4)[shape])]
        self._depth -= 1
        if shape == 0:
            empty = made[0] is None and kind.name not in {"String", "ByteString"}
            return _ua.Variant() if empty else _ua.Variant(made[0], kind, None, False)
        if shape == 1:
            return _ua.Variant(made, kind, None, True)
        return _ua.Variant([made[:2], made[2:]], kind, [2, 2], True)


@functools.cache
def _hints(kind: Any) -> tuple[tuple[str, Any], ...]:
    hints = ua_binary.get_safe_type_hints(kind, {"ua": ua})
    return tuple((f.name, hints[f.name]) for f in fields(kind) if f.init)
