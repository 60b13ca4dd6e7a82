"""32 live episodes under a reconciler that comes each second: it never ends a live one, and each dead one soon."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from journal import EndReason
from rsc.db.models import episodes
from rsc.db.session import reading
from tests.reconciler.daemons import Process, until
from tests.reconciler.world import World

SCRIPT = Path(__file__).with_name("live_writers.py")
PASS_S = 1.0
# Two passes, each a jittered interval apart, and what a loaded machine adds to them.
TWO_PASSES_S = 2 * 1.2 * PASS_S + 3.0


class Writers:
    """A process of live_writers.py and what it says of its episodes; a row is inserted as a callback would."""

    def __init__(self, world: World, kind: str, seconds: float, count: int = 4) -> None:
        self.kind = kind
        self.world = world
        self.live: set[str] = set()
        self.dead: dict[str, float] = {}
        self.closed: dict[str, str] = {}
        arguments = [str(world.root), world.run_id, kind, str(count), str(seconds)]
        self.process = self.start([sys.executable, str(SCRIPT), *arguments])
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def insert(self, journal_id: str) -> None:
        self.world.insert(journal_id)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, journal_id, *rest = line.split()
            if word == "live":
                self.insert(journal_id)
                self.live.add(journal_id)
                continue
            self.live.discard(journal_id)
            if word == "dead":
                self.dead[journal_id] = time.monotonic()
            else:
                self.closed[journal_id] = rest[0]

    def wait(self) -> None:
        """Until the process has ended and everything it said is heard."""
        self.process.wait(timeout=120)
        self._reader.join(timeout=30)

    def kill(self) -> None:
        """SIGKILL: all that live are dead."""
        self.process.kill()
        self.wait()
        self.dead |= dict.fromkeys(self.live, time.monotonic())
        self.live.clear()


def statuses(world: World) -> dict[str, str]:
    query = select(episodes.c.journal_id, episodes.c.status)
    with reading(world.engine) as connection:
        return {row.journal_id: row.status for row in connection.execute(query)}


def pause_at_random(writers: Writers, until_s: float) -> None:
    """SIGSTOP for longer than a pass, again and again."""
    rng = random.Random(3)
    while time.monotonic() < until_s and writers.process.poll() is None:
        writers.process.send_signal(signal.SIGSTOP)
        time.sleep(rng.uniform(1.0, 2.5))
        writers.process.send_signal(signal.SIGCONT)
        time.sleep(rng.uniform(0.1, 0.5))


def check(world: World, everybody: list[Writers]) -> list[str]:
    """Live episodes that the reconciler ended, and dead ones that it left for too long."""
    before = [(set(one.live), dict(one.dead)) for one in everybody]
    now, found = time.monotonic(), statuses(world)
    # An episode counts as live only if it still was after the look at the database.
    wrong = [
        f"live {one}"
        for (live, _), who in zip(before, everybody, strict=True)
        for one in live & who.live
        if found.get(one) != "started"
    ]
    for _, dead in before:
        wrong += [
            f"dead {one}" for one, since in dead.items() if now - since > TWO_PASSES_S and found.get(one) == "started"
        ]
    return wrong


@pytest.mark.parametrize(
    "database_url",
    ["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.torture])],
    indirect=True,
)
@pytest.mark.parametrize("seconds", [12, pytest.param(180, marks=pytest.mark.torture)])
def test_soak__live_episodes__are_never_ended_and_dead_ones_soon(world, database_url, seconds):
    daemon = Process("--all", "--database-url", database_url, "--every", f"{PASS_S}s", "--grace", "2s")
    kinds = ["steady", "steady", "steady", "idle", "resetting", "forking", "forgetful", "steady"]
    everybody = [Writers(world, kind, seconds) for kind in kinds]
    paused, killed = everybody[1], everybody[2]
    end = time.monotonic() + seconds
    try:
        pauser = threading.Thread(target=pause_at_random, args=(paused, end - 2), daemon=True)
        pauser.start()
        until(lambda: sum(len(one.live) for one in everybody) >= 32, 60, "32 live episodes")
        wrong: list[str] = []
        while time.monotonic() < end - 1:
            wrong += check(world, everybody)
            if time.monotonic() > end - seconds / 2 and killed.process.poll() is None:
                killed.kill()
            time.sleep(0.1)
        assert wrong == []
        pauser.join()
        for one in everybody:
            one.wait()
        dead = {journal_id for one in everybody for journal_id in one.dead}
        closed = {journal_id: reason for one in everybody for journal_id, reason in one.closed.items()}
        until(lambda: "started" not in statuses(world).values(), 30, "the last passes")
        with reading(world.engine) as connection:
            rows = {row.journal_id: row for row in connection.execute(select(episodes))}
        assert len(dead) >= 4
        assert {rows[journal_id].end_reason for journal_id in dead} == {"killed"}
        assert all(rows[journal_id].end_reason == reason for journal_id, reason in closed.items())
        assert set(closed.values()) >= {EndReason.CLOSED, EndReason.SUPERSEDED}
        assert all(row.overruled_status is None for row in rows.values())
        assert daemon.stop(signal.SIGTERM) == 0
    finally:
        daemon.kill()
        for one in everybody:
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
            one.process.kill()
            one.process.wait()
