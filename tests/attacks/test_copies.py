"""A copy of a live run proves nothing: whatever is reconciled there, the live episode is not ended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.needs import need_file_system, need_loop_devices, need_mounts, need_program
from tests.attacks.places import Place
from tests.attacks.processes import run, said
from tests.attacks.records import Records
from tests.attacks.scene import Scene

MakePlace = Callable[..., Place]


def copy_of(scene: Scene) -> Path:
    """`cp -r` of the run's root."""
    copy = scene.folder / "copy"
    shutil.copytree(scene.root, copy)
    return copy


@pytest.mark.parametrize("how", [["--all"], ["--run-id", "r1"], ["--all", "--rebuild"]], ids=" ".join)
def test_copied_root__same_database__live_episode_goes_on_and_ends_well(scene: Scene, how: list[str]) -> None:
    writer = scene.live()
    copy = copy_of(scene)
    scene.reconcile(*how, "--journal-root", copy)
    scene.assert_lives()
    writer.do("steps(w, 5)")
    scene.assert_ends_well(writer)


def test_copied_root__rebuilt_into_a_new_database__its_episodes_wait(scene: Scene) -> None:
    scene.live()
    copy = copy_of(scene)
    new = scene.folder / "new.db"
    done = run(
        "reconciler", "--all", "--rebuild", "--journal-root", copy, "--wait", "0s", "--database-url", f"sqlite:///{new}"
    )
    assert not [row for row in Records(f"sqlite:///{new}").episodes() if row["status"] != "started"], said(done)


def test_copied_root__closed_journal_within_grace__the_callback_comes_first(scene: Scene) -> None:
    """Its process lives and will end the row by itself: the copy is no reason to hurry."""
    writer = scene.live()
    writer.do("finish(w)")
    scene.reconcile("--journal-root", copy_of(scene))
    scene.assert_lives()


def test_copied_root__assumed_dead_by_a_person__is_not_final_and_is_repaired(scene: Scene) -> None:
    writer = scene.live()
    copy = copy_of(scene)
    scene.reconcile("--journal-root", copy, "--assume-dead")
    row = scene.records.episode("j1")
    assert row["status"] == "truncated"
    assert not row["evidence_final"], "nobody can know that a copy is all there is"
    scene.assert_ends_well(writer)


def test_copied_root__writer_really_dead__is_ended_but_not_finally(scene: Scene) -> None:
    """Its process is gone, so the episode may end; but the original can hold more steps than the copy."""
    writer = scene.live()
    copy = copy_of(scene)
    writer.do("steps(w, 5)")
    writer.kill()
    scene.reconcile("--journal-root", copy)
    row = scene.records.episode("j1")
    assert (row["status"], row["total_steps"], bool(row["evidence_final"])) == ("truncated", 20, False)
    scene.reconcile()
    assert scene.records.episode("j1")["total_steps"] == 25


def test_copied_root__journal_commands__never_call_the_writer_dead(scene: Scene) -> None:
    scene.live()
    copy = copy_of(scene)
    listed = run("journal", "ls", "r1", "--json", "--journal-root", copy)
    assert json.loads(listed.stdout)["writer"] != "dead", said(listed)
    runs = run("journal", "ls", "--json", "--journal-root", copy)
    assert json.loads(runs.stdout)["driver"] != "dead", said(runs)
    followed = run("journal", "tail", "-f", "--idle-timeout", "1s", "--journal-root", copy, "latest")
    assert "died" not in followed.stderr, said(followed)


def test_hard_linked_copy__is_the_same_file__its_lock_counts(scene: Scene) -> None:
    writer = scene.live()
    copy = scene.folder / "copy"
    shutil.copytree(scene.root, copy, copy_function=lambda source, target: Path(target).hardlink_to(source))
    scene.reconcile("--journal-root", copy)
    scene.assert_lives()
    writer.kill()
    scene.reconcile("--journal-root", copy)
    assert scene.records.episode("j1")["status"] == "truncated"


def test_copied_marker__without_journals__no_episode_is_called_lost(scene: Scene) -> None:
    """The marker in the copy is not locked, which looks like a dead driver; and no journal is there: case H."""
    writer = scene.live()
    copy = scene.folder / "copy"
    (copy / "r1").mkdir(parents=True)
    shutil.copy(scene.root / "r1" / "run", copy / "r1" / "run")
    scene.reconcile("--journal-root", copy)
    scene.assert_lives()
    scene.assert_ends_well(writer)


