"""The writer: what it survives, what it refuses, and what it does when the disk does not take it."""

from __future__ import annotations

import errno
import gc
import logging
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import journal.host.files
import journal.write.sealing
import journal.write.tail
from journal import (
    About,
    EndReason,
    JournalExistsError,
    JournalValueError,
    JournalWriteError,
    JournalWriter,
    Liveness,
    Observer,
    State,
    UnsafeNameError,
    journal_path,
    list_journals,
    read_journal,
)
from journal.host.paths import failed_path, parse_journal_path, tail_path
from journal.write import lease
from rsc.metrics import RunningMetrics
from tests.support.journals import append_step, failing, model_trades, step_of, trades_of_step, write_journal

ABOUT = About("Model", 10_000.0, 252.0)
ENOSPC = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
EIO = OSError(errno.EIO, os.strerror(errno.EIO))


def writer_in(root: Path, journal_id: str = "journal", **settings: Any) -> JournalWriter:
    settings = {"about": ABOUT, "checkpoint_every_steps": 10, "fold": RunningMetrics(10_000.0, 252.0), **settings}
    return JournalWriter(root, "run", journal_id, **settings)


def exact(steps: int, root: Path) -> RunningMetrics:
    """The model's figures, by a journal on a healthy disk."""
    path = write_journal(root, steps, fold=RunningMetrics(10_000.0, 252.0), checkpoint_every_steps=10)
    return read_journal(path).folded(lambda: RunningMetrics(10_000.0, 252.0), RunningMetrics.from_bytes)


@pytest.mark.parametrize("mapped", ["1", "0"], ids=["mapped", "written"])
@pytest.mark.parametrize("error", [ENOSPC, EIO, None], ids=["disk full", "i/o error", "short write"])
@pytest.mark.parametrize("at", [2, 3])
def test_seal__write_fails__episode_goes_on_and_its_figures_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mapped: str, error: Any, at: int
) -> None:
    """J6: one warning, nothing appended behind the hole, the tail kept as `.failed`, lock held, figures in memory."""
    monkeypatch.setenv("RSC_MAPPED_TAIL", mapped)
    with failing(journal.host.files, "write", at, error), caplog.at_level(logging.WARNING):
        writer = writer_in(tmp_path / "bad")
        for step in range(1, 101):
            append_step(writer, step)
        look = Observer().look(writer.path, writer.header.origin)
        assert look.liveness is Liveness.ALIVE
        size = writer.path.stat().st_size
        writer.close(EndReason.TERMINATED)
    assert writer.path.stat().st_size == size, "nothing is appended behind a hole"
    assert len([record for record in caplog.records if record.name == "journal"]) == 1
    assert failed_path(writer.path).exists()
    assert not tail_path(writer.path).exists()
    assert sorted(writer.kept_trades()) == model_trades(100)
    assert isinstance(writer.fold, RunningMetrics)
    assert writer.fold.result().total_steps == 100
    assert writer.fold.result().pnl == exact(100, tmp_path / "good").result().pnl
    left = read_journal(writer.path)
    assert left.state is State.FAILED
    assert left.findings == ()
    assert 0 < left.last_step < 100


def test_open__no_space__episode_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even the tail could be reserved."""
    with failing(journal.write.tail, "posix_fallocate", 1, ENOSPC), caplog.at_level(logging.WARNING):
        writer = writer_in(tmp_path)
        append_step(writer, 1)
        writer.close(EndReason.CLOSED)
    assert "No space left" in caplog.text
    assert list(list_journals(tmp_path, "run")) == []
    assert isinstance(writer.fold, RunningMetrics)
    assert writer.fold.result().total_steps == 1


def test_on_error_raise__write_fails__is_told_at_once(tmp_path: Path) -> None:
    """For those who prefer to stop."""
    with failing(journal.host.files, "write", 2, ENOSPC):
        writer = writer_in(tmp_path, on_error="raise")
        for step in range(1, 7):  # with their trades ten slots
            append_step(writer, step)
        with pytest.raises(JournalWriteError, match="No space left"):
            writer.checkpoint()


def test_fsync__fails__is_never_tried_again(tmp_path: Path) -> None:
    """The kernel has dropped the pages; the tail, which still has the rows, is kept."""
    with failing(journal.write.sealing, "fdatasync", 1, EIO) as fault:
        writer = writer_in(tmp_path, durability="checkpoint")
        for step in range(1, 60):
            append_step(writer, step)
        writer.close(EndReason.CLOSED)
    assert fault.failed == 1
    assert failed_path(writer.path).exists()


def test_disk_full__really__rlimit(tmp_path: Path) -> None:
    """A real limit of the kernel, in a process of its own."""
    script = f"""
