"""node-opcua, an OPC UA client that shares no code with ours, as a process that does what it is told."""

from __future__ import annotations

import fcntl
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.programs import need

INTEROP = Path(__file__).parents[1] / "interop"
_ANSWER_WITHIN = 60.0


class Refused(Exception):
    """What node-opcua said when it could not do what it was told."""


class NodeClient:
    """The running process; one order at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="node-opcua", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def __call__(self, operation: str, **order: Any) -> Any:
        """Have it do something. Raises Refused with its message."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": operation} | order) + "\n")
        self._process.stdin.flush()
        try:
            answer = json.loads(self._lines.get(timeout=_ANSWER_WITHIN))
        except queue.Empty:
            pytest.fail(f"node-opcua gave no answer to {operation} within {_ANSWER_WITHIN:.0f} s")
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["ok"]

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_ANSWER_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()


def install() -> None:
    """Fetch node-opcua where it is absent; two test runs at once do not get in each other's way."""
    if (INTEROP / "node_modules" / ".package-lock.json").exists():
        return
    npm = need("npm")
    with (INTEROP / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (INTEROP / "node_modules" / ".package-lock.json").exists():
            return
        command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=INTEROP, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.fail(f"{' '.join(command)} in {INTEROP} failed:\n{done.stderr}", pytrace=False)


@contextmanager
def node_client() -> Iterator[NodeClient]:
    """The process, from its start to its end."""
    node = need("node")
    install()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [node, "client.js"],
            cwd=INTEROP,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        client = NodeClient(process)
        try:
            yield client
        finally:
            client.end()
            errors.seek(0)
            sys.stderr.write(errors.read())  # pytest shows it where a test failed


class Speaker:
    """A connection of node-opcua that speaks any service by its name."""

    def __init__(self, node: NodeClient, name: str) -> None:
        self._node = node
        self.name = name

    def __call__(self, service: str, **request: Any) -> Any:
        """The response, ``result`` among its fields: a StatusCode by its name, that of a fault too."""
        return self._node("service", **{"as": self.name}, service=service, request=request)

    def good(self, service: str, **request: Any) -> Any:
        """As above, where nothing but Good will do."""
        response = self(service, **request)
        assert response["result"] == "Good", response
        return response

    def read(self, *nodes: Any, attribute: int = 13, **more: Any) -> list[Any]:
        """The DataValues of nodes, or of ReadValueIds given as they are."""
        wanted = [
            one if isinstance(one, dict) else {"nodeId": one, "attributeId": attribute} for one in nodes
        ]
        found = self.good("Read", **{"nodesToRead": wanted, "timestampsToReturn": 2} | more)["results"]
        assert isinstance(found, list)
        return found


def variant(kind: str, value: Any, dimensions: list[int] | None = None) -> dict[str, Any]:
    """A Variant in a request."""
    return {"$variant": [kind, value, *([dimensions] if dimensions else [])]}


def raw_bytes(data: bytes) -> dict[str, str]:
    """A ByteString in a request."""
    return {"$bytes": data.hex()}
