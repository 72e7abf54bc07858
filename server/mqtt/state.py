"""What subscribers rely on over restarts: DataSetWriterIds and configuration versions, kept in a file."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from server.mqtt.dataset import ConfigurationVersion, DataSet
from server.mqtt.errors import MqttStateError
from server.mqtt.mirrored import MirroredDataSet
from sources.clock import TICKS_PER_SECOND, UNIX_EPOCH_TICKS

FORMAT: Final = 1
FILE_NAME: Final = "mqtt-writers.json"

_VERSION_TIME_EPOCH: Final = UNIX_EPOCH_TICKS + 946_684_800 * TICKS_PER_SECOND
"""2000-01-01 UTC in ticks."""
_FIRST_ID: Final = 0x8000
_LAST_ID: Final = 0xFFFF
"""The range of ids a publisher gives itself (OPC 10000-14 §6.2.4.1)."""


@dataclass(frozen=True, slots=True)
class _Record:
    """One writer that is or was: ``retired`` is the VersionTime of its removal, 0 while it is there."""

    id: int
    major: int
    minor: int
    fields: int
    digest: str
    retired: int = 0


@dataclass(frozen=True, slots=True)
class WriterIdentity:
    """How subscribers know a writer."""

    id: int
    version: ConfigurationVersion


class WriterBook:
    """``mqtt-writers.json`` in the state directory.

    A writer keeps its id for good. The id of a removed one goes to another only when the
    32,768 ids of the range are used up, the longest removed first; an equipment that comes
    back finds its old id.
    """

    def __init__(self, directory: Path) -> None:
        """Raises MqttStateError where the file is there and cannot be read."""
        self.path = directory / FILE_NAME
        self._records = self._load()

    def enrol(
        self,
        datasets: Sequence[DataSet | MirroredDataSet],
        namespaces: Sequence[str],
        time: int,
        unchanged: Container[str] = (),
        pending: Callable[[str], bool] = lambda _: False,
    ) -> dict[str, WriterIdentity]:
        """The identity of every DataSet by its key; what changed is on the disk when this returns.

        ``time`` in ticks. An unchanged DataSet keeps its version, one with fields added at
        its end gets a new MinorVersion, any other change a new MajorVersion, to which
        MinorVersion is set too (OPC 10000-14 §6.2.3.2.6). Those whose key is ``unchanged`` are
        known to be what they were when they were enrolled last. Whose key is ``pending`` may yet
        come, and is not taken for removed. Raises MqttStateError.
        """
        now = max(1, (time - _VERSION_TIME_EPOCH) // TICKS_PER_SECOND)
        before = dict(self._records)
        present = {dataset.key for dataset in datasets}
        for key, record in before.items():
            if key not in present and not record.retired and not pending(key):
                self._records[key] = replace(record, retired=now)
        newcomers = []
        for dataset in datasets:
            known = self._records.get(dataset.key)
            if known is None:
                newcomers.append(dataset)
            elif known.retired or dataset.key not in unchanged:
                self._records[dataset.key] = _revised(known, dataset, namespaces, now)
        for dataset, number in zip(newcomers, self._take_ids(len(newcomers)), strict=True):
            self._records[dataset.key] = _Record(
                number, now, now, dataset.size, dataset.fingerprint(namespaces)
            )
        if self._records != before or not self.path.exists():
            self._save()
        return {
            key: WriterIdentity(record.id, ConfigurationVersion(record.major, record.minor))
            for key, record in self._records.items()
            if key in present
        }

    def _take_ids(self, count: int) -> list[int]:
        taken = {record.id for record in self._records.values()}
        unused = (number for number in range(_FIRST_ID, _LAST_ID + 1) if number not in taken)
        ids = list(itertools.islice(unused, count))
        retired = sorted((r.retired, r.id, key) for key, r in self._records.items() if r.retired)
        for _, number, key in retired[: count - len(ids)]:
            del self._records[key]
            ids.append(number)
        if len(ids) < count:
            raise MqttStateError(
                f"more than {_LAST_ID - _FIRST_ID + 1} equipments and imported objects with values: MQTT "
                "has no DataSetWriterIds left; divide the plant among several servers"
            )
        return ids

    def _load(self) -> dict[str, _Record]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return _records(content)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise MqttStateError(
                f"{self.path}: the DataSetWriterIds cannot be read: {error}; restore the file from a backup. "
                "Deleting it renumbers the DataSetWriters: subscribers that know them by id must learn anew"
            ) from error

    def _save(self) -> None:
        content = {
            "format": FORMAT,
            "writers": {key: asdict(record) for key, record in sorted(self._records.items())},
        }
        temporary = self.path.with_name(f".{FILE_NAME}-{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(content, file, indent=1, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise MqttStateError(
                f"{self.path}: the DataSetWriterIds cannot be written: {error.strerror or error}; "
                "make room or give this user the right to write there"
            ) from error


def _revised(
    known: _Record, dataset: DataSet | MirroredDataSet, namespaces: Sequence[str], now: int
) -> _Record:
    count, digest = dataset.size, dataset.fingerprint(namespaces)
    if digest == known.digest:
        return replace(known, retired=0)
    # Versions only rise, whatever the clock says.
    version = max(now, known.major + 1, known.minor + 1)
    appended = count > known.fields and dataset.fingerprint(namespaces, known.fields) == known.digest
    major = known.major if appended else version
    return _Record(known.id, major, version, count, digest)


def _records(content: object) -> dict[str, _Record]:
    """Raises ValueError that says what is wrong."""
    if not isinstance(content, dict) or not isinstance(content.get("writers"), dict):
        raise ValueError("it is not a list of writers")  # noqa: TRY004 (bad content, not a bad argument)
    if content.get("format") != FORMAT:
        raise ValueError(f"its format is {content.get('format')!r}, this version of Isthmus knows {FORMAT}")
    records: dict[str, _Record] = {}
    for key, entry in content["writers"].items():
        if not isinstance(entry, dict) or entry.keys() != _Record.__dataclass_fields__.keys():
            raise ValueError(f"the entry of {key} has not the keys it should have")
        numbers = [value for name, value in entry.items() if name != "digest"]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"the entry of {key} holds something else where a number should be")
        records[key] = _Record(**entry)
        if not 0 < records[key].id <= _LAST_ID:
            raise ValueError(f"the id of {key} is outside 1…{_LAST_ID}")
    ids = [record.id for record in records.values()]
    if len(set(ids)) != len(ids):
        raise ValueError("one id stands for two writers")
    return records
