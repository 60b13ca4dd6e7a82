"""Shared parts of the three programs: messages, exit codes, standard streams, durations, lazily loaded verbs."""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import json
import math
import os
import re
import select
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from journal.events import line_start, log_json, write_event
from journal.places import shown, shown_as
from journal.start import INTERRUPTED, raise_interrupts

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, USAGE, DATA_LOST = 0, 1, 2, 3
SAME_REQUEST_S = 1.0
"""Signals within this time are one request to stop: `timeout` signals a process and then its group."""
_SIGNAL_POLL_S = 0.1
_STDOUT, _STDERR = 1, 2

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    FloatType = click.ParamType[float]
    IntType = click.ParamType[int]
    TextType = click.ParamType[str]
else:  # older versions of click take no parameters here
    FloatType = IntType = TextType = click.ParamType


class SignalEvent(threading.Event):
    """An event that a signal handler may set. It takes no lock.

    A handler that interrupts `threading.Event.wait` and calls `set` waits for the lock of the code that it interrupted.
    """

    _asked = False

    def set(self) -> None:
        self._asked = True

    def is_set(self) -> bool:
        return self._asked

    def wait(self, timeout: float | None = None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _SIGNAL_POLL_S if until is None else min(_SIGNAL_POLL_S, until - time.monotonic())
            if left <= 0:
                break
            super().wait(left)  # not `time.sleep`: below libfaketime it fails with EINVAL
        return self.is_set()


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
            self.fail(f"{value!r} is not a duration, use for example 10s, 5m or 2h", param, ctx)
        return seconds


DURATION = Duration()


def _choose_log_format(context: click.Context, param: click.Parameter, value: str) -> str:
    if value == "json":
        log_json(context.command_path)
    return value


log_format = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    expose_value=False,
    callback=_choose_log_format,
    help="Write the log as text, or as one JSON object a line on stderr.",
)


class Count(IntType):
    """Parameter type for a count. It fits into 32 bits, as databases and libraries need."""

    name = "integer"  # not click.IntRange: the help would show its limits
    _most = 2**31 - 1

    def __init__(self, least: int = 0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = int(click.INT.convert(value, param, ctx))
        if not self._least <= number <= self._most:
            self.fail(f"{number} is not in the range from {self._least} to {self._most}", param, ctx)
        return number


class LazyGroup(click.Group):
    """A click group that imports a verb when it is called; ``verbs`` maps a name to ``module:attribute``."""

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

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command as click does. For an unknown one suggest similar names, as click does for options."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx))
            if not near or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(near)}?", ctx) from None


def plain(text: str) -> str:
    """Return text with its control characters escaped, so that a terminal does not act on them."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


_WORDS = {
    "started": "cyan", "running": "cyan", "wait": "cyan",
    "completed": "green", "done": "green", "ok": "green",
    "truncated": "yellow", "interrupted": "yellow", "stopped": "yellow", "warn": "yellow", "unfinished": "yellow",
    "error": "red", "failed": "red", "fail": "red", "unreadable": "red", "damaged": "red",
}  # fmt: skip
"""Colours of statuses, verdicts and outcomes."""


def coloured(stream: TextIO | None = None) -> bool:
    """Return True if a stream, by default stdout, is a terminal and $NO_COLOR is not set."""
    return (stream or sys.stdout).isatty() and not os.environ.get("NO_COLOR")


def status_text(text: str, word: str | None = None) -> str:
    """Return text in the colour of a status; plain where there are no colours.

    Args:
        text: What is printed, for example the status in a column.
        word: The status. None: the text without spaces around it.
    """
    colour = _WORDS.get((word or text).strip().lower())
    return click.style(text, fg=colour) if colour and coloured() else text


def _error_text(text: str) -> str:
    """Return a line for stderr with its `error:` in red."""
    start = re.match("error:", text, re.IGNORECASE)
    if start is None or not coloured(sys.stderr):
        return text
    return click.style(start[0], fg="red", bold=True) + text[start.end() :]


def remark(message: str, event: str = "message", *, level: str = "info", **fields: Any) -> None:
    """Print one line for a human on stderr. With `--log-format json`, write an event with these fields instead."""
    message = shown(message)
    if not write_event(message, event, level, fields):
        click.echo(line_start() + _error_text(plain(message)), err=True)


def folded(text: str, start: str) -> list[str]:
    """Wrap a text into lines of 80 columns, the first of which begins with ``start``. Long paths stay whole."""
    import textwrap

    room = max(80 - len(start), 20)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return [(start if not number else " " * len(start)) + line for number, line in enumerate(lines)]


def fail(message: str, hint: str = "", code: int = FAILED) -> NoReturn:
    """Print one line that says what is wrong and what to do, then exit."""
    remark(f"error: {message}" + (f"; {hint}" if hint else ""), "error", level="error")
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
    return shown(value) if shown_as and isinstance(value, str) else value


def _plain(value: Any) -> Any:
    return jsonable(value.tolist()) if hasattr(value, "tolist") else shown(str(value))


def console() -> Console:
    """Return a rich console on stderr for progress bars, with colours on terminals only."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


