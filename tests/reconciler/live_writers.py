"""A process with live episodes, for the soak: ``python live_writers.py ROOT RUN_ID KIND COUNT SECONDS``.

It writes, on stdout, `live ID` when an episode begins, `dead ID` when it is given up without an end, `closed ID
REASON` when its journal says how it ended.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from journal import About, EndReason, JournalWriter, new_journal_id
from rsc.metrics import RunningMetrics

PACE_S = 0.02


class Episode:
    """A running episode that this process holds."""

    def __init__(self, root: Path, run_id: str) -> None:
        about, fold = About("TradingEnv", 10_000.0, 252.0), RunningMetrics(10_000.0, 252.0)
        self.id = new_journal_id()
        self.writer = JournalWriter(root, run_id, self.id, about=about, fold=fold, checkpoint_every_steps=64)
        tell("live", self.id)

    def step(self) -> None:
        number = self.writer.steps + 1
        self.writer.append(1.0, 0.1, 10_000.0 + number, 100.0, 5_000.0, 50.0, 0.0, 0.0, number, False, False)

    def close(self, reason: EndReason) -> None:
        self.writer.close(reason)
        tell("closed", self.id, reason)


def tell(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def steady(episodes: list[Episode], begin: Callable[[], Episode], rng: random.Random) -> None:
    for episode in episodes:
        episode.step()
    time.sleep(PACE_S)


def idle(episodes: list[Episode], begin: Callable[[], Episode], rng: random.Random) -> None:
    """Learning, or waiting for the next evaluation: alive, and silent."""
    for episode in episodes:
        episode.step()
    time.sleep(rng.uniform(1.0, 3.0))


def resetting(episodes: list[Episode], begin: Callable[[], Episode], rng: random.Random) -> None:
    """RLlib resets over running episodes and says nothing."""
    steady(episodes, begin, rng)
    if rng.random() < 0.1:
        index = rng.randrange(len(episodes))
        episodes[index].close(EndReason.SUPERSEDED)
        episodes[index] = begin()


def forking(episodes: list[Episode], begin: Callable[[], Episode], rng: random.Random) -> None:
    """A child inherits every open file, and its end must not free a lock."""
    steady(episodes, begin, rng)
    if rng.random() < 0.1:
        child = os.fork()
        if child == 0:
            time.sleep(0.05)
            os._exit(0)
        os.waitpid(child, 0)


def forgetful(episodes: list[Episode], begin: Callable[[], Episode], rng: random.Random) -> None:
    """Envs that are dropped without a close."""
    steady(episodes, begin, rng)
    if rng.random() < 0.05:
        index = rng.randrange(len(episodes))
        lost = episodes[index].id
        episodes[index] = begin()
        tell("dead", lost)


KINDS = {"steady": steady, "idle": idle, "resetting": resetting, "forking": forking, "forgetful": forgetful}


def main() -> None:
    root, run_id, kind, count, seconds = sys.argv[1:]
    rng, until = random.Random(f"{kind}{os.getpid()}"), time.monotonic() + float(seconds)
    episodes = [Episode(Path(root), run_id) for _ in range(int(count))]
    while time.monotonic() < until:
        KINDS[kind](episodes, lambda: Episode(Path(root), run_id), rng)
    for episode in episodes:
        episode.close(EndReason.CLOSED)


if __name__ == "__main__":
    main()
