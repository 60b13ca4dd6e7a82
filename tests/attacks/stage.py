"""A stage: a training process, and a run, a root and a database for each attack."""

from __future__ import annotations

import json
from typing import Any

from tests.attacks.places import Place
from tests.attacks.processes import TRAINER, no_traceback, run, said
from tests.attacks.records import Records
from tests.attacks.scene import Scene

QUICK_S = 1.5
"""Three episodes of 20 steps take a twentieth of this; the rest is room for a busy machine."""


class Stage:
    """A training process in a place where it can be given a name server, and a database and a root for each test."""

    def __init__(self, scene: Scene, inside: Place) -> None:
        self.scene, self.place = scene, inside
        self.trainer = scene.writer(inside, program=TRAINER)

    def begin(self, config: str, name: str, url: str = "") -> Records:
        """Attach a config, as variables ``run`` and ``runner`` of the process; its run is called by this name."""
        folder = self.scene.folder / name
        url = url or f"sqlite:///{folder}/rsc.db"
        self.root = folder / "journal"
        self.trainer.do(f"run, runner = recorded({config}, {str(self.root)!r}, {url!r}, {name!r})")
        return Records(url)

    def do(self, code: str) -> Any:
        return self.trainer.do(code)

    def end(self) -> None:
        """The training ends; the runner's episodes are dropped, as RLlib does."""
        self.do("runner.stop(); run.end('completed')")

    def journals(self, name: str) -> list[dict[str, Any]]:
        done = run("journal", "ls", name, "--json", "--journal-root", self.root)
        return [json.loads(line) for line in done.stdout.splitlines()]


def sampled_in(stage: Stage, episodes: int = 3) -> float:
    """Seconds that a runner needs for some episodes."""
    code = f"begun = time.perf_counter()\nsample(runner, {episodes})\ntime.perf_counter() - begun"
    return float(stage.do(code))


def settled(stage: Stage, records: Records, name: str, count: int) -> None:
    """After a pass every episode that ended is complete."""
    stage.end()
    done = run("reconciler", "--run-id", name, "--grace", "0s", "--wait", "0s", "--database-url", records.url)
    no_traceback(done)
    rows = records.episodes(name)
    assert len([row for row in rows if row["status"] == "completed" and row["total_steps"] == 20]) == count, said(done)
    assert not [row for row in rows if row["status"] == "started"]
