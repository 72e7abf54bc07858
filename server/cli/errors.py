"""From the errors of all rooms to one message and an exit code.

0 fine; 1 a failure at run time; 2 a bad configuration or wrong usage.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Never

import typer

from certs.errors import CertificateError
from nodesets.errors import NodesetError
from server.audit.errors import AuditError
from server.cli.output import seen
from server.config import ConfigurationError, format_problems
from server.datadir import DataDirectoryError
from server.mqtt.errors import MqttError
from server.observe.control import ControlError
from server.observe.http import MetricsError
from server.opcua.errors import ServerStartError, UserStoreError
from server.process import ProcessError
from server.tools.errors import ToolError, UsageError
from sources.settings import SecretError

RUNTIME_FAILURE: Final = 1
BAD_CONFIGURATION: Final = 2

_RUNTIME: Final = (
    AuditError,
    CertificateError,
    ControlError,
    DataDirectoryError,
    MetricsError,
    MqttError,
    NodesetError,
    ProcessError,
    SecretError,
    ServerStartError,
    ToolError,
    UserStoreError,
)


@contextmanager
def told() -> Iterator[None]:
    """Turn every error that is meant for people into its text and its exit code."""
    try:
        yield
    except ConfigurationError as error:
        typer.echo(format_problems(error.problems), err=True)
        raise typer.Exit(BAD_CONFIGURATION) from error
    except UsageError as error:
        fail(str(error), BAD_CONFIGURATION)
    except _RUNTIME as error:
        fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"{error.filename}: {error.strerror}")
    except BaseExceptionGroup as group:
        known, unknown = group.split(_is_for_people)
        if known is None or unknown is not None:
            raise
        for message in dict.fromkeys(str(error) for error in _leaves(known)):
            typer.echo(f"isthmus: {seen(message)}", err=True)
        raise typer.Exit(RUNTIME_FAILURE) from group


def _is_for_people(error: BaseException) -> bool:
    return isinstance(error, _RUNTIME) or (isinstance(error, OSError) and error.filename is not None)


def fail(message: str, code: int = RUNTIME_FAILURE) -> Never:
    """Say one message on standard error and leave with the code."""
    typer.echo(f"isthmus: {seen(message)}", err=True)
    raise typer.Exit(code)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
