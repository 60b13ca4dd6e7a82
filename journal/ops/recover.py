"""Copy the intact part of a journal into a new one, which is synced and verified before it gets its name.

Intact batches are copied byte by byte, so their checkpoints keep the metrics exact. Rows of the tail become new
batches. The new header lists the losses in `about.notes["recovered"]`.
"""

from __future__ import annotations

import enum
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from journal.errors import JournalExistsError, RecoverError
from journal.format.checksum import journal_seed
from journal.format.decoding import DecodeError, decode
from journal.format.encoding import encode_header, encoder_of
from journal.format.footer import Footer
from journal.format.frames import END_OF_STREAM, Frame, Seal, verified
from journal.format.header import Header
from journal.format.schema import RECOVERED_NOTE, RUN_MARKER, STREAM_SUFFIX
from journal.format.slots import TERMINATED, TRUNCATED, Columns
from journal.host.files import sync_folder, take_name
from journal.host.paths import failed_path, tail_path
from journal.inspect.audit import audit
from journal.ops.spliced import Spliced
from journal.read.reader import Journal, State, read_journal
from journal.read.source import FileSource, Source
from journal.read.walk import Window, read_footer


class RecoverMode(enum.StrEnum):
    """What to do about damage."""

    STRICT = "strict"  # refuse
    PREFIX = "prefix"  # keep the steps before it
    SALVAGE = "salvage"  # keep every intact batch, with holes between


@dataclass(frozen=True)
class Recovery:
    """Result of `recover`: what was copied and what was lost.

    Attributes:
        output: The new journal's stream.
        journal_id: Its id, that of the source.
        mode: What was done about damage.
        batches: The number of its batches.
        steps: The number of its steps.
        trades: The number of its trades.
        tail_steps: The number of steps that came from the source's tail.
        steps_lost: The number of known steps that are not in it.
        trades_lost: The same for trades.
        findings: Counts of the source's damage, by kind.
        torn: Whether the source's last write was unfinished.
        end_reason: How the episode ended; None if the source does not record it.
        write_failed: Whether a write of the source failed, so that later steps are lost, number unknown.
        tail_lost: Whether the source's tail is missing, so that later steps are lost, number unknown.
    """

    output: Path
    journal_id: str
    mode: RecoverMode
    batches: int
    steps: int
    trades: int
    tail_steps: int
    steps_lost: int
    trades_lost: int
    findings: dict[str, int]
    torn: bool
    end_reason: str | None
    write_failed: bool = False
    tail_lost: bool = False


def recover(
    path: Path | str,
    output: Path | str,
    mode: RecoverMode | str = RecoverMode.STRICT,
    header_from: Path | None = None,
) -> Recovery:
    """Create ``output`` from the intact part of the journal at ``path``. If it fails, no file is left behind.

    Args:
        path: The journal to read. It is not changed.
        output: The new file, named `JOURNAL_ID.arrows`.
        mode: What to do about damage.
        header_from: A journal of the same env, whose header replaces a damaged one.

    Raises:
        RecoverError: The journal is damaged beyond ``mode``, or ``output`` is not a valid place.
        JournalExistsError: ``output`` exists.
        NotAJournalError: A header is unreadable.
        FormatVersionError: The journal has another format version.
        JournalAccessError: A journal cannot be read.
        OSError: ``output`` cannot be written.
    """
    path, output, mode = Path(path), Path(output), RecoverMode(mode)
    with FileSource(path) as file:
        source: Source = file if header_from is None else Spliced(file, header_from)
        journal = Journal(source)
        _refuse_place(output, journal)
        pieces = _Pieces(journal, source, mode)
        if mode is RecoverMode.STRICT and pieces.damaged:
            raise RecoverError(
                f"{path} is damaged: {pieces.summary()}", hint="use --mode prefix or --mode salvage to keep the rest"
            )
        _write(output, pieces)
    return pieces.report(output)


