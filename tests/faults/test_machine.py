"""What the machine itself may do to a server: a full disk, a clock that steps, files gone bad, signals."""

from __future__ import annotations

import resource
import signal
import time
from datetime import UTC
from pathlib import Path

import pytest
from support.isthmus import isthmus
from support.net import until
from support.programs import need_library
from support.twoplcs import Rig, rig
from support.uaclient import ua


async def _write_target(plant: Rig, value: int) -> None:
    async with await plant.as_operator() as client:
        index = await client.get_namespace_index("urn:acme:plant")
        await client.get_node(ua.NodeId("Acme.Target", index)).write_value(value, ua.VariantType.UInt16)


async def test_a_full_disk_refuses_what_cannot_be_kept_and_nothing_else(tmp_path: Path) -> None:
    async with rig(tmp_path) as plant:
        pid = plant.process.ready["pid"]
        # No file may grow any more: what the kernel then answers is what it answers on a full disk.
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await _write_target(plant, 611)
        assert refused.value.code == ua.StatusCodes.BadResourceUnavailable
        target = await plant.node("Acme.Target")
        assert await target.read_value() == 500
        assert await plant.status("A") == {"Good"}
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        await _write_target(plant, 612)
        assert await target.read_value() == 612


@pytest.mark.parametrize("step", [3600, -3600])
async def test_a_clock_that_steps_changes_times_and_nothing_else(tmp_path: Path, step: int) -> None:
    library = need_library("libfaketime.so.1", "/usr/lib/*/faketime/libfaketime.so.1")
    offset = tmp_path / "offset"
    offset.write_text("+0", encoding="ascii")
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    async with rig(tmp_path, environment=environment) as plant:
        offset.write_text(f"{step:+d}", encoding="ascii")
        expected = time.time() + step

        async def stepped() -> bool:
            speed = (await plant.values("A"))[0]
            assert speed.StatusCode.is_good()
            moment = speed.SourceTimestamp
            assert moment is not None
            return bool(abs(moment.replace(tzinfo=UTC).timestamp() - expected) < 60)

        await until(stepped, what="the new time")
        begin = time.monotonic()
        first = (await plant.values("A"))[0].SourceTimestamp
        assert first is not None

        async def goes_on() -> bool:
            moment = (await plant.values("A"))[0].SourceTimestamp
            return moment is not None and (moment - first).total_seconds() > 1

        await until(goes_on, what="time going on")
        assert time.monotonic() - begin < 15
        assert plant.log_lines("WARNING.*connect") == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("users.yaml", "users: [broken"),
        ("state/constants.json", "[]"),
        ("pki/own/certificate.der", "no certificate"),
    ],
)
def test_a_file_that_cannot_be_read_stops_the_start_with_its_name(
    tmp_path: Path, file: str, content: str
) -> None:
    data = tmp_path / "data"
    plant = tmp_path / "plant.yaml"
    plant.write_text(
        'model: 1\nnamespaces: {plant: "urn:a:p", types: "urn:a:t"}\nopcua: {port: 0, listen: [127.0.0.1]}\n'
        "equipment:\n  Acme: {level: Enterprise}\n",
        encoding="utf-8",
    )
    (data / file).parent.mkdir(parents=True, exist_ok=True)
    (data / file).write_text(content, encoding="utf-8")
    done = isthmus("run", plant, "--data", data)
    assert done.returncode == 1
    assert Path(file).name in done.stderr
    assert "Traceback" not in done.stderr
    assert (data / file).read_text(encoding="utf-8") == content, "left as it was"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    async with rig(tmp_path) as plant:
        states: list[int] = []

        class _States:
            def datachange_notification(self, _node: object, value: int, _data: object) -> None:
                states.append(value)

        subscription = await plant.client.create_subscription(50, _States())
        await subscription.subscribe_data_change(plant.client.get_node("i=2259"))
        await until(lambda: states == [0], what="the server's state")
        code, seconds = await plant.process.stop(number)
        assert code == 0
        assert seconds < 5
        await until(lambda: states[-1] == ua.ServerState.Shutdown, what="the state Shutdown")
        assert "Traceback" not in plant.process.output
        assert not (plant.data / "control.json").exists()
        plant.client.uaclient.disconnect_socket()
