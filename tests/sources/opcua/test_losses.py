"""What whoever shows imported nodes is told when their server is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from support.downstream import source
from support.opcua import Running, serving

from sources.errors import ConnectionLost
from sources.opcua.imports import Device, Model
from sources.opcua.wire import Raw
from sources.quality import (
    BAD_CONNECTION_CLOSED,
    BAD_INTERNAL_ERROR,
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE,
    Quality,
)


class Shown:
    """A Mirror that notes what is lost."""

    def __init__(self) -> None:
        self.lost: list[Quality] = []

    def index(self, _uri: str) -> int:
        return 7

    async def show(self, _device: Device, _model: Model, _values: Mapping[bytes, Raw]) -> None:
        """Nothing is imported."""

    def take(self, _device: Device, _values: Sequence[tuple[bytes, Raw]]) -> None:
        """Nothing comes."""

    def lose(self, _device: Device, quality: Quality) -> None:
        self.lost.append(quality)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("there")
    with serving(folder, allow_none=True, anonymous=True) as running:
        yield running


@pytest.mark.parametrize(
    ("error", "quality"),
    [
        (ConnectionLost("gone", BAD_CONNECTION_CLOSED), UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE),
        (RuntimeError("a fault of ours"), BAD_INTERNAL_ERROR),
    ],
)
async def test_a_fault_of_ours_is_no_loss_of_the_connection(
    there: Running, error: Exception, quality: Quality
) -> None:
    shown, device = Shown(), source(there, [])
    device.mirror(shown, ())
    with pytest.raises(type(error)):
        async with device.connect():
            raise error
    assert shown.lost == [quality]
