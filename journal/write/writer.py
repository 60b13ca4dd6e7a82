"""The writer of one episode's journal: append, seal, close. What `append` returned from survives SIGKILL."""

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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from journal.errors import JournalError, JournalExistsError, JournalWriteError
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
    EndReason,
    Trade,
)
from journal.format.slots import STEP, TRADE, layout_of, pack_crc
from journal.host.files import NewFile, sync_folder, write_all
from journal.host.identity import this_writer
from journal.host.paths import check_name, failed_path, journal_path, tail_path
from journal.read.reader import read_journal
from journal.write import lease
from journal.write.tail import Tail, open_tail

if TYPE_CHECKING:
    from journal.format.schema import Fold

log = logging.getLogger("journal")

Durability = Literal["process", "checkpoint", "step"]
DURABILITIES: tuple[Durability, ...] = ("process", "checkpoint", "step")
CHECKPOINT_EVERY_STEPS = 1024
# Slots of one step never outgrow this reserve unless it closes more trades at once; then the tail grows.
_RESERVE_SLOTS = 32

_open_writers: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


class JournalWriter:
    """Appends one episode to ``<root>/<run_id>/<journal_id>.arrows`` and holds its lock while it lives.

    A journal has a seal at least each ``checkpoint_every_steps`` slots, where a step takes one and each trade
    another. ``durability`` tells what survives a power cut: "process" promises nothing beyond the death of the
    process, "checkpoint" the steps up to the last seal, "step" each step. Without `close` all appended steps are
    still there, but the journal does not say how the episode ended.

    A write that fails ends journaling of this episode for good: with ``on_error="warn"`` by one warning, after which
    `append` goes on folding the metrics in memory (``failure`` has the reason, `kept_trades` the trades); with
    "raise" by a JournalWriteError. Raises JournalExistsError and UnsafeNameError at once. Not thread-safe.
    """

    # A fifth of an append between other work: beyond 30 attributes each object of a class has a hash table of its own.
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
        journal_id: str,
        *,
        about: About,
        fold: Fold | None = None,
        durability: Durability = "process",
        checkpoint_every_steps: int = CHECKPOINT_EVERY_STEPS,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        if durability not in DURABILITIES or on_error not in ("warn", "raise"):
            raise ValueError("durability or on_error is none of the documented values")
        self._layout = layout_of(about.extra_columns)
        self._most_slots = MAX_TAIL_BYTES // self._layout.size - _RESERVE_SLOTS
        if not 1 <= checkpoint_every_steps <= self._most_slots:
            limits = f"from 1 to {self._most_slots}"
            raise ValueError(f"checkpoint_every_steps must be {limits}, got {checkpoint_every_steps}")
        self.path = journal_path(root, run_id, journal_id)
        self.journal_id = check_name(journal_id, "journal id")
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
        self._last: tuple[int, int, int] = (0, about.start_market_time_us or 0, 0)
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
        action: float,
        reward: float,
        portfolio_value: float,
        price: float,
        cash: float,
        position: float,
        fees: float,
        unrealized_pnl: float,
        market_time_us: int,
        terminated: bool,
        truncated: bool,
        trades: Sequence[Trade] = (),
        extra: Sequence[float] = (),
    ) -> None:
        """Record one step; its number is one more than the last. When this returns, the step survives SIGKILL.

        The hot path: longer than the rest of the house, since here a call is a cost.
        """
        closed = len(trades)
        if self._filled + closed >= self._limit:
            self._make_room(closed)
        step = self.steps + 1
        # Invariant J1: nothing of this object changes before the slot is in the page cache. Behind the `try` a signal
        # finds no call to raise from before the last one is done, so a step is counted if and only if it stands.
        try:
            if extra:
                body = self._pack(
                    time.time_ns(), market_time_us, action, reward, portfolio_value, price, cash, position, fees,
                    unrealized_pnl, *extra, step, STEP, terminated | truncated << 1, closed,
                )  # fmt: skip
            else:
                body = self._pack(
                    time.time_ns(), market_time_us, action, reward, portfolio_value, price, cash, position, fees,
                    unrealized_pnl, step, STEP, terminated | truncated << 1, closed,
                )  # fmt: skip
            if closed:
                data, crc = self._with_trades(trades, body, step, market_time_us)
            else:
                crc = crc32c(body, self._crc)
                data = body + pack_crc(crc ^ self._mask)
            if self._put(data) != len(data):
                raise OSError(errno.ENOSPC, "short write to the tail")
        except OSError as error:
            self._fail(error)
        except struct.error as error:
            raise TypeError(f"step {step} of journal {self.journal_id} is not numeric: {error}") from error
        except BaseException:
            self._take_back()
            raise
        self._crc = crc
        self.steps = step
        self.trades += closed
        self._filled += 1 + closed
        self._rows.append(data)

    def checkpoint(self) -> None:
        """Seal now: the rows since the last seal become a batch of the stream, with the metrics up to here."""
        assert not self.closed, "Invariant: a closed journal is never written again"
        self._seal(None)

    def close(self, reason: EndReason, message: str = "") -> None:
        """State how the episode ended, and let go of the journal. Calling it again does nothing."""
        if self.closed:
            return
        words = message[:MAX_END_MESSAGE].encode("utf-8", "replace").decode()  # an exception may quote half a letter
        end = End(EndReason(reason).value, words, time.time_ns() // 1000)
        self.closed = True
        try:
            if self._lost is not None and self.failure is None:
                self._fail(self._lost)
            self._seal(end)
        finally:
            self._release()
            _open_writers.discard(self)

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
        """Seal if the tail's share is used up, or if this step would not fit behind what stands in it."""
        most = min(MAX_TRADES_PER_STEP, self._most_slots)
        if trades > most:
            raise ValueError(f"a step closes at most {most} trades, got {trades}")
        size = (trades + 1) * self._layout.size
        if self._filled >= self._limit or (self._tail is not None and not self._tail.fits(size)):
            self._seal(None)
        if self._tail is not None and not self._tail.fits(size):
            try:
                self._tail.grow(size)
                self._put = self._tail.put
            except OSError as error:
                self._fail(error)

    def _with_trades(self, trades: Sequence[Trade], body: bytes, step: int, market_time_us: int) -> tuple[bytes, int]:
        """The slots of a step that closed trades, in one piece, and the running CRC behind them. On the hot path."""
        crc, number, mask, pack_trade = self._crc, self.trades, self._mask, self._layout.pack_trade
        pieces: list[bytes] = []
        for direction, quantity, entry_step, entry_time_us, entry_price, exit_price, pnl, costs in trades:
            number += 1
            slot = pack_trade(
                entry_time_us, entry_step, quantity, entry_price, exit_price, pnl, costs, number, market_time_us,
                step, TRADE, direction > 0, 0,
            )  # fmt: skip
            crc = crc32c(slot, crc)
            pieces += (slot, pack_crc(crc ^ mask))
        crc = crc32c(body, crc)
        pieces += (body, pack_crc(crc ^ mask))
        return b"".join(pieces), crc

    def _take_back(self) -> None:
        """An exception that no write made, Ctrl-C for one, left `append`: a slot that is not counted must not stand."""
        if self._tail is not None:
            try:
                self._tail.rewind(self._filled * self._layout.size)
            except OSError as error:
                self._fail(error)

    def _seal(self, end: End | None) -> None:
        """Move the rows since the last seal from the tail into the stream, with the checkpoint behind them."""
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
        """An exception, Ctrl-C for one, left the last seal. What it wrote counts; nobody knows what it folded, so
        there are no more checkpoints, and readers fold the rows themselves."""
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
            raise ValueError(f"a fold's state takes at most {MAX_CHECKPOINT} bytes, got {len(state)}")
        return Seal(self._sealed_steps + 1, steps, self._sealed_trades + 1, trades, *self._last, state, end)

    def _write_seal(self, message: bytes, seal: Seal) -> None:
        """Invariant J1: the stream has the rows (and the disk, if asked) before the tail is used anew or removed."""
        assert self._tail is not None
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
            tail, self._tail = self._tail, None  # first, or a signal could have it closed while it waits to be reused
            tail.retire()

    def _fail(self, error: OSError) -> None:
        """Invariant J6: the first failed write ends journaling for good; the lock stays until the episode ends."""
        self.failure = error
        self._put = _nowhere
        if self._tail is not None:
            self._keep_sealed_trades()
            tail, self._tail = self._tail, None
            tail.close()
            try:
                os.rename(tail.path, failed_path(self.path))
            except OSError:
                log.debug("the tail of %s could not be renamed", self.path)
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
        """The trades before the failure stand in the stream; what cannot be read back there is missing and counted."""
        try:
            sealed = read_journal(self.path).trade_rows()
        except JournalError:
            return
        self._kept.update((row[0], row) for row in sealed if row[0] <= self._sealed_trades)

    def _release(self) -> None:
        self._put = _ended
        self._place.release(self.path.name, self)
        if self._tail is not None:
            self._tail.close()
        if self._fd >= 0:
            self._finalizer()
            self._fd = -1

    def _abandon(self) -> None:
        """In a forked child: the journal is the parent's. Only the descriptors go; flock stays with the parent."""
        self.closed = True
        self._release()

    def __reduce__(self) -> Any:
        raise TypeError("an open journal belongs to its process and cannot be pickled")


def _nowhere(data: bytes) -> int:
    """Where steps go once the journal has failed: only the fold sees them."""
    return len(data)


def _ended(data: bytes) -> int:
    raise ValueError("append to a journal that is closed, or that is the parent process's")


def _abandon_all() -> None:
    for writer in list(_open_writers):
        writer._abandon()


os.register_at_fork(after_in_child=_abandon_all)
