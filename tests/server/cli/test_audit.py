"""``isthmus audit`` as a person uses it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.audit.log import AuditLog
from server.cli.audit import app


class Shell:
    """The command on one data directory with a log of several files in it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folder = data / "audit"
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        log = AuditLog(self.folder, segment_bytes=1_500)
        await asyncio.to_thread(log.open)
        for n in range(20):
            user = "anna" if n % 2 else "[red]otto\x1b[2J"
            fields = {"user": user, "node": f"Acme.P{n}", "old": None, "asked": n / 2, "held": n / 2}
            await log.record("write", {**fields, "outcome": "done", "status": "Good"})
        await log.close()
        self.head = log.status.head

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, [*arguments, "--data", str(self.data)])
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.exit_code, done.stdout, done.stderr

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@pytest.fixture
def audit(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_log_as_it_was_written_is_said_to_be_so(audit: Shell) -> None:
    code, out, err = audit("verify", "--head", audit.head, "--head", audit.head[:12].upper())
    assert (code, err) == (0, "")
    count = 22 + len(audit.files)
    assert out == (
        f"{count} records in {len(audit.files)} files are as they were written.\n"
        f"record {count} has the hash {audit.head}\n"
    )


def test_the_first_break_is_told_with_file_and_line(audit: Shell) -> None:
    victim = audit.files[1]
    lines = victim.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"outcome":"done"', b'"outcome":"gone"')
    victim.write_bytes(b"".join(lines))
    code, out, err = audit("verify")
    assert (code, out) == (3, "")
    assert f"isthmus: {victim}:3: the record is not the one that was written" in err
    assert "records before are as they were written" in err
    code, out, err = audit("list")
    assert (code, f"{victim}:3" in err) == (3, True)
    assert out.splitlines()[-1].startswith(f"{int(out.splitlines()[-2].split()[0]) + 1} ")


def test_files_that_were_moved_away_are_missed_unless_that_is_said(audit: Shell) -> None:
    audit.files[0].unlink()
    code, _, err = audit("verify")
    assert code == 3
    assert "--start 2" in err
    assert audit("verify", "--start", "2")[0] == 0
    audit.files[1].unlink()
    code, _, err = audit("verify", "--start", "2")
    assert code == 3
    assert "number 3, is missing" in err


def test_a_log_that_was_shortened_is_found_by_its_head(audit: Shell) -> None:
    audit.files[-1].unlink()
    assert audit("verify")[0] == 0
    code, _, err = audit("verify", "--head", audit.head)
    assert code == 3
    assert f"no record has the hash {audit.head}" in err


def test_records_are_listed_filtered_and_cannot_command_the_terminal(audit: Shell) -> None:
    code, out, _ = audit("list", "--user", "otto")
    assert code == 0
    assert len(out.splitlines()) == 10
    assert "[red]otto\ufffd[2J () Acme.P0: " in out
    assert "-> 0.0, held 0.0: done Good" in out
    assert "anna" not in out
    code, out, _ = audit("tail", "--user", "otto", "-n", "4")
    assert code == 0
    assert len(out.splitlines()) == 5
    assert "[red]otto\ufffd[2J" in out
    code, out, _ = audit("tail", "-n", "3", "--event", "write", "--json")
    assert code == 0
    assert [json.loads(line)["node"] for line in out.splitlines()] == ["Acme.P17", "Acme.P18", "Acme.P19"]
    assert audit("list", "--node", "P19", "--json")[1].count("\n") == 1


def test_the_last_records_of_a_broken_log_are_told_to_be_those_before_the_break(audit: Shell) -> None:
    victim = audit.files[1]
    victim.write_bytes(victim.read_bytes().replace(b'"anna"', b'"ivan"', 1))
    for more in ((), ("--json",)):
        code, out, err = audit("tail", "-n", "2", *more)
        assert code == 3
        assert f"{victim.name}:" in err.replace("\n", "")
        assert "Acme.P" in out
        assert "Acme.P19" not in out


def test_wrong_usage_says_what_would_be_right(audit: Shell, tmp_path: Path) -> None:
    code, _, err = audit("verify", "--head", "xyz")
    assert (code, "12 to 64 hexadecimal digits" in err) == (2, True)
    code, _, err = audit("verify", "--start", "99")
    assert (code, "no audit log from file 99 on" in err) == (1, True)
    done = CliRunner().invoke(app, ["verify", "--data", str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert "name the data directory with --data" in done.stderr


async def test_in_whose_name_a_device_was_told_stands_beside_who_asked(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    await asyncio.to_thread(log.open)
    fields = {"user": "anna", "node": "Acme.SP", "old": 1, "asked": 2, "outcome": "done", "status": "Good"}
    await log.record("write", fields | {"as": "user:line1"})
    await log.close()
    for command in ("list", "tail"):
        done = CliRunner().invoke(app, [command, "--data", str(tmp_path)], env={"COLUMNS": "250"})
        assert "anna as user:line1" in done.stdout
        assert "held" not in done.stdout, "nothing was read back"
