"""What a soak found, and whether that is well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from support.soak.samples import Growth, Sample, growths


@dataclass
class Report:
    """One run."""

    seed: int
    seconds: float
    devices: int = 0
    tags: int = 0
    generations: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    qualities: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    uneasy: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    words: list[str] = field(default_factory=list)
    compared: int = 0
    differences: list[str] = field(default_factory=list)
    recovered: float = 0.0
    """Seconds from the end of all faults until every value was right."""
    tracebacks: int = 0
    told: str = ""
    """What the server's log says around the first of them."""
    exit_code: int | None = None
    messages: int = 0
    cpu: float = 0.0
    samples: list[Sample] = field(default_factory=list)

    @property
    def growths(self) -> list[Growth]:
        """How memory, tasks, files and threads of the server went."""
        return growths(self.samples)

    @property
    def problems(self) -> list[str]:
        """What is not well, in words."""
        return list(self._problems())

    @property
    def well(self) -> bool:
        """Whether nothing is."""
        return not self.problems

    def _problems(self) -> Iterator[str]:
        if self.wrong:
            yield f"{self.wrong} wrong values: {'; '.join(self.words)}"
        if not self.compared or self.differences:
            yield f"{len(self.differences)} of {self.compared} values are not the devices': " + "; ".join(
                self.differences[:20]
            )
        if self.uneasy:
            yield f"devices without a fault left Good: {_counts(self.uneasy)}"
        if not self.qualities["Good"]:
            yield "no Good value ever came"
        if self.tracebacks:
            yield f"{self.tracebacks} tracebacks in the server's log; the first:\n{self.told}"
        if self.exit_code != 0:
            yield f"the server ended with {self.exit_code}"
        for growth in self.growths:
            if growth.grows:
                yield f"{growth.name} grow: {growth.middle:.1f}, at the end {growth.end:.1f}"

    def text(self) -> str:
        """For people."""
        lines = [
            f"seed {self.seed}, {self.seconds / 60:.1f} minutes",
            f"devices: {self.devices}, with {self.tags} tags, in {self.generations} generations of values",
            f"faults: {self.faults.total()}: {_counts(self.faults)}",
            f"notifications: {self.qualities.total():,}, wrong {self.wrong}: {_counts(self.qualities)}",
            f"writes: {self.writes.total():,}: {_counts(self.writes)}",
            f"MQTT messages: {self.messages:,}",
            f"at the end: {self.compared} values compared, {len(self.differences)} differ",
            f"after the last fault: {self.recovered:.1f} s",
            f"server CPU: {self.cpu:.1f} s; exit code {self.exit_code}; tracebacks {self.tracebacks}",
            *(
                f"{growth.name}: {growth.middle:.1f} in the middle, {growth.end:.1f} at the end"
                for growth in self.growths
            ),
        ]
        if not self.growths:
            lines.append("growth: the run was too short to tell")
        lines += [f"NOT WELL: {problem}" for problem in self.problems] or ["all is well"]
        return "\n".join(lines)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())
