"""Leases, judged by a daemon that watched them for half a minute; and writers that had a beat to notice what happened."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.attacks.processes import run, said
from tests.attacks.scene import until
from tests.attacks.watch import BEAT_S, LEASE_JUDGED_S, Watch


def status(watch: Watch, journal_id: str) -> str:
    row = watch.scene.records.episode(journal_id)
    return f"{row['status']} {row['status_reason'] or ''}".strip()


def ends(watch: Watch, journal_id: str) -> None:
    """It is truncated, sooner or later; a busy machine has slow daemons."""
    watch.wait(LEASE_JUDGED_S)
    until(lambda: status(watch, journal_id).startswith("truncated"), what=f"the end of {journal_id}")


@pytest.mark.parametrize("name", ["read-only", "removed", "tail-removed"])
def test_journal__its_files_went_away_below_a_live_writer__the_writer_notices_within_a_beat(
    watch: Watch, name: str
) -> None:
    """Stores to a mapped page do not fail: an error of the disk, or a removed folder, has to be looked for."""
    watch.wait(BEAT_S)
    writer = watch.writers[name]
    until(lambda: writer.do("steps(w, 5); str(w.failure)") != "None", what="a beat of the lease")
    assert writer.stderr(), "one warning"


def test_lease__relative_root_and_chdir__is_renewed_where_it_is(watch: Watch) -> None:
    watch.wait(BEAT_S)
    assert watch.lease_before
    until(lambda: watch.leases_of_relative() not in ([], watch.lease_before), what="a beat of the lease")
    assert not list((watch.folder / "elsewhere").iterdir())


def test_finished_run__its_process_goes_on__the_disk_can_be_unmounted(watch: Watch) -> None:
    """What a run keeps for its next episode is let go when the run is over."""
    watch.wait(BEAT_S)
    disk = watch.folder / "finished"

    def unmounted() -> bool:
        try:
            watch.there.unmount(disk)
        except AssertionError:  # it is busy
            return False
        return True

    until(unmounted, what="a beat of the lease, after which the disk can be unmounted")


def test_shared_file_system__writer_died__ends_when_its_lease_stood_still(watch: Watch) -> None:
    ends(watch, "dead")
    assert not watch.scene.records.episode("dead")["evidence_final"], "a lease is no proof"


def test_same_pid_in_two_pid_namespaces__one_died__ends_and_the_other_lives(watch: Watch) -> None:
    """Each process has a lease of its own."""
    ends(watch, "pid-dead")
    assert status(watch, "pid-live") == "started"


def test_folder_renamed_under_a_live_writer__shared_file_system__lives(watch: Watch) -> None:
    """The lease is renewed in the folder, wherever the folder is now."""
    watch.wait(LEASE_JUDGED_S)
    assert status(watch, "moved") == "started"


def test_copied_root__on_a_shared_file_system__lives(watch: Watch) -> None:
    """The copy's lease stands still; it is not the lease of the journal that the writer has open."""
    watch.wait(LEASE_JUDGED_S)
    assert status(watch, "copied") == "started"


def test_forgotten_writer__shared_file_system__ends_although_its_process_lives(watch: Watch) -> None:
    """A lease lists the journals that are open."""
    ends(watch, "forgotten")


def test_suspended_writer__shared_file_system__is_presumed_dead_and_repaired(watch: Watch) -> None:
    """Never finally: when it goes on, its own end is what counts, and the mistake is counted."""
    watch.wait(LEASE_JUDGED_S)
    row = watch.scene.records.episode("suspended")
    assert row["status"] in ("started", "truncated")
    assert not row["evidence_final"]
    writer = watch.writers["suspended"]
    writer.resume()
    writer.do("steps(w, 5); finish(w)")
    until(lambda: status(watch, "suspended").startswith("completed"), what="the better evidence")
    assert watch.scene.records.episode("suspended")["total_steps"] == 26


def test_suspended_writer__fuse_there_and_its_backing_folder_here_at_the_same_path__lives(watch: Watch) -> None:
    """Path and inode are equal, the lease stands still, and the process is there for everybody to see."""
    watch.wait(LEASE_JUDGED_S)
    assert status(watch, "alias") == "started"


def test_env_in_a_forked_process__shared_file_system__both_episodes_live(watch: Watch) -> None:
    """The child's lease is its own; the fork does not end its parent's."""
    watch.wait(LEASE_JUDGED_S)
    assert status(watch, "forked") == "started"
    assert status(watch, "forked-child") == "started"


def test_training__its_disk_turned_read_only_and_it_was_killed__the_row_says_that_steps_are_lost(watch: Watch) -> None:
    """After the next mount the journal holds what had reached the disk; that more was played is in the row."""
    watch.wait(LEASE_JUDGED_S)
    trainer, records = watch.writers["training"], watch.scene.records
    trainer.do("runner.sample(num_timesteps=20, random_actions=True); None")
    trainer.kill()
    disk = watch.folder / "training"
    watch.there.unmount(disk)
    watch.there.image("ext4", watch.folder / "training.img", disk, size_kib=0)
    arguments = ("--run-id", "training", "--grace", "0s", "--wait", "0s", "--database-url", records.url)
    done = run("reconciler", *arguments, place=watch.there)
    rows = records.episodes("training")
    assert rows, said(done)
    for row in rows:
        assert row["status"] == "truncated", (row["status"], row["status_reason"], said(done))
        told = "later steps" in (row["status_reason"] or "") or (row["steps_lost"] or 0) > 0
        assert told or row["total_steps"] == 220, (row["total_steps"], row["steps_lost"], row["status_reason"])
    assert done.returncode == 3, said(done)


def test_disk_snapshot__mounted_at_the_recorded_path__lives(watch: Watch) -> None:
    """Path and inode are equal, and the lease in a snapshot never moves; the process is there for everybody to see."""
    watch.wait(LEASE_JUDGED_S)
    assert status(watch, "snapshot") == "started"


def test_overlay_mounted_again__its_writer_died__is_truncated(watch: Watch) -> None:
    """A container that starts again has another device number for the same files."""
    ends(watch, "remounted")


def test_daemon__watched_all_this__still_runs(watch: Watch) -> None:
    watch.wait(LEASE_JUDGED_S)
    assert watch.daemon.poll() is None
    watch.scene.wait_for_passes(1)


def test_daemon__same_complaint_on_each_pass__is_told_once(watch: Watch) -> None:
    """A log that grows by a line a second hides the line that matters."""
    watch.wait(LEASE_JUDGED_S)
    watch.scene.wait_for_passes(3)
    said_ = Counter(re.sub(r"\d+", "N", line) for line in watch.scene.log.read_text().splitlines())
    assert max(said_.values()) <= 3, said_.most_common(3)
