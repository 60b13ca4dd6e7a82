"""A run under attack: its root, its rows, its driver and its writers, all of them real."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.attacks.places import Place
from tests.attacks.processes import Writer, environment, inside, no_traceback, run, said
from tests.attacks.records import Records

PATIENCE_S = 180.0
"""For what comes within seconds, but not on a machine on which others take the cores."""


def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S, what: str = "") -> Any:
    """Poll until the condition holds, and return its value; fail with what was awaited."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what or condition}"
        time.sleep(0.02)
    return found


class Spare:
    """One writer process ahead of time."""

    def __init__(self) -> None:
        self._writer: Writer | None = None

    def take(self) -> Writer:
        """The one that waits, and start another one in its place."""
        writer, self._writer = self._writer or Writer(), Writer()
        return writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


spare = Spare()


class Scene:
    """Run ``r1`` below ``root``, recorded in ``records``; `close` ends every process."""

    def __init__(self, folder: Path, records: Records) -> None:
        self.folder = folder
        self.root = folder / "journal"
        self.log = folder / "daemon.log"
        self.records = records
        self.shared: Writer  # of a scene that several tests share
        self._writers: list[Writer] = []
        self._daemons: list[subprocess.Popen[str]] = []

    def writer(self, place: Place | None = None, **more: Any) -> Writer:
        """A writer process; one without settings has been started ahead, since imports take a while."""
        writer = Writer(place, **more) if place or more else spare.take()
        self._writers.append(writer)
        return writer

    def live(
        self,
        place: Place | None = None,
        *,
        root: Path | None = None,
        run_id: str = "r1",
        journal_id: str = "j1",
        steps: int = 20,
        env: Mapping[str, str | None] | None = None,
        **row: Any,
    ) -> Writer:
        """A process that is the run's driver, and that plays one live episode, its journal in variable ``w``."""
        root = root or self.root
        writer = self.writer(place, env=env)
        writer.do(f"m = marker({str(root)!r}, {run_id!r})")
        self.records.add_run(run_id, root)
        self.episode(writer, root=root, run_id=run_id, journal_id=journal_id, steps=steps, **row)
        return writer

    def episode(
        self,
        writer: Writer,
        *,
        root: Path | None = None,
        run_id: str = "r1",
        journal_id: str = "j1",
        steps: int = 20,
        name: str = "w",
        **row: Any,
    ) -> None:
        """A live episode of this process, with the row that a callback makes; it names the folder of the journal."""
        root = root or self.root
        begin = f"{name} = begin({str(root)!r}, {run_id!r}, {journal_id!r}); steps({name}, {steps})"
        root_id = writer.do(f"{begin}; root_id({str(root)!r}, {run_id!r})")
        self.records.add_episode(run_id, journal_id, **{"root_id": root_id, **row})

    def reconcile(self, *arguments: str | Path, wait: str = "0s", **more: Any) -> subprocess.CompletedProcess[str]:
        """One pass; over all runs if none is named."""
        which = [] if {"--run-id", "--all"} & set(arguments) else ["--all"]
        settings = [*which, "--database-url", self.records.url, "--wait", wait]
        done = run("reconciler", *arguments, *settings, **more)
        no_traceback(done)
        return done

    def daemon(self, *arguments: str | Path, place: Place | None = None, every: str = "0.2s") -> subprocess.Popen[str]:
        """A daemon over all runs; what it says goes to the file `log`."""
        words = ["--all", "--every", every, "--database-url", self.records.url, *map(str, arguments)]
        with self.log.open("a") as log:
            process = subprocess.Popen(
                inside(place, [sys.executable, "-m", "reconciler", *words]),
                text=True,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
        self._daemons.append(process)
        return process

    def wait_for_passes(self, count: int = 2) -> None:
        """Wait until so many further passes have ended."""
        for _ in range(count):
            before = self._last_pass()
            until(lambda before=before: self._last_pass() != before, what="a pass")

    def _last_pass(self) -> Any:
        return self.records.sql("SELECT max(end_time) AS last FROM reconciler_passes")[0]["last"]

    def assert_lives(self, journal_id: str = "j1", run_id: str = "r1") -> None:
        """Neither the episode nor its run was ended."""
        row = self.records.episode(journal_id)
        assert row["status"] == "started", {name: value for name, value in row.items() if value is not None}
        assert self.records.run(run_id)["status"] == "running"

    def assert_ends_well(self, writer: Writer, journal_id: str = "j1", place: Place | None = None) -> None:
        """The env ends the episode; a pass at home then records it whole."""
        last = writer.do("finish(w); w.steps")
        done = self.reconcile("--grace", "0s", place=place)
        row = self.records.episode(journal_id)
        assert (row["status"], row["total_steps"]) == ("completed", last), said(done)

    def close(self) -> None:
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait(timeout=30)
        for writer in self._writers:
            writer.close()
