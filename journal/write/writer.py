"""Write the journal of one episode. When `append` returns, its step survives SIGKILL."""

from __future__ import annotations

import errno
import logging
import os
import struct
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from journal.errors import JournalError, JournalExistsError, JournalValueError, JournalWriteError
from journal.format.checksum import generation_seed, journal_seed
from journal.format.footer import Footer
from journal.format.frames import END_OF_STREAM, End, Seal, encode_header, encoder_of
from journal.format.header import About, FileId, Header, microseconds
from journal.format.schema import (
    FORMAT_VERSION,
    MAX_CHECKPOINT,
    MAX_END_MESSAGE,
    MAX_TAIL_BYTES,
    MAX_TRADES_PER_STEP,
    UNKNOWN_TIME,
    EndReason,
    Trade,
)
from journal.format.slots import FLAGS_FROM_END, STEP, TERMINATED, TRADE, layout_of, pack_crc
from journal.format.values import NAN, text
from journal.host.files import NewFile, sync_folder, write_all
from journal.host.identity import this_writer
from journal.host.paths import failed_path, journal_path, new_journal_id, tail_path
from journal.read.reader import Journal
from journal.read.source import FileSource
from journal.write import lease
from journal.write.conversion import converted_step
from journal.write.tail import Tail, open_tail

if TYPE_CHECKING:
    from journal.format.schema import Fold

log = logging.getLogger("journal")

Durability = Literal["process", "checkpoint", "step"]
DURABILITIES: tuple[Durability, ...] = ("process", "checkpoint", "step")
CHECKPOINT_EVERY_STEPS = 1024
NO_EXTRA: tuple[float, ...] = ()
# The slots of one step fit into this reserve unless it closes more trades at once; then the tail grows.
_RESERVE_SLOTS = 32

_open_writers: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


