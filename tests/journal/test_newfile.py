"""Names that files take: never somebody else's, and on file systems without hard links too."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

import journal.host.files
from journal import EndReason, JournalExistsError, JournalWriter, State, read_journal
from journal.host.files import take_name
from journal.ops.recover import RecoverMode, recover
from tests.support.journals import ABOUT, Fate, append_step, failing, write_journal

REFUSALS = [errno.EPERM, errno.ENOTSUP, errno.ENOSYS]


def without_links(error: int = errno.EPERM):
    return failing(journal.host.files, "link", 1, OSError(error, os.strerror(error)))


@pytest.mark.parametrize("error", [None, *REFUSALS])
def test_take_name__that_somebody_has__is_refused(tmp_path: Path, error: int | None) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.write_text("mine")
    theirs.write_text("theirs")
    with without_links(error) if error else nullcontext(), pytest.raises(FileExistsError):
        take_name(mine, theirs)
    assert (mine.read_text(), theirs.read_text()) == ("mine", "theirs")


@pytest.mark.parametrize("error", REFUSALS)
def test_take_name__without_links__renames(tmp_path: Path, error: int) -> None:
    (tmp_path / "old").write_text("x")
    with without_links(error):
        take_name(tmp_path / "old", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_take_name__other_errors__are_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        take_name(tmp_path / "none", tmp_path / "new")


def test_journals__without_links__live_as_elsewhere(tmp_path: Path) -> None:
    """Two episodes, of which the second takes over the first one's tail; a name that is taken; a recovered copy."""
    with without_links():
        for name in ("first", "second"):
            writer = JournalWriter(tmp_path, "run", name, about=ABOUT)
            for step in range(1, 6):
                append_step(writer, step)
            writer.close(EndReason.TERMINATED)
            look = read_journal(writer.path)
            assert (look.state, look.step_count, writer.failure) == (State.CLOSED, 5, None)
        with pytest.raises(JournalExistsError):
            JournalWriter(tmp_path, "run", "first", about=ABOUT)
        killed = write_journal(tmp_path, 20, end=Fate.DEAD, seal_every=7)
        recover(killed, tmp_path / "copy.arrows", RecoverMode.PREFIX)
    assert read_journal(tmp_path / "copy.arrows").step_count == 20
    assert not [path for path in tmp_path.rglob(".*") if path.suffix == ".new"]
