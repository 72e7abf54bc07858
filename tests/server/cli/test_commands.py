from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema.validators import Draft202012Validator
from support.isthmus import COMMAND, isthmus, running
from support.net import free_port, until
from support.uaclient import Client, ua

from server import __version__

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "server" / "demo" / "plant.yaml"
FIVE = ROOT / "tests" / "cases" / "five_mistakes" / "plant.yaml"

PLANT = """\
model: 1
namespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}
opcua: {port: PORT, listen: [127.0.0.1], anonymous: true, allow_none: true, writable: true}
sources:
  PLC: {driver: modbus, host: 127.0.0.1, port: MODBUS, timeout: 200ms}
equipment:
  Acme:
    level: Enterprise
    source: PLC
    properties:
      Speed: {range: [0, 900]}
      Target: {type: UInt16, value: 500, access: rw}
    map:
      Speed: {addr: "holding:0", as: float32}
"""


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    file = tmp_path / "plant.yaml"
    text = PLANT.replace("MODBUS", str(free_port())).replace("PORT", "0")
    file.write_text(text, encoding="utf-8")
    return file


def test_the_version() -> None:
    done = isthmus("--version")
    assert (done.returncode, done.stdout) == (0, f"isthmus {__version__}\n")


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("run",), ("check", "a.yaml", "--bogus"), ("--log-format", "xml")]
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = isthmus(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_check_of_a_sound_file_names_what_it_allows() -> None:
    done = isthmus("check", DEMO)
    assert done.returncode == 0, done.stderr
    assert "fine" in done.stdout
    for key in ("allow_none", "anonymous", "writable"):
        assert f"allowed: opcua.{key}" in done.stderr


@pytest.mark.parametrize("command", ["check", "run", "sim"])
def test_five_mistakes_are_told_at_once(command: str) -> None:
    done = isthmus(command, FIVE)
    assert done.returncode == 2
    assert "5 problems" in done.stderr
    for line in (4, 13, 20, 28, 33):
        assert f"plant.yaml:{line}:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_exits_with_2(tmp_path: Path) -> None:
    done = isthmus("check", tmp_path / "none.yaml")
    assert done.returncode == 2
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_connect_prints_a_table_and_fails_where_a_source_does(plant: Path) -> None:
    done = isthmus("check", plant, "--connect")
    assert done.returncode == 1
    assert "PLC" in done.stdout
    assert "modbus" in done.stdout
    assert "127.0.0.1" in done.stdout


def test_the_schema_accepts_the_demo() -> None:
    done = isthmus("schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(yaml.safe_load(DEMO.read_text(encoding="utf-8")))


def test_users_are_added_listed_and_removed(tmp_path: Path) -> None:
    data = ("--data", tmp_path / "data")
    added = isthmus(
        "users", "add", "anna", "--role", "operator", *data, "--password-stdin", stdin="correct horse\n"
    )
    assert added.returncode == 0, added.stderr
    assert isthmus("users", "list", *data).stdout == "anna: Operator\n"
    assert "correct horse" not in (tmp_path / "data" / "users.yaml").read_text(encoding="utf-8")
    assert (tmp_path / "data" / "users.yaml").stat().st_mode & 0o077 == 0
    assert isthmus("users", "remove", "anna", *data).returncode == 0
    assert isthmus("users", "list", *data).stdout == ""
    gone = isthmus("users", "remove", "anna", *data)
    assert gone.returncode == 1
    assert "anna" in gone.stderr


def test_a_password_is_asked_for_at_a_terminal_only(tmp_path: Path) -> None:
    done = isthmus("users", "add", "anna", "--role", "operator", "--data", tmp_path, stdin="correct horse\n")
    assert done.returncode == 2
    assert done.stderr == "isthmus: nobody is there to type a password; say --password-stdin and send it\n"


def test_an_unknown_role_is_named(tmp_path: Path) -> None:
    done = isthmus(
        "users", "add", "anna", "--role", "king", "--data", tmp_path, "--password-stdin", stdin="x\n"
    )
    assert done.returncode == 2
    assert "king" in done.stderr
    assert "Operator" in done.stderr


def test_a_port_in_use_is_told(plant: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        plant.write_text(
            plant.read_text(encoding="utf-8").replace("port: 0", f"port: {port}"), encoding="utf-8"
        )
        done = isthmus("run", plant, "--data", tmp_path / "data")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_state_file_stops_the_start(plant: Path, tmp_path: Path) -> None:
    state = tmp_path / "data" / "state"
    state.mkdir(parents=True)
    (state / "constants.json").write_text("{broken", encoding="utf-8")
    done = isthmus("run", plant, "--data", tmp_path / "data")
    assert done.returncode == 1
    assert "constants.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_directory_of_a_newer_version_is_left_alone(plant: Path, tmp_path: Path) -> None:
    state = tmp_path / "data" / "state"
    state.mkdir(parents=True)
    (state / "format.json").write_text('{"format": 99}', encoding="utf-8")
    done = isthmus("run", plant, "--data", tmp_path / "data")
    assert done.returncode == 1
    assert "another version" in done.stderr
    assert json.loads((state / "format.json").read_text(encoding="utf-8")) == {"format": 99}


async def test_a_written_constant_survives_kill_9(plant: Path, tmp_path: Path) -> None:
    data = ("--data", tmp_path / "data")
    isthmus("users", "add", "anna", "--role", "Operator", *data, "--password-stdin", stdin="correct horse\n")
    async with running(tmp_path / "first", "run", plant, *data) as process:
        client = Client(process.ready["opcua"])
        client.set_user("anna")
        client.set_password("correct horse")
        async with client:
            index = await client.get_namespace_index("urn:acme:plant")
            node = client.get_node(ua.NodeId("Acme.Target", index))
            assert await node.read_value() == 500
            await node.write_value(611, ua.VariantType.UInt16)
            speed = await client.get_node(ua.NodeId("Acme.Speed", index)).read_data_value(
                raise_on_bad_status=False
            )
            assert speed.Value.Value is None
            assert not speed.StatusCode.is_good()
        assert process.ready["mqtt"] is None
        code, _ = await process.stop(signal.SIGKILL)
        assert code == -signal.SIGKILL
    async with running(tmp_path / "second", "run", plant, *data) as process:
        async with Client(process.ready["opcua"]) as client:
            index = await client.get_namespace_index("urn:acme:plant")
            assert await client.get_node(ua.NodeId("Acme.Target", index)).read_value() == 611
        code, seconds = await process.stop(signal.SIGTERM)
        assert code == 0
        assert seconds < 5
    verified = isthmus("audit", "verify", *data)
    assert verified.returncode == 0, verified.stderr
    listed = isthmus("audit", "list", *data, "--node", "Acme.Target", "--json")
    records = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(record["outcome"], record["asked"]) for record in records] == [("asked", 611), ("done", 611)]


async def test_sim_plays_the_sources_of_a_file(plant: Path, tmp_path: Path) -> None:
    simulator = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server.cli", "sim", str(plant), stdout=asyncio.subprocess.PIPE
    )
    assert simulator.stdout is not None
    line = (await simulator.stdout.readline()).decode()
    assert line.startswith("PLC: modbus on 127.0.0.1:")
    try:
        done = await asyncio.to_thread(isthmus, "check", plant, "--connect")
        assert done.returncode == 0, done.stdout
        wrong = plant.with_name("wrong.yaml")
        wrong.write_text(
            plant.read_text(encoding="utf-8").replace("holding:0", "holding:900"), encoding="utf-8"
        )
        done = await asyncio.to_thread(isthmus, "check", wrong, "--connect")
        assert done.returncode == 1
        assert "1 of 1 tags cannot be read, Acme.Speed the first" in done.stdout
        async with (
            running(tmp_path / "run", "run", plant, "--data", tmp_path / "data") as process,
            Client(process.ready["opcua"]) as client,
        ):
            index = await client.get_namespace_index("urn:acme:plant")
            node = client.get_node(ua.NodeId("Acme.Speed", index))

            async def good() -> bool:
                return bool((await node.read_data_value(raise_on_bad_status=False)).StatusCode.is_good())

            await until(good, what="Speed Good")
    finally:
        simulator.send_signal(signal.SIGINT)
        assert await simulator.wait() == 0


SLC = """\
model: 1
namespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}
sources:
  SLC: {driver: slc, host: 127.0.0.1, port: PORT}
  Line: {driver: opcua, url: "opc.tcp://127.0.0.1:4840", security: none}
equipment:
  Acme:
    level: Enterprise
    source: SLC
    properties:
      Count: {type: Int16}
      Set: {type: Float, access: rw, range: [0, 10]}
      Seen: {type: DateTime}
    map: {Count: "N7:40", Set: "F21:2", Seen: {addr: "i=2258", source: Line}}
"""


async def test_sim_plays_an_slc(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "plant.yaml"
    file.write_text(SLC.replace("PORT", str(port)), encoding="utf-8")
    simulator = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server.cli", "sim", str(file), stdout=asyncio.subprocess.PIPE
    )
    assert simulator.stdout is not None
    try:
        assert (await simulator.stdout.readline()).startswith(f"SLC: slc on 127.0.0.1:{port},".encode())
        done = await asyncio.to_thread(isthmus, "write", file, "Acme.Set", "2.5", "--yes")
        assert done.stdout == "Acme.Set: was 0.0, written, reads 2.5\n"
        done = await asyncio.to_thread(isthmus, "browse", f"slc://127.0.0.1:{port}")
        assert re.search(r"^N7 +41 +N7:0 to N7:40", done.stdout, re.MULTILINE), done.stdout + done.stderr
    finally:
        simulator.send_signal(signal.SIGINT)
        assert await simulator.wait() == 0


def test_sim_says_where_there_is_nothing_to_simulate(tmp_path: Path) -> None:
    file = tmp_path / "plant.yaml"
    file.write_text(SLC.replace("PORT", "44818"), encoding="utf-8")
    done = isthmus("sim", file, "--source", "Line")
    assert done.returncode == 2
    assert "nothing to simulate: no simulator for driver: opcua" in done.stderr
    file.write_text(SLC.replace("PORT", "44818").replace("F21:2", "F7:2"), encoding="utf-8")
    done = isthmus("sim", file, "--source", "SLC")
    assert done.returncode == 1
    assert done.stderr == "isthmus: SLC: file 7 cannot be both N and F (Acme.Set)\n"


async def test_a_second_signal_changes_nothing(plant: Path, tmp_path: Path) -> None:
    async with running(tmp_path / "server", "run", plant, "--data", tmp_path / "data") as process:
        for _ in range(21):
            if process.process.returncode is None:
                # Not by the process's own method, which asks for its end and may take that from asyncio.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.process.pid, signal.SIGINT)
            await asyncio.sleep(0.02)
        assert await process.process.wait() == 0, process.output
        assert "Traceback" not in process.output
        assert not (tmp_path / "server" / "ready.json").exists(), "an old one would be believed"


async def test_a_log_nobody_reads_stops_neither_the_start_nor_the_end(plant: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    ready = tmp_path / "ready.json"
    server = await asyncio.create_subprocess_exec(
        *COMMAND,
        "run",
        str(plant),
        "--data",
        str(tmp_path / "data"),
        "--ready-file",
        str(ready),
        stderr=writing,
    )
    try:
        await until(ready.exists, within=60, what="the server up")
        server.terminate()
        async with asyncio.timeout(10):
            assert await server.wait() == 0
    finally:
        os.close(reading)
        os.close(writing)
        if server.returncode is None:
            server.kill()
            await server.wait()


@pytest.mark.parametrize("name", ["nowhere/ready.json", "data/lock"])
def test_paths_that_cannot_be_used_are_told(plant: Path, tmp_path: Path, name: str) -> None:
    if name == "data/lock":
        (tmp_path / "data" / "lock").mkdir(parents=True)
    done = isthmus(
        "run", plant, "--data", tmp_path / "data", "--ready-file", tmp_path / "nowhere" / "ready.json"
    )
    assert done.returncode == 1
    assert name.partition("/")[0] in done.stderr
    assert "Traceback" not in done.stderr


async def test_connections_without_a_session_keep_nobody_out(plant: Path, tmp_path: Path) -> None:
    async with running(tmp_path / "server", "run", plant, "--data", tmp_path / "data") as process:
        port = int(process.ready["opcua"].rpartition(":")[2].partition("/")[0])
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
        try:
            async with asyncio.timeout(10), Client(process.ready["opcua"]) as client:
                assert await client.get_namespace_index("urn:acme:plant") == 4
        finally:
            for connection in idle:
                connection.close()
