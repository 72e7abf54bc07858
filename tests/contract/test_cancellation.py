"""Cancelled at every await, an operation ends there, leaves nothing, and spoils nothing that follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.contract.cancel import MOST, Moment, interrupt, stop_after, stop_when
from support.contract.case import DriverCase
from support.contract.census import Census, settled
from support.contract.live import Truth
from support.contract.plc import PACE, Plc

from sources.errors import ConnectionLost
from sources.quality import GOOD
from sources.source import Session, Source

TURNS = (*range(12), *(int(12 * 1.25**step) for step in range(1, 23)))
"""Of the loop, after which a scan is cancelled: at first each, then ever fewer."""

at_both_moments = pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.name.lower())


async def test_scanning(case: DriverCase, plc: Plc) -> None:
    source = case.source(plc)
    truth = Truth(plc)
    before = Census.now()
    for turns in TURNS:
        async with source.connect() as session:
            inside = Census.now()
            await stop_after(lambda its=session: its.scan(truth), turns)  # type: ignore[misc]
            await settled(inside)
        await settled(before)
    async with source.connect() as session:
        inside = Census.now()
        await stop_when(lambda: session.scan(truth), lambda: truth.good > 0)
        await settled(inside)
    await settled(before)
    assert truth.wrong == []


async def _right(source: Source, session: Session, plc: Plc) -> None:
    """Every tag read by itself brings its own value. Raises ConnectionLost."""
    for tag in source.tags[:3]:
        batch = await session.read([tag])
        assert batch.values is not None
        quality = batch.qualities if isinstance(batch.qualities, int) else batch.qualities[0]
        assert (list(batch.values), quality) == ([plc.value(tag.name)], GOOD)


async def _at_each(make: Callable[[], Coroutine[Any, Any, Any]], moment: Moment, most: int = MOST) -> int:
    """Interrupt at each await in turn; how many there are."""
    await make()
    before = Census.now()
    for at in range(most):
        reached = await interrupt(make, at, moment)
        await settled(before)
        if not reached:
            return at
    assert most < MOST, "it does not end"
    return most


@at_both_moments
async def test_connecting(case: DriverCase, plc: Plc, moment: Moment) -> None:
    source = case.source(plc)

    async def connect() -> None:
        async with source.connect() as session:
            await _right(source, session, plc)

    assert await _at_each(connect, moment) > 3
    await connect()


async def _one_session(
    source: Source, plc: Plc, operation: Callable[[Session], Coroutine[Any, Any, Any]], moment: Moment
) -> int:
    """Interrupt an operation of one session at each await, while the session lasts and in new ones."""
    at = 0
    while True:
        async with source.connect() as session:
            before = Census.now()
            try:
                while await interrupt(lambda its=session: operation(its), at, moment):  # type: ignore[misc]
                    at += 1
                    assert at < MOST
                    await settled(before)
                    await _right(source, session, plc)
            except ConnectionLost:
                # It may cost the connection, never a wrong value; the next does it right.
                at += 1
                continue
            return at


@at_both_moments
async def test_reading(case: DriverCase, plc: Plc, moment: Moment) -> None:
    source = case.source(plc)
    last = source.tags[-len(plc.writable) - 1]
    before = Census.now()

    async def read(session: Session) -> None:
        await session.read([last])

    assert await _one_session(source, plc, read, moment) > 0
    await settled(before)


@at_both_moments
async def test_writing(case: DriverCase, plc: Plc, moment: Moment) -> None:
    source = case.source(plc)
    (tag,) = (tag for tag in source.tags if tag.name == plc.writable[0])
    before = Census.now()
    written = plc.first(tag.name)

    async def write(session: Session) -> None:
        nonlocal written
        written += 1
        await session.write([(tag, written)])

    assert await _one_session(source, plc, write, moment) > 0
    await settled(before)
    # Cancelled or not, each was carried out once at most, and the last one was.
    assert await plc.get(tag.name) == written


@at_both_moments
async def test_a_turn_that_is_cancelled_is_passed_on(case: DriverCase, plc: Plc, moment: Moment) -> None:
    """Commands that wait behind others are cancelled; the others are carried out."""
    source = case.source(plc)
    tags = [tag for tag in source.tags if tag.name in plc.writable]
    async with source.connect() as session:
        for at in range(4):
            crowd = [asyncio.create_task(session.read([tag])) for tag in tags]

            async def waiting() -> None:
                await session.write([(tags[0], plc.first(tags[0].name))])

            try:
                await interrupt(waiting, at, moment)
            finally:
                await asyncio.wait(crowd)
            for task, tag in zip(crowd, tags, strict=True):
                error = task.exception()
                assert error is None or isinstance(error, ConnectionLost)
                if error is None:
                    (value,) = task.result().values or [None]
                    assert isinstance(value, int)
                    assert 0 <= value - plc.first(tag.name) < PACE
            if any(task.exception() for task in crowd):
                return