import resource, sys
from pathlib import Path
from journals import append_step
from journal import About, EndReason, JournalWriter
from rsc.metrics import RunningMetrics
writer = JournalWriter(Path({str(tmp_path)!r}), "run", "journal", about=About("Model", 10_000.0, 252.0),
                       fold=RunningMetrics(10_000.0, 252.0), checkpoint_every_steps=64)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for step in range(1, 2001):
    append_step(writer, step)
writer.close(EndReason.TERMINATED)
print(writer.fold.result().total_steps, len(writer.kept_trades()))
"""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2000", str(len(model_trades(2000)))]
    assert done.stderr.count("incomplete from step") == 1
    assert read_journal(journal_path(tmp_path, "run", "journal")).state is State.FAILED


class Order:
    """os, writing down in which order data is written and synced."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in ("write", "fsync", "fdatasync", "pwrite", "link"):
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            self.seen.append(name)
            return real(*arguments, **options)

        return call


@pytest.mark.parametrize(
    ("durability", "expected"),
    [
        ("process", ["write", "link", "write"]),
        ("checkpoint", ["write", "link", "fsync", "fsync", "fsync", "write", "fdatasync"]),
    ],
)
def test_durability__order__stream_is_synced_before_the_tail_is_used_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any, expected: list[str]
) -> None:
    """And files and folders before the first step is acknowledged."""
    lease.keep(tmp_path / "run")  # its own files are made before
    with journal.host.files.NewFile(tmp_path / "run" / "first") as first:  # it tries what this folder can do
        os.close(first.fd)
    order = Order()
    monkeypatch.setattr(journal.write.sealing, "os", order)
    monkeypatch.setattr(journal.host.files, "os", order)
    writer = writer_in(tmp_path, durability=durability)
    restarts: list[int] = []
    tail = writer._tail
    assert tail is not None
    real = tail.restart
    monkeypatch.setattr(tail, "restart", lambda: (restarts.append(len(order.seen)), real())[1])
    for step in range(1, 12):
        append_step(writer, step)
    assert order.seen == expected
    assert restarts == [len(expected)], "the tail is blanked after the last of them"
    writer.close(EndReason.CLOSED)


def test_durability_step__each_step__is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One write and one sync a step."""
    order = Order()
    monkeypatch.setattr(journal.write.tail, "os", order)
    writer = writer_in(tmp_path, durability="step")
    for step in (1, 2, 3):
        append_step(writer, step)
    assert order.seen == ["write", "fdatasync"] * 3
    writer.close(EndReason.CLOSED)


def test_power_cut__durability_checkpoint__keeps_all_up_to_the_last_seal(tmp_path: Path) -> None:
    """What was synced is the stream; take the tail away as a power cut may."""
    path = write_journal(tmp_path, 35, end=None, seal_every=10, durability="checkpoint", checkpoint_every_steps=64)
    tail_path(path).write_bytes(b"")
    assert read_journal(path).last_step == 30


def test_journal_id__that_exists__is_never_overwritten(tmp_path: Path) -> None:
    """Nor is its tail touched."""
    path = write_journal(tmp_path, 5, end=None)
    before = path.read_bytes(), tail_path(path).read_bytes()
    with pytest.raises(JournalExistsError):
        writer_in(tmp_path)
    assert (path.read_bytes(), tail_path(path).read_bytes()) == before
    assert [name.name for name in path.parent.iterdir() if name.name.startswith(".")] == []


@given(st.text(max_size=30))
def test_names__whatever_they_are__never_leave_the_root(name: str) -> None:
    """A name is taken as it is, or refused."""
    try:
        path = journal_path("/root", "run", name)
    except UnsafeNameError:
        return
    assert path.parent == Path("/root/run")
    assert parse_journal_path(path) == (Path("/root"), "run", name)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", "a\0b", "-x", ".hidden", "x" * 129, "é", "a\n"])
def test_names__that_could_leave_the_root__are_refused(name: str) -> None:
    """By run id and by journal id."""
    with pytest.raises(UnsafeNameError):
        journal_path("/root", name, "ok")
    with pytest.raises(UnsafeNameError):
        journal_path("/root", "ok", name)


def test_read__symlink__is_not_followed(tmp_path: Path) -> None:
    """A name in a run's folder leads nowhere else."""
    path = write_journal(tmp_path, 5)
    link = path.with_name("link.arrows")
    link.symlink_to(path)
    with pytest.raises(journal.errors.JournalAccessError):
        read_journal(link)


def test_writer__pickled__refuses(tmp_path: Path) -> None:
    """An open journal belongs to its process."""
    writer = writer_in(tmp_path)
    with pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps(writer)
    writer.close(EndReason.CLOSED)


