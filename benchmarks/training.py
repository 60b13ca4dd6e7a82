"""Measure what the journal costs a training: the ratio of RLlib's steps a second with and without it, in paired rounds.

    python benchmarks/training.py --rounds 9
    python benchmarks/training.py --shape 0x8 --length 3000

In each round every variant trains one iteration, in an order that rotates. A ratio compares two variants of one round, and
a shape's figure is the median of its ratios. Beside it is the 95 % confidence interval of the median. If it is wider than
the difference that you look for, use more rounds or a quieter machine.

The learner's update takes most of an iteration. It is the same work in every variant, and varies by more than the journal
costs. So there are five comparisons: (1) whole iterations by the clock; (2) whole iterations, with the median time of all
updates in place of each update's time; (3) everything except the update, which is mostly sampling; (4) CPU time of all
threads and env runners, which other processes disturb least; (5) CPU time, with the median CPU time of all updates in
place of each update's. The last one has the narrowest interval. Rows that wait at the end of an iteration are written
before the next iteration begins: their CPU time counts, their time by the clock does not. Set OMP_NUM_THREADS=1, because
the CPU time of an update is measured in one thread.

"bare" is the same env without recorder, callbacks and database. "info" instead puts the journal's twelve values into the
info dict of each step, as is usual.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from harness import Table, interval_of_median, parser_of, report

BATCH_STEPS = 4000
WARM_UP_ROUNDS = 1
NAMES = (
    "portfolio_value", "price", "cash", "position", "fees", "unrealized_pnl", "market_time",
    "action", "reward", "terminated", "truncated", "trades",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """The settings of RLlib's sampling and learning."""

    runners: int
    envs: int
    epochs: int = 10
    minibatch: int = 128
    vector: bool = False  # one TradingVectorEnv per env runner, as with `rsc train --vectorised`

    def __str__(self) -> str:
        played = ", played by arrays" if self.vector else ""
        return f"{self.runners}x{self.envs}{played}, {self.epochs} epochs of {self.minibatch}"


SHAPES = {
    "0x8": Shape(0, 8),
    "0x32": Shape(0, 32),
    "2x4": Shape(2, 4),
    "0x32-light": Shape(0, 32, epochs=4, minibatch=512),
    "0x32-vector": Shape(0, 32, vector=True),
}
LENGTHS = (250, 3000)
COMPARED = (
    ("journal", "bare"), ("journal+sqlite", "bare"), ("journal+sqlite", "journal"), ("journal", "info"),
    ("journal+sqlite", "info"),
)  # fmt: skip
TICKS = os.sysconf("SC_CLK_TCK")


