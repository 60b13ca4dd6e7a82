"""What a journal says about itself: the header in its first message."""

from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from journal.schema import FORMAT_VERSION, STEP_COLUMNS

EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class About:
    """What an env says about its episode; everything that a reader needs to compute its metrics.

    ``extra_columns`` names numeric columns that the env adds to each step. ``notes`` are facts for
    humans and tools (JSON values) that no computation depends on.
    """

    env: str
    initial_portfolio_value: float
    periods_per_year: float
    env_config: Mapping[str, Any] = field(default_factory=dict)
    extra_columns: tuple[str, ...] = ()
    start_market_time_us: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken = set(STEP_COLUMNS) | {"trades"}
        clash = [name for name in self.extra_columns if name in taken]
        if clash or len(set(self.extra_columns)) != len(self.extra_columns):
            raise ValueError(f"extra columns must have names of their own, got {list(self.extra_columns)}")


@dataclass(frozen=True)
class WriterIdentity:
    """Which process wrote: enough to judge from elsewhere whether it can still be alive."""

    host: str
    machine_id: str
    boot_id: str
    pid: int
    process_start: int


@dataclass(frozen=True)
class Header:
    """The decoded header of a journal."""

    format_version: int
    run_id: str
    journal_id: str
    start_time: datetime
    checkpoint_every_steps: int
    writer: WriterIdentity
    about: About

    def to_json(self) -> bytes:
        """Compact JSON, ASCII only, so that it can stand in an Arrow string."""
        about = self.about
        return json.dumps(
            {
                "format_version": self.format_version,
                "run_id": self.run_id,
                "journal_id": self.journal_id,
                "start_time_us": microseconds(self.start_time),
                "checkpoint_every_steps": self.checkpoint_every_steps,
                "writer": vars(self.writer),
                "about": {**vars(about), "env_config": dict(about.env_config), "notes": dict(about.notes)},
            },
            default=_jsonable,
            separators=(",", ":"),
        ).encode("ascii")

    @staticmethod
    def from_json(text: bytes) -> Header:
        """Decode; raise ValueError, KeyError or TypeError for anything that `to_json` did not make."""
        raw = json.loads(text)
        if raw["format_version"] > FORMAT_VERSION:
            return Header(raw["format_version"], "", "", EPOCH, 0, WriterIdentity("", "", "", 0, 0), About("", 0, 1))
        about = raw["about"]
        return Header(
            format_version=int(raw["format_version"]),
            run_id=str(raw["run_id"]),
            journal_id=str(raw["journal_id"]),
            start_time=from_microseconds(raw["start_time_us"]),
            checkpoint_every_steps=int(raw["checkpoint_every_steps"]),
            writer=WriterIdentity(**raw["writer"]),
            about=About(**{**about, "extra_columns": tuple(map(str, about["extra_columns"]))}),
        )


def microseconds(time: datetime) -> int:
    """Microseconds since the epoch of an aware time, exactly."""
    since = time - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_microseconds(time_us: int) -> datetime:
    """The aware UTC time; raise ValueError outside of datetime's range."""
    try:
        return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{time_us} us is no time") from error


def this_writer() -> WriterIdentity:
    """The identity of the calling process; a forked child has its own."""
    return _writer_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _writer_of(pid: int) -> WriterIdentity:
    return WriterIdentity(socket.gethostname(), machine_id(), boot_id(), pid, process_start(pid))


@functools.cache
def boot_id() -> str:
    """The kernel's id of this boot, shared by all containers of one host."""
    return _read_text("/proc/sys/kernel/random/boot_id")


@functools.cache
def machine_id() -> str:
    """The machine's id, empty where there is none (many containers)."""
    return _read_text("/etc/machine-id")


def process_start(pid: int) -> int:
    """Clock ticks from boot to the start of a process: with the pid, unique within a boot. 0 if there is none."""
    stat = _read_text(f"/proc/{pid}/stat")
    return int(stat.rpartition(")")[2].split()[19]) if stat else 0


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _jsonable(value: Any) -> Any:
    """Numpy scalars and arrays as numbers and lists; anything else by its text: a header never fails to be written."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
