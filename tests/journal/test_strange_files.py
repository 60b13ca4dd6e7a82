"""Names that are no files, files that change while they are read, and two who want the same name."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from journal import (
    EndReason,
    JournalAccessError,
    JournalExistsError,
    NotAJournalError,
    Observer,
    State,
    list_journals,
    read_journal,
)
from journal.errors import RecoverError
from journal.host.paths import failed_path, tail_path
from journal.inspect.condition import Condition
from journal.inspect.overview import overview
from journal.ops.recover import RecoverMode, recover
from journal.read.headers import read_header
from journal.read.peek import peek
from journal.write.writer import JournalWriter
from tests.support.journals import ABOUT, DigestFold, Fate, abandon, append_step, write_journal


def as_pipe(path: Path, whole: Path) -> None:
    os.mkfifo(path)


def as_folder(path: Path, whole: Path) -> None:
    path.mkdir()


def as_link(path: Path, whole: Path) -> None:
    path.symlink_to(whole)


def as_link_to_itself(path: Path, whole: Path) -> None:
    path.symlink_to(path)


def as_socket(path: Path, whole: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{here}/{path.name}")  # a socket's path may not be long
    os.close(here)


def as_device(path: Path, whole: Path) -> None:
    path.symlink_to("/dev/zero")


STRANGE = [as_pipe, as_folder, as_link, as_link_to_itself, as_socket, as_device]
READERS: list[Callable[[Path], Any]] = [
    read_journal,
    read_header,
    peek,
    lambda path: recover(path, path.with_name("new.arrows"), RecoverMode.SALVAGE),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", STRANGE)
@pytest.mark.parametrize("suffix", [".arrows", ".tail", ".failed"])
def test_name__that_is_no_file__is_refused_at_once(tmp_path: Path, make: Any, suffix: str) -> None:
    """Nobody waits for a pipe's other end, and no link is followed: not for the stream, not for what stands beside."""
    whole = write_journal(tmp_path / "elsewhere", 5, end=Fate.DEAD)
    path = tmp_path / "run" / "journal.arrows"
    path.parent.mkdir()
    if suffix != ".arrows":
        shutil.copy(whole, path)
    make(path.with_suffix(suffix), whole.with_suffix(".tail") if suffix != ".arrows" else whole)
    for read in READERS if suffix == ".arrows" else [read_journal]:
        with pytest.raises(JournalAccessError):
            read(path)
    seen = overview(str(path), Observer())
    assert seen.condition is Condition.UNREADABLE
    assert seen.problem


def test_folder__in_place_of_a_run__lists_nothing_and_says_so(tmp_path: Path) -> None:
    """A run that is a file, a journal that is a folder with journals in it."""
    (tmp_path / "run").write_bytes(b"")
    with pytest.raises(JournalAccessError):
        read_journal(tmp_path / "run" / "journal.arrows")
    write_journal(tmp_path, 3, run_id="other", journal_id="whole")
    (tmp_path / "other" / "folder.arrows").mkdir()
    (tmp_path / "other" / "pipe.arrows").symlink_to("/dev/zero")
    folder = tmp_path / "other"
    found = [overview(str(folder / f"{name}.arrows"), Observer()) for name in list_journals(tmp_path, "other")]
    conditions = {seen.journal_id: seen.condition for seen in found}
    assert conditions.pop("whole") is Condition.CLOSED
    assert set(conditions.values()) <= {Condition.UNREADABLE}


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's rights, which no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["stream", "tail", "folder"])
def test_permission__denied__is_an_access_error(public: Path, what: str) -> None:
    """The journal may be sound: it is not judged. A tail that cannot be read might hold steps, so it is no `no tail`."""
    path = write_journal(public, 5, end=Fate.DEAD)
    closed = {"stream": path, "tail": tail_path(path), "folder": path.parent}[what]
    mode = closed.stat().st_mode
    closed.chmod(0)
    try:
        with nobody(), pytest.raises(JournalAccessError, match="ermission"):
            read_journal(path)
    finally:
        closed.chmod(mode)
    with nobody():
        assert read_journal(path).step_count == 5


def test_name__that_is_not_utf8__is_read_or_refused(tmp_path: Path) -> None:
    """In a run's folder it is another journal's copy; elsewhere it is one's own business."""
    path = write_journal(tmp_path, 5)
    names = [os.fsdecode(bytes(path.parent) + b"/\xff.arrows"), os.fsdecode(bytes(tmp_path) + b"/\xe4\xff.arrows")]
    for name in names:
        shutil.copy(path, name)
        seen = overview(name, Observer(), whole=True)
        assert seen.problem or seen.steps == 5
        try:
            peeked = peek(name)
        except NotAJournalError:
            continue
        assert peeked is not None
        assert peeked.steps == 5


def test_name__with_a_nul__is_an_access_error() -> None:
    """Whoever passes it on from a request."""
    with pytest.raises(JournalAccessError):
        read_journal("run/a\0b.arrows")


