"""Read the verified batches of a stream again, and decode them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from journal.errors import JournalAccessError, NotAJournalError
from journal.format.decoding import DecodeError
from journal.format.frames import Frame, Seal, seal_of, verified
from journal.read.source import Source

T = TypeVar("T")


@dataclass(frozen=True)
class Batches:
    """The batches of a stream.

    Attributes:
        name: The stream's path.
        extra: The extra columns of its steps.
        seed: The start value of its checksums.
        reopen: Opens the stream.
        whole: All its bytes, if they were kept when they were verified.
    """

    name: str
    extra: tuple[str, ...]
    seed: int
    reopen: Callable[[], AbstractContextManager[Source]]
    whole: bytes | None = None

    def decoded(
        self, frames: Iterable[Frame], decode: Callable[[bytes, tuple[str, ...], Seal], T], *, lenient: bool = False
    ) -> Iterator[T]:
        """Yield decoded batches. ``lenient`` skips those that verify but contradict their seal.

        Raises:
            NotAJournalError: A batch verifies but contradicts its seal.
            JournalAccessError: The file has changed, or cannot be read.
        """
        for frame, message in self._messages(frames):
            try:
                yield decode(message, self.extra, frame.seal)
            except DecodeError as error:
                if lenient:
                    continue
                what = (
                    f"its batch of steps {frame.seal.first_step} to {frame.seal.last_step} cannot be decoded: {error}"
                )
                raise NotAJournalError(Path(self.name), what, hint="journal verify says more") from error

    def _messages(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, bytes]]:
        """Yield verified messages. They are read and verified again, because the file may have changed since the walk."""
        if self.whole is not None:
            for frame in frames:
                yield frame, self.whole[frame.offset : frame.offset + frame.length]
        elif wanted := list(frames):
            with self.reopen() as source:
                for frame in wanted:
                    message = source.read(frame.offset, frame.length)
                    if not verified(message, self.seed) or seal_of(message) != frame.seal:
                        raise JournalAccessError(Path(self.name), OSError(errno.EIO, "it changed while it was read"))
                    yield frame, message