class _NoReaderError(BrokenPipeError):
    """The reader of stdout has closed the pipe, for example `head` after its last line."""


class _Output(io.FileIO):
    """A standard stream that raises its first failed write, and discards what it cannot write after that.

    Attributes:
        optional: Discard output from the first failed write on, without raising it.
        failure: The error of the first failed write, None if there was none.
    """

    def __init__(self, number: int, *, optional: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.optional = optional
        self.failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write like `io.FileIO`; wait for a non-blocking pipe that is full."""
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            told, self.failure = self.failure is not None, error
            if not (told or self.optional):
                kind = _NoReaderError if error.errno == errno.EPIPE else OSError
                raise kind(error.errno, error.strerror, "standard output") from None
            return len(memoryview(data))
        return written


def _open_standard_streams() -> None:
    """Replace stdout by a stream that raises at most once, and stderr by one that never raises.

    Closed descriptors are opened first. Otherwise the next file that the program opens would get their number, and
    printed text would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # read-only, so that a write fails as it does on a closed descriptor
    for name, number in (("stdout", _STDOUT), ("stderr", _STDERR)):
        stream = getattr(sys, name)
        try:
            if stream is not None and stream.fileno() != number:
                continue  # the stream was replaced, for example by a test
        except (OSError, ValueError):
            continue
        raw = _Output(number, optional=number == _STDERR)
        lines = number == _STDERR or raw.isatty()
        encoding = getattr(stream, "encoding", None) or "utf-8"
        # A name on disk may hold bytes that no encoding knows.
        text = io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=lines)
        setattr(sys, name, text)


def _raw_stdout() -> _Output | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Output) else None


def work_without_output() -> None:
    """Let the command continue if stdout fails, because its work and exit code matter more than its output.

    Without this call a failed write ends the command: without a message if the reader has gone, else with an error.
    """
    if (raw := _raw_stdout()) is not None:
        raw.optional = True


def run_main(command: click.Command) -> NoReturn:
    """Run a command line and exit.

    An error that a user can cause is printed in one line. Ctrl-C exits with 130. If the reader of stdout has gone, the
    command exits with 0, except after `work_without_output`.
    """
    try:
        raise_interrupts()
        _open_standard_streams()
        code = _invoked(command)
        sys.stdout.flush()
    except click.UsageError as error:
        shown = io.StringIO()
        error.show(shown)
        for line in shown.getvalue().splitlines():
            click.echo(_error_text(line), err=True)
        raise SystemExit(USAGE) from None
    except click.ClickException as error:
        fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        exec("")  # `python -m` exits with -SIGINT if Ctrl-C ended the last exec() of a text, as `dataclass` calls it
        remark("interrupted")
        raise SystemExit(INTERRUPTED) from None
    except _NoReaderError:
        raise SystemExit(DONE) from None
    except Exception as error:
        if not _is_of_the_world(error):
            raise
        fail(_in_words(error), str(getattr(error, "hint", "")) or _hint_of(error))
    finally:
        work_without_output()  # a failing flush at exit must not change the exit code
    raw = _raw_stdout()
    if raw is not None and raw.failure is not None and raw.failure.errno != errno.EPIPE:
        remark(f"standard output: {raw.failure.strerror}; the rest of the output was dropped")
    raise SystemExit(code if isinstance(code, int) else DONE)


def _invoked(command: click.Command) -> Any:
    """Return the command's return value. `Command.main` would turn a closed pipe into exit code 1."""
    name = os.path.basename(sys.argv[0])
    if f"_{name}_COMPLETE".replace("-", "_").upper() in os.environ:
        return command.main()  # a shell asks for completions
    try:
        with command.make_context(name, sys.argv[1:]) as context:
            return command.invoke(context)
    except click.exceptions.Exit as ending:
        return ending.exit_code


def _in_words(error: Exception) -> str:
    """Return the first line of an error's message, without the number of a system error."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _user() -> str:
    import pwd  # rarely needed

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _hint_of(error: Exception) -> str:
    """Return what a user can do about a system error; empty if there is no general advice."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EACCES, errno.EPERM):
        return f"{_user()} lacks the permission: change the owner or mode of the path, or name another place"
    if number == errno.EROFS:
        return "name a place on a file system that is not read-only"
    return "free some space, or name another place" if number in (errno.ENOSPC, errno.EDQUOT) else ""


_USER_ERRORS = {
    "DatabaseError", "MarketError", "ConfigError", "UnknownRunError", "ExportError", "PolicyError", "ClusterError",
    "SQLAlchemyError",
}  # fmt: skip
"""By name: `journal` imports nothing of the packages that define them."""


def _is_of_the_world(error: Exception) -> bool:
    """Return True for errors that a user can cause and correct. Other errors are bugs, and are shown with a traceback."""
    from journal.errors import JournalError

    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, JournalError | OSError) or bool(names & _USER_ERRORS)
