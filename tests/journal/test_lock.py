"""Is its writer alive? The seven rules on real files; tests/attacks has them on real mounts and namespaces."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from journal import (
    EndReason,
    JournalAccessError,
    JournalExistsError,
    JournalWriter,
    Liveness,
    NotAJournalError,
    Observer,
    RunMarker,
    journal_path,
    marker_liveness,
    read_header,
    read_marker,
)
from journal.format.header import FileId, Origin
from journal.host import identity
from journal.host.identity import Process, look_at_process, this_writer
from journal.host.leases import lease_path, read_lease
from journal.host.liveness import probe
from journal.host.roots import read_root_id, root_id_of
from journal.write import lease, sealing
from journal.write.marker import node_of_marker
from tests.support.journals import ABOUT, append_step, write_journal

ALIVE, DEAD, UNSURE = Liveness.ALIVE, Liveness.DEAD, Liveness.UNSURE


class Clock:
    """An observer's own clock, set by the test."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def observer_of(**changes: Any) -> Observer:
    """An observer whose process differs in these facts from this one, and that sees no process."""
    more = {name: changes.pop(name) for name in ("clock", "process") if name in changes}
    kind = changes.pop("kind", "ext4")
    settings = {"process": lambda writer: Process.UNSEEN, **more}
    return Observer(replace(this_writer(), **changes), file_system=lambda folder: kind, **settings)


def beat(path: Path, number: int, *, files: list[str] | None = None, ended: bool = False, copied: bool = False) -> Path:
    """Renew the lease of a journal's writer as the writer does."""
    file = lease_path(path.parent, read_header(path).writer.token)
    with file.open("r+b") as opened:
        listed = [path.name] if files is None else files
        inode = os.fstat(opened.fileno()).st_ino + copied
        opened.truncate()
        opened.write(
            json.dumps({"beat": number, "interval_s": 10.0, "inode": inode, "files": listed, "ended": ended}).encode()
        )
    return file


def copied(path: Path, folder: Path) -> Path:
    """`cp -r` of the journal's root."""
    shutil.copytree(path.parent.parent, folder)
    return folder / path.parent.name / path.name


