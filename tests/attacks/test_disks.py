"""Disks that fill up, turn read-only, or go away below a writer: it never dies of them, and no loss is silent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.attacks.needs import need_file_system, need_fuse, need_loop_devices, need_mounts, need_program
from tests.attacks.places import Place
from tests.attacks.processes import AttackError, Writer, run, said
from tests.attacks.scene import Scene, until

MakePlace = Callable[..., Place]
FILL = """
def fill(folder):
    with open(folder + "/filler", "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 1 << 12, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
"""


def survives(writer: Writer, code: str) -> object:
    """The process does it and lives."""
    try:
        return writer.do(code)
    except AttackError as error:
        if "the process ended" in str(error):
            raise AssertionError(str(error)) from error
        raise


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_full_disk__pages_of_the_tail_are_shared_with_a_reflinked_copy__training_lives(
    scene: Scene, make_place: MakePlace, kind: str
) -> None:
    """A store to a shared page needs a new block. With none left, a mapped store is SIGBUS; a write is an error."""
    need_loop_devices()
    need_file_system(kind)
    need_program(f"mkfs.{kind}", f"{kind}progs")
    here, disk = make_place(), scene.folder / "disk"
    here.image(kind, scene.folder / "disk.img", disk, size_kib=320 * 1024)
    writer = scene.live(here, root=disk / "journal")
    here.run("cp", "-r", "--reflink=always", disk / "journal", disk / "copy")
    writer.do(f"{FILL}\nfill({str(disk)!r})")
    survives(writer, "steps(w, 3000); w.close(EndReason.CLOSED)")
    told = json.loads(run("journal", "info", disk / "journal" / "r1" / "j1.arrows", "--json", place=here).stdout)
    assert told["steps"] >= 20, told
    assert told["state"] in ("failed", "closed"), told


def test_descriptors__twenty_runs_of_sixteen_envs_in_one_process__every_episode_is_journaled(scene: Scene) -> None:
    """A notebook or a sweep, with a limit of 256 open files."""
    told = scene.writer().do(
        f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
def descriptors():
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 256
failed, most, paths = [], 0, []
for run in range(20):
    name = f"run{{run}}"
    held = marker({str(scene.root)!r}, name)
    for episode in range(2):
        writers = [begin({str(scene.root)!r}, name) for _ in range(16)]
        for writer in writers:
            steps(writer, 3)
        most = max(most, descriptors())
        for writer in writers:
            finish(writer)
            failed += [str(writer.failure)] if writer.failure else []
            paths.append(writer.path)
    held.close()
from journal import read_journal
whole = sum(path.exists() and read_journal(path).end_reason == "terminated" for path in paths)
{{"failed": failed[:3], "most": most, "left": descriptors(), "whole": whole}}
"""
    )
    assert not told["failed"], told
    assert told["whole"] == 640, told
    assert told["most"] <= 120, f"16 open journals, and {told['most']} descriptors"
    assert told["left"] <= 40, f"no open journal, and {told['left']} descriptors"


WALK = """
import gymnasium as gym, numpy as np, rsc
class Walk(gym.Env):
    observation_space, action_space = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Discrete(3)
    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(1, np.float32), {"net_worth": 100.0}
    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), 1.0, False, self.t == 37, {"net_worth": 100.0 + self.t}
account = rsc.Account(value="net_worth")
def play(env, steps=37):
    env.reset(seed=1)
    for _ in range(steps):
        env.step(0)
"""


def test_small_disk__a_trainer_without_rllib_is_killed__every_episode_is_on_record(
    scene: Scene, make_place: MakePlace
) -> None:
    """The journals of the last ones could not even be made; nobody but the database can tell of them."""
    need_mounts()
    here, disk, records = make_place(), scene.folder / "disk", scene.records
    here.tmpfs(disk, size_kib=600)
    writer = scene.writer(here)
    writer.do(WALK)
    survives(
        writer,
        f"""
run = rsc.start_run("r1", journal_root={str(disk / "journal")!r}, database_url={records.url!r})
env = run.record(Walk(), account)
for _ in range(300):
    play(env)
""",
    )
    until(lambda: len(records.episodes()) > 50, what="the rows of journals that failed")
    quiet = 0
    while quiet < 20:  # until no more come
        count = len(records.episodes())
        time.sleep(0.05)
        quiet = quiet + 1 if len(records.episodes()) == count else 0
    writer.kill()
    settings = ("--database-url", records.url)
    done = run("reconciler", "--run-id", "r1", "--grace", "0s", "--wait", "10s", *settings, place=here)
    assert done.returncode == 3, said(done)
    rows = records.episodes()
    assert len(rows) == 300, said(done)
    assert "started" not in {row["status"] for row in rows}, said(done)
    assert {row["total_steps"] for row in rows if row["status"] == "completed"} == {37}
    assert run("rsc", "check", "r1", *settings, place=here).returncode == 1