def test_writer__garbage_collected__frees_its_lock_and_says_no_end(tmp_path: Path) -> None:
    """Its steps are all there."""
    writer = writer_in(tmp_path)
    for step in range(1, 6):
        append_step(writer, step)
    path, origin = writer.path, writer.header.origin
    del writer
    gc.collect()
    assert Observer().look(path, origin).liveness is Liveness.DEAD
    look = read_journal(path)
    assert (look.state, look.step_count) == (State.OPEN, 5)


def test_fork__child_exits__parent_keeps_lock_and_journal(tmp_path: Path) -> None:
    """The child only lets go of its descriptors."""
    writer = writer_in(tmp_path)
    append_step(writer, 1)
    child = os.fork()
    if child == 0:
        os._exit(0 if writer.closed and Observer().look(writer.path, writer.header.origin).liveness == "alive" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert Observer().look(writer.path, writer.header.origin).liveness is Liveness.ALIVE
    for step in range(2, 31):
        append_step(writer, step)
    writer.close(EndReason.CLOSED)
    assert read_journal(writer.path).step_count == 30


def test_close__twice__writes_once(tmp_path: Path) -> None:
    """A closed journal is never written again."""
    writer = writer_in(tmp_path)
    append_step(writer, 1)
    writer.close(EndReason.CLOSED)
    before = writer.path.read_bytes()
    writer.close(EndReason.ERROR)
    assert writer.path.read_bytes() == before


def test_append__not_a_number__names_the_column_and_the_value(tmp_path: Path) -> None:
    """An env's mistake, in words."""
    writer = writer_in(tmp_path)
    with pytest.raises(JournalValueError, match="action must be a number, got 'x'"):
        writer.append("x", 0, 0, 0, 0, 0, 0, 0, 0, False, False)  # type: ignore[arg-type]
    writer.close(EndReason.ERROR)


def test_step__with_more_trades_than_a_tail_holds__is_kept(tmp_path: Path) -> None:
    """The tail grows."""
    writer = writer_in(tmp_path)
    many = trades_of_step(1) * 500
    writer.append(*step_of(1), False, False, many)
    assert read_journal(writer.path).trade_count == 500
    append_step(writer, 2)
    writer.close(EndReason.CLOSED)
    assert read_journal(writer.path).trade_count == 500 + len(trades_of_step(2))


def test_step__that_would_outgrow_what_readers_read__is_refused(tmp_path: Path) -> None:
    columns = tuple(f"x{number}" for number in range(1000))
    writer = JournalWriter(tmp_path, "run", "wide", about=replace(ABOUT, extra_columns=columns))
    extra = (1.0,) * len(columns)
    with pytest.raises(ValueError, match="at most 8257, got 9000"):
        writer.append(*step_of(1), False, False, trades_of_step(1) * 9000, extra)
    writer.append(*step_of(1), False, False, trades_of_step(1) * 8000, extra)
    writer.close(EndReason.CLOSED)
    assert read_journal(writer.path).trade_count == 8000


def test_limits__that_readers_keep__are_kept_by_the_writer(tmp_path: Path) -> None:
    """What could be written and never read is refused before the first step."""
    with pytest.raises(ValueError, match="checkpoint_every_steps must be from 1 to"):
        JournalWriter(tmp_path, "run", "long", about=ABOUT, checkpoint_every_steps=1_000_000)
    assert not list(tmp_path.rglob("*.arrows"))


def test_fold__state_too_large__is_told_and_costs_no_step(tmp_path: Path) -> None:
    class Fat:
        def fold(self, steps: Any, trades: Any) -> None:
            pass

        def to_bytes(self) -> bytes:
            return bytes(100_000)

    writer = JournalWriter(tmp_path, "run", "fat", about=ABOUT, fold=Fat())
    append_step(writer, 1)
    with pytest.raises(ValueError, match="at most 65536 bytes"):
        writer.checkpoint()
    for step in range(2, 30):
        append_step(writer, step)
    writer.close(EndReason.CLOSED)
    assert read_journal(writer.path).step_count == 29


def test_spare_tail__that_somebody_removed__is_made_anew(tmp_path: Path) -> None:
    writer_in(tmp_path, "first").close(EndReason.CLOSED)
    for spare in tmp_path.rglob(".*.spare"):
        spare.unlink()
    writer = writer_in(tmp_path, "second")
    append_step(writer, 1)
    assert (writer.failure, read_journal(writer.path).step_count) == (None, 1)


def test_refused_name__leaves_no_tail(tmp_path: Path) -> None:
    path = write_journal(tmp_path, 5)
    with pytest.raises(JournalExistsError):
        JournalWriter(tmp_path, path.parent.name, path.stem, about=ABOUT)
    assert not tail_path(path).exists()