class InInfo(gym.Wrapper[Any, Any, Any, Any]):
    """Put the values that a journal would store into each step's info."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        source: Any = self.env.unwrapped
        values = (*source.journal_row, action, reward, terminated, truncated, len(source.journal_trades))
        return observation, reward, terminated, truncated, {**info, **dict(zip(NAMES, values, strict=True))}


def config_of(shape: Shape, env: Any, length: int) -> Any:
    from ray.rllib.algorithms.ppo import PPOConfig

    return (
        PPOConfig()
        .environment(env, env_config={"episode_length": length})
        .env_runners(
            num_env_runners=shape.runners, num_envs_per_env_runner=shape.envs,
            gym_env_vectorize_mode="vector_entry_point" if shape.vector else "sync",
        )
        .training(
            train_batch_size_per_learner=BATCH_STEPS, minibatch_size=shape.minibatch, num_epochs=shape.epochs
        )
        .debugging(seed=7, log_level="ERROR")
    )  # fmt: skip


def makers(root: Path, vector: bool) -> dict[str, Callable[[Any], Any]]:
    """Return a function that makes the env, for each variant. All have the same seeds and play the same episodes."""
    from rsc.recording.episode import JournalSettings
    from rsc.recording.recorder import Recorder
    from rsc.recording.vector import VectorRecorder
    from rsc.rllib.seeds import IndependentSeeds, VectorIndependentSeeds
    from rsc.trading.env import TradingEnv
    from rsc.trading.vector_env import TradingVectorEnv

    def bare(context: Any) -> Any:
        return IndependentSeeds(TradingEnv(context), context.worker_index)

    def bare_vector(context: Any) -> Any:
        return VectorIndependentSeeds(TradingVectorEnv(context), 0)

    settings = JournalSettings(str(root), "journal-alone")
    if vector:
        return {"bare": bare_vector, "journal": lambda context: VectorRecorder(bare_vector(context), settings)}
    return {"bare": bare, "info": lambda context: InInfo(bare(context)),
            "journal": lambda context: Recorder(bare(context), settings)}  # fmt: skip


@contextmanager
def trainings(
    shape: Shape, length: int, folder: Path, beside: Sequence[str] = ("bare", "info", "journal")
) -> Iterator[dict[str, Any]]:
    """Yield the algorithms by variant: one with journal and database, and those of the variants ``beside`` it."""
    from ray.tune.registry import register_env

    import rsc
    from rsc.trading.env import TradingEnv
    from rsc.trading.vector_env import TradingVectorEnv

    made: dict[str, Any] = {}
    try:
        for name, make in makers(folder / "journals", shape.vector).items():
            if name not in beside:
                continue
            register_env(f"benchmark-{name}", make)
            made[name] = config_of(shape, f"benchmark-{name}", length).build_algo()
        config = config_of(shape, TradingVectorEnv if shape.vector else TradingEnv, length)
        database = f"sqlite:///{folder / 'rsc.db'}"
        places = {"journal_root": folder / "journals", "database_url": database}
        with rsc.attach(config, run_id="both", independent_seeds=True, **places):
            made["journal+sqlite"] = config.build_algo()
            yield made
    finally:
        for algorithm in made.values():
            algorithm.stop()


@dataclass(frozen=True)
class Iteration:
    """Seconds a step of one iteration.

    Attributes:
        update: Time of the learner's update, by the clock.
        other: Time of everything else, by the clock.
        update_cpu: CPU time of the updating thread during the update.
        cpu: CPU time of all threads and env runners.
    """

    update: float
    other: float
    update_cpu: float
    cpu: float


class Meter:
    """Runs iterations of one algorithm and times them."""

    def __init__(self, algorithm: Any) -> None:
        self._algorithm = algorithm
        self._update = algorithm.learner_group.update
        self._updating = self._updating_cpu = self._lifetime = 0.0
        self._pids = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
        algorithm.learner_group.update = self._timed_update

    def _timed_update(self, *args: Any, **kwargs: Any) -> Any:
        start, cpu = time.perf_counter(), time.thread_time()
        try:
            return self._update(*args, **kwargs)
        finally:
            self._updating += time.perf_counter() - start
            self._updating_cpu += time.thread_time() - cpu

    def iteration(self) -> Iteration:
        self._updating = self._updating_cpu = 0.0
        start, cpu = time.perf_counter(), self._cpu()
        result = self._algorithm.train()
        seconds = time.perf_counter() - start
        write_rows()
        cpu = self._cpu() - cpu
        before, self._lifetime = self._lifetime, float(result["env_runners"]["num_env_steps_sampled_lifetime"])
        steps = self._lifetime - before
        return Iteration(
            self._updating / steps, (seconds - self._updating) / steps, self._updating_cpu / steps, cpu / steps
        )

    def _cpu(self) -> float:
        """Return the CPU time of this process and of the env runners in other processes."""
        stats = (Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for pid in self._pids)
        return time.process_time() + sum(int(stat[11]) + int(stat[12]) for stat in stats) / TICKS


def write_rows() -> None:
    """Write the rows that wait in this process, so that they do not slow down another variant."""
    from rsc.rllib import rows

    for url in list(rows._writers):
        rows.drain(url)


def measure(shape: Shape, length: int, rounds: int) -> list[dict[str, Iteration]]:
    """Return each round's iterations by variant."""
    measured = []
    with tempfile.TemporaryDirectory() as folder, trainings(shape, length, Path(folder)) as algorithms:
        meters = {name: Meter(algorithm) for name, algorithm in algorithms.items()}
        names = list(meters)
        for number in range(rounds + WARM_UP_ROUNDS):
            turn = number % len(names)
            order = names[turn:] + names[:turn]
            measured.append({name: meters[name].iteration() for name in order})
        assert_journaled(Path(folder) / "journals", shape)
    return measured[WARM_UP_ROUNDS:]


