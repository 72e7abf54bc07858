"""That what is said of notifications counts what came, once each, and of the right process."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from asyncua.ua import ua_binary
from support.uaclient import ua

from bench import items, notify, scale, store
from bench.counting import Counter, NotANotification, Published, published
from bench.notify import Run
from bench.plant import plant, registers
from bench.session import Session
from bench.subjects import ASYNCUA, OURS, begin
from bench.subscriber import Items, created, load


def response(notifications: int = 0, *, available: int = 0, result: int = 0, kind: Any = None) -> bytes:
    answer = ua.PublishResponse()
    answer.ResponseHeader.ServiceResult = ua.StatusCode(result)
    answer.Parameters.SubscriptionId = 7
    answer.Parameters.AvailableSequenceNumbers = list(range(available))
    answer.Parameters.NotificationMessage.SequenceNumber = 9
    if kind is not None:
        answer.Parameters.NotificationMessage.NotificationData = [kind]
    elif notifications:
        value = ua.DataValue(ua.Variant(1.5, ua.VariantType.Double))
        data = [
            ua.MonitoredItemNotification(ClientHandle=index, Value=value) for index in range(notifications)
        ]
        answer.Parameters.NotificationMessage.NotificationData = [
            ua.DataChangeNotification(MonitoredItems=data)
        ]
    return bytes(ua_binary.struct_to_binary(answer))


def test_the_head_of_a_response_says_how_many_notifications_it_has() -> None:
    assert published(response(300, available=3)[:2000]) == Published(7, 9, 300)
    assert published(response()) == Published(7, 9, 0)
    assert published(bytes(ua_binary.struct_to_binary(ua.ReadResponse()))) is None


@pytest.mark.parametrize(
    "body",
    [response(1, result=0x800A0000), response(kind=ua.StatusChangeNotification())],
    ids=["bad", "no data change"],
)
def test_what_is_no_data_change_is_not_counted_silently(body: bytes) -> None:
    with pytest.raises(NotANotification):
        published(body)


def test_items_count_as_created_when_all_are_good() -> None:
    answer = ua.CreateMonitoredItemsResponse()
    answer.Results = [
        ua.MonitoredItemCreateResult(MonitoredItemId=number, RevisedSamplingInterval=1.0, RevisedQueueSize=1)
        for number in (4, 5)
    ]
    body = bytes(ua_binary.struct_to_binary(answer))
    assert created(body, 2) == [4, 5]
    answer.Results[1].StatusCode = ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)
    for wrong, count in ((body, 3), (bytes(ua_binary.struct_to_binary(answer)), 2)):
        with pytest.raises(NotANotification):
            created(wrong, count)


def test_a_plant_of_many_units_has_every_register() -> None:
    text = plant(60_000, 500, device_port=1)
    assert "PLC2: {driver: modbus, host: 127.0.0.1, port: 1, unit: 2}" in text
    assert registers(60_000) == registers(30_000) <= 65_536


async def test_all_that_changes_is_delivered_and_counted_encrypted_too() -> None:
    await asyncio.to_thread(_deliver)


def _deliver() -> None:
    with ExitStack() as stack:
        subject = begin(stack, OURS, 200, 200)
        identity = load(Path(subject.identity))
        sessions = [Session(subject.url).begin(), Session(subject.url, identity).begin()]
        subscribed: list[Items] = []
        for session in sessions:
            nodes = [
                ua_binary.nodeid_to_binary(ua.StringNodeId(f"Bench/M{machine}.V{index}", 4))
                for machine in (1, 2)
                for index in range(100)
            ]
            of = Items(session, 200.0)
            of.create(nodes, 1)
            assert len(of.ids) == 200
            subscribed.append(of)
        counter = Counter(sessions)
        counter.until_all(400, 10.0)
        counter.until_quiet(0.2)
        already = counter.notifications
        counter.until(time.monotonic() + 2.0)
        # Ten scans in which every value changes, for two; a slow machine may skip some.
        assert 1_200 <= counter.notifications - already <= 4_400
        subscribed[0].delete()
        for session in sessions:
            session.close()


async def test_notifications_are_measured_beside_asyncua() -> None:
    runs = (
        Run(OURS, 200, 100, 200, ("q10",), times=1),
        Run(ASYNCUA, 100, 200, 100, ("q1",), times=1),
    )
    metrics = await asyncio.to_thread(notify.measure, runs)
    # Four values an item in each message of the first.
    assert metrics["notify.200.q10.per_message"] > 400
    assert 200 < metrics["asyncua.notify.100.q1.per_s"] < 600
    assert 5 < metrics["asyncua.notify.100.q1.us"] < 2_000
    assert metrics["asyncua.notify.100.q1.cpu_percent"] <= 100 * notify.MOST
    assert "200 variables, a queue of ten: Isthmus" in notify.table(metrics)


async def test_items_are_measured() -> None:
    metrics = await asyncio.to_thread(items.measure, ((OURS, 1_000),))
    assert 0 < metrics["items.create.us"] < 500
    assert 0 < metrics["items.1000.delete.us"] < 500
    assert "Isthmus, 1,000" in items.table(metrics)


async def test_the_store_is_measured() -> None:
    metrics = await asyncio.to_thread(store.measure, 0.1)
    assert 0 < metrics["store.unchanged.us"] < metrics["store.changed.us"] < 20
    assert "| a value that changed |" in store.table(metrics)


async def test_scale_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "node", lambda: None)
    size = scale.Scale(variables=300, sessions=3, items=50, browse_s=0.5, folders=(20, 200))
    metrics = await asyncio.to_thread(scale.measure, size)
    assert metrics["scale.sessions"] == 3
    assert metrics["scale.monitored_items"] == 150
    assert 0 < metrics["scale.300.ready_s"] <= metrics["scale.300.start_s"] <= metrics["scale.300.all_good_s"]
    assert metrics["scale.folder.200.us"] > 0
    assert "300 variables" in scale.table(metrics)