class _Pieces:
    """The parts of the new journal. ``reached`` is their last step, with holes counted."""

    def __init__(self, journal: Journal, source: Source, mode: RecoverMode) -> None:
        self.journal, self.source, self.mode = journal, source, mode
        self.seed = journal_seed(journal.header.journal_id)
        self.footer = read_footer(Window(source, b""), source.size(), self.seed)
        intact = [frame for frame in journal.frames if self._decodes(frame)]
        self.undecoded = len(journal.frames) - len(intact)
        tail = list(_runs(journal.tail_steps, journal.tail_trades))
        self.frames, self.tail = (intact, tail) if mode is RecoverMode.SALVAGE else _before_gap(intact, tail)
        self.cut = len(self.frames) < len(journal.frames) or len(self.tail) < len(tail)
        self.steps = sum(frame.seal.steps for frame in self.frames) + sum(len(steps["step"]) for steps, _ in self.tail)
        self.trades = sum(frame.seal.trades for frame in self.frames) + sum(len(some["pnl"]) for _, some in self.tail)
        self.known_steps = journal.step_count + journal.steps_lost
        self.known_trades = journal.trade_count + journal.trades_lost
        whole = mode is RecoverMode.SALVAGE or self.steps == self.known_steps
        self.end = journal.end if whole else None

    @property
    def damaged(self) -> bool:
        return bool(self.journal.findings or self.undecoded or self.steps < self.known_steps)

    def _decodes(self, frame: Frame) -> bool:
        message = self.source.read(frame.offset, frame.length)
        if not verified(message, self.seed):
            return False
        try:
            decode(message, self.journal.header.about.extra_columns, frame.seal)
        except DecodeError:
            return False
        return True

    def header(self) -> Header:
        """Return the old header with a note of the losses."""
        header = self.journal.header
        note = {
            "from": self.journal.path.name,
            "mode": str(self.mode),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "steps_lost": self.known_steps - self.steps,
            "trades_lost": self.known_trades - self.trades,
            "missing_steps": self._missing_steps(),
            "missing_trades": self.known_trades - self.trades if self.mode is RecoverMode.SALVAGE else 0,
            "write_failed": self.journal.state is State.FAILED,
            "tail_lost": self.journal.tail_lost,
        }
        notes = {**header.about.notes, RECOVERED_NOTE: note}
        return replace(header, about=replace(header.about, notes=notes), stream=None, tail_mapped=None)

    def _missing_steps(self) -> list[list[int]]:
        """Return the holes in the new journal, as pairs of first and last step."""
        holes, expected = [], 1
        for first, last in self._extents():
            if first > expected:
                holes.append([expected, first - 1])
            expected = max(expected, last + 1)
        if self.mode is RecoverMode.SALVAGE and self.end is not None and self.known_steps >= expected:
            holes.append([expected, self.known_steps])
        return holes

    def _extents(self) -> Iterator[tuple[int, int]]:
        for frame in self.frames:
            yield frame.seal.first_step, frame.seal.last_step
        for steps, _ in self.tail:
            yield int(steps["step"][0]), int(steps["step"][-1])

    def messages(self) -> Iterator[bytes]:
        """Yield the batches of the new journal, in order."""
        for frame in self.frames:
            yield self.source.read(frame.offset, frame.length)
        trades = self.frames[-1].seal.last_trade if self.frames else 0
        for steps, some in self.tail:
            seal = _seal_of(steps, some, trades)
            trades = seal.last_trade
            yield self._encoded(steps, some, seal)
        if self.end is not None and not any(frame.seal.end for frame in self.frames):
            yield self._encoded(*self.journal_columns(), self._last_seal())

    def journal_columns(self) -> tuple[Columns, Columns]:
        """Return a batch of the right columns without rows."""
        steps = {name: values[:0] for name, values in self.journal.tail_steps.items()}
        return steps, {name: values[:0] for name, values in self.journal.tail_trades.items()}

    def _encoded(self, steps: Columns, trades: Columns, seal: Seal) -> bytes:
        return encoder_of(self.journal.header.about.extra_columns).encode(steps, trades, seal, self.seed)

    def _last_seal(self) -> Seal:
        """Return an empty last batch that records the ending, taken from the footer or from a batch without rows."""
        said: Footer | Seal
        if self.footer is None:
            said = next(frame.seal for frame in reversed(self.journal.frames) if frame.seal.end)
            reached = said.last_step, said.last_trade
        else:
            said = self.footer
            reached = said.steps, said.trades
        return Seal(
            reached[0] + 1, 0, reached[1] + 1, 0, said.wall_time_us, said.market_time_us, said.terminal,
            said.checkpoint, self.end,
        )  # fmt: skip

    def new_footer(self, stream_bytes: int) -> bytes:
        """Return end mark and footer of a journal whose ending is known, else no bytes."""
        if self.end is None:
            return b""
        last = next((frame.seal for frame in reversed(self.frames) if frame.seal.end), None) or self._last_seal()
        footer = Footer(
            last.last_step, last.last_trade, last.wall_time_us, last.market_time_us, last.terminal, last.checkpoint,
            self.end, stream_bytes + len(END_OF_STREAM),
        )  # fmt: skip
        return END_OF_STREAM + footer.encode(self.seed)

    def summary(self) -> str:
        """Describe the damage in a few words."""
        kinds = [f"{count} x {kind}" for kind, count in self.findings().items()]
        lost = f"{self.known_steps - self.steps} steps lost"
        return ", ".join([*kinds, lost])

    def findings(self) -> dict[str, int]:
        counts = Counter(str(finding.kind) for finding in self.journal.findings)
        if self.undecoded:
            counts["content"] += self.undecoded
        return dict(counts)

    def report(self, output: Path) -> Recovery:
        """Return the result: what was copied and what was lost."""
        return Recovery(
            output,
            self.journal.header.journal_id,
            self.mode,
            len(self.frames),
            self.steps,
            self.trades,
            sum(len(steps["step"]) for steps, _ in self.tail),
            self.known_steps - self.steps,
            self.known_trades - self.trades,
            self.findings(),
            self.journal.torn,
            self.end.reason if self.end else None,
            self.journal.state is State.FAILED,
            self.journal.tail_lost,
        )