def assert_journaled(root: Path, shape: Shape) -> None:
    """Raise AssertionError if a variant with a journal wrote nothing, since its figures would be too good."""
    from journal import journal_path, list_journals, read_journal

    for run_id in ("journal-alone", "both"):
        steps = sum(read_journal(journal_path(root, run_id, name)).last_step for name in list_journals(root, run_id))
        assert steps >= BATCH_STEPS * 2, f"{run_id} of {shape} journaled {steps} steps"


def comparisons(measured: list[dict[str, Iteration]], ours: str, theirs: str) -> list[str]:
    """Return the ratio of two variants' speeds in five ways, as the module's docstring describes."""
    every = [one for of_round in measured for one in of_round.values()]
    update = statistics.median(one.update for one in every)
    update_cpu = statistics.median(one.update_cpu for one in every)
    pairs = [(of_round[theirs], of_round[ours]) for of_round in measured]
    return [
        with_interval([(a.update + a.other) / (b.update + b.other) for a, b in pairs]),
        with_interval([(update + a.other) / (update + b.other) for a, b in pairs]),
        with_interval([a.other / b.other for a, b in pairs]),
        with_interval([a.cpu / b.cpu for a, b in pairs]),
        with_interval([(update_cpu + a.cpu - a.update_cpu) / (update_cpu + b.cpu - b.update_cpu) for a, b in pairs]),
    ]


def with_interval(ratios: list[float]) -> str:
    lower, upper = interval_of_median(ratios)
    return f"{statistics.median(ratios):.3f} [{lower:.3f}, {upper:.3f}]"


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, rounds=9)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--length", type=int, action="append", help="steps of an episode")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="also write every round's times here, as JSON")
    parser.add_argument(
        "--kept", type=Path, metavar="FILE", action="append", help="measure nothing: show what --keep wrote"
    )
    return parser.parse_args()


def measured_now(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return shape, length and rounds of each training, and the machine's load at its end."""
    import ray

    from rsc.rllib.train import quieten

    quieten()
    warnings.filterwarnings("ignore", message=".*Overriding environment.*")
    ray.init(address="local", num_cpus=16, include_dashboard=False, logging_level="ERROR")
    shapes, lengths = given.shape or list(SHAPES), given.length or list(LENGTHS)
    if given.quick:
        shapes, lengths, given.rounds = shapes[:1], lengths[:1], 1
    kept = []
    for name, length in itertools.product(shapes, lengths):
        measured = measure(SHAPES[name], length, given.rounds)
        rounds = [{variant: asdict(one) for variant, one in of_round.items()} for of_round in measured]
        kept.append({"shape": name, "length": length, "load": os.getloadavg()[0], "rounds": rounds})
        if given.keep:
            given.keep.write_text(json.dumps(kept))
    return kept


def main() -> None:
    given = arguments()
    kept = [one for file in given.kept for one in json.loads(file.read_text())] if given.kept else measured_now(given)
    measures = ("iteration", "with median update", "without update", "CPU time", "CPU time with median update")
    table = Table(("shape", "episodes of", "load", "rounds", "compared", *measures))
    for one in kept:
        rounds = [{variant: Iteration(**times) for variant, times in each.items()} for each in one["rounds"]]
        for ours, theirs in COMPARED:
            if theirs in rounds[0]:
                found = comparisons(rounds, ours, theirs)
                shape = str(SHAPES[one["shape"]])
                measured_in = (shape, f"{one['length']:,} steps", f"{one['load']:.1f}", len(rounds))
                table.rows.append((*measured_in, f"{ours} / {theirs}", *found))
    report("training", [table], given)


if __name__ == "__main__":
    main()
