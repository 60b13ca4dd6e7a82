"""What takes half a minute to judge, side by side: leases that a daemon watches, and writers whose files went away.

Everything starts when the first attack does, and is judged by the last ones, so that the waiting costs nothing.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.attacks.clocked import CASES, Clocked
from tests.attacks.needs import need_fuse, need_loop_devices, need_namespaces
from tests.attacks.places import Place
from tests.attacks.processes import TRAINER, Writer
from tests.attacks.records import Records
from tests.attacks.scene import Scene

LEASE_JUDGED_S = 60.0
"""A lease is renewed every 10 s, and dead when it stood still for 30 s of watching."""
BEAT_S = 16.0
"""A beat of the lease, and some room."""
OWN_PIDS = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class Watch:
    """Two places that see the same bytes: writers are in ``there``, the daemon watches from ``here``.

    ``shared`` is a FUSE mount in both, so no lock passes between them, as on a network file system.
    """

    def __init__(self, folder: Path, template: Path) -> None:
        need_fuse()
        need_namespaces()
        need_loop_devices()
        self.folder = folder
        self._template = template
        self.scene = Scene(folder, Records.copy_of(template, folder / "rsc.db"))
        self.there, self.here = Place(), Place()
        self.shared = folder / "shared"
        self.writers: dict[str, Writer] = {}
        self.clocked: dict[str, Clocked] = {}
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def _set_up(self) -> None:
        backing = self.folder / "backing"
        backing.mkdir()
        for place in (self.there, self.here):
            place.bindfs(backing, self.shared)
        for start in (
            self._dead, self._same_pid, self._moved, self._copied, self._forgotten, self._suspended, self._alias,
            self._snapshot, self._remounted_overlay, self._read_only, self._removed, self._tail_removed, self._relative,
            self._finished_run, self._forked, self._training,
        ):  # fmt: skip
            start()
        self.started = time.monotonic()
        self.daemon = self.scene.daemon("--grace", "0s", place=self.here, every="1s")
        for name in CASES:
            self.start_clock(name)

    def start_clock(self, name: str) -> Clocked:
        """A daemon whose clock begins shortly before the moment of this case, in the place of the one before."""
        if name in self.clocked:
            self.clocked[name].close()
        expression, moment, _ = CASES[name]
        home = self.folder / f"clocked-{len(list(self.folder.glob('clocked-*')))}"
        daemon = self.clocked[name] = Clocked(home, self._template, expression, moment)
        assert daemon.first_pass  # awaited, because many that start at once are late
        return daemon

    def _live(self, name: str, root: Path, place: Place, **more: object) -> Writer:
        prefix = more.pop("prefix", ())
        writer = self.scene.writer(place, prefix=prefix)
        writer.do(f"m = marker({str(root)!r}, {name!r}); w = begin({str(root)!r}, {name!r}, {name!r}); steps(w, 20)")
        self.scene.records.add_run(name, root)
        self.scene.records.add_episode(name, name)
        self.writers[name] = writer
        return writer

    def _dead(self) -> None:
        self._live("dead", self.shared, self.there).kill()

    def _same_pid(self) -> None:
        """Two containers of one host: the same host name, each writer is process 1."""
        first = self._live("pid-dead", self.shared, self.there, prefix=OWN_PIDS)
        second = self.scene.writer(self.there, prefix=OWN_PIDS)
        second.do(f"w = begin({str(self.shared)!r}, 'pid-dead', 'pid-live'); steps(w, 20)")
        assert first.do("os.getpid()") == second.do("os.getpid()")
        self.scene.records.add_episode("pid-dead", "pid-live")
        self.writers["pid-live"] = second
        first.slay()

    def _moved(self) -> None:
        root = self.shared / "moved-from"
        self._live("moved", root, self.there)
        self.there.run("mv", root, self.shared / "moved-to")
        self._relocate("moved", self.shared / "moved-to")

    def _copied(self) -> None:
        root = self.shared / "copied-from"
        self._live("copied", root, self.there)
        self.there.run("cp", "-r", root, self.shared / "copied-to")
        self._relocate("copied", self.shared / "copied-to")

    def _forgotten(self) -> None:
        self._live("forgotten", self.shared, self.there).do("del w; import gc; gc.collect(); None")

    def _suspended(self) -> None:
        self._live("suspended", self.shared, self.there).pause()

    def _alias(self) -> None:
        """FUSE in a container, its backing folder at the same path here; and the writer is suspended."""
        alias = self.folder / "alias"
        alias.mkdir()
        self.there.bindfs(alias, alias)
        self._live("alias", alias, self.there).pause()

    def _snapshot(self) -> None:
        """A snapshot of a live disk, mounted here at the very path that the journal recorded."""
        disk, image, copy = self.folder / "disk", self.folder / "disk.img", self.folder / "snapshot.img"
        self.there.image("ext4", image, disk, size_kib=16_384)
        self._live("snapshot", disk, self.there)
        self.there.run("sync", "-f", disk)
        shutil.copy(image, copy)
        self.here.image("ext4", copy, disk, size_kib=0)

    def _remounted_overlay(self) -> None:
        """A container that starts again: the same overlay, another device number, and its writer is dead."""
        layers = [self.folder / name for name in ("lower", "upper", "work", "merged")]
        self.here.overlay(*layers)
        self._live("remounted", layers[-1] / "journal", self.here).kill()
        self.here.unmount(layers[-1])
        self.here.tmpfs(self.folder / "takes-the-number")
        self.here.overlay(*layers)

    def _read_only(self) -> None:
        """An error of the disk makes ext4 read-only: stores to mapped pages still succeed, and never reach the disk."""
        disk = self.folder / "failing"
        self.there.image("ext4", self.folder / "failing.img", disk, size_kib=16_384, options="loop,errors=remount-ro")
        self._live("read-only", disk, self.there)
        self._fail(disk)

    def _removed(self) -> None:
        root = self.folder / "removed"
        self._live("removed", root, self.there)
        shutil.rmtree(root)

    def _tail_removed(self) -> None:
        root = self.folder / "tail-removed"
        self._live("tail-removed", root, self.there)
        (root / "tail-removed" / "tail-removed.tail").unlink()

    def _relative(self) -> None:
        writer = self.scene.writer(cwd=self.folder)
        writer.do("m = marker('relative', 'r'); w = begin('relative', 'r', 'j'); steps(w, 5)")
        (self.folder / "elsewhere").mkdir()
        writer.do(f"os.chdir({str(self.folder / 'elsewhere')!r})")
        self.lease_before = self.leases_of_relative()
        self.writers["relative"] = writer

    def _finished_run(self) -> None:
        """A run is over, and its process goes on: the disk is free again."""
        disk = self.folder / "finished"
        self.there.image("ext4", self.folder / "finished.img", disk, size_kib=16_384)
        self._live("finished", disk, self.there).do("finish(w); m.close()")

    def _forked(self) -> None:
        """An env in a forked process, as AsyncVectorEnv has it: parent and child each play an episode."""
        parent = self._live("forked", self.shared, self.there)
        parent.do(
            f"""
