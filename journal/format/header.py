"""The header in a journal's first message: the episode, the process that writes it, and facts about its env."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec

from journal.errors import JournalValueError
from journal.format.schema import MAX_EXTRA_COLUMNS, STEP_COLUMNS, STEP_FLOATS
from journal.format.values import (
    EPOCH,
    Moment,
    Natural,
    Whole,
    decoder_of,
    from_microseconds,
    microseconds,
    number,
    plain,
    text,
    time_us,
    truth,
    whole,
    within_limits,
)

__all__ = ["EPOCH", "About", "FileId", "Header", "Origin", "WriterIdentity", "from_microseconds", "microseconds"]

TradesKnown = Literal["told", "derived", "unknown"]
_TRADES_KNOWN = get_args(TradesKnown)
CAN_BE_UNKNOWN = frozenset((*STEP_FLOATS, "market_time"))
# No separator, no leading dot, no control character, short enough for any file system with a suffix behind it.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


def is_name(name: str) -> bool:
    """Return True if this is a safe run or journal id."""
    return isinstance(name, str) and NAME_PATTERN.fullmatch(name) is not None


@dataclass(frozen=True)
class About:
    """What an env says about its episode: everything that a reader needs to compute its metrics.

    What is unknown is None. Numbers may be of any numeric class (Decimal, numpy), times may be datetimes.

    Args:
        env: The env's name or class.
        initial_portfolio_value: Value of the account before the first step.
        periods_per_year: Steps a year, for annualised figures; None if unknown.
        env_config: The env's settings, for people and tools. What JSON cannot hold is stored as text.
        extra_columns: Names of numeric columns that the env adds to each step; any sequence.
        start_market_time_us: Market time at the reset: a datetime or microseconds since 1970.
        notes: Facts for people and tools that no computation depends on.
        start_price: Price at the bar of the reset.
        market: Name of the market or of the price file.
        seed: The seed of this episode.
        in_evaluation: Whether an evaluation env runner plays the episode.
        worker_index: Index of the env runner.
        env_index: Index of the env in its vector env.
        trial_id: The Tune trial that the episode belongs to.
        account: How the account's figures were obtained.
        unknown: Names of the step columns that the env does not tell: NaN in each step, null for the market time.
        trades: Whether the env tells its trades, they are derived from its position, or they are unknown.

    Raises:
        JournalValueError: A value that no journal can hold; it names the field and the value.
    """

    env: str
    initial_portfolio_value: float
    periods_per_year: float | None
    env_config: Mapping[str, Any] = field(default_factory=dict)
    extra_columns: tuple[str, ...] = ()
    start_market_time_us: Moment | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    _: KW_ONLY
    start_price: float | None = None
    market: str | None = None
    seed: Moment | None = None
    in_evaluation: bool | None = None
    worker_index: Whole | None = None
    env_index: Whole | None = None
    trial_id: str | None = None
    account: Mapping[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    trades: TradesKnown = "told"

    def __post_init__(self) -> None:
        self._convert(_CONVERSIONS)

    def changed(self, **values: Any) -> About:
        """Return a copy with other values, as `dataclasses.replace` does, which takes three times as long."""
        if not values.keys() <= self.__dataclass_fields__.keys():
            raise TypeError(f"About has no field of one of these names: {', '.join(values)}")
        copied = object.__new__(About)
        vars(copied).update(vars(self), **values)
        copied._convert(values)
        return copied

    def _convert(self, names: Iterable[str]) -> None:
        """Convert the values of these fields, and check all."""
        fields = vars(self)  # stored here, because `object.__setattr__` takes longer
        for name in names:
            value = fields.get(name)  # a decoder leaves out what JSON leaves out, and the class has its default
            if value is not None and name in _CONVERSIONS:
                fields[name] = _CONVERSIONS[name](name, value)
        for name in ("env", "initial_portfolio_value"):
            if fields[name] is None:
                raise JournalValueError(name, None, "given")
        if self.extra_columns:
            _check_columns(self.extra_columns)
        if self.trades not in _TRADES_KNOWN or (self.unknown and not CAN_BE_UNKNOWN.issuperset(self.unknown)):
            raise ValueError(f"expected names of step columns, got {self.unknown}, and trades {self.trades!r}")


def _names(name: str, value: Any) -> tuple[Any, ...]:
    if type(value) is tuple:
        return value
    if isinstance(value, str | bytes | Mapping):
        raise JournalValueError(name, value, "a sequence of names")
    try:
        return tuple(value)
    except TypeError as error:
        raise JournalValueError(name, value, "a sequence of names") from error


_CONVERSIONS: dict[str, Callable[[str, Any], Any]] = {
    "env": lambda _, value: text(value),
    "initial_portfolio_value": number,
    "periods_per_year": number,
    "extra_columns": _names,
    "start_market_time_us": time_us,
    "start_price": number,
    "market": lambda _, value: text(value),
    "seed": whole,
    "in_evaluation": truth,
    "worker_index": whole,
    "env_index": whole,
    "trial_id": lambda _, value: text(value),
    "unknown": _names,
}


def _check_columns(names: tuple[Any, ...]) -> None:
    if len(names) > MAX_EXTRA_COLUMNS:
        raise ValueError(f"at most {MAX_EXTRA_COLUMNS} extra columns, got {len(names)}")
    if not all(isinstance(name, str) and 0 < len(name) <= 128 and name.isprintable() for name in names):
        raise ValueError(f"names of extra columns must be printable text of 1 to 128 characters, got {list(names)}")
    if len(set(names)) != len(names) or (set(STEP_COLUMNS) | {"trades"}) & set(names):
        raise ValueError(f"extra columns must have names of their own, got {list(names)}")


@dataclass(frozen=True)
class WriterIdentity:
    """The process that writes a journal. What is unknown is empty or 0.

    Args:
        host: Host name, or the value of RSC_HOST.
        machine_id: The machine's id; empty if RSC_HOST names the host.
        boot_id: The kernel's id of the boot.
        pid: Process id, as the process itself sees it.
        process_start: Start of the process in clock ticks since boot.
        pid_namespace: The process's pid namespace, as the kernel names it.
        time_namespace: Its time namespace.
        token: A random text of the process, drawn anew in each forked child.
    """

    host: str
    machine_id: str
    boot_id: str
    pid: Whole
    process_start: Whole
    pid_namespace: str = ""
    time_namespace: str = ""
    token: str = ""


@dataclass(frozen=True)
class FileId:
    """A file's identity on its host.

    Args:
        device: The file's device, `st_dev` of `os.stat`.
        inode: The file's inode, `st_ino` of `os.stat`.
    """

    device: Natural
    inode: Natural


@dataclass(frozen=True)
class Origin:
    """What a file records when it is created, so that readers can tell it from copies and find the process that made it.

    Args:
        writer: The process that made the file.
        file: The file's identity at that time; None if unknown.
        folder: The absolute path of its folder at that time, without symbolic links; empty if unknown.
    """

    writer: WriterIdentity
    file: FileId | None = None
    folder: str = ""


@dataclass(frozen=True)
class Header:
    """The decoded header of a journal.

    Args:
        format_version: The version of the journal format.
        run_id: The run.
        journal_id: The journal.
        start_time_us: Wall-clock time of the reset, in microseconds since 1970.
        checkpoint_every_steps: A seal follows after so many slots of the tail.
        writer: The process that writes the journal.
        about: What the env says about the episode.
        stream: The identity of the stream's file when its writer created it; None if unknown, as in a recovered journal.
        tail_mapped: Whether the tail is a memory-mapped file; None if unknown, as in a recovered journal.
        folder: The absolute path of the run's folder as the writer saw it; empty if unknown.
        root_id: The random id of that folder; empty if unknown.

    Raises:
        ValueError: An id is not a valid name, or the time is out of range.
    """

    format_version: Whole
    run_id: str
    journal_id: str
    start_time_us: Whole
    checkpoint_every_steps: Whole
    writer: WriterIdentity
    about: About
    stream: FileId | None = None
    tail_mapped: bool | None = None
    folder: str = ""
    root_id: str = ""

    def __post_init__(self) -> None:
        if not (is_name(self.run_id) and is_name(self.journal_id)):
            raise ValueError("not a valid run id or journal id")
        from_microseconds(self.start_time_us)

    @property
    def start_time(self) -> datetime:
        """Wall-clock time of the reset, UTC."""
        return from_microseconds(self.start_time_us)

    @property
    def origin(self) -> Origin:
        """What the journal records of its making."""
        return Origin(self.writer, self.stream, self.folder)

    def to_json(self) -> bytes:
        """Encode as compact JSON that `from_json` accepts.

        Raises:
            JournalValueError: No JSON of the header would be accepted.
        """
        return self.encoded()[0]

    def encoded(self) -> tuple[bytes, Header]:
        """Return the JSON, and the header that readers decode from it; raise as `to_json` does."""
        about = self.about
        try:
            data = msgspec.json.encode(self)
            read, free = self.from_json(data), [about.env_config, about.notes, about.account]
            msgspec.msgpack.encode(free)  # it refuses integers beyond 64 bits
            # What encoding and decoding give back unchanged is plain. To see that takes half the time of converting it.
            if within_limits(data) and [read.about.env_config, read.about.notes, read.about.account] == free:
                return data, read
        except Exception:  # a user's object may fail in any way
            return self._converted()
        return self._converted()

    def _converted(self) -> tuple[bytes, Header]:
        about = self.about
        env_config, notes, account = plain(about.env_config, about.notes, about.account)
        written = {**vars(about), "env_config": env_config, "notes": notes, "account": account}
        try:
            data = msgspec.json.encode({**vars(self), "about": written})
            return data, self.from_json(data)  # a header that a reader would refuse is never written
        except (ValueError, TypeError, OverflowError) as error:
            raise JournalValueError("the header", about, "one that readers accept") from error

    @staticmethod
    def from_json(data: bytes) -> Header:
        """Decode the JSON of a header. Unknown keys are ignored.

        Raises:
            ValueError: The bytes are not a valid header.
        """
        return _decode_header(data)


@dataclass(frozen=True)
class _Version:
    format_version: Whole


_decode_header = decoder_of(Header)
_decode_version = decoder_of(_Version)


def format_version_of(data: bytes) -> int:
    """Return the format version that a header's JSON states, whatever else is in it; raise ValueError."""
    return _decode_version(data).format_version
