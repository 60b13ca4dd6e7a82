"""Handle the files of a journal: open them, move steps from the tail into the stream, and end after a failure."""

from __future__ import annotations

import errno
import logging
import os
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from journal.errors import JournalError, JournalExistsError, JournalValueError, JournalWriteError
from journal.format.checksum import generation_seed
from journal.format.encoding import encode_header, encoder_of
from journal.format.footer import Footer
from journal.format.frames import END_OF_STREAM, End, Frame, Seal
from journal.format.header import About, FileId, Header
from journal.format.schema import MAX_CHECKPOINT, MAX_TRADES_PER_STEP
from journal.format.slots import Columns, pack_crc
from journal.host.files import NewFile, sync_folder, write_all
from journal.host.paths import failed_path, tail_file
from journal.read.reader import Journal
from journal.read.source import FileSource
from journal.write.appending import Appending
from journal.write.lease import Place
from journal.write.tail import Tail, open_tail

if TYPE_CHECKING:
    from journal.format.schema import Fold

log = logging.getLogger("journal")

# The slots of one step fit into this reserve unless it closes more trades at once; then the tail grows.
RESERVE_SLOTS = 32

open_writers: weakref.WeakSet[SealingWriter] = weakref.WeakSet()


class SealingWriter(Appending):
    """The stream and the tail of an open journal. `JournalWriter` sets the attributes, and appends."""

    # The state of each step is in Appending.
    __slots__ = (
        "__weakref__", "_batch", "_durability", "_fd", "_file", "_intended_bytes", "_journal_seed", "_kept", "_last",
        "_lost", "_most_slots", "_on_error", "_on_failure", "_place", "_readers_header", "_sealed_steps", "_sealed_trades",
        "_sealing", "_stream_bytes", "_tail", "about", "closed", "failure", "fold", "header", "journal_id",
    )  # fmt: skip

    journal_id: str
    about: About
    fold: Fold | None
    failure: OSError | None
    closed: bool
    header: Header
    _batch: tuple[Frame, tuple[Columns, Columns]] | None  # of a closed journal with one batch
    _durability: str
    _fd: int  # of the stream, with its lock; -1 if it is closed or was not made
    _file: str  # the stream's path
    _intended_bytes: int  # of the stream, once the write in progress is done
    _journal_seed: int
    _kept: dict[int, tuple[Any, ...]]  # trades of a failed journal
    _last: tuple[int, int, int]  # wall time, market time and flags of the last sealed step
    _lost: OSError | None  # an error that the thread that renews the lease found
    _most_slots: int
    _on_error: str
    _on_failure: Callable[[Any, OSError], object] | None
    _place: Place
    _readers_header: Header  # as readers decode it
    _sealed_steps: int
    _sealed_trades: int
    _sealing: bool  # whether an exception left a seal
    _stream_bytes: int
    _tail: Tail | None

    @property
    def path(self) -> Path:
        """The journal's stream, an absolute path."""
        return Path(self._file)

    @property
    def _name(self) -> str:
        return self._file.rpartition("/")[2]

    def __del__(self) -> None:
        """Release the lock of a writer that was deleted without being closed."""
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            os.close(fd)

    def closed_journal(self) -> Journal | None:
        """Return the closed journal as `read_journal` would, without reading it.

        None if it must be read: it is not closed, a write failed, or it has several batches.
        """
        if self._batch is None or self.failure is not None:
            return None
        return Journal.of_batch(self._file, self._readers_header, *self._batch, self._stream_bytes)

    def held_files(self) -> tuple[str, ...]:
        """Return the names of the files that must exist, for the thread that renews this process's lease."""
        tail = self._tail
        if self.closed or tail is None or self._put is nowhere:
            return ()
        return self._name, tail.name

    def hand_over(self, error: OSError) -> None:
        """Store an error that the renewing thread found. The next step, or the close, ends journaling with it."""
        if self.closed or self.failure is not None or self._lost is not None:
            return
        self._lost = error

        def put(data: bytes) -> int:
            raise error

        self._put = put
        self._tell(error)

    def _tell(self, error: OSError) -> None:
        """Call `on_failure` once, so that the loss can be recorded while this process lives."""
        tell, self._on_failure = self._on_failure, None
        if tell is not None:
            try:
                tell(self, error)
            except Exception:
                log.exception("the failure of journal %s could not be passed on", self.path)

    def _open(self, header_of: Callable[[FileId, bool], Header]) -> None:
        """Create the stream. It is locked, and has its header and its tail, before it gets its name (invariant L2).

        Args:
            header_of: Returns the header for the stream's file; the second argument is whether the tail is mapped.
        """
        try:
            with NewFile(self._file) as stream:
                self._fd = stream.fd
                capacity = (self._limit + RESERVE_SLOTS) * self._layout.size
                tail = self._tail = open_tail(
                    tail_file(self._file), capacity, sync_each_step=self._durability == "step"
                )
                info = os.fstat(self._fd)
                self.header = header_of(FileId(info.st_dev, info.st_ino), tail.mapped)
                text, self._readers_header = self.header.encoded()
                header = encode_header(text, self.about.extra_columns)
                write_all(self._fd, header)
                self._place.hold(self._name, self)
                stream.publish()
        except FileExistsError as error:
            self._undo_open()
            hint = "each episode needs a journal id of its own"
            raise JournalExistsError(f"{self._file} exists already", hint=hint) from error
        except ValueError:
            self._undo_open()
            raise
        self._put = tail.put
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
        """Seal if the tail's number of slots is used up, or if this step does not fit into the rest."""
        if self._put is ended:
            ended(b"")
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

    def _take_back(self) -> None:
        """Blank a slot whose step is not counted, because an exception such as Ctrl-C left `append`."""
        if self._tail is not None:
            try:
                self._tail.rewind(self._filled * self._layout.size)
            except OSError as error:
                self._fail(error)

    def _seal(self, end: End | None) -> None:
        """Move the rows since the last seal from the tail into the stream, with a checkpoint after them."""
        if self._sealing:
            self._settle()
        if not self._rows and end is None:
            return
        self._sealing = True
        self._filled = self._limit  # if an exception leaves, the next step continues here
        data = b"".join(self._rows)
        steps, trades = self._layout.columns(np.frombuffer(data, self._layout.dtype))
        if self.fold is not None and self._rows:
            self.fold.fold(steps, trades)
        if len(steps["step"]):
            terminal = int(steps["terminated"][-1]) | int(steps["truncated"][-1]) << 1
            self._last = (int(steps["wall_time"][-1]), int(steps["market_time"][-1]), terminal)
        seal = self._seal_of(len(steps["step"]), len(trades["pnl"]), end)
        if self.failure is None and not self._in_order(steps):
            # Invariant: sealed rows can be read.
            self._fail(OSError(errno.EBUSY, "several threads append to it at once"))
        if self.failure is None:
            message = encoder_of(self.about.extra_columns).encode(steps, trades, seal, self._journal_seed)
            frame = Frame(self._stream_bytes, len(message), seal)
            try:
                self._write_seal(message, seal)
            except OSError as error:
                self._keep(trades)
                self._fail(error)
            else:
                self._batch = (frame, (steps, trades)) if end is not None and seal.first_step == 1 else None
        else:
            self._keep(trades)
        self._rows = []
        self._filled = 0
        self._sealing = False

    def _in_order(self, steps: Mapping[str, NDArray[Any]]) -> bool:
        """Return whether the rows are the steps since the last seal, each once."""
        numbers = steps["step"]
        if len(numbers) != self.steps - self._sealed_steps:
            return False
        return bool(np.logical_and.reduce(numbers == np.arange(self._sealed_steps + 1, self.steps + 1)))

    def _settle(self) -> None:
        """Finish a seal that an exception such as Ctrl-C interrupted.

        Its written rows count. It is unknown how many it folded, so no more checkpoints follow, and readers fold the rows.
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
        """Write the rows to the stream (and to disk if requested) before the tail is reused or removed (invariant J1)."""
        if self._tail is None:  # the fold forked, and this is the child
            ended(b"")
        self._check_name()
        if seal.end is not None:
            stream_bytes = self._stream_bytes + len(message) + len(END_OF_STREAM)
            footer = Footer(self.steps, self.trades, *self._last, seal.checkpoint, seal.end, stream_bytes)
            message = message + END_OF_STREAM + footer.encode(self._journal_seed)
        size, next_crc = self._stream_bytes + len(message), generation_seed(self.journal_id, self.steps + 1)
        self._intended_bytes = size
        write_all(self._fd, message)
        self._stream_bytes = size  # no calls from here on, so that no signal interrupts
        self._sealed_steps, self._sealed_trades, self._rows, self._crc = self.steps, self.trades, [], next_crc
        if self._durability != "process":
            os.fdatasync(self._fd)
        if seal.end is None:
            self._tail.restart()
        else:
            tail, self._tail = self._tail, None  # first, because a signal could close it before it is reused
            tail.retire()

    def _check_name(self) -> None:
        """End journaling if the run's folder was removed (invariant J6). Writes to a file without a name would succeed."""
        if self._lost is not None:
            raise self._lost
        try:
            found, made = os.stat(self._file, follow_symlinks=False), self.header.stream
            lost = made is not None and found.st_ino != made.inode and not os.fstat(self._fd).st_nlink
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError:  # a short network failure is no loss; the write decides
            return
        if lost:
            raise OSError(errno.ESTALE, "another file has taken its name")

    def _fail(self, error: OSError) -> None:
        """End journaling after the first failed write (invariant J6). The lock is kept until the episode ends."""
        self.failure = error
        self._put = nowhere
        if self._tail is not None:
            self._keep_sealed_trades()
            tail, self._tail = self._tail, None
            try:
                os.rename(tail.path, failed_path(self.path))
            except OSError:  # a read-only file system; readers of this mount still see the stored pages
                body = self._layout.pack_failed(self.steps + 1)
                mark = body + pack_crc(crc32c(body, self._crc) ^ self._mask)
                tail.put_mark(mark, sum(len(row) for row in self._rows))
            tail.close()
        self._tell(error)
        reason = f"journal {self._file} is incomplete from step {self.steps + 1} on: {error.strerror or error}"
        if self._on_error == "raise":
            self.closed = True
            self._release()
            raise JournalWriteError(reason) from error
        log.warning("%s; training continues, and if the env ends the episode, its row is still complete", reason)

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
        self._put = ended
        self._place.release(self._name, self)
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.close()
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)  # so that no signal interrupts

    def _abandon(self) -> None:
        """Close only the descriptors in a forked child. The journal and its lock belong to the parent."""
        self.closed = True
        self._release()


def nowhere(data: bytes) -> int:
    """Discard the steps of a failed journal. Only the fold gets them."""
    return len(data)


def ended(data: bytes) -> NoReturn:
    raise ValueError("append to a journal that is closed, or that is the parent process's")


def _abandon_all() -> None:
    for writer in list(open_writers):
        writer._abandon()


os.register_at_fork(after_in_child=_abandon_all)