child = os.fork()
if child == 0:
    import time
    w = begin({str(self.shared)!r}, "forked", "forked-child")
    steps(w, 20)
    time.sleep(600)
"""
        )
        self.scene.records.add_episode("forked", "forked-child")

    def _training(self) -> None:
        """The disk of a training fails: RLlib plays on, and no step after that reaches the disk."""
        disk = self.folder / "training"
        image = self.folder / "training.img"
        self.there.image("ext4", image, disk, size_kib=16_384, options="loop,errors=remount-ro")
        trainer = self.writers["training"] = self.scene.writer(self.there, program=TRAINER)
        config = "configured(TradingEnv, episode_length=900)"
        trainer.do(f"run, runner = recorded({config}, {str(disk)!r}, {self.scene.records.url!r}, 'training')")
        trainer.do("runner.sample(num_timesteps=100, random_actions=True); None")
        self.there.run("sync", "-f", disk)
        self._fail(disk)
        trainer.do("runner.sample(num_timesteps=100, random_actions=True); None")

    def _fail(self, disk: Path) -> None:
        """Let the kernel find an error on this ext4, whose answer is to make it read-only."""
        device = Path(self.there.run("findmnt", "-n", "-o", "SOURCE", disk).strip()).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def leases_of_relative(self) -> list[tuple[str, int, str]]:
        """Name, time and content of each lease below the relative root."""
        files = sorted((self.folder / "relative" / "r" / "writers").glob("*.lease"))
        return [(file.name, file.stat().st_mtime_ns, file.read_text()) for file in files]

    def wait(self, seconds: float) -> None:
        """Until so long after the start."""
        time.sleep(max(0.0, self.started + seconds - time.monotonic()))

    def _relocate(self, run_id: str, root: Path) -> None:
        self.scene.records.sql(
            "UPDATE training_runs SET journal_root = :root WHERE run_id = :id", root=str(root), id=run_id
        )

    def close(self) -> None:
        for daemon in self.clocked.values():
            daemon.close()
        self.scene.close()
        self.there.close()
        self.here.close()