def test_journal__replaced_while_it_is_read__rows_are_not_mixed(tmp_path: Path) -> None:
    """Rows of a long journal are read later: from the same file, or there is an error."""
    steps = 1500
    path = write_journal(tmp_path, steps, seal_every=500, fold=DigestFold(), end=EndReason.CLOSED)
    others = [
        write_journal(tmp_path / "longer", steps + 10, seal_every=500, fold=DigestFold()),
        write_journal(tmp_path / "later", steps, seal_every=500, fold=DigestFold(), end=EndReason.CLOSED),
        write_journal(tmp_path / "foreign", steps, seal_every=500, journal_id="foreign"),
    ]
    for other in others:
        journal = read_journal(path)
        keep = path.read_bytes()
        os.replace(other, path)
        with pytest.raises(JournalAccessError, match="changed"):
            journal.steps()
        with pytest.raises(JournalAccessError, match="changed"):
            journal.replayed(DigestFold)
        path.unlink()
        with pytest.raises(JournalAccessError):
            journal.trade_rows()
        path.write_bytes(keep)
        assert journal.steps().num_rows == steps


def test_journal__short_and_closed__keeps_the_bytes_that_were_verified(tmp_path: Path) -> None:
    """Whatever happens to the file later, the rows are those of the first look."""
    path = write_journal(tmp_path, 30, seal_every=10, fold=DigestFold(), end=EndReason.CLOSED)
    whole = read_journal(path)
    steps, trades, state = whole.steps(), whole.trade_rows(), whole.replayed(DigestFold).to_bytes()
    journal = read_journal(path)
    os.replace(write_journal(tmp_path / "later", 30, seal_every=10, fold=DigestFold(), end=EndReason.CLOSED), path)
    assert not read_journal(path).steps().equals(steps)
    assert journal.steps().equals(steps)
    path.unlink()
    assert journal.trade_rows() == trades
    assert journal.replayed(DigestFold).to_bytes() == state


def test_stream__cut_or_lengthened_behind_a_look__says_so_or_gives_what_was_seen(tmp_path: Path) -> None:
    """It grows in the usual course of things."""
    path = write_journal(tmp_path, 30, seal_every=10, end=Fate.DEAD)
    journal, size = read_journal(path), path.stat().st_size
    with path.open("ab") as file:
        file.write(b"more" * 999)
    assert journal.steps().num_rows == 30
    os.truncate(path, size - 1)
    with pytest.raises(JournalAccessError, match="changed"):
        journal.steps()


def claim(root: Path, start: Any, won: Any) -> None:
    start.wait()
    try:
        writer = JournalWriter(root, "run", "j", about=ABOUT)
    except JournalExistsError:
        return
    for step in range(1, 21):
        append_step(writer, step)
    won.put((os.getpid(), writer.steps, writer.failure is None))
    abandon(writer)


def test_name__wanted_by_many__one_gets_it(tmp_path: Path) -> None:
    """At the same instant, from several processes; the losers leave nothing that changes the winner's journal."""
    fork = multiprocessing.get_context("fork")
    for attempt in range(12):
        root, start, won = tmp_path / str(attempt), fork.Barrier(4), fork.SimpleQueue()
        processes = [fork.Process(target=claim, args=(root, start, won)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
        pid, steps, sound = won.get()
        assert won.empty()
        journal = read_journal(root / "run" / "j.arrows")
        assert (journal.header.writer.pid, journal.step_count, journal.findings, sound) == (pid, steps, (), True)
        assert not list((root / "run").glob(".*.new"))


@pytest.mark.parametrize("end", [EndReason.CLOSED, Fate.DEAD, Fate.FAILED, Fate.TORN])
def test_name__that_is_taken__stays_what_it_was(tmp_path: Path, end: EndReason | Fate) -> None:
    """A refused writer changes nothing of it, whatever state it is in: not even by the blank tail that it had made."""
    path = write_journal(tmp_path, 30, seal_every=20, end=end)
    before = read_journal(path)
    with pytest.raises(JournalExistsError):
        JournalWriter(tmp_path, "run", "journal", about=ABOUT)
    after = read_journal(path)
    assert (after.state, after.step_count, after.torn) == (before.state, before.step_count, before.torn)
    assert after.steps().equals(before.steps())
    assert failed_path(path).exists() == (before.state is State.FAILED)


def test_recover__onto_anything_that_is_there__refuses(tmp_path: Path) -> None:
    """A dangling link, a pipe, a folder; and nothing is left behind."""
    path = write_journal(tmp_path, 5)
    for make in STRANGE:
        output = tmp_path / f"{make.__name__}.arrows"
        make(output, path)
        with pytest.raises(JournalExistsError):
            recover(path, output, RecoverMode.SALVAGE)
    (tmp_path / "dangling.arrows").symlink_to(tmp_path / "nowhere")
    with pytest.raises(JournalExistsError):
        recover(path, tmp_path / "dangling.arrows", RecoverMode.SALVAGE)
    (tmp_path / "new.tail").write_bytes(b"")
    with pytest.raises(RecoverError):
        recover(path, tmp_path / "new.arrows", RecoverMode.SALVAGE)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".new")]
