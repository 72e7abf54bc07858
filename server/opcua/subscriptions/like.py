"""The Like operator (OPC 10000-4 §7.7.3, Table 117), in no more steps than pattern times text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Matcher = Callable[[str], bool]

_ANY: Final = None
"""Stands for ``%`` among the parts of a pattern."""


class Pattern:
    r"""A pattern: ``%`` is any string, ``_`` any character, ``[abc]``, ``[a-z]`` and ``[^abc]`` one of a set.

    What follows a ``\`` is itself.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError for a set without an end or a backslash at the end."""
        self._parts: list[Matcher | None] = []
        at = 0
        while at < len(text):
            at = self._add(text, at)

    def _add(self, text: str, at: int) -> int:
        """Add the part that begins there; returns where the next does."""
        match text[at]:
            case "%":
                if not self._parts or self._parts[-1] is not _ANY:
                    self._parts.append(_ANY)
                return at + 1
            case "_":
                self._parts.append(lambda _: True)
                return at + 1
            case "[":
                end = text.index("]", at + 2)
                self._parts.append(_set(text[at + 1 : end]))
                return end + 1
            case "\\":
                if at + 1 == len(text):
                    raise ValueError("nothing behind the last backslash")
                self._parts.append(text[at + 1].__eq__)
                return at + 2
            case letter:
                self._parts.append(letter.__eq__)
                return at + 1

    def matches(self, text: str) -> bool:
        """Whether all of the text is as the pattern says."""
        parts = self._parts
        at = part = 0
        back_part, back_at = -1, 0
        while at < len(text):
            current = parts[part] if part < len(parts) else _ANY
            if part < len(parts) and current is _ANY:
                back_part, back_at = part, at
                part += 1
            elif current is not None and current(text[at]):
                at, part = at + 1, part + 1
            elif back_part >= 0:  # have the last % take one more character
                back_at += 1
                at, part = back_at, back_part + 1
            else:
                return False
        return all(rest is _ANY for rest in parts[part:])


def _set(content: str) -> Matcher:
    wanted = True
    if content.startswith("^"):
        wanted, content = False, content[1:]
    singles, ranges = set(), []
    at = 0
    while at < len(content):
        if at + 2 < len(content) and content[at + 1] == "-":
            ranges.append((content[at], content[at + 2]))
            at += 3
        else:
            singles.add(content[at])
            at += 1
    return lambda letter: (letter in singles or any(low <= letter <= high for low, high in ranges)) is wanted
