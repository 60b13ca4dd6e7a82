"""Names that files take: never somebody else's, and on file systems without hard links too."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import pytest

import journal.host.files
from journal import EndReason, JournalExistsError, JournalWriter, State, read_journal
from journal.host.files import NewFile, take_name, write_all
from journal.ops.recover import RecoverMode, recover
from tests.support.journals import ABOUT, Fate, append_step, failing, write_journal

REFUSALS = [errno.EPERM, errno.ENOTSUP, errno.ENOSYS]


@contextmanager
def without_rename() -> Iterator[None]:
    """A kernel or a file system that cannot rename a file without replacing another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal.host.files, "rename_noreplace", lambda old, new: errno.EINVAL)
        yield


@contextmanager
def without_links(error: int = errno.EPERM) -> Iterator[None]:
    with without_rename(), failing(journal.host.files, "link", 1, OSError(error, os.strerror(error))):
        yield


@pytest.mark.parametrize("world", [nullcontext, without_rename, *(partial(without_links, error) for error in REFUSALS)])
def test_take_name__that_somebody_has__is_refused(
    tmp_path: Path, world: Callable[[], AbstractContextManager[None]]
) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.write_text("mine")
    theirs.write_text("theirs")
    with world(), pytest.raises(FileExistsError):
        take_name(mine, theirs)
    assert (mine.read_text(), theirs.read_text()) == ("mine", "theirs")


@pytest.mark.parametrize("world", [nullcontext, without_rename, *(partial(without_links, error) for error in REFUSALS)])
def test_take_name__of_nobody__renames(tmp_path: Path, world: Callable[[], AbstractContextManager[None]]) -> None:
    (tmp_path / "old").write_text("x")
    with world():
        take_name(tmp_path / "old", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_take_name__other_errors__are_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        take_name(tmp_path / "none", tmp_path / "new")


def test_new_file__before_it_is_published__has_no_name(tmp_path: Path) -> None:
    """A process that dies there leaves nothing behind."""
    with NewFile(tmp_path / "run" / "new") as file:
        write_all(file.fd, b"x")
        assert os.listdir(tmp_path / "run") == []
        file.publish()
    os.close(file.fd)
    assert (tmp_path / "run" / "new").read_bytes() == b"x"


def test_new_file__whose_name_somebody_has__leaves_that_alone(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("theirs")
    with pytest.raises(FileExistsError), NewFile(tmp_path / "new") as file:
        file.publish()
    os.close(file.fd)
    assert ((tmp_path / "new").read_text(), os.listdir(tmp_path)) == ("theirs", ["new"])


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_new_file__where_none_is_nameless__has_a_hidden_name_until_then(tmp_path: Path, error: int) -> None:
    real = os.open

    def without_nameless(path: str, flags: int, *more: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(error, os.strerror(error))
        return real(path, flags, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", without_nameless)
        with NewFile(tmp_path / "new") as file:
            (hidden,) = os.listdir(tmp_path)
            assert hidden.startswith(".new.")
            assert hidden.endswith(".new")
            file.publish()
    os.close(file.fd)
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("nameless", [True, False])
def test_new_file__that_replaces__is_there_at_once(
    tmp_path: Path, nameless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal.host.files, "_makes_nameless", lambda folder: nameless)
    (tmp_path / "new").write_text("old")
    with NewFile(tmp_path / "new") as file:
        write_all(file.fd, b"x")
        file.publish(replacing=True)
    os.close(file.fd)
    assert ((tmp_path / "new").read_text(), os.listdir(tmp_path)) == ("x", ["new"])


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
