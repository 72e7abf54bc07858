"""What commands print of texts that others wrote."""

from __future__ import annotations

import sys

import pytest
import typer

from server.cli.errors import fail
from server.cli.output import console, table

HOSTILE = "PLC\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj.exe [red]"
SHOWN = "PLC\ufffd]0;owned\ufffd\ufffd[2J\ufffd31m\ufffdgpj.exe [red]"


@pytest.mark.parametrize("terminal", [False, True])
def test_no_text_of_a_device_commands_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    if terminal:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = console()
    assert out.is_terminal is terminal
    out.print(f"maker: {HOSTILE}\nsecond line", soft_wrap=True)
    rows = table("Source", "Last error", title=HOSTILE)
    rows.add_row("F1", HOSTILE)
    out.print(rows)
    printed = capsys.readouterr().out
    assert f"maker: {SHOWN}\nsecond line\n" in printed
    assert printed.count(SHOWN) == 3
    assert "\x1b]" not in printed
    assert "\x1b[2J" not in printed


def test_no_message_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        fail(f"the device says {HOSTILE}")
    assert capsys.readouterr().err == f"isthmus: the device says {SHOWN}\n"