class JournalWriter:
    """Append one episode to ``<root>/<run_id>/<journal_id>.arrows``.

        with JournalWriter("journals", "my-run", about=About("MyEnv", 10_000.0, 252)) as writer:
            writer.append(action=1, reward=0.01, portfolio_value=10_100.0)

    The writer holds the journal's lock until it is closed. A `with` block closes it: by the flags of the last step, or as
    `error` if the block raises. Without a close all appended steps are readable, but the journal does not say how the
    episode ended. Not thread-safe.

    A failed write ends journaling of this episode for good. With ``on_error="warn"`` the writer logs one warning, and
    `append` goes on folding the metrics in memory.

    Args:
        root: Folder of all runs.
        run_id: Name of the run, and of its folder.
        journal_id: Name of the journal; a new one if None.
        about: What the env says about the episode.
        fold: Running metrics, whose state the journal stores at each seal.
        durability: What survives a power cut: nothing for certain ("process"), the steps up to the last seal
            ("checkpoint"), or each step ("step").
        checkpoint_every_steps: Slots between two seals. A step takes one slot, and each trade one.
        on_error: Whether a failed write logs a warning or raises JournalWriteError.

    Attributes:
        path: The journal's stream, an absolute path.
        steps: Steps appended so far.
        trades: Trades appended so far.
        failure: Why journaling ended early; None if it did not.
        closed: Whether `close` was called.

    Raises:
        JournalExistsError: The run has a journal of this id.
        UnsafeNameError: An id is not a safe name.
        JournalValueError: ``about`` holds a value that no reader would accept.
    """

    # Slots, because attribute access is measurable here, and a __dict__ of more than 30 keys is slow.
    __slots__ = (
        "__weakref__", "_crc", "_durability", "_fd", "_filled", "_finalizer", "_intended_bytes", "_journal_seed", "_kept",
        "_last", "_layout", "_limit", "_lost", "_mask", "_most_slots", "_on_error", "_pack", "_place", "_put", "_rows",
        "_sealed_steps", "_sealed_trades", "_sealing", "_stream_bytes", "_tail", "about", "closed", "failure", "fold",
        "header", "journal_id", "path", "steps", "trades",
    )  # fmt: skip

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
    ) -> None:
        if durability not in DURABILITIES or on_error not in ("warn", "raise"):
            expected = f"one of {', '.join(DURABILITIES)}, and on_error warn or raise"
            raise JournalValueError("durability", (durability, on_error), expected)
        self._layout = layout_of(about.extra_columns)
        self._most_slots = MAX_TAIL_BYTES // self._layout.size - _RESERVE_SLOTS
        if not 1 <= checkpoint_every_steps <= self._most_slots:
            limits = f"from 1 to {self._most_slots}"
            raise ValueError(f"checkpoint_every_steps must be {limits}, got {checkpoint_every_steps}")
        self.journal_id = journal_id = new_journal_id() if journal_id is None else journal_id
        self.path = journal_path(os.path.abspath(root), run_id, journal_id)
        self.about = about
        self.fold = fold
        self.steps = self.trades = 0
        self.failure: OSError | None = None
        self.closed = False
        self._durability = durability
        self._on_error = on_error
        self._limit = checkpoint_every_steps
        self._pack = self._layout.pack
        self._rows: list[bytes] = []
        self._filled = 0  # slots since the last seal
        self._sealing = False
        self._sealed_steps = self._sealed_trades = 0
        self._kept: dict[int, tuple[Any, ...]] = {}
        self._last: tuple[int, int, int] = (
            0, UNKNOWN_TIME if about.start_market_time_us is None else about.start_market_time_us, 0,
        )  # fmt: skip
        self._journal_seed = self._mask = journal_seed(self.journal_id)
        self._crc = generation_seed(self.journal_id, 1)
        self._fd = -1
        self._tail: Tail | None = None
        self._put: Callable[[bytes], int] = _nowhere
        self._lost: OSError | None = None
        self._place = lease.keep(self.path.parent)
        self.header = Header(
            FORMAT_VERSION,
            run_id,
            journal_id,
            microseconds(datetime.now(UTC)),
            checkpoint_every_steps,
            this_writer(),
            about,
            folder=self._place.folder,
            root_id=self._place.root_id,
        )
        try:
            self._open()
        except OSError as error:
            self._fail(error)
        _open_writers.add(self)

    def append(
        self,
        action: float | None = NAN,
        reward: float | None = NAN,
        portfolio_value: float | None = NAN,
        price: float | None = NAN,
        cash: float | None = NAN,
        position: float | None = NAN,
        fees: float | None = NAN,
        unrealized_pnl: float | None = NAN,
        market_time: datetime | int | None = UNKNOWN_TIME,
        terminated: bool = False,
        truncated: bool = False,
        trades: Sequence[Trade] = (),
        extra: Sequence[float] = (),
    ) -> None:
        """Append one step. Its number is one more than that of the step before. What is left out, or None, is unknown.

        Args:
            action: The action as one number.
            reward: The reward.
            portfolio_value: Value of the account after the step.
            price: Price that marks the value.
            cash: Cash of the account.
            position: Signed units held.
            fees: Fees paid in this step.
            unrealized_pnl: Profit of the open position.
            market_time: Market time of the step: a datetime with a time zone, or microseconds since 1970.
            terminated: Whether the env reached a terminal state.
            truncated: Whether the env ended the episode otherwise.
            trades: The trades that this step closed.
            extra: A number for each extra column; all unknown if left out.

        Raises:
            JournalValueError: A value is not a number or a time; the error names the column and the value.
            JournalWriteError: The write failed, and ``on_error`` is "raise".
            ValueError: The writer is closed, or belongs to the parent process.
        """
        # The hot path. Inlined: a function call is measurable here.
        closed = len(trades)
        if self._filled + closed >= self._limit:
            self._make_room(closed)
        step = self.steps + 1
        # Invariant J1: nothing of this object changes before the slot is in the page cache. A signal can raise only where
        # Python calls something. Behind the `try` that is the last line, so a step is counted if and only if it is written.
        try:
            if extra is not NO_EXTRA:
                body = self._pack(
                    time.time_ns(), market_time, action, reward, portfolio_value, price, cash, position, fees,
                    unrealized_pnl, *extra, step, STEP, terminated | truncated << 1, closed,
                )  # fmt: skip
            else:
                body = self._pack(
                    time.time_ns(), market_time, action, reward, portfolio_value, price, cash, position, fees,
                    unrealized_pnl, step, STEP, terminated | truncated << 1, closed,
                )  # fmt: skip
            if closed:
                data, crc = self._with_trades(trades, body, step, market_time)
            else:
                crc = crc32c(body, self._crc)
                data = body + pack_crc(crc ^ self._mask)
            if self._put(data) != len(data):
                raise OSError(errno.ENOSPC, "short write to the tail")
        except OSError as error:
            self._fail(error)
        except (struct.error, TypeError, OverflowError):
            step_values = (action, reward, portfolio_value, price, cash, position, fees, unrealized_pnl, market_time)
            arguments = (*step_values, terminated, truncated, trades, extra)
            return self.append(*converted_step(arguments, self.about.extra_columns))
        except BaseException:
            self._take_back()
            raise
        self._crc = crc
        self.steps = step
        self.trades += closed
        self._filled += 1 + closed
        self._rows.append(data)

    def checkpoint(self) -> None:
        """Seal now: move the steps since the last seal into the stream, with the metrics up to here."""
        if self.closed:
            _ended(b"")
        self._seal(None)

    def close(self, reason: EndReason | str | None = None, message: str = "") -> None:
        """Record how the episode ended, and release the journal. Calling it again does nothing.

        Args:
            reason: How it ended, an EndReason or its text; by the flags of the last step if None.
            message: More about it, such as the text of an exception.
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
            _open_writers.discard(self)

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
        """Invariant: a fold that raises costs no step and no end. Readers compute the metrics from the rows."""
        try:
            self._seal(end)
        except Exception:
            if self.failure is None and self._tail is not None:
                self._seal(end)
            raise

    def kept_trades(self) -> list[tuple[Any, ...]]:
        """All trades of the episode, in schema.TRADE_COLUMNS order, if the journal failed; else nothing."""
        return [row for _, row in sorted(self._kept.items())]

    def held_files(self) -> tuple[str, ...]:
        """Return the names of the files that must be there, for the thread that renews this process's lease."""
        tail = self._tail
        if self.closed or tail is None or self._put is _nowhere:
            return ()
        return self.path.name, tail.path.name

    def hand_over(self, error: OSError) -> None:
        """Take an error that the renewing thread found: the next step, or the close, ends journaling by it."""
        if self.closed or self.failure is not None or self._lost is not None:
            return
        self._lost = error

        def put(data: bytes) -> int:
            raise error

        self._put = put

    def _open(self) -> None:
        """Invariant L2: the file is locked, and has its header and its tail, before it has its name."""
        try:
            with NewFile(self.path) as stream:
                self._fd = stream.fd
                self._finalizer = weakref.finalize(self, os.close, self._fd)  # a forgotten writer frees its lock
                self._finalizer.atexit = False
                capacity = (self._limit + _RESERVE_SLOTS) * self._layout.size
                self._tail = open_tail(tail_path(self.path), capacity, sync_each_step=self._durability == "step")
                info = os.fstat(self._fd)
                file_id = FileId(info.st_dev, info.st_ino)
                self.header = replace(self.header, stream=file_id, tail_mapped=self._tail.mapped)
                header = encode_header(self.header.to_json(), self.about.extra_columns)
                write_all(self._fd, header)
                self._place.hold(self.path.name, self)
                stream.publish()
        except FileExistsError as error:
            self._undo_open()
            hint = "each episode needs a journal id of its own"
            raise JournalExistsError(f"{self.path} exists already", hint=hint) from error
        except ValueError:
            self._undo_open()
            raise
        self._put = self._tail.put
        self._stream_bytes = self._intended_bytes = len(header)
        if self._durability != "process":
            os.fsync(self._fd)
            sync_folder(self.path.parent)
            sync_folder(self.path.parent.parent)

    def _undo_open(self) -> None:
        if self._tail is not None:
            self._tail.discard()
        self._release()

    def _make_room(self, trades: int) -> None:
        """Seal if the tail's share of slots is used up, or if this step does not fit behind what is there."""
        if self._put is _ended:
            _ended(b"")
        most = min(MAX_TRADES_PER_STEP, self._most_slots)
        if trades > most:
            raise JournalValueError("the number of trades of a step", trades, f"at most {most}")
        size = (trades + 1) * self._layout.size
        if self._filled >= self._limit or (self._tail is not None and not self._tail.fits(size)):
            self._seal(None)
        if self._tail is not None and not self._tail.fits(size):
            try:
                self._tail.grow(size)
                self._put = self._tail.put
            except OSError as error:
                self._fail(error)

    def _with_trades(self, trades: Sequence[Trade], body: bytes, step: int, market_time: Any) -> tuple[bytes, int]:
        """Return the slots of a step that closed trades, in one piece, and the running CRC behind them. On the hot path."""
        crc, number, mask, pack_trade = self._crc, self.trades, self._mask, self._layout.pack_trade
        pieces: list[bytes] = []
        for direction, quantity, entry_step, entry_time_us, entry_price, exit_price, pnl, costs in trades:
            number += 1
            slot = pack_trade(
                entry_time_us, entry_step, quantity, entry_price, exit_price, pnl, costs, number, market_time,
                step, TRADE, direction > 0, 0,
            )  # fmt: skip
            crc = crc32c(slot, crc)
            pieces += (slot, pack_crc(crc ^ mask))
        crc = crc32c(body, crc)
        pieces += (body, pack_crc(crc ^ mask))
        return b"".join(pieces), crc

    def _take_back(self) -> None:
        """Blank a slot whose step is not counted, because an exception such as Ctrl-C left `append`."""
        if self._tail is not None:
            try:
                self._tail.rewind(self._filled * self._layout.size)
            except OSError as error:
                self._fail(error)

    def _seal(self, end: End | None) -> None:
        """Move the rows since the last seal from the tail into the stream, with a checkpoint behind them."""
        if self._sealing:
            self._settle()
        if not self._rows and end is None:
            return
        self._sealing = True
        self._filled = self._limit  # if an exception leaves, the next step comes here first
        data = b"".join(self._rows)
        steps, trades = self._layout.columns(np.frombuffer(data, self._layout.dtype))
        if self.fold is not None and self._rows:
            self.fold.fold(steps, trades)
        if len(steps["step"]):
            terminal = int(steps["terminated"][-1]) | int(steps["truncated"][-1]) << 1
            self._last = (int(steps["wall_time"][-1]), int(steps["market_time"][-1]), terminal)
        seal = self._seal_of(len(steps["step"]), len(trades["pnl"]), end)
        if self.failure is None:
            message = encoder_of(self.about.extra_columns).encode(steps, trades, seal, self._journal_seed)
            try:
                self._write_seal(message, seal)
            except OSError as error:
                self._keep(trades)
                self._fail(error)
        else:
            self._keep(trades)
        self._rows = []
        self._filled = 0
        self._sealing = False

    def _settle(self) -> None:
        """Finish a seal that an exception such as Ctrl-C left.

        What it wrote counts. How much it folded is unknown, so no more checkpoints follow, and readers fold the rows.
        """
        self._sealing = False
        self.fold = None
        if self._tail is None:
            return
        try:
            size = os.fstat(self._fd).st_size
            if size != self._stream_bytes and size != self._intended_bytes:
                raise OSError(errno.EINTR, "a seal was interrupted in its write")
            if size != self._stream_bytes:
                self._stream_bytes, self._rows = size, []
                self._sealed_steps, self._sealed_trades = self.steps, self.trades
                self._crc = generation_seed(self.journal_id, self.steps + 1)
            if not self._rows:
                if self._durability != "process":
                    os.fdatasync(self._fd)
                self._tail.restart()
                self._filled = 0
        except OSError as error:
            self._fail(error)

    def _seal_of(self, steps: int, trades: int, end: End | None) -> Seal:
        state = self.fold.to_bytes() if self.fold is not None else None
        if state is not None and len(state) > MAX_CHECKPOINT:
            raise JournalValueError("fold.to_bytes()", len(state), f"at most {MAX_CHECKPOINT} bytes long")
        return Seal(self._sealed_steps + 1, steps, self._sealed_trades + 1, trades, *self._last, state, end)

    def _write_seal(self, message: bytes, seal: Seal) -> None:
        """Invariant J1: the stream has the rows (and the disk, if asked) before the tail is used anew or removed."""
        if self._tail is None:  # the fold forked, and this is the child
            _ended(b"")
        self._check_name()
        if seal.end is not None:
            stream_bytes = self._stream_bytes + len(message) + len(END_OF_STREAM)
            footer = Footer(self.steps, self.trades, *self._last, seal.checkpoint, seal.end, stream_bytes)
            message = message + END_OF_STREAM + footer.encode(self._journal_seed)
        size, next_crc = self._stream_bytes + len(message), generation_seed(self.journal_id, self.steps + 1)
        self._intended_bytes = size
        write_all(self._fd, message)
        self._stream_bytes = size  # no call from here to the rows' end, so that no signal comes between
        self._sealed_steps, self._sealed_trades, self._rows, self._crc = self.steps, self.trades, [], next_crc
        if self._durability != "process":
            os.fdatasync(self._fd)
        if seal.end is None:
            self._tail.restart()
        else:
            tail, self._tail = self._tail, None  # first, because a signal could close it while it waits to be reused
            tail.retire()

    def _check_name(self) -> None:
        """Invariant J6: a removed run folder ends journaling audibly; writes to a file without a name would succeed."""
        if self._lost is not None:
            raise self._lost
        try:
            found, own = os.stat(self.path, follow_symlinks=False), os.fstat(self._fd)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError:  # a network that fails for a moment is no loss; the write decides
            return
        if found.st_ino != own.st_ino and not own.st_nlink:
            raise OSError(errno.ESTALE, "another file has taken its name")

    def _fail(self, error: OSError) -> None:
        """Invariant J6: the first failed write ends journaling for good. The lock stays until the episode ends."""
        self.failure = error
        self._put = _nowhere
        if self._tail is not None:
            self._keep_sealed_trades()
            tail, self._tail = self._tail, None
            try:
                os.rename(tail.path, failed_path(self.path))
            except OSError:  # a read-only file system; readers of this mount see what is stored in its pages
                body = self._layout.pack_failed(self.steps + 1)
                mark = body + pack_crc(crc32c(body, self._crc) ^ self._mask)
                tail.put_mark(mark, sum(len(row) for row in self._rows))
            tail.close()
        reason = f"journal {self.path} is incomplete from step {self.steps + 1} on: {error.strerror or error}"
        if self._on_error == "raise":
            self.closed = True
            self._release()
            raise JournalWriteError(reason) from error
        log.warning("%s; training goes on, and an episode that ends by itself is still recorded", reason)

    def _keep(self, trades: Mapping[str, NDArray[Any]]) -> None:
        rows = zip(*(column.tolist() for column in trades.values()), strict=True)
        self._kept.update((row[0], row) for row in rows)

    def _keep_sealed_trades(self) -> None:
        """Read the trades before the failure back from the stream, which may have lost its name.

        Trades that cannot be read back are missing, and are counted as such.
        """
        try:
            fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
            with FileSource(self.path, fd) as source:
                sealed = Journal(source).trade_rows()
        except (JournalError, OSError):
            return
        self._kept.update((row[0], row) for row in sealed if row[0] <= self._sealed_trades)

    def _release(self) -> None:
        self._put = _ended
        self._place.release(self.path.name, self)
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.close()
        if self._fd >= 0:
            self._finalizer()
            self._fd = -1

    def _abandon(self) -> None:
        """In a forked child: close the descriptors and nothing else. The journal, and its lock, are the parent's."""
        self.closed = True
        self._release()

    def __reduce__(self) -> Any:
        raise TypeError("an open journal belongs to its process and cannot be pickled")


def _nowhere(data: bytes) -> int:
    """Take the steps of a journal that failed: only the fold sees them."""
    return len(data)


def _ended(data: bytes) -> NoReturn:
    raise ValueError("append to a journal that is closed, or that is the parent process's")


def _abandon_all() -> None:
    for writer in list(_open_writers):
        writer._abandon()


os.register_at_fork(after_in_child=_abandon_all)
