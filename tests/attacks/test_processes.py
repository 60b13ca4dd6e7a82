"""Who looks, and from where: a process that cannot be seen is not gone, and one that is gone is not waited for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.needs import need_fuse, need_mounts, need_namespaces, need_program
from tests.attacks.places import Place
from tests.attacks.scene import Scene, until

MakePlace = Callable[..., Place]
NOBODY = (
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+dac_read_search,+dac_override",
    "--ambient-caps=-all,+dac_read_search,+dac_override",
)  # fmt: skip
"""A user who may read and write every file, and see and signal no process of others."""
RENAME = "import ctypes; ctypes.CDLL(None).prctl(15, ctypes.c_char_p({name!r}), 0, 0, 0)"


def no_place(make_place: MakePlace) -> dict[str, Any]:
    return {}


def other_pid_namespace(make_place: MakePlace) -> dict[str, Any]:
    need_namespaces()
    return {"place": make_place(pid=True)}


def foreign_proc(make_place: MakePlace) -> dict[str, Any]:
    """A pid namespace that still shows the ``/proc`` of the outer one."""
    need_namespaces()
    return {"place": make_place(pid=True, own_proc=False)}


def other_time_namespace(make_place: MakePlace) -> dict[str, Any]:
    """Start times in ``/proc`` are shifted there."""
    need_namespaces()
    return {"place": make_place(boottime_s=100_000)}


def hidden_processes(make_place: MakePlace) -> dict[str, Any]:
    """``hidepid``, and systemd's ProtectProc: stat of a process says ENOENT, kill says EPERM."""
    need_mounts()
    need_program("setpriv", "util-linux")
    place = make_place()
    place.mount("-t", "proc", "-o", "hidepid=2", "proc", "/proc")
    return {"place": place, "prefix": NOBODY}


def no_boot_id(make_place: MakePlace) -> dict[str, Any]:
    """A ``/proc`` with processes alone: the boot id cannot be read."""
    need_mounts()
    place = make_place()
    place.mount("-t", "proc", "-o", "subset=pid", "proc", "/proc")
    return {"place": place}


@pytest.mark.parametrize(
    "observer",
    [
        no_place,
        foreign_proc,
        other_pid_namespace,
        other_time_namespace,
        hidden_processes,
        no_boot_id,
    ],
)
def test_closed_within_grace__seen_from_elsewhere__its_own_callback_comes_first(
    scene: Scene, make_place: MakePlace, observer: Callable[[MakePlace], dict[str, Any]]
) -> None:
    """Whoever cannot see the process may not say that it is gone."""
    writer = scene.live()
    writer.do("finish(w)")
    scene.reconcile(**observer(make_place))
    scene.assert_lives()


@pytest.mark.parametrize(
    "observer",
    [no_place, no_boot_id],
)
def test_closed_within_grace__process_is_gone__is_ended_at_once(
    scene: Scene, make_place: MakePlace, observer: Callable[[MakePlace], dict[str, Any]]
) -> None:
    """The other side of the rule, where it can be proved."""
    writer = scene.live()
    writer.do("finish(w)")
    writer.kill()
    scene.reconcile(**observer(make_place))
    expected = "completed" if observer is no_place else "started"
    assert scene.records.episode("j1")["status"] == expected


@pytest.mark.parametrize("settings", [{"pid": True}, {"boottime_s": 100_000}], ids=["pid namespace", "time namespace"])
def test_closed_within_grace__writer_in_a_namespace_of_its_own__callback_comes_first(
    scene: Scene, make_place: MakePlace, settings: dict[str, Any]
) -> None:
    need_namespaces()
    writer = scene.live(make_place(**settings))
    writer.do("finish(w)")
    scene.reconcile()
    scene.assert_lives()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"\xff\xfe caf\xe9", id="not UTF-8"),
        pytest.param(b"x) Z 1 (1 1", id="brackets"),
        pytest.param(b"\n\n) S", id="lines"),
    ],
)
def test_process_name__strange__its_episode_waits_and_ends_like_any_other(scene: Scene, name: bytes) -> None:
    """The name stands in the middle of ``/proc/PID/stat``, as it is."""
    writer = scene.writer()
    writer.do(RENAME.format(name=name))
    writer.do(f"m = marker({str(scene.root)!r})")
    scene.records.add_run("r1", scene.root)
    scene.episode(writer)
    scene.reconcile()
    scene.assert_lives()
    writer.do("finish(w)")
    done = scene.reconcile()
    assert done.returncode == 0, done.stderr
    scene.assert_lives()
    writer.kill()
    scene.reconcile()
    assert scene.records.episode("j1")["status"] == "completed"


