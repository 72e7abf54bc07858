"""A simulated device in a process of its own whose every value says whose it is.

The value of tag number N is ``N * PACE + generation``, and a ``base`` where there are several
devices: another tag's value, or one from before the last change, can be told from the right one.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel

ROOT: Final = Path(__file__).parents[3]
PACE: Final = 100_000
"""So many generations there are."""
DEVICE: Final = 100 * PACE
"""The base of each further device is so much higher."""


def number_of(name: str) -> int:
    """Of the tag: its name ends with it, be it an index."""
    found = re.search(r"(\d+)]?$", name)
    assert found is not None, f"{name} has no number"
    return int(found[1])


class Plc(ABC):
    """The device. ``names`` are the tags that tell whose they are, ``writable`` those to write to.

    ``generation`` is the latest that was begun to be set. The process keeps its port.
    """

    names: tuple[str, ...]
    writable: tuple[str, ...]

    def __init__(self, base: int = 0) -> None:
        self.base = base
        self.generation = 0
        self.port = 0

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it can be reached."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a power failure would."""

    @property
    @abstractmethod
    def runs(self) -> bool:
        """Whether its process is there."""

    @abstractmethod
    async def show(self, values: Mapping[str, int]) -> None:
        """Have tags hold these values."""

    @abstractmethod
    async def get(self, name: str) -> Any:
        """What a tag holds."""

    @abstractmethod
    async def refuse(self, name: str) -> None:
        """Have it answer for a tag that it has no such thing."""

    @abstractmethod
    async def heal(self) -> None:
        """Have no fault."""

    @abstractmethod
    async def clients(self) -> int:
        """How many connections there are to it."""

    async def advance(self) -> int:
        """Have every tag hold its value of the next generation; which that is."""
        self.generation += 1
        assert self.generation < PACE
        await self.again()
        return self.generation

    async def again(self) -> None:
        """Have every tag hold its value of this generation, after a restart."""
        await self.show({name: self.value(name) for name in self.names})

    def value(self, name: str, generation: int | None = None) -> int:
        """Of a tag in a generation, in this one by default."""
        return self.first(name) + (self.generation if generation is None else generation)

    def first(self, name: str) -> int:
        """The value of a tag in generation 0."""
        return self.base + number_of(name) * PACE

    async def restart(self) -> None:
        """Kill it, start it again, and have it hold what it held."""
        await asyncio.to_thread(self.kill)
        await asyncio.to_thread(self.start)
        await self.again()


class SimulatedPlc(Plc):
    """One of this project's simulators, or a program that is started and told as they are."""

    program: ClassVar[tuple[str, ...]] = ("-m", "sources.simulators")

    def __init__(self, spec: BaseModel, base: int = 0) -> None:
        super().__init__(base)
        self.spec = spec
        self._control = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """See Plc."""
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(self.spec.model_dump_json())
            file.flush()
            command = [sys.executable, *self.program, "--spec", file.name, "--exit-with-parent"]
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert self._process.stdout is not None
            line = self._process.stdout.readline().decode()
        assert line.startswith("ready "), f"the simulator did not start: {line!r}"
        _, _, address, _, control = line.split()
        self.port = int(address.rpartition(":")[2])
        self._control = int(control.rpartition(":")[2])

    def kill(self) -> None:
        """See Plc."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @property
    def runs(self) -> bool:
        """See Plc."""
        return self._process is not None and self._process.poll() is None

    async def order(self, *commands: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Give orders; the answers. Raises AssertionError where one is refused."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._control)
        try:
            writer.write(b"".join(json.dumps(command).encode() + b"\n" for command in commands))
            answers: list[dict[str, Any]] = [json.loads(await reader.readline()) for _ in commands]
        finally:
            writer.close()
            await writer.wait_closed()
        for command, answer in zip(commands, answers, strict=True):
            assert answer["ok"], (command, answer)
        return answers

    async def status(self) -> dict[str, Any]:
        """What it says of itself."""
        (answer,) = await self.order({"status": True})
        return answer

    async def heal(self) -> None:
        """See Plc."""
        await self.order({"mute": False}, {"delay": 0}, {"delay_once": 0}, {"refuse": False})