def test_disk_snapshot__attached_to_another_host__live_episode_goes_on(scene: Scene, make_place: MakePlace) -> None:
    """The same inodes at the same path, on a machine with another name, boot and machine id."""
    need_loop_devices()
    image, disk = scene.folder / "disk.img", scene.folder / "disk"
    here, there = make_place(), make_place(hostname="elsewhere")
    here.image("ext4", image, disk, size_kib=16_384)
    scene.live(here, root=disk / "journal")
    here.run("sync", "-f", disk)
    shutil.copy(image, scene.folder / "snapshot.img")
    there.image("ext4", scene.folder / "snapshot.img", disk, size_kib=0)
    there.show_file("11111111-2222-3333-4444-555555555555\n", "/proc/sys/kernel/random/boot_id", scene.folder)
    there.show_file("0123456789abcdef0123456789abcdef\n", "/etc/machine-id", scene.folder)
    scene.reconcile(place=there)
    scene.assert_lives()


def test_disk_snapshot__mounted_beside_it__live_episode_goes_on(scene: Scene, make_place: MakePlace) -> None:
    """On the same host, the same inodes, another device and another path."""
    need_loop_devices()
    image, disk = scene.folder / "disk.img", scene.folder / "disk"
    here = make_place()
    here.image("ext4", image, disk, size_kib=16_384)
    scene.live(here, root=disk / "journal")
    here.run("sync", "-f", disk)
    shutil.copy(image, scene.folder / "snapshot.img")
    here.image("ext4", scene.folder / "snapshot.img", scene.folder / "beside", size_kib=0)
    scene.reconcile("--journal-root", scene.folder / "beside" / "journal", place=here)
    scene.assert_lives()


def test_btrfs_snapshot__same_inodes__live_episode_goes_on(scene: Scene, make_place: MakePlace) -> None:
    need_loop_devices()
    need_file_system("btrfs")
    need_program("mkfs.btrfs", "btrfs-progs")
    here, disk = make_place(), scene.folder / "disk"
    here.image("btrfs", scene.folder / "disk.img", disk, size_kib=131_072)
    here.run("btrfs", "subvolume", "create", disk / "data")
    scene.live(here, root=disk / "data" / "journal")
    here.run("sync", "-f", disk)
    here.run("btrfs", "subvolume", "snapshot", disk / "data", disk / "snapshot")
    scene.reconcile("--journal-root", disk / "snapshot" / "journal", place=here)
    scene.assert_lives()


def test_renamed_root__live_writer_holds_its_lock__goes_on(scene: Scene) -> None:
    """Nothing is missing at the old path either: a folder that is gone is no evidence."""
    writer = scene.live()
    moved = scene.folder / "moved"
    scene.root.rename(moved)
    scene.reconcile()
    scene.assert_lives()
    scene.reconcile("--journal-root", moved)
    scene.assert_lives()
    writer.do("finish(w)")
    scene.reconcile("--journal-root", moved, "--grace", "0s")
    assert scene.records.episode("j1")["status"] == "completed"


def test_renamed_run_folder__another_run_in_its_place__no_live_episode_is_called_lost(scene: Scene) -> None:
    """The old path holds a marker again, of a driver that is dead."""
    scene.live()
    (scene.root / "r1").rename(scene.folder / "set-aside")
    other = scene.writer()
    other.do(f"m = marker({str(scene.root)!r}, 'r1')")
    other.kill()
    scene.reconcile()
    scene.assert_lives()


def test_pods_of_one_node__journal_in_the_other_pods_volume__is_not_called_lost(
    scene: Scene, make_place: MakePlace
) -> None:
    """Both pods see /data, each its own volume; the driver's pod is done, the other one still plays."""
    need_mounts()
    data = scene.folder / "data"
    first, second = make_place(pid=True), make_place(pid=True)
    for pod in (first, second):
        pod.tmpfs(data)
    driver = scene.writer(first)
    driver.do(f"m = marker({str(data)!r})")
    scene.records.add_run("r1", data)
    player = scene.writer(second)
    scene.episode(player, root=data)
    driver.kill()
    scene.reconcile(place=first)
    assert scene.records.episode("j1")["status"] == "started"
