"""Write the journal of one episode. When `append` returns, its step survives SIGKILL."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from journal.errors import JournalValueError
from journal.format.checksum import generation_seed, journal_seed
from journal.format.frames import End
from journal.format.header import About, FileId, Header
from journal.format.schema import (
    FORMAT_VERSION,
    MAX_END_MESSAGE,
    MAX_TAIL_BYTES,
    UNKNOWN_TIME,
    EndReason,
)
from journal.format.slots import FLAGS_FROM_END, TERMINATED, layout_of
from journal.format.values import text
from journal.host.forks import no_fork
from journal.host.identity import this_writer
from journal.host.paths import new_journal_id, run_dir, stream_file
from journal.write import lease
from journal.write.sealing import RESERVE_SLOTS, SealingWriter, ended, nowhere, open_writers

if TYPE_CHECKING:
    from journal.format.schema import Fold

log = logging.getLogger("journal")

Durability = Literal["process", "checkpoint", "step"]
DURABILITIES: tuple[Durability, ...] = ("process", "checkpoint", "step")
CHECKPOINT_EVERY_STEPS = 1024


class JournalWriter(SealingWriter):
    """Append one episode to ``<root>/<run_id>/<journal_id>.arrows``.

        with JournalWriter("journals", "my-run", about=About("MyEnv", 10_000.0, 252)) as writer:
            writer.append(action=1, reward=0.01, portfolio_value=10_100.0)

    The writer holds the journal's lock until it is closed. A `with` block closes it: by the flags of the last step, or as
    `error` if the block raises. Without a close all appended steps are readable, but the journal does not say how the
    episode ended. Not thread-safe.

    A failed write ends journaling of this episode. With ``on_error="warn"`` the writer logs one warning, and `append`
    continues to fold the metrics in memory.

    Args:
        root: Folder of all runs.
        run_id: Name of the run, and of its folder.
        journal_id: Name of the journal; a new one if None.
        about: The env's facts about the episode.
        fold: Running metrics, whose state the journal stores at each seal.
        durability: Which steps certainly survive a power cut: none ("process"), those up to the last seal
            ("checkpoint"), or all ("step").
        checkpoint_every_steps: Slots between two seals. A step takes one slot, and each trade one.
        on_error: Whether a failed write logs a warning or raises JournalWriteError.
        on_failure: Called once with the writer and the error if journaling ends early, in the thread of `append` or in
            the thread that renews the lease.

    Attributes:
        path: The journal's stream, an absolute path.
        steps: Steps appended so far.
        trades: Trades appended so far.
        failure: The error that ended journaling early; None if there was none.
        closed: Whether `close` was called.

    Raises:
        JournalExistsError: The run has a journal of this id.
        UnsafeNameError: An id is not a safe name.
        JournalValueError: ``about`` contains a value that readers would refuse.
    """

    __slots__ = ()

    def __init__(
        self,
        root: Path | str,
        run_id: str,
        journal_id: str | None = None,
        *,
        about: About,
        fold: Fold | None = None,
        durability: Durability = "process",
        checkpoint_every_steps: int = CHECKPOINT_EVERY_STEPS,
        on_error: Literal["warn", "raise"] = "warn",
        on_failure: Callable[[JournalWriter, OSError], object] | None = None,
    ) -> None:
        if durability not in DURABILITIES or on_error not in ("warn", "raise"):
            expected = f"one of {', '.join(DURABILITIES)}, and on_error warn or raise"
            raise JournalValueError("durability", (durability, on_error), expected)
        layout = layout_of(about.extra_columns)
        self._most_slots = MAX_TAIL_BYTES // layout.size - RESERVE_SLOTS
        if not 1 <= checkpoint_every_steps <= self._most_slots:
            limits = f"from 1 to {self._most_slots}"
            raise ValueError(f"checkpoint_every_steps must be {limits}, got {checkpoint_every_steps}")
        self.journal_id = journal_id = new_journal_id() if journal_id is None else journal_id
        root = os.path.abspath(root)
        self._file = stream_file(root, run_id, journal_id)
        self.about = about
        self.fold = fold
        self.failure = None
        self.closed = False
        self._durability = durability
        self._on_error = on_error
        self._on_failure = on_failure
        self._sealing = False
        self._sealed_steps = self._sealed_trades = 0
        self._kept = {}
        self._last = (
            0, UNKNOWN_TIME if about.start_market_time_us is None else about.start_market_time_us, 0,
        )  # fmt: skip
        self._journal_seed = journal_seed(journal_id)
        self._start(layout, checkpoint_every_steps, self._journal_seed, generation_seed(journal_id, 1))
        self._fd = -1
        self._tail = self._batch = None
        self._put = nowhere
        self._lost = None
        self._place = lease.keep(run_dir(root, run_id))
        start_time_us = time.time_ns() // 1000

        def header_of(stream: FileId | None, tail_mapped: bool | None) -> Header:
            return Header(
                FORMAT_VERSION, run_id, self.journal_id, start_time_us, checkpoint_every_steps, this_writer(), about, stream,
                tail_mapped, self._place.folder, self._place.root_id,
            )  # fmt: skip

        with no_fork:
            try:
                self._open(header_of)
            except OSError as error:
                if not hasattr(self, "header"):  # the file could not be made
                    self.header = header_of(None, None)
                self._fail(error)
            open_writers.add(self)

    def checkpoint(self) -> None:
        """Seal now: move the steps since the last seal into the stream, with the current metrics."""
        if self.closed:
            ended(b"")
        self._seal(None)

    def close(self, reason: EndReason | str | None = None, message: str = "") -> None:
        """Record how the episode ended, and release the journal. Calling it again does nothing.

        Args:
            reason: How it ended, an EndReason or its text. None: by the flags of the last step.
            message: Details, such as the text of an exception.
        """
        if self.closed:
            return
        end = End(self._reason(reason).value, text(message, MAX_END_MESSAGE), time.time_ns() // 1000)
        self.closed = True
        try:
            if self._lost is not None and self.failure is None:
                self._fail(self._lost)
            self._seal_without_fold_if_it_fails(end)
        finally:
            self._release()
            open_writers.discard(self)

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None:
            self.close()
        elif isinstance(error, Exception):
            self.close(EndReason.ERROR, f"{type(error).__name__}: {text(error)}")
        else:  # Ctrl-C and sys.exit are not errors of the env
            self.close(EndReason.CLOSED)

    def _reason(self, reason: EndReason | str | None) -> EndReason:
        if reason is None:
            flags = self._rows[-1][FLAGS_FROM_END] if self._rows else self._last[2]
            if flags & TERMINATED:
                return EndReason.TERMINATED
            return EndReason.TIME_LIMIT if flags else EndReason.CLOSED
        try:
            return EndReason(reason)
        except ValueError as error:
            raise JournalValueError("reason", reason, f"one of {', '.join(EndReason)}") from error

    def _seal_without_fold_if_it_fails(self, end: End) -> None:
        """Seal, without the fold if it raises. Then no step is lost, and readers compute the metrics from the rows."""
        try:
            self._seal(end)
        except Exception:
            if self.failure is None and self._tail is not None:
                self._seal(end)
            raise

    def kept_trades(self) -> list[tuple[Any, ...]]:
        """Return all trades in the order of schema.TRADE_COLUMNS if the journal failed; else an empty list."""
        return [row for _, row in sorted(self._kept.items())]

    def __reduce__(self) -> Any:
        raise TypeError("an open journal belongs to its process and cannot be pickled")
