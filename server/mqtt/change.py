"""The DataSetWriters of one state of a plant made those of another, without a word to the broker yet."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from server.mqtt.dataset import DataSet
from server.mqtt.mirrored import MirroredDataSet
from server.mqtt.settings import MqttSettings
from server.mqtt.state import WriterBook, WriterIdentity
from server.mqtt.writer import DataSetWriter
from server.plant.values import Point
from sources.clock import now

AnyDataSet: TypeAlias = DataSet | MirroredDataSet
Places = dict[int, tuple[DataSetWriter, int]]
"""Of which writer a point is which field, by the point's identity."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The names of data sets that come, go and get another version; the others go on as they are."""

    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[str]


@dataclass(frozen=True, slots=True)
class WriterChange:
    """Writers that are ready to take the place of others."""

    writers: list[DataSetWriter]
    """All of the new state; the very ones of before where nothing changed that a subscriber knows."""
    fresh: list[tuple[DataSetWriter, DataSetWriter | None]]
    """Those that are not, each with the one of its data set before, if there was one."""
    ended: list[DataSetWriter]
    """Those of before that are no more."""
    where: Places


def outline(writers: Sequence[DataSetWriter], sets: Sequence[DataSet], namespaces: Sequence[str]) -> Outline:
    """What another state of the plant would mean for subscribers. Takes a moment for a large one."""
    before = {writer.dataset.key: writer.dataset for writer in writers if isinstance(writer.dataset, DataSet)}
    keys = {dataset.key for dataset in sets}
    return Outline(
        added=[dataset.name for dataset in sets if dataset.key not in before],
        removed=[dataset.name for key, dataset in before.items() if key not in keys],
        changed=[
            dataset.name
            for dataset in sets
            if (was := before.get(dataset.key)) is not None and _differs(was, dataset, namespaces)
        ],
    )


def _differs(old: DataSet, new: DataSet, namespaces: Sequence[str]) -> bool:
    return not _is_same(old, new) and old.fingerprint(namespaces) != new.fingerprint(namespaces)


def _is_same(old: AnyDataSet, new: AnyDataSet) -> bool:
    """Whether it can be seen without a closer look that subscribers are told the same of both."""
    if isinstance(old, MirroredDataSet) or isinstance(new, MirroredDataSet):
        return old is new
    return old.properties is new.properties and (old.name, old.description) == (new.name, new.description)


def prepare(
    writers: Sequence[DataSetWriter],
    sets: Sequence[AnyDataSet],
    points: Mapping[str, Point],
    settings: MqttSettings,
    *,
    state: Path,
    namespaces: Sequence[str],
    pending: Callable[[str], bool] = lambda _: False,
) -> WriterChange:
    """Enrol the data sets of the new state, and make the writers that are needed. For a thread.

    ``pending`` as of `WriterBook.enrol`. What subscribers will rely on is on the disk when this returns.
    Raises MqttStateError.
    """
    before = {writer.dataset.key: writer for writer in writers}
    unchanged = {one.key for one in sets if (was := before.get(one.key)) and _is_same(was.dataset, one)}
    identities = WriterBook(state).enrol(sets, namespaces, now(), unchanged, pending)
    every: list[DataSetWriter] = []
    fresh: list[tuple[DataSetWriter, DataSetWriter | None]] = []
    for dataset in sets:
        was = before.get(dataset.key)
        identity = identities[dataset.key]
        if (
            was is not None
            and was.identity == identity
            and was.name == dataset.writer_name
            and _holds_the_same(was, dataset)
        ):
            every.append(was)
            continue
        made = writer_of(dataset, identity, points, settings)
        every.append(made)
        fresh.append((made, was))
    staying = set(map(id, every))
    ended = [writer for writer in writers if id(writer) not in staying]
    return WriterChange(every, fresh, ended, places(every))


def _holds_the_same(writer: DataSetWriter, dataset: AnyDataSet) -> bool:
    """Whether the values are where they were: points of the plant are, as long as there are such."""
    if isinstance(dataset, MirroredDataSet):
        return all(map(operator.is_, writer.points, dataset.cells))
    return True


def writer_of(
    dataset: AnyDataSet, identity: WriterIdentity, points: Mapping[str, Point], settings: MqttSettings
) -> DataSetWriter:
    """The writer of a data set; ``points`` are by the property's key."""
    held: Sequence[Any]
    if isinstance(dataset, MirroredDataSet):
        held = dataset.cells
    else:
        held = [points[prop.key] for prop in dataset.properties]
    return DataSetWriter(
        dataset,
        identity,
        held,
        publisher_id=settings.publisher_id,
        key_frame_every=settings.key_frame_every,
    )


def places(writers: Sequence[DataSetWriter]) -> Places:
    """Where each point is to be found."""
    return {id(point): (writer, index) for writer in writers for index, point in enumerate(writer.points)}
