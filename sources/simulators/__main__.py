"""A simulated device as a process: ``python -m sources.simulators --spec FILE``.

Prints ``ready KIND 127.0.0.1:PORT control 127.0.0.1:PORT`` once it listens, and ends with
0 on SIGTERM or SIGINT, 1 where it cannot start, 2 where the spec is bad.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ValidationError

from sources.simulators.kinds import SPECS, Spec, make
from sources.simulators.lifetime import (
    ReadyFileError,
    announce,
    clear,
    stop_signals,
    stop_with_parent,
    write_ready_file,
)
from sources.simulators.listen import ListenError

_FAILED: Final = 1
_BAD_SPEC: Final = 2


class _Kind(BaseModel):
    """What must be known of a spec before its model is."""

    kind: Literal["modbus", "logix", "slc"] = "modbus"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one simulator; its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    # Every bad request gets its exception response; pymodbus would also print each.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    try:
        spec = _load(options.spec.read_bytes())
    except OSError as error:
        return _fail(f"{options.spec} cannot be read: {error.strerror or error}", _BAD_SPEC)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors()]
        return _fail("\n".join(f"{options.spec}: {line}" for line in told), _BAD_SPEC)
    if options.port is not None:
        spec = spec.model_copy(update={"port": options.port})
    code = 0
    try:
        asyncio.run(
            _run(spec, options.control_port, options.ready_file, with_parent=options.exit_with_parent)
        )
    except* (ListenError, ReadyFileError) as errors:
        code = _fail(str(_leaf(errors)), _FAILED)
    return code


def _load(raw: bytes) -> Spec:
    """The spec in a file, of whatever kind. Raises ValidationError."""
    return SPECS[_Kind.model_validate_json(raw).kind].model_validate_json(raw)


async def _run(spec: Spec, control_port: int, ready_file: Path | None, *, with_parent: bool) -> None:
    if ready_file is not None:
        clear(ready_file)
    with stop_signals() as stop:
        if with_parent:
            stop_with_parent(stop)
        device, control = make(spec)
        async with device.listening() as address, control.listening(control_port) as its_port:
            if ready_file is not None:
                write_ready_file(ready_file, address[1], its_port)
            announce(spec.kind, address, ("127.0.0.1", its_port))
            await stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sources.simulators", description="A simulated device on a real socket."
    )
    parser.add_argument("--spec", type=Path, required=True, metavar="FILE", help="what to simulate, as JSON")
    parser.add_argument("--port", type=_port, help="instead of the spec's; 0 takes a free one")
    parser.add_argument(
        "--control-port", type=_port, default=0, help="where faults are ordered; default a free one"
    )
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="write pid and ports here once ready")
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="end when standard input, a pipe, is closed"
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def _leaf(error: BaseException) -> BaseException:
    """The first error that is no group: each listener wraps what happens inside it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
