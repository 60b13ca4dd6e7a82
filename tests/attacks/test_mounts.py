"""A writer that reaches the same bytes through another mount holds a lock that is not seen here; it lives all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.needs import need_fuse, need_mounts, need_program
from tests.attacks.places import Place
from tests.attacks.processes import run, said
from tests.attacks.scene import Scene

MakePlace = Callable[..., Place]


def test_bindfs__writer_on_it__reconciled_on_the_backing_folder__lives(scene: Scene, make_place: MakePlace) -> None:
    need_fuse()
    here, backing, mounted = make_place(), scene.folder / "backing", scene.folder / "mounted"
    backing.mkdir()
    here.bindfs(backing, mounted)
    writer = scene.live(here, root=mounted / "journal")
    scene.reconcile("--journal-root", backing / "journal")
    scene.assert_lives()
    writer.do("steps(w, 5)")
    scene.assert_ends_well(writer, place=here)


def test_bindfs__writer_on_the_backing_folder__reconciled_on_bindfs__lives(scene: Scene, make_place: MakePlace) -> None:
    need_fuse()
    here, backing, mounted = make_place(), scene.folder / "backing", scene.folder / "mounted"
    backing.mkdir()
    here.bindfs(backing, mounted)
    writer = scene.live(root=backing / "journal")
    scene.reconcile("--journal-root", mounted / "journal", place=here)
    scene.assert_lives()
    writer.kill()
    scene.reconcile()
    assert scene.records.episode("j1")["status"] == "truncated"


def test_bindfs__at_the_recorded_path_of_a_container__reconciled_on_the_host__lives(
    scene: Scene, make_place: MakePlace
) -> None:
    """A FUSE volume in a container, its backing folder at the same path on the host: path and inode are equal."""
    need_fuse()
    container, data = make_place(pid=True), scene.folder / "data"
    data.mkdir()
    container.bindfs(data, data)
    scene.live(container, root=data)
    scene.reconcile()
    scene.assert_lives()


@pytest.mark.parametrize("kind", ["overlay", "fuse-overlayfs"])
def test_overlay__writer_on_it__reconciled_on_the_upper_folder__lives(
    scene: Scene, make_place: MakePlace, kind: str
) -> None:
    """As the folder of a container looks to its host."""
    need_mounts()
    container, folder = make_place(pid=True), scene.folder
    lower, upper, work, merged = (folder / name for name in ("lower", "upper", "work", "merged"))
    if kind == "overlay":
        container.overlay(lower, upper, work, merged)
    else:
        need_fuse()
        need_program("fuse-overlayfs")
        container.fuse_overlay(lower, upper, work, merged)
    scene.live(container, root=merged / "journal")
    scene.reconcile("--journal-root", upper / "journal")
    scene.assert_lives()


def test_overlay__writer_on_it_died__reconciled_on_the_overlay__is_truncated(
    scene: Scene, make_place: MakePlace
) -> None:
    """The other side of the rule: where the lock can be seen, a dead writer's episode ends."""
    need_mounts()
    container, folder = make_place(pid=True), scene.folder
    container.overlay(folder / "lower", folder / "upper", folder / "work", folder / "merged")
    writer = scene.live(container, root=folder / "merged" / "journal")
    scene.reconcile(place=container)
    scene.assert_lives()
    writer.kill()
    scene.reconcile(place=container)
    assert scene.records.episode("j1")["status"] == "truncated"


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
def test_bind_mount__is_the_same_file__the_lock_decides(scene: Scene, make_place: MakePlace, read_only: bool) -> None:
    need_mounts()
    there, shown = make_place(pid=True), scene.folder / "shown"
    writer = scene.live()
    shown.mkdir()
    there.bind(scene.root, shown, read_only=read_only)
    scene.reconcile("--journal-root", shown, place=there)
    scene.assert_lives()
    writer.kill()
    scene.reconcile("--journal-root", shown, place=there)
    assert scene.records.episode("j1")["status"] == "truncated"


def test_daemon__its_mount_is_replaced_by_fuse_with_the_same_device_number__asks_anew(
    scene: Scene, make_place: MakePlace
) -> None:
    """The kernel gives the number of a mount that went to the next one: what was asked of a number is outdated."""
    need_fuse()
    here, data, backing = make_place(), scene.folder / "data", scene.folder / "backing"
    backing.mkdir()
    for attempt in range(5):
        here.tmpfs(data)
        scene.live(here, root=data, run_id=f"r0{attempt}", journal_id=f"j0{attempt}")
        before = here.run("stat", "--format=%d", data)
        if attempt == 0:
            scene.daemon(place=here)
        scene.wait_for_passes()
        scene._writers.pop(0).close()  # the mount cannot go while its writer holds files
        here.run("umount", "-l", data)
        here.bindfs(backing, data)
        if here.run("stat", "--format=%d", data) == before:
            break
        here.run("umount", "-l", data)  # another process took the number
    else:
        pytest.skip("five times another process on this machine took the device number")
    player = scene.writer()
    player.do(f"m = marker({str(backing)!r})")
    scene.records.add_run("r1", data)
    scene.episode(player, root=backing)
    scene.wait_for_passes(4)
    scene.assert_lives()


def test_prune__through_another_mount__removes_nothing_of_a_live_writer(scene: Scene, make_place: MakePlace) -> None:
    """A live writer keeps hidden files for its next episode; through FUSE it looks as if nobody held them."""
    need_fuse()
    here, mounted = make_place(), scene.folder / "mounted"
    writer = scene.live()
    writer.do("finish(w)")  # leaves its blank tail for the next episode
    scene.episode(writer, journal_id="j2")
    scene.root.mkdir(exist_ok=True)
    here.bindfs(scene.root, mounted)
    before = sorted(path.name for path in (scene.root / "r1").iterdir())
    done = run("journal", "prune", "r1", "--yes", "--older-than", "0s", "--journal-root", mounted, place=here)
    left = sorted(path.name for path in (scene.root / "r1").iterdir())
    assert not [name for name in before if name not in left and not name.startswith("j1")], said(done)
    writer.do("steps(w, 2000)")
    scene.assert_ends_well(writer, "j2")
