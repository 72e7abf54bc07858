"""What goes wrong when a NodeSet2 file is read.

NodesetError    a file cannot be read: which one, at which line, what to do
BadTextError    a ValueError within this package: becomes a NodesetError once file and line are known
"""

from __future__ import annotations


class NodesetError(Exception):
    """A NodeSet2 file that cannot be read; its text is ``file:line: what and what to do``.

    ``line`` is 0 where the file as a whole is meant.
    """

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")
        self.file = file
        self.line = line
        self.problem = problem

    @classmethod
    def unreadable(cls, file: str, error: OSError) -> NodesetError:
        """For a file that the operating system does not give."""
        return cls(file, 0, f"cannot be read ({error.strerror or error}); check the path and its rights")


class BadTextError(ValueError):
    """Text that is not what its place asks for; the reader makes a `NodesetError` of it.

    ``line`` is 0 until someone who knows the element adds it.
    """

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.line = line

    def at(self, line: int) -> BadTextError:
        """The same with a line, unless a closer one is known."""
        return self if self.line else BadTextError(str(self), line)