@pytest.mark.parametrize("observer", [other_time_namespace, hidden_processes, other_pid_namespace, foreign_proc])
def test_lock_not_visible__process_not_visible__lives(
    scene: Scene, make_place: MakePlace, observer: Callable[[MakePlace], dict[str, Any]]
) -> None:
    """Writer on FUSE, reconciler on the backing folder, and it cannot see the process either."""
    need_fuse()
    here, backing, mounted = make_place(), scene.folder / "backing", scene.folder / "mounted"
    backing.mkdir()
    here.bindfs(backing, mounted)
    scene.live(here, root=mounted)
    scene.reconcile("--journal-root", backing, **observer(make_place))
    scene.assert_lives()


@pytest.mark.parametrize("node", ["", "node-7"], ids=["nothing names the node", "RSC_HOST"])
def test_pod_with_a_new_name_after_a_reboot__local_volume(scene: Scene, make_place: MakePlace, node: str) -> None:
    """RSC_HOST names what dies as one: then another boot proves death. Without it the episode waits, audibly."""
    need_namespaces()
    before, after = make_place(pid=True, hostname="pod-a"), make_place(pid=True, hostname="pod-b")
    before.show_file("11111111-2222-3333-4444-555555555555\n", "/proc/sys/kernel/random/boot_id", scene.folder)
    env = {"RSC_HOST": node or None}
    writer = scene.live(
        before, env=env, writer_host=node or "pod-a", writer_boot_id="11111111-2222-3333-4444-555555555555"
    )
    writer.kill()
    done = scene.reconcile(place=after, env=env)
    if node:
        assert scene.records.episode("j1")["status"] == "truncated"
        assert done.returncode == 0
    else:
        assert scene.records.episode("j1")["status"] == "started"
        assert done.returncode == 1
        assert "RSC_HOST" in done.stderr, "the cure is named"


def test_empty_boot_ids__do_not_compare_equal__a_live_copy_waits(scene: Scene, make_place: MakePlace) -> None:
    """Neither can read its boot id; on two machines that would be the same boot."""
    need_namespaces()
    one, two = make_place(pid=True, hostname="one"), make_place(pid=True, hostname="two")
    for place in (one, two):
        place.run("umount", "/proc")
        place.mount("-t", "proc", "-o", "subset=pid", "proc", "/proc")
    scene.live(one, writer_host="one", writer_boot_id="")
    copy = scene.folder / "copy"
    one.run("cp", "-r", scene.root, copy)
    scene.reconcile("--journal-root", copy, place=two)
    scene.assert_lives()


def test_suspended_writer__on_a_local_disk__lives(scene: Scene) -> None:
    writer = scene.live()
    writer.pause()
    scene.reconcile()
    scene.assert_lives()
    writer.resume()
    scene.assert_ends_well(writer)


def test_forgotten_writer__its_process_lives__is_truncated(scene: Scene) -> None:
    """An env that was dropped without a close frees its lock: the process's life is not the episode's."""
    writer = scene.live()
    writer.do("del w; import gc; gc.collect()")
    scene.reconcile()
    assert scene.records.episode("j1")["status"] == "truncated"


def test_exec__in_the_writers_process__its_episode_is_truncated(scene: Scene) -> None:
    """The process goes on as another program, with the same number and start time; its journal was left behind."""
    writer = scene.live()
    writer.send("os.execv('/bin/sleep', ['sleep', '60'])")
    until(lambda: Path(f"/proc/{writer.process.pid}/comm").read_text() == "sleep\n", what="the other program")
    scene.reconcile()
    assert scene.records.episode("j1")["status"] == "truncated"
    writer.slay()


def test_zombie__killed_and_not_yet_reaped__is_dead(scene: Scene) -> None:
    """A container without an init keeps its dead as entries of the process table."""
    writer = scene.live()
    writer.do(
        f"""
import os
child = os.fork()
if child == 0:
    marker({str(scene.root)!r}, "r2")
    steps(begin({str(scene.root)!r}, "r2", "j2"), 3)
    os.kill(os.getpid(), 9)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
"""
    )
    scene.records.add_run("r2", scene.root)
    scene.records.add_episode("r2", "j2")
    scene.reconcile()
    scene.assert_lives()
    assert scene.records.episode("j2")["status"] == "truncated"
