"""One record: a line of JSON that ends in the SHA-256 of all that stands before it.

    {"seq":7,"time":"…","event":"write",…,"prev":"<hash of record 6>","hash":"<hash of this one>"}

The hash is taken of the very bytes of the line up to and without ``,"hash":``, so that it can be
checked without agreeing on how JSON is written.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from server.audit.errors import BrokenRecord
from sources.clock import to_iso

GENESIS: Final = "0" * 64
"""What the first record of all has for a predecessor."""

LONGEST: Final = 262_144
"""Bytes of a line."""

_FIELDS: Final = 50
_SHOWN: Final = 200
"""What is kept of a longer record: so many fields, and characters of each (of 12 bytes at most)."""

_OWN: Final = frozenset({"seq", "time", "event", "prev", "hash"})
"""What no field of an event may pass for."""

_TAIL: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_TAIL_BYTES: Final = 75


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read; ``fields`` are all of it but the hash."""

    seq: int
    event: str
    fields: Mapping[str, Any]
    previous: str
    hash: str


def seal(seq: int, time: int, event: str, fields: Mapping[str, Any], previous: str) -> tuple[bytes, str]:
    """The line of a record, with its end, and its hash. ``time`` is in ticks.

    Of a record that is too long the first fields are kept, longer values by their beginnings,
    and ``oversize``: how many bytes it had.
    """
    finite = {key: _finite(value) for key, value in fields.items() if key not in _OWN}
    content = {"seq": seq, "time": to_iso(time), "event": event, **finite, "prev": previous}
    text = json.dumps(content, separators=(",", ":"), default=str, allow_nan=False)
    body = text[:-1].encode("ascii")
    if len(body) + _TAIL_BYTES > LONGEST:
        kept = {key: _beginning(value) for key, value in islice(finite.items(), _FIELDS)}
        return seal(seq, time, event, {**kept, "oversize": len(body)}, previous)
    digest = hashlib.sha256(body).hexdigest()
    return body + f',"hash":"{digest}"}}\n'.encode("ascii"), digest


def unseal(line: bytes) -> Record:
    """The record of a line, without its end. Raises BrokenRecord."""
    if len(line) > LONGEST:
        raise BrokenRecord("the line is longer than any record")
    body, tail = line[:-_TAIL_BYTES], line[-_TAIL_BYTES:]
    found = _TAIL.fullmatch(tail)
    if found is None:
        raise BrokenRecord("the line is no record: it does not end in a hash")
    digest = hashlib.sha256(body).hexdigest()
    if digest != found[1].decode("ascii"):
        raise BrokenRecord("the record is not the one that was written: its hash is another")
    try:
        content = json.loads(body + b"}")
        seq, event, previous = content["seq"], content["event"], content["prev"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BrokenRecord(f"the line is no record: {error!r}") from None
    if not (type(seq) is int and isinstance(event, str) and isinstance(previous, str)):
        raise BrokenRecord("the line is no record: seq, event or prev is of another type")
    return Record(seq, event, content, previous, digest)


def _beginning(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return value if len(text) <= _SHOWN else f"{text[:_SHOWN]}... of {len(text)} characters"


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinities: they become text, in arrays too."""
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