@pytest.mark.parametrize("stopped", [False, True])
def test_rule_1__alive_or_paused__is_never_taken_for_dead(tmp_path: Path, stopped: bool) -> None:
    """A held lock is alive, on whatever file system, however long it is silent; SIGKILL frees it at once."""
    command = [sys.executable, "-m", "journals", str(tmp_path), "1", "16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            writer.stdout.read(8)
            if stopped:
                os.kill(writer.pid, signal.SIGSTOP)
            path = journal_path(tmp_path, "run", "j0")
            origin = read_header(path).origin
            for observer in (Observer(), observer_of(kind="nfs4"), observer_of(boot_id="another")):
                assert observer.look(path, origin).liveness is ALIVE
        finally:
            writer.kill()
        writer.stdout.read()
        writer.wait(10)
        look = Observer().look(path, origin)
        assert (look.liveness, look.rule, look.certain) == (DEAD, 2, True)


def test_rule_2__process_gone__is_dead_on_a_copy_too_but_not_for_certain(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "root", 3, end=None)
    copy = copied(path, tmp_path / "copy")
    observer = observer_of(process=lambda writer: Process.GONE, kind="fuse")
    for place, certain in ((path, True), (copy, False)):
        look = observer.look(place, read_header(place).origin)
        assert (look.liveness, look.rule, look.certain) == (DEAD, 2, certain)


def test_rule_3__lock_free_on_the_file_that_was_locked__is_dead(tmp_path: Path) -> None:
    """Containers of one host share its kernel, and so its locks; a hard link and a new name are the same file."""
    path = write_journal(tmp_path / "root", 3, end=None)
    moved = tmp_path / "moved"
    (tmp_path / "root").rename(moved)
    path = journal_path(moved, "run", path.stem)
    look = observer_of(host="container", pid_namespace="pid:[1]").look(path, read_header(path).origin)
    assert (look.liveness, look.rule, look.certain) == (DEAD, 3, True)


@pytest.mark.parametrize("change", ["device", "inode", "unknown"])
def test_rule_3__another_file__proves_nothing(tmp_path: Path, change: str) -> None:
    path = write_journal(tmp_path, 3, end=None)
    origin = read_header(path).origin
    assert origin.file is not None
    file = None if change == "unknown" else replace(origin.file, **{change: 1})
    look = observer_of().look(path, Origin(origin.writer, file, "/elsewhere"))
    assert (look.liveness, look.rule, look.certain) == (UNSURE, 7, False)


def test_copy__is_unsure_and_names_the_place_of_the_run(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "root", 3, end=None)
    copy = copied(path, tmp_path / "copy")
    look = Observer().look(copy, read_header(copy).origin)
    assert (look.liveness, look.original) == (UNSURE, False)
    assert f"may be a copy of a run that lives at {path.parent}" in look.reason


def remounted(path: Path) -> Origin:
    """What the journal would say if its folder had been mounted anew since: another device number."""
    origin = read_header(path).origin
    assert origin.file is not None
    return replace(origin, file=FileId(origin.file.device + 1, origin.file.inode))


SHARED: dict[str, Any] = {"kind": "nfs4", "boot_id": "another", "host": "other"}


@pytest.mark.parametrize(
    ("rule", "facts", "origin_of"), [(4, {}, remounted), (6, SHARED, lambda path: read_header(path).origin)]
)
class TestLease:
    """Rules 4 and 6: the lease decides."""

    def test_unchanged_for_three_intervals_of_watching__is_dead_and_never_certain(
        self, tmp_path: Path, rule: int, facts: dict[str, Any], origin_of: Callable[[Path], Origin]
    ) -> None:
        """Not before, and never by the writer's clock; a gap between two looks counts as one interval."""
        path, clock = write_journal(tmp_path, 3, end=None), Clock()
        observer = observer_of(clock=clock, **facts)
        beat(path, 7)
        for seconds in (0.0, 10.0, 1000.0, 1009.9):
            clock.now = 100.0 + seconds
            look = observer.look(path, origin_of(path))
            assert (look.liveness, look.rule) == (UNSURE, rule), seconds
            assert look.lease_age_s is not None
        clock.now = 1111.0
        look = observer.look(path, origin_of(path))
        assert (look.liveness, look.rule, look.certain) == (DEAD, rule, False)
        assert look.lease_age_s is not None
        assert look.lease_age_s >= 30.0

    def test_renewed__is_alive(
        self, tmp_path: Path, rule: int, facts: dict[str, Any], origin_of: Callable[[Path], Origin]
    ) -> None:
        """A writer that is slow is not dead, and a new observer watches from its own start."""
        path, clock = write_journal(tmp_path, 3, end=None), Clock()
        observer = observer_of(clock=clock, **facts)
        for number in range(5):
            beat(path, number)
            expected = ALIVE if number else UNSURE
            assert observer.look(path, origin_of(path)).liveness is expected
            clock.now += 25.0
        assert observer_of(clock=clock, **facts).look(path, origin_of(path)).liveness is UNSURE

    def test_still_while_its_process_is_seen_to_run__is_unsure(
        self, tmp_path: Path, rule: int, facts: dict[str, Any], origin_of: Callable[[Path], Origin]
    ) -> None:
        """It is suspended."""
        path, clock = write_journal(tmp_path, 3, end=None), Clock()
        observer = observer_of(clock=clock, process=lambda writer: Process.RUNS, **facts)
        beat(path, 1)
        for _ in range(10):
            assert observer.look(path, origin_of(path)).liveness is UNSURE
            clock.now += 10.0

    def test_renewed_and_lists_the_journal_no_more__is_dead(
        self, tmp_path: Path, rule: int, facts: dict[str, Any], origin_of: Callable[[Path], Origin]
    ) -> None:
        """Its writer was forgotten without a close. A list can be older than a look, so two renewals are needed."""
        path, clock = write_journal(tmp_path, 3, end=None), Clock()
        observer = observer_of(clock=clock, **facts)
        seen = []
        for number in range(4):
            beat(path, number, files=["another.arrows"])
            seen.append(observer.look(path, origin_of(path)).liveness)
            clock.now += 10.0
        assert seen == [UNSURE, ALIVE, DEAD, DEAD]

    def test_ended__is_dead_at_once(
        self, tmp_path: Path, rule: int, facts: dict[str, Any], origin_of: Callable[[Path], Origin]
    ) -> None:
        """Its process holds nothing in this folder any more, and has said so."""
        path = write_journal(tmp_path, 3, end=None)
        beat(path, 1, files=[], ended=True)
        assert observer_of(**facts).look(path, origin_of(path)).liveness is DEAD

    @pytest.mark.parametrize("content", [None, "copied", b"", b"{}", b"[1]", b'{"beat": "x"}', b"\xff" * 9000])
    def test_missing_unreadable_or_copied__is_unsure(
        self, tmp_path: Path, rule: int, facts: dict[str, Any], origin_of: Callable[[Path], Origin], content: Any
    ) -> None:
        path, clock = write_journal(tmp_path, 3, end=None), Clock()
        file = beat(path, 1, copied=content == "copied")
        if content is None:
            file.unlink()
        elif content != "copied":
            file.write_bytes(content)
        observer = observer_of(clock=clock, **facts)
        for _ in range(10):
            assert observer.look(path, origin_of(path)).liveness is UNSURE
            clock.now += 10.0


def test_rule_5__after_a_reboot_of_the_same_host__is_dead_and_not_certain(tmp_path: Path) -> None:
    path = write_journal(tmp_path, 3, end=None)
    look = observer_of(boot_id="the next boot").look(path, read_header(path).origin)
    assert (look.liveness, look.rule, look.certain, look.original) == (DEAD, 5, False, True)
    assert "boot" in look.reason


@pytest.mark.parametrize("change", [{"host": "other"}, {"machine_id": "other"}])
def test_rule_5__another_host__is_unsure_and_names_the_cure(tmp_path: Path, change: dict[str, str]) -> None:
    """A disk snapshot, or a pod with a new name after a reboot of its node."""
    path = write_journal(tmp_path, 3, end=None)
    look = observer_of(boot_id="another", **change).look(path, read_header(path).origin)
    assert look.liveness is UNSURE
    assert "RSC_HOST" in look.reason


def test_rule_5__rsc_host__names_what_dies_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSC_HOST", "node-7")
    path = write_journal(tmp_path, 3, end=None)
    assert read_header(path).writer.host == "node-7"
    look = observer_of(boot_id="another").look(path, read_header(path).origin)
    assert (look.liveness, look.rule) == (DEAD, 5)


def test_rule_5__hosts_without_a_name__are_not_the_same(tmp_path: Path) -> None:
    path = write_journal(tmp_path, 3, end=None)
    nameless = {"host": "localhost", "machine_id": ""}
    origin = read_header(path).origin
    writer = replace(origin.writer, **nameless)
    assert observer_of(boot_id="another", **nameless).look(path, replace(origin, writer=writer)).liveness is UNSURE


def test_boot_ids_that_cannot_be_read__are_neither_equal_nor_different(tmp_path: Path) -> None:
    path = write_journal(tmp_path, 3, end=None)
    origin = read_header(path).origin
    unread = replace(origin, writer=replace(origin.writer, boot_id=""))
    for boot_id, read in (("", unread), ("", origin), ("another", unread)):
        assert observer_of(boot_id=boot_id).look(path, read).rule == 7


def test_rule_7__lease_renews_where_the_journal_was_written__is_alive(tmp_path: Path) -> None:
    path, clock = write_journal(tmp_path / "root", 3, end=None), Clock()
    copy = copied(path, tmp_path / "copy")
    observer = observer_of(clock=clock)
    seen = []
    for number in range(3):
        beat(path, number)
        seen.append(observer.look(copy, read_header(copy).origin).liveness)
        clock.now += 10.0
    assert seen == [UNSURE, ALIVE, ALIVE]
    clock.now += 10.0
    for _ in range(5):
        clock.now += 10.0
        look = observer.look(copy, read_header(copy).origin)
    assert look.liveness is UNSURE, "a lease that stands still somewhere else proves nothing here"


def test_kind_of_file_system__is_asked_anew(tmp_path: Path) -> None:
    kinds = iter(["fuse", "ext4"])
    path = write_journal(tmp_path, 3, end=None)
    observer = Observer(file_system=lambda folder: next(kinds), process=lambda writer: Process.UNSEEN)
    origin = read_header(path).origin
    assert observer.look(path, origin).rule == 7
    observer._kinds.clear()  # a second later
    assert observer.look(path, origin).rule == 3


def test_header_unreadable__is_unsure(tmp_path: Path) -> None:
    path = write_journal(tmp_path, 3, end=None)
    assert Observer().look(path, None).liveness is UNSURE
    assert not probe(path).locked


def test_process__this_one__runs_and_a_pid_given_away_again_is_gone() -> None:
    this = this_writer()
    assert look_at_process(this) is Process.RUNS
    assert look_at_process(replace(this, process_start=1)) is Process.GONE
    with subprocess.Popen(["true"]) as ended:
        ended.wait(10)
    assert look_at_process(replace(this, pid=ended.pid)) is Process.GONE


@pytest.mark.parametrize(
    "change",
    [
        {"boot_id": "other"}, {"boot_id": ""}, {"pid_namespace": "pid:[1]"}, {"pid_namespace": ""}, {"pid": 0},
        {"time_namespace": "time:[1]"}, {"time_namespace": ""}, {"pid": -1}, {"pid": 1 << 60},
    ],
)  # fmt: skip
def test_process__that_cannot_be_compared__is_unseen(change: dict[str, Any]) -> None:
    assert look_at_process(replace(this_writer(), process_start=1, **change)) is Process.UNSEEN


def test_process__start_that_cannot_be_read__is_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under hidepid."""
    monkeypatch.setattr(identity, "process_start", lambda pid: 0)
    assert look_at_process(this_writer()) is Process.UNSEEN


def test_process__foreign_proc__is_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """``/proc/self`` is another process there."""
    monkeypatch.setattr(identity, "_proc_is_own", lambda: False)
    assert look_at_process(replace(this_writer(), process_start=1)) is Process.UNSEEN


def test_forked_child__has_a_token_and_a_lease_of_its_own(tmp_path: Path) -> None:
    """With the same pid too, as a first process of its own pid namespace."""
    write_journal(tmp_path, 3, journal_id="parent", end=None)
    child = os.fork()
    if child == 0:
        write_journal(tmp_path, 3, journal_id="child", end=None)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    tokens = {read_header(journal_path(tmp_path, "run", name)).writer.token for name in ("parent", "child")}
    assert len(tokens) == 2
    assert all(read_lease(lease_path(tmp_path / "run", token)) is not None for token in tokens)


def test_root_id__is_one_for_a_folder_and_not_that_of_its_copy(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "root", 3)
    root_id = read_header(path).root_id
    assert root_id
    assert root_id == read_root_id(path.parent) == root_id_of(path.parent)
    copy = copied(path, tmp_path / "copy")
    assert read_root_id(copy.parent) == ""
    assert root_id_of(copy.parent) not in ("", root_id)
    assert read_root_id(copy.parent) == root_id_of(copy.parent)


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


def test_marker__learns_its_node_later__stays_held_and_keeps_its_facts(tmp_path: Path) -> None:
    marker = RunMarker(tmp_path, "run", {"seed": 1})
    before = marker.path.stat()
    for node_id in ("a" * 56, "b" * 56, "c"):
        marker.set_node(node_id)
        assert (node_of_marker(tmp_path, "run"), read_marker(tmp_path, "run")[1]) == (node_id, {"seed": 1})
        look = marker_liveness(tmp_path, "run", Observer())
        assert look is not None
        assert (look.liveness, look.original) == (Liveness.ALIVE, True)
    assert marker.path.stat().st_ino == before.st_ino
    marker.close()
    marker.set_node("d")
    assert node_of_marker(tmp_path, "run") == "c"


@pytest.mark.parametrize("change", [{"host": 5}, {"pid": "1"}, {"boot_id": None}, {"machine_id": ["x"]}])
def test_marker__that_states_what_no_driver_does__is_unsure(tmp_path: Path, change: dict[str, object]) -> None:
    """A marker has no checksum: whatever stands in it, looking at it does not raise, and it ends nothing."""
    marker = RunMarker(tmp_path, "run", {})
    marker.close()
    raw = json.loads(marker.path.read_text())
    marker.path.write_text(json.dumps({**raw, "writer": {**raw["writer"], **change}}))
    assert marker_liveness(tmp_path, "run", observer_of(kind="nfs4")).liveness is Liveness.UNSURE  # type: ignore[union-attr]
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


class Beats:
    """The thread that renews leases, one beat at a time."""

    def __init__(self) -> None:
        self.keeper = lease._Keeper(10.0)

    def __call__(self) -> None:
        self.keeper.beat()


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Beats:
    beats = Beats()
    monkeypatch.setattr(lease, "_keeper", beats.keeper)
    return beats


def lease_of(path: Path) -> Any:
    return read_lease(lease_path(path.parent, this_writer().token))


def begin(root: Path, journal_id: str = "j1") -> JournalWriter:
    return JournalWriter(root, "run", journal_id, about=ABOUT)


def test_lease__lists_what_is_open__and_says_when_nothing_is(tmp_path: Path, beats: Beats) -> None:
    """Then the folder is closed too, so that a disk of a finished run can be unmounted."""
    first, second = begin(tmp_path, "j1"), begin(tmp_path, "j2")
    beats()
    assert lease_of(first.path).files == {"j1.arrows", "j2.arrows"}
    first.close(EndReason.CLOSED)
    path = second.path
    del second
    assert not lease_of(path).ended
    beats()
    assert (lease_of(path).files, lease_of(path).ended) == (frozenset(), True)
    assert not beats.keeper._places
    third = begin(tmp_path, "j3")
    assert not lease_of(path).ended
    beats()
    assert lease_of(path).files == {"j3.arrows"}
    third.close(EndReason.CLOSED)


def test_lease__follows_a_renamed_folder(tmp_path: Path, beats: Beats) -> None:
    writer = begin(tmp_path / "root")
    before = lease_of(writer.path).beat
    (tmp_path / "root").rename(tmp_path / "moved")
    beats()
    after = read_lease(lease_path(tmp_path / "moved" / "run", this_writer().token))
    assert after is not None
    assert after.beat > before
    append_step(writer, 1)
    assert writer.failure is None


@pytest.mark.parametrize("loss", ["root", "stream", "tail", "replaced"])
def test_beat__files_lost__ends_journaling_with_the_next_step(tmp_path: Path, beats: Beats, loss: str) -> None:
    """Invariant J6. Stores to a mapped page never fail, so somebody has to look."""
    writer = begin(tmp_path)
    append_step(writer, 1)
    beats()
    append_step(writer, 2)
    assert writer.failure is None
    if loss == "root":
        shutil.rmtree(tmp_path / "run")
    elif loss == "replaced":
        (tmp_path / "other").write_bytes(b"x")
        (tmp_path / "other").replace(writer.path)
    else:
        writer.path.with_suffix(".arrows" if loss == "stream" else ".tail").unlink()
    beats()
    append_step(writer, 3)
    assert writer.failure is not None


def test_beat__files_lost_behind_the_last_step__the_close_notices(tmp_path: Path, beats: Beats) -> None:
    writer = begin(tmp_path)
    append_step(writer, 1)
    shutil.rmtree(tmp_path / "run")
    beats()
    writer.close(EndReason.TERMINATED)
    assert writer.failure is not None


def test_beat__journals_that_open_and_close__are_never_taken_for_lost(tmp_path: Path, beats: Beats) -> None:
    """Tails wait under hidden names for the next episode, and failed ones get another."""
    writers = [begin(tmp_path, f"j{number}") for number in range(3)]
    for number in range(20):
        beats()
        for index, writer in enumerate(writers):
            append_step(writer, 1)
            writer.close(EndReason.CLOSED)
            assert writer.failure is None
            beats() if index == 1 else None
            writers[index] = begin(tmp_path, f"j{index}-{number}")


def test_fork__while_another_thread_opens_a_journal__the_child_inherits_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a descriptor would hold the journal's lock for as long as the child lives."""
    opening, encode = threading.Event(), sealing.encode_header

    def slowly(*arguments: Any) -> bytes:
        opening.set()
        time.sleep(0.3)
        return encode(*arguments)

    monkeypatch.setattr(sealing, "encode_header", slowly)
    thread = threading.Thread(target=lambda: write_journal(tmp_path, 3, end=EndReason.CLOSED))
    thread.start()
    assert opening.wait(30)
    child = os.fork()
    if child == 0:
        names = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.lexists(entry.path)]
        os._exit(sum(str(tmp_path) in name for name in names))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.join(30)