def test_small_disk__without_inodes__training_lives_and_the_failure_is_told(
    scene: Scene, make_place: MakePlace
) -> None:
    need_loop_devices()
    here, disk, image = make_place(), scene.folder / "disk", scene.folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(2 << 20)
    here.run("mkfs.ext4", "-q", "-F", "-N", "24", image)
    here.image("ext4", image, disk, size_kib=0)
    writer = scene.writer(here)
    writer.do(
        f"""
writers = []
for number in range(12):
    w = begin({str(disk)!r})
    steps(w, 10)
    writers.append(w)
"""
    )
    told = writer.do("[[str(w.path), w.steps, str(w.failure)] for w in writers]")
    assert any("No space" in failure for _, _, failure in told), told
    for path, steps, failure in told:
        if failure == "None":
            assert json.loads(run("journal", "info", path, "--json", place=here).stdout)["steps"] == steps


@pytest.mark.parametrize("mapped", ["1", "0"], ids=["mapped tail", "written tail"])
def test_relative_root__then_chdir__a_failed_write_is_marked_where_the_journal_is(
    scene: Scene, make_place: MakePlace, mapped: str
) -> None:
    need_mounts()
    here, disk, elsewhere = make_place(), scene.folder / "disk", scene.folder / "elsewhere"
    elsewhere.mkdir()
    here.tmpfs(disk, size_kib=2048)
    writer = scene.writer(here, env={"RSC_MAPPED_TAIL": mapped})
    writer.do("import os")
    writer.do(f"os.chdir({str(disk)!r}); m = marker('journal'); w = begin('journal', 'r1', 'j1'); steps(w, 20)")
    writer.do(f"os.chdir({str(elsewhere)!r}); {FILL}\nfill({str(disk)!r})")
    assert survives(writer, "steps(w, 5000); str(w.failure)") != "None"
    survives(writer, "w.close(EndReason.CLOSED)")
    assert here.run("ls", elsewhere) == "", "something was written into the new working directory"
    assert "j1.failed" in here.run("ls", disk / "journal" / "r1").split()
    told = json.loads(run("journal", "ls", "r1", "--json", "--journal-root", disk / "journal", place=here).stdout)
    assert (told["state"], told["steps"] >= 20) == ("failed", True), told


def test_relative_root__then_chdir__more_episodes_go_to_the_same_root(scene: Scene) -> None:
    """`JournalWriter("journals", ...)`: the root is where it was when it was named first... for each writer its own."""
    writer = scene.writer(cwd=scene.folder)
    writer.do("import os; w = begin('journal', 'r1', 'j1'); steps(w, 3)")
    writer.do(f"os.mkdir({str(scene.folder / 'b')!r}); os.chdir({str(scene.folder / 'b')!r}); finish(w); str(w.path)")
    told = json.loads(run("journal", "ls", "r1", "--json", "--journal-root", scene.root).stdout)
    assert (told["state"], told["steps"]) == ("closed", 4)
    assert sorted(path.name for path in (scene.folder / "b").iterdir()) == []


def test_fuse__its_server_dies_below_a_live_writer__training_lives_and_the_failure_is_told(
    scene: Scene, make_place: MakePlace
) -> None:
    """A mount that is lost: every call on it fails with ENOTCONN from then on."""
    need_fuse()
    here, backing, mounted = make_place(), scene.folder / "backing", scene.folder / "mounted"
    backing.mkdir()
    server = here.bindfs(backing, mounted)
    writer = scene.live(here, root=mounted)
    server.kill()
    server.wait(timeout=30)
    survives(writer, "steps(w, 3000)")
    assert survives(writer, "str(w.failure)") != "None"
    survives(writer, "w.close(EndReason.CLOSED); v = begin(%r, 'r1', 'j2'); steps(v, 5)" % str(mounted))  # noqa: UP031
    assert survives(writer, "str(v.failure)") != "None"
    done = scene.reconcile(place=here)
    assert done.returncode in (1, 3), said(done)
    scene.assert_lives()


def test_small_disk__of_900_kib__no_step_before_the_failure_is_lost(scene: Scene, make_place: MakePlace) -> None:
    """A real ext4 that is full: the row says that later steps are lost, and the pass exits 3."""
    need_loop_devices()
    here, disk = make_place(), scene.folder / "disk"
    here.image("ext4", scene.folder / "disk.img", disk, size_kib=900)
    writer = scene.live(here, root=disk / "journal", steps=10)
    survives(writer, "steps(w, 120_000)")  # a fast machine writes 30 bytes a step, because its clock compresses well
    assert writer.do("str(w.failure)") != "None"
    writer.kill()
    done = scene.reconcile(place=here)
    row = scene.records.episode("j1")
    assert row["status"] == "truncated", said(done)
    assert "later steps" in row["status_reason"], row["status_reason"]
    assert done.returncode == 3, said(done)
