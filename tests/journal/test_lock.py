"""Is its writer alive? Locks where they can be trusted, leases elsewhere; unsure means wait."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from journal import (
    EndReason,
    JournalAccessError,
    JournalExistsError,
    Liveness,
    NotAJournalError,
    Observer,
    RunMarker,
    journal_path,
    marker_liveness,
    read_header,
    read_marker,
)
from journal.host.liveness import lease_path, read_lease
from tests.support.journals import write_journal


class Clock:
    """An observer's own clock, set by the test."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def remote(clock: Clock | None = None) -> Observer:
    """An observer who cannot trust locks here."""
    return Observer(local=lambda path: False, clock=clock or Clock())


def beat(path: Path, number: int, interval_s: float = 10.0) -> Path:
    lease = lease_path(path.parent, read_header(path).writer)
    lease.parent.mkdir(exist_ok=True)
    lease.write_text(json.dumps({"beat": number, "interval_s": interval_s}))
    return lease


@pytest.mark.parametrize("stopped", [False, True])
def test_writer__alive_or_paused__is_never_taken_for_dead(tmp_path: Path, stopped: bool) -> None:
    """A held lock is alive, on whatever file system, however long it is silent; SIGKILL frees it at once."""
    command = [sys.executable, "-m", "journals", str(tmp_path), "1", "16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            writer.stdout.read(8)
            if stopped:
                os.kill(writer.pid, signal.SIGSTOP)
            path = journal_path(tmp_path, "run", "j0")
            identity = read_header(path).writer
            for observer in (Observer(), remote(), Observer(boot_id="another")):
                assert observer.look(path, identity).liveness is Liveness.ALIVE
        finally:
            writer.kill()
        writer.stdout.read()
        writer.wait(10)
        assert Observer().look(path, identity).liveness is Liveness.DEAD


def test_lock_free__after_a_reboot__is_dead_at_once(tmp_path: Path) -> None:
    """On a local disk of the same host."""
    path = write_journal(tmp_path, 3, end=None)
    look = Observer(boot_id="the next boot").look(path, read_header(path).writer)
    assert look.liveness is Liveness.DEAD
    assert "boot" in look.reason


@pytest.mark.parametrize("change", [{"host": "other"}, {"machine_id": "other"}])
def test_lock_free__written_on_another_machine__is_unsure(tmp_path: Path, change: dict[str, str]) -> None:
    """A copied disk proves nothing about a live machine."""
    path = write_journal(tmp_path, 3, end=None)
    look = Observer(boot_id="another", **change).look(path, read_header(path).writer)
    assert look.liveness is Liveness.UNSURE


def test_lock_free__same_boot_other_host_name__is_dead(tmp_path: Path) -> None:
    """Containers of one host share its kernel, and so its locks."""
    path = write_journal(tmp_path, 3, end=None)
    assert Observer(host="container").look(path, read_header(path).writer).liveness is Liveness.DEAD


def test_lease__unchanged_for_three_intervals_of_the_observers_clock__is_dead(tmp_path: Path) -> None:
    """Not before, and never by the writer's clock."""
    path = write_journal(tmp_path, 3, end=None)
    identity, clock = read_header(path).writer, Clock()
    observer = remote(clock)
    beat(path, 7)
    for seconds in (0.0, 15.0, 29.9):
        clock.now = 100.0 + seconds
        assert observer.look(path, identity).liveness is Liveness.UNSURE, seconds
    clock.now = 130.0
    look = observer.look(path, identity)
    assert look.liveness is Liveness.DEAD
    assert look.lease_age_s == 30.0


def test_lease__that_beats__starts_the_watch_anew(tmp_path: Path) -> None:
    """A writer that was slow is not dead."""
    path = write_journal(tmp_path, 3, end=None)
    identity, clock = read_header(path).writer, Clock()
    observer = remote(clock)
    for number in range(5):
        beat(path, number)
        assert observer.look(path, identity).liveness is Liveness.UNSURE
        clock.now += 25.0
    assert remote(clock).look(path, identity).liveness is Liveness.UNSURE, "a new observer watches from its own start"


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{}", b"[1]", b'{"beat": "x", "interval_s": 1}', b'{"beat": 1, "interval_s": -1.0}', b"\xff" * 9000],
)
def test_lease__missing_or_unreadable__is_unsure(tmp_path: Path, content: bytes | None) -> None:
    """Unsure means wait."""
    path = write_journal(tmp_path, 3, end=None)
    lease = beat(path, 1)
    lease.unlink() if content is None else lease.write_bytes(content)
    clock = Clock()
    observer = remote(clock)
    observer.look(path, read_header(path).writer)
    clock.now += 1000.0
    assert observer.look(path, read_header(path).writer).liveness is Liveness.UNSURE


def test_process_is_gone__only_its_own_host_can_tell(tmp_path: Path) -> None:
    """And a pid that was given away again is not the writer's."""
    path = write_journal(tmp_path, 3, end=EndReason.CLOSED)
    writer = read_header(path).writer
    assert not Observer().process_is_gone(writer), "this process wrote it, and lives"
    assert Observer().process_is_gone(dataclasses.replace(writer, process_start=1))
    assert not Observer(host="other").process_is_gone(dataclasses.replace(writer, process_start=1))


def test_marker__of_a_living_driver__is_held_and_unique(tmp_path: Path) -> None:
    """Free once the driver lets go; and no second driver gets the same run."""
    marker = RunMarker(tmp_path, "run", {"seed": 1})
    look = marker_liveness(tmp_path, "run", Observer())
    assert look is not None
    assert look.liveness is Liveness.ALIVE
    with pytest.raises(JournalExistsError, match="exists already"):
        RunMarker(tmp_path, "run", {})
    marker.close()
    look = marker_liveness(tmp_path, "run", Observer())
    assert look is not None
    assert look.liveness is Liveness.DEAD
    assert marker_liveness(tmp_path, "elsewhere", Observer()) is None


@pytest.mark.parametrize("change", [{"host": 5}, {"pid": "1"}, {"boot_id": None}, {"machine_id": ["x"]}])
def test_marker__that_states_what_no_driver_does__is_unsure(tmp_path: Path, change: dict[str, object]) -> None:
    """A marker has no checksum: whatever stands in it, looking at it does not raise, and it ends nothing."""
    marker = RunMarker(tmp_path, "run", {})
    marker.close()
    raw = json.loads(marker.path.read_text())
    marker.path.write_text(json.dumps({**raw, "writer": {**raw["writer"], **change}}))
    observer = Observer(local=lambda folder: False)
    assert marker_liveness(tmp_path, "run", observer).liveness is Liveness.UNSURE  # type: ignore[union-attr]
    with pytest.raises(NotAJournalError, match="damaged"):
        read_marker(tmp_path, "run")


def test_marker__that_is_a_pipe_or_leads_elsewhere__is_refused_at_once(tmp_path: Path) -> None:
    """As journals are: an open of a pipe would wait for a writer for ever."""
    (tmp_path / "pipe").mkdir()
    (tmp_path / "link").mkdir()
    os.mkfifo(tmp_path / "pipe" / "run")
    os.symlink("/etc/hostname", tmp_path / "link" / "run")
    for run_id in ("pipe", "link"):
        with pytest.raises(JournalAccessError):
            read_marker(tmp_path, run_id)


def test_lease__that_is_a_pipe__is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.lease")
    assert read_lease(tmp_path / "x.lease") is None
