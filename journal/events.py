"""Write all output of a program to stderr as JSON, one object a line. docs/operations.md lists the fields.

Or begin each line of a text log with its time: `time_lines`.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

_LEVELS = {"WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}
_LAST_LINES_S = 1.0
_log: _Log | None = None
_timed = False


def log_json(program: str) -> None:
    """From now on, write every line that this process prints or logs as a JSON object on stderr.

    Args:
        program: The value of the field `program`.
    """
    global _log  # noqa: PLW0603 - a process has one stderr
    if _log is not None:
        return
    _log = _Log(program, sys.stderr)
    sys.stdout, sys.stderr = _Lines(_log, sys.stdout), _Lines(_log, sys.stderr)
    logging.getLogger().addHandler(_Handler(_log))
    sys.excepthook = _log.crash


def time_lines() -> None:
    """From now on, begin each remark with the time in UTC. Under systemd do nothing, because its journal keeps the times."""
    global _timed  # noqa: PLW0603 - a process has one stderr
    state = os.fstat(2)
    _timed = os.environ.get("JOURNAL_STREAM") != f"{state.st_dev}:{state.st_ino}"


def line_start() -> str:
    """Return the beginning of a remark: the time, or nothing."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} " if _timed else ""


@contextmanager
def native_lines() -> Iterator[None]:
    """If this process writes JSON, also write what native code and subprocesses print on descriptors 1 and 2 as events."""
    if _log is None:
        yield
        return
    kept = _log.move_to_copy()
    reading, writing = os.pipe()
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)
    reader = threading.Thread(target=_copy_lines, args=(reading, _Lines(_log, sys.stderr)), daemon=True)
    reader.start()
    try:
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        reader.join(_LAST_LINES_S)  # a running subprocess keeps the pipe open


def _copy_lines(descriptor: int, lines: _Lines) -> None:
    with open(descriptor, encoding="utf-8", errors="backslashreplace") as pipe:
        for line in pipe:
            lines.write(line)
    lines.close()


def write_event(message: str, event: str, level: str, fields: dict[str, Any]) -> bool:
    """Write an event if this process writes JSON. Return whether it does."""
    if _log is None:
        return False
    _log.write(message, event, level, fields)
    return True


class _Log:
    def __init__(self, program: str, stream: TextIO) -> None:
        self._program = program
        self._stream = stream
        self._one_at_a_time = threading.RLock()  # a signal handler may write during a write

    def write(self, message: str, event: str, level: str, fields: dict[str, Any]) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = {"time": time, "level": level, "program": self._program, "event": event, "message": message}
        with self._one_at_a_time:
            self._stream.write(json.dumps(_finite({**known, **fields}), default=str) + "\n")
            self._stream.flush()

    def move_to_copy(self) -> dict[int, int]:
        """Write to a copy of stderr from now on. Return copies of descriptors 1 and 2."""
        self._stream = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
        return {number: os.dup(number) for number in (1, 2)}

    def crash(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Write the traceback of an error that ends the program as one event."""
        text = "".join(traceback.format_exception(kind, error, trace))
        self.write(f"{kind.__name__}: {error}", "crash", "error", {"traceback": text})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Lines(io.TextIOBase):
    """A standard stream that writes each finished line as an event. Ray and warnings print to such streams."""

    def __init__(self, log: _Log, stream: TextIO) -> None:
        self._sink = log
        self._begun = ""
        self.buffer = getattr(stream, "buffer", None)
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has an attribute
        return "utf-8"

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._tell(line)
        return len(text)

    def _tell(self, line: str) -> None:
        if line.strip():
            self._sink.write(line.rstrip("\r"), "line", "info", {})

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Write the last, unfinished line. The stream itself stays open, for output at interpreter exit."""
        begun, self._begun = self._begun, ""
        self._tell(begun)


class _Handler(logging.Handler):
    """Write records of `logging` as events, with the logger's name."""

    def __init__(self, log: _Log) -> None:
        super().__init__()
        self._sink = log

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[0]:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        self._sink.write(record.getMessage(), "log", _LEVELS.get(record.levelname, "info"), fields)
