"""References of a downstream server's nodes, from a server that does not give them as it should."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.downstream import settings
from support.opcua_messages import Line

from sources.errors import ConnectionLost
from sources.opcua import connection as connecting
from sources.opcua.connection import Connection
from sources.opcua.stack import ua

NO_ROOM, UNKNOWN = 0x804B0000, 0x80340000
"""BadNoContinuationPoints, BadNodeIdUnknown."""
NODES = [ua.NodeId(number) for number in (1, 2)]


def result(count: int = 0, code: int = 0, point: bytes | None = None) -> Any:
    references = [ua.ReferenceDescription()] * count
    return ua.BrowseResult(StatusCode=ua.StatusCode(code), ContinuationPoint=point, References=references)


def connection(*browses: list[Any], nexts: Iterator[list[Any]] | None = None) -> tuple[Connection, Line]:
    line, answers = Line(), iter(browses)
    line.answers["BrowseRequest"] = lambda _: SimpleNamespace(Results=next(answers))
    line.answers["BrowseNextRequest"] = lambda asked: SimpleNamespace(
        Parameters=SimpleNamespace(
            Results=[result()] if asked.Parameters.ReleaseContinuationPoints else next(nexts or iter(()))
        )
    )
    return Connection(cast("Any", line), settings(4840)), line


async def test_what_was_refused_for_want_of_room_is_asked_for_alone(caplog: pytest.LogCaptureFixture) -> None:
    there, line = connection(
        [result(2, point=b"more"), result(code=NO_ROOM)], [result(5)], nexts=iter([[result(1)]])
    )
    assert [len(found) for found in await there.browse(NODES)] == [3, 5]
    assert [len(asked.Parameters.NodesToBrowse) for asked in line.asked[::2]] == [2, 1]
    assert not caplog.records


@pytest.mark.parametrize(
    ("browses", "told"),
    [
        ([[result(2), result(code=UNKNOWN)]], "BadNodeIdUnknown"),
        ([[result(2), result(code=NO_ROOM)], [result(code=NO_ROOM)]], "BadNoContinuationPoints"),
    ],
)
async def test_what_was_refused_is_told(
    browses: list[list[Any]], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    there, _ = connection(*browses)
    assert [len(found) for found in await there.browse(NODES)] == [2, 0]
    (record,) = caplog.records
    assert f"references of i=2 are left out: {told}" in record.getMessage()


@pytest.mark.parametrize(("size", "kept"), [(0, 0), (4, 10)])
async def test_references_without_end_are_cut(
    size: int, kept: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connecting, "MAX_REFERENCES", 10)
    there, line = connection(
        [result(size, point=b"0")], nexts=iter(lambda: [result(size, point=b"and on")], None)
    )
    (found,) = await there.browse(NODES[:1])
    assert len(found) == kept
    assert line.asked[-1].Parameters.ReleaseContinuationPoints
    assert "it goes on" in caplog.text


async def test_an_answer_in_part_is_none() -> None:
    there, _ = connection([result(1, point=b"0"), result(1, point=b"1")], nexts=iter([[result(1)]]))
    with pytest.raises(ConnectionLost, match="in part"):
        await there.browse(NODES)
