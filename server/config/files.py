"""From a path to one tree: reading, including, putting the sections of several files together."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Final

from server.config.errors import ConfigurationError, Mark, Problem, TreeProblem, did_you_mean
from server.config.tree import Entry, Mapping, Node, Scalar, Sequence, dotted, duplicate, read_tree

FORMAT_VERSION: Final = 1
MAX_BYTES: Final = 16 * 1024 * 1024
"""Of one file."""
MAX_FILES: Final = 1_000

NAMED: Final = frozenset({"units", "enums", "scan", "sources", "assets", "classes", "equipment"})
"""Sections that may stand in every file and are merged by name; the others may be given once."""


def read_files(path: Path, problems: list[Problem]) -> tuple[Mapping, str]:
    """The merged tree of a plant file and everything it includes, without ``include``, and a digest.

    The digest is a SHA-256 in hexadecimal digits, of all the texts in the order they were read.

    What is wrong but leaves the rest readable is added to ``problems``. Raises
    ConfigurationError where a file cannot be read or its format version is another one:
    names that stand in it would otherwise be reported missing, one by one.
    """
    reader = _Reader(problems)
    reader.visit(path, None)
    if reader.fatal:
        raise ConfigurationError(reader.fatal)
    return reader.merged, reader.digest.hexdigest()


def read_text(path: Path) -> str:
    """A file's text, which must be UTF-8. Raises TreeProblem with advice."""

    def stop(message: str, hint: str = "", line: int = 0, column: int = 0) -> TreeProblem:
        return TreeProblem(Problem(str(path), line, column, "", message, hint))

    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise stop("this is a directory", "name the plant file in it")
        if not stat.S_ISREG(status.st_mode):
            raise stop("this is not a regular file", "name a YAML file")  # a pipe would block
        if status.st_size > MAX_BYTES:
            raise stop(
                f"the file is larger than {MAX_BYTES // 2**20} MiB", "use classes and repetition (for:)"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise stop("there is no such file", _neighbour(path)) from None
    except PermissionError:
        raise stop(
            "this file may not be read", "give the user who runs Isthmus the right to read it"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise stop(f"this file cannot be read: {reason}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise stop("the file is not UTF-8 text", "save it as UTF-8", line, 1) from None


def _neighbour(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"there is no directory {path.parent} either"
    wanted = [name for name in names if name.endswith((".yaml", ".yml"))]
    return did_you_mean(path.name, wanted)


def _identity(path: Path) -> Path:
    """What makes a file the same under two names; itself where its links lead nowhere."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()


class _Reader:
    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._stack: list[tuple[Path, str]] = []
        self._seen: dict[Path, str] = {}
        self.fatal: list[Problem] = []
        self.merged = Mapping(Mark(""))
        self.digest = hashlib.sha256()

    def visit(self, path: Path, included: Mark | None) -> None:
        """Read one file and what it includes."""
        identity = _identity(path)
        where = str(included) if included else "the command line"
        if any(identity == open_ for open_, _ in self._stack):
            first = next(i for i, (open_, _) in enumerate(self._stack) if open_ == identity)
            ring = [name for _, name in self._stack[first:]]
            message = f"these files include each other in a ring: {' → '.join([*ring, str(path)])}"
            self._fail(included, message, "take one include out")
            return
        if identity in self._seen:
            self._fail(included, f"{path} is included already at {self._seen[identity]}", "include it once")
            return
        if len(self._seen) >= MAX_FILES:
            self._fail(included, f"more than {MAX_FILES:,} files", "put several into one")
            return
        self._seen[identity] = where
        self._stack.append((identity, str(path)))
        try:
            self._take(path, included)
        except TreeProblem as trouble:
            problem = trouble.problem
            if included and not problem.line:
                message = f"{problem.file}: {problem.message}"
                problem = Problem.at(included, "include", message, problem.hint)
            self.fatal.append(problem)
        finally:
            self._stack.pop()

    def _take(self, path: Path, included: Mark | None) -> None:
        text = read_text(path)
        self.digest.update(f"{len(text)}\n{text}".encode())
        tree = read_tree(text, str(path), self._problems)
        if not isinstance(tree, Mapping):
            raise TreeProblem(Problem.at(tree.mark, "", "the file holds no keys", "begin with model: 1"))
        if included is None:
            self.merged.mark = Mark(str(path))
        self._check_version(tree, root=included is None)
        include = tree.entries.pop("include", None)
        for key, entry in tree.entries.items():
            self._merge(key, entry)
        if include is not None:
            self._include(path, include)

    def _check_version(self, tree: Mapping, *, root: bool) -> None:
        entry = tree.entries.get("model") if root else tree.entries.pop("model", None)
        if entry is None:
            if root:
                message = "the file does not say which format it has"
                raise TreeProblem(
                    Problem(tree.mark.file, 1, 1, "model", message, f"add the line model: {FORMAT_VERSION}")
                )
            return
        value = entry.node.value if isinstance(entry.node, Scalar) else None
        if value != FORMAT_VERSION or isinstance(value, bool):
            shown = entry.node.text if isinstance(entry.node, Scalar) else "this"
            message = f"{shown or 'null'} is not a format this version of Isthmus reads"
            hint = f"write model: {FORMAT_VERSION}"
            raise TreeProblem(Problem.at(entry.node.mark, "model", message, hint))

    def _merge(self, section: str, entry: Entry) -> None:
        known = self.merged.entries.get(section)
        if isinstance(entry.node, Scalar) and entry.node.value is None and section in NAMED | {"opcua"}:
            return  # the heading alone, or with everything beneath it commented out
        if known is None:
            node: Node = entry.node
            if section in NAMED and isinstance(node, Mapping):
                node = Mapping(node.mark, dict(node.entries))
            self.merged.entries[section] = Entry(entry.key, node)
        elif section in NAMED and isinstance(known.node, Mapping) and isinstance(entry.node, Mapping):
            for name, item in entry.node.entries.items():
                first = known.node.entries.setdefault(name, item)
                if first is not item:
                    self._problems.append(duplicate(first.key, item.key, (section, name)))
        else:
            self._problems.append(duplicate(known.key, entry.key, (section,)))

    def _include(self, path: Path, entry: Entry) -> None:
        items = entry.node.items if isinstance(entry.node, Sequence) else [entry.node]
        for item in items:
            if not isinstance(item, Scalar) or not isinstance(item.value, str) or not item.value.strip():
                self._fail(item.mark, "an include is a path or a pattern", "write include: [lines/*.yaml]")
                continue
            for found in self._matches(path, item, item.value):
                self.visit(found, item.mark)

    def _matches(self, path: Path, item: Scalar, pattern: str) -> list[Path]:
        """The files of one item, in the order of their names; a pattern never means the file it stands in."""
        if not any(sign in pattern for sign in "*?["):
            return [path.parent / pattern]
        wanted = Path(pattern)
        try:
            beside = Path(wanted.anchor) if wanted.anchor else path.parent
            names = sorted(beside.glob(str(wanted.relative_to(wanted.anchor))))
        except (ValueError, OSError) as error:
            self._fail(item.mark, f"{pattern} is no pattern of file names: {error}", "write lines/*.yaml")
            return []
        found = [file for file in names if _identity(file) != _identity(path) and not file.is_dir()]
        if not found:
            self._fail(item.mark, f"no file matches {pattern}", f"it is looked for beside {path}")
        return found

    def _fail(self, mark: Mark | None, message: str, hint: str) -> None:
        self.fatal.append(Problem.at(mark or Mark(""), dotted(("include",)), message, hint))
