"""What the three command lines share: messages, exit codes, durations, lazily loaded verbs."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, USAGE, DATA_LOST, INTERRUPTED = 0, 1, 2, 3, 130
SAME_REQUEST_S = 1.0
"""Signals within this time are one request to stop: `timeout`, say, signals a process and then its group."""


if TYPE_CHECKING:
    FloatType = click.ParamType[float]
    TextType = click.ParamType[str]
else:  # older click knows no parameters here
    FloatType = TextType = click.ParamType


class Duration(FloatType):
    """Seconds, from text such as ``10s``, ``1.5m``, ``2h``, ``1d`` or a bare number of seconds."""

    name = "duration"
    _units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}  # noqa: RUF012 - a constant table

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip().lower()
        number, unit = (text[:-1], text[-1]) if text[-1:] in self._units else (text, "s")
        try:
            seconds = float(number) * self._units[unit]
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 1e10:
            self.fail(f"{value!r} is no duration, use for example 10s, 5m or 2h", param, ctx)
        return seconds


DURATION = Duration()


class LazyGroup(click.Group):
    """A group whose verbs are imported when they are called: ``verbs`` maps a name to ``module:attribute``."""

    def __init__(self, *args: Any, verbs: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        module, _, attribute = self._verbs[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


def remark(message: str) -> None:
    """A line for a human, on stderr."""
    click.echo(message, err=True)


def folded(text: str, start: str) -> list[str]:
    """A text behind the start of its first line, in lines of 80 columns; a word that is longer, a path, stays whole."""
    import textwrap

    room = max(80 - len(start), 20)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return [(start if not number else " " * len(start)) + line for number, line in enumerate(lines)]


def fail(message: str, hint: str = "", code: int = FAILED) -> NoReturn:
    """One line that says what is wrong and what to do; then exit."""
    click.echo(f"error: {message}" + (f"; {hint}" if hint else ""), err=True)
    raise SystemExit(code)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout, indented on a terminal."""
    click.echo(json.dumps(jsonable(value), default=_plain, indent=2 if sys.stdout.isatty() else None))


def jsonable(value: Any) -> Any:
    """Return the value with times as ISO 8601 text in UTC, and with NaN and infinities as None, which JSON lacks."""
    if isinstance(value, dict):
        return {name: jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _plain(value: Any) -> Any:
    return jsonable(value.tolist()) if hasattr(value, "tolist") else str(value)


def console() -> Console:
    """A rich console on stderr, for bars of progress: colours on terminals only."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def run_main(command: click.Command) -> NoReturn:
    """Run a command line: errors of the world are one line, a closed pipe is quiet, Ctrl-C exits 130."""
    try:
        code = _invoked(command)
        sys.stdout.flush()  # a pipe that closed shows here, and not as a complaint of the interpreter's exit
    except click.UsageError as error:
        error.show()
        raise SystemExit(USAGE) from None
    except click.ClickException as error:
        fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        remark("interrupted")
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail too
        raise SystemExit(DONE) from None
    except Exception as error:
        if not _is_of_the_world(error):
            raise
        fail(_in_words(error), str(getattr(error, "hint", "")))
    raise SystemExit(code if isinstance(code, int) else DONE)


def _invoked(command: click.Command) -> Any:
    """The command's return value. `Command.main` would make a closed pipe an exit code of 1."""
    name = os.path.basename(sys.argv[0])
    if f"_{name}_COMPLETE".replace("-", "_").upper() in os.environ:
        return command.main()  # a shell asks for completions
    try:
        with command.make_context(name, sys.argv[1:]) as context:
            return command.invoke(context)
    except click.exceptions.Exit as ending:
        return ending.exit_code


def _in_words(error: Exception) -> str:
    """The first line of what an error says; the system's own without their numbers."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _is_of_the_world(error: Exception) -> bool:
    """Errors that a user can cause and mend; a traceback is for ours."""
    from journal.errors import JournalError

    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, JournalError | OSError) or bool(
        names & {"DatabaseError", "MarketError", "ConfigError", "UnknownRunError", "SQLAlchemyError"}
    )
