from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.net import free_port, until
from support.simulator import ROOT, filler, ready_line, running_simulator, start_process

from sources.simulators.spec import DeviceSpec

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "spec.json"
    file.write_text(filler().model_dump_json(), encoding="utf-8")
    return file


@contextlib.asynccontextmanager
async def process(*arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    it = await start_process(*map(str, arguments))
    try:
        yield it
    finally:
        if it.returncode is None:
            it.kill()
        await it.communicate()


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def overwrite(file: Path, content: bytes) -> None:
    file.write_bytes(content)


async def ended(it: asyncio.subprocess.Process, within: float = 20.0) -> tuple[int | None, str]:
    """Exit code and what it wrote to standard error."""
    async with asyncio.timeout(within):
        _, said = await it.communicate()
    return it.returncode, said.decode()


async def test_it_says_in_one_line_and_in_a_file_that_it_is_ready(spec: Path, tmp_path: Path) -> None:
    ready_file, port, control_port = tmp_path / "ready.json", free_port(), free_port()
    ready_file.write_text("of an earlier run", encoding="utf-8")
    arguments = ("--spec", spec, "--port", str(port), "--control-port", str(control_port))
    async with process(*arguments, "--ready-file", ready_file) as it:
        line = await ready_line(it)
        assert line == f"ready modbus 127.0.0.1:{port} control 127.0.0.1:{control_port}"
        content = json.loads(ready_file.read_text(encoding="utf-8"))
        assert content == {"pid": it.pid, "port": port, "control_port": control_port}
        for listens in (port, control_port):
            with socket.create_connection(("127.0.0.1", listens), timeout=10):
                pass
    assert names_in(tmp_path) == ["ready.json", "spec.json"]


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_soon_with_masters_connected(spec: Path, number: signal.Signals) -> None:
    async with process("--spec", spec) as it:
        line = await ready_line(it)
        modbus, control = (int(word.rpartition(":")[2]) for word in line.split()[2::2])
        with (
            socket.create_connection(("127.0.0.1", modbus), timeout=10),
            socket.create_connection(("127.0.0.1", control), timeout=10),
        ):
            start = time.monotonic()
            it.send_signal(number)
            assert await ended(it) == (0, "")
            # A tenth of that where the machine is not shared.
            assert time.monotonic() - start < 5


@posix
async def test_masters_that_come_while_it_ends_leave_no_trace(spec: Path) -> None:
    for _ in range(4):
        async with process("--spec", spec) as it:
            ports = [int(word.rpartition(":")[2]) for word in (await ready_line(it)).split()[2::2]]
            with contextlib.ExitStack() as sockets:
                for count in range(16):
                    coming = sockets.enter_context(socket.socket())
                    coming.setblocking(False)
                    coming.connect_ex(("127.0.0.1", ports[count % 2]))
                    if count == 10:
                        it.terminate()
                assert await ended(it) == (0, "")


async def test_it_leaves_when_its_standard_input_ends(spec: Path) -> None:
    async with process("--spec", spec, "--exit-with-parent") as it:
        await ready_line(it)
        assert it.stdin is not None
        it.stdin.write(b"not yet\n")
        await it.stdin.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await it.wait()
        it.stdin.close()
        assert await ended(it) == (0, "")


@posix
async def test_it_does_not_outlive_a_parent_that_is_killed(spec: Path) -> None:
    starter = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'sources.simulators', '--spec', sys.argv[1],"
        " '--exit-with-parent'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)\n"
        "print(child.pid, child.stdout.readline().decode(), flush=True)\n"
        "child.wait()\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", starter, str(spec), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid, _, _, address, *_ = (await parent.stdout.readline()).decode().split()
    port = int(address.rpartition(":")[2])
    parent.kill()
    await parent.communicate()

    def gone() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    try:
        await until(gone, what="the orphan to leave")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("option", ["--port", "--control-port"])
async def test_a_port_in_use_is_said_in_one_line(spec: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with process("--spec", spec, option, str(port)) as it:
            code, said = await ended(it)
    assert code == 1
    assert said.count("\n") == 1
    assert f"127.0.0.1:{port}" in said
    assert "address already in use" in said
    assert "choose another" in said


async def test_a_host_that_nobody_knows_is_said(spec: Path) -> None:
    overwrite(spec, filler(host="no-such-host.invalid").model_dump_json().encode())
    async with process("--spec", spec) as it:
        code, said = await ended(it)
    assert code == 1
    assert "cannot listen on no-such-host.invalid:0" in said
    assert said.count("\n") == 1


async def test_a_ready_file_that_cannot_be_written_is_said(spec: Path, tmp_path: Path) -> None:
    async with process("--spec", spec, "--ready-file", tmp_path / "nowhere" / "ready.json") as it:
        code, said = await ended(it)
    assert code == 1
    assert "ready.json cannot be written" in said
    assert said.count("\n") == 1


async def test_a_bad_spec_is_told_with_every_mistake(spec: Path) -> None:
    content = json.loads(filler().model_dump_json())
    content["points"][0]["address"]["offset"] = 70000
    content["points"][2]["gain"] = "much"
    content["colour"] = "red"
    overwrite(spec, json.dumps(content).encode())
    async with process("--spec", spec) as it:
        code, said = await ended(it)
    assert code == 2
    assert len(said.splitlines()) == 3
    for place in ("points.0.address.offset", "points.2.gain", "colour"):
        assert f"{spec}: {place}: " in said


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"{", "JSON"), (b"\xff", "JSON"), (b'{"name": "PLC", "points": []}', "one point")],
)
async def test_a_spec_that_is_none_is_refused(spec: Path, content: bytes, complaint: str) -> None:
    overwrite(spec, content)
    async with process("--spec", spec) as it:
        code, said = await ended(it)
    assert code == 2
    assert complaint in said
    assert "Traceback" not in said


async def test_a_spec_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async with process("--spec", tmp_path / "nothing.json") as it:
        code, said = await ended(it)
    assert (code, said) == (2, f"{tmp_path / 'nothing.json'} cannot be read: No such file or directory\n")


@pytest.mark.parametrize("port", ["70000", "-1", "modbus"])
async def test_a_port_that_is_none_is_refused(spec: Path, port: str) -> None:
    async with process("--spec", spec, f"--port={port}") as it:
        code, said = await ended(it)
    assert code == 2
    assert f"{port!r} is not a port" in said


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_watching_a_large_device_costs_little() -> None:
    one = filler().points
    points = tuple(
        point.model_copy(
            update={
                "machine": f"Acme/Line{line}/Filler",
                "address": point.address.model_copy(update={"offset": point.address.offset + 40 * line}),
            }
        )
        for line in range(100)
        for point in one
    )
    async with running_simulator(DeviceSpec(name="Hall", points=points)) as simulator:
        await simulator.get("Speed", "Acme/Line0/Filler")
        before, start = cpu_seconds(simulator.pid), time.monotonic()
        while time.monotonic() - start < 2:
            await simulator.get("Speed", "Acme/Line0/Filler")
            await asyncio.sleep(0.05)
        # 1,600 points that move ten times a second; about 4 % where it was measured.
        assert cpu_seconds(simulator.pid) - before < 0.5 * (time.monotonic() - start)


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
