"""What a journal says about itself: the header in its first message."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from journal.format.schema import FORMAT_VERSION, MAX_EXTRA_COLUMNS, STEP_COLUMNS
from journal.format.untrusted import json_object, mapping, moment, real, text, whole

EPOCH = datetime.fromtimestamp(0, UTC)
# No separator, no leading dot, no control character, short enough for any file system with a suffix behind it.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


def is_name(name: str) -> bool:
    """Is it a safe run or journal id?"""
    return isinstance(name, str) and NAME_PATTERN.fullmatch(name) is not None


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
        names = self.extra_columns
        if not names:
            return
        taken = set(STEP_COLUMNS) | {"trades"}
        if len(names) > MAX_EXTRA_COLUMNS:
            raise ValueError(f"at most {MAX_EXTRA_COLUMNS} extra columns, got {len(names)}")
        if not all(isinstance(name, str) and 0 < len(name) <= 128 and name.isprintable() for name in names):
            raise ValueError(f"names of extra columns are printable text of 1 to 128 letters, got {list(names)}")
        if len(set(names)) != len(names) or taken & set(names):
            raise ValueError(f"extra columns must have names of their own, got {list(names)}")

    @staticmethod
    def from_json(raw: Any) -> About:
        """From decoded JSON; raise ValueError or KeyError."""
        raw = mapping(raw)
        start = raw["start_market_time_us"]
        names = raw["extra_columns"]
        if type(names) is not list:
            raise ValueError("expected a list of names")
        return About(
            env=text(raw["env"]),
            initial_portfolio_value=real(raw["initial_portfolio_value"]),
            periods_per_year=real(raw["periods_per_year"]),
            env_config=mapping(raw["env_config"]),
            extra_columns=tuple(text(name) for name in names),
            start_market_time_us=None if start is None else moment(start),
            notes=mapping(raw["notes"]),
        )


@dataclass(frozen=True)
class WriterIdentity:
    """Which process wrote: enough to judge from elsewhere whether it can still be alive."""

    host: str
    machine_id: str
    boot_id: str
    pid: int
    process_start: int

    @staticmethod
    def from_json(raw: Any) -> WriterIdentity:
        """From decoded JSON; raise ValueError or KeyError."""
        raw = mapping(raw)
        return WriterIdentity(
            host=text(raw["host"]),
            machine_id=text(raw["machine_id"]),
            boot_id=text(raw["boot_id"]),
            pid=whole(raw["pid"]),
            process_start=whole(raw["process_start"]),
        )


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
    def from_json(data: bytes) -> Header:
        """Decode; raise ValueError or KeyError for anything that `to_json` did not make."""
        raw = json_object(data)
        version = whole(raw["format_version"])
        if version > FORMAT_VERSION:
            return Header(version, "", "", EPOCH, 0, WriterIdentity("", "", "", 0, 0), About("", 0, 1))
        run_id, journal_id = text(raw["run_id"]), text(raw["journal_id"])
        if not (is_name(run_id) and is_name(journal_id)):
            raise ValueError("an id that no journal can have")
        return Header(
            version,
            run_id,
            journal_id,
            start_time=from_microseconds(whole(raw["start_time_us"])),
            checkpoint_every_steps=whole(raw["checkpoint_every_steps"]),
            writer=WriterIdentity.from_json(raw["writer"]),
            about=About.from_json(raw["about"]),
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


def _jsonable(value: Any) -> Any:
    """Numpy scalars and arrays as numbers and lists; anything else by its text: a header never fails to be written."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