def _runs(steps: Columns, trades: Columns) -> Iterator[tuple[Columns, Columns]]:
    """Split the rows of a tail at its holes, each part with the trades that it closed."""
    numbers = steps["step"]
    if not len(numbers):
        return
    for at in np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers) != 1) + 1):
        first, last = numbers[at[0]], numbers[at[-1]]
        closed = (trades["exit_step"] >= first) & (trades["exit_step"] <= last)
        yield (
            {name: np.ascontiguousarray(values[at]) for name, values in steps.items()},
            {name: np.ascontiguousarray(values[closed]) for name, values in trades.items()},
        )


def _before_gap(
    frames: list[Frame], tail: list[tuple[Columns, Columns]]
) -> tuple[list[Frame], list[tuple[Columns, Columns]]]:
    """Return the longest prefix without a missing step."""
    kept: list[Frame] = []
    reached = 0
    for frame in frames:
        if frame.seal.first_step != reached + 1:
            return kept, []
        kept.append(frame)
        reached = frame.seal.last_step
    return kept, [piece for piece in tail[:1] if int(piece[0]["step"][0]) == reached + 1]


def _seal_of(steps: Columns, trades: Columns, trades_before: int) -> Seal:
    flags = TERMINATED * bool(steps["terminated"][-1]) | TRUNCATED * bool(steps["truncated"][-1])
    first_trade = int(trades["trade_number"][0]) if len(trades["trade_number"]) else trades_before + 1
    count, closed = len(steps["step"]), len(trades["trade_number"])
    wall, market = int(steps["wall_time"][-1]), int(steps["market_time"][-1])
    return Seal(int(steps["step"][0]), count, first_trade, closed, wall, market, flags, None)


def _refuse_place(output: Path, journal: Journal) -> None:
    """Refuse an output that would overwrite a journal, be taken for another one, or have an invalid name."""
    header = journal.header
    if output.suffix != STREAM_SUFFIX:
        raise RecoverError(f"{output} is not the name of a journal", hint=f"end it in {STREAM_SUFFIX}")
    if os.path.lexists(output):
        raise JournalExistsError(f"{output} exists already", hint="recover into a new file")
    folder = output.absolute().parent
    if folder.name != header.run_id and (folder / RUN_MARKER).is_file():
        raise RecoverError(
            f"{folder} is the folder of another run, where the copy would be taken for an episode of that run",
            hint="choose another folder",
        )
    if folder.name == header.run_id and output.stem != header.journal_id:
        raise RecoverError(
            f"{output} lies in the run's own folder, under another name than the journal's id",
            hint=f"choose another folder, or the name {header.journal_id}{STREAM_SUFFIX}",
        )
    for beside in (tail_path(output), failed_path(output)):
        if os.path.lexists(beside):
            raise RecoverError(f"{beside} exists, and would be read as the new journal's tail")


def _write(output: Path, pieces: _Pieces) -> None:
    """Write, sync and verify the file, then give it its name."""
    hidden = output.with_name(f".{output.stem}.{secrets.token_hex(4)}.new")
    header = pieces.header()
    try:
        with hidden.open("xb") as file:
            file.write(encode_header(header.to_json(), header.about.extra_columns))
            for message in pieces.messages():
                file.write(message)
            file.write(pieces.new_footer(file.tell()))
            file.flush()
            os.fsync(file.fileno())
        _verify(hidden, pieces)
        take_name(hidden, output)
    finally:
        hidden.unlink(missing_ok=True)
    sync_folder(output.parent)


def _verify(hidden: Path, pieces: _Pieces) -> None:
    made = read_journal(hidden)
    found: Any = audit(made)
    if not found.intact or (made.step_count, made.trade_count) != (pieces.steps, pieces.trades):
        raise RecoverError(f"the copy does not verify: {[finding.message for finding in found.findings]}")
