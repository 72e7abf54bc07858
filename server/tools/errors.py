"""What the tools cannot do.

ToolError
├── UsageError         what was asked for makes no sense; the text says what would
└── ImportProblem      a file that cannot be imported; the text names it and the line
"""

from __future__ import annotations


class ToolError(Exception):
    """Base of the tools' errors; its text is meant for people."""


class UsageError(ToolError):
    """A target, a tag or a value that cannot be meant."""


class ImportProblem(ToolError):
    """A tag list that cannot be read."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")
