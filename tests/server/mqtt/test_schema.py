"""The validator refuses what is wrong: else its silence would mean nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from support.pubsub_schema import validate

DATA: dict[str, Any] = {
    "MessageId": "1",
    "MessageType": "ua-data",
    "PublisherId": "p",
    "Messages": [
        {
            "DataSetWriterId": 101,
            "SequenceNumber": 68468,
            "MinorVersion": 672341762,
            "Timestamp": "2021-09-27T18:45:19.555Z",
            "MessageType": "ua-keyframe",
            "Payload": {
                "Active": {
                    "Value": True,
                    "Status": {"Code": 1073741824, "Symbol": "Uncertain"},
                    "SourceTimestamp": "2021-09-27T11:32:38.349925Z",
                },
                "Temperature": {"Value": 25.5, "SourceTimestamp": "2021-09-27T11:32:38.349925Z"},
            },
        }
    ],
}


def test_the_example_of_the_specification_passes() -> None:
    validate(DATA)
    validate(
        {"MessageId": "1", "MessageType": "ua-status", "PublisherId": "p", "IsCyclic": False, "Status": 2}
    )


def _part(body: dict[str, Any]) -> dict[str, Any]:
    part = body["Messages"][0]
    assert isinstance(part, dict)
    return part


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.pop("MessageId"),
        lambda body: body.update(MessageType="ua-something"),
        lambda body: body.update(Messages=[]),
        lambda body: body.update(More=1),
        lambda body: _part(body).update(DataSetWriterId=0),
        lambda body: _part(body).update(SequenceNumber=2**32),
        lambda body: _part(body).update(Timestamp="yesterday"),
        lambda body: _part(body).pop("Payload"),
        lambda body: _part(body).update(MessageType="ua-keepalive"),
        lambda body: _part(body)["Payload"].update(Active=True),
        lambda body: _part(body)["Payload"]["Active"].update(Status={"Code": 0}),
        lambda body: _part(body)["Payload"]["Active"].pop("Value"),
    ],
)
def test_what_is_wrong_is_refused(spoil: Callable[[dict[str, Any]], object]) -> None:
    body = copy.deepcopy(DATA)
    spoil(body)
    with pytest.raises(AssertionError):
        validate(body)
