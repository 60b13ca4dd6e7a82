"""Measure what the thread that writes rows costs a training: iterations, CPU time and single steps, with and without it.

    python benchmarks/steps.py
    python benchmarks/steps.py --shape 2x4 --rounds 60

Two algorithms take turns, as in benchmarks/training.py: both have journals, one also has a database. Each step of a
recorded env in this process is timed. A ratio compares two iterations of one round.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from harness import Table, interval_of_median, parser_of, report
from training import SHAPES, WARM_UP_ROUNDS, Meter, trainings

PERCENTILES = (50.0, 99.0, 99.9)
PERCENTILES_IN_WORDS = ("median step", "99th percentile of steps", "99.9th percentile of steps")
WITHOUT, WITH = "journal", "journal+sqlite"


@contextmanager
def timed_steps() -> Iterator[Callable[[], list[int]]]:
    """Time each step of a `Recorder`, in nanoseconds; yield a function that takes the times so far."""
    from rsc.recording.recorder import Recorder

    times: list[int] = []
    step, clock = Recorder.step, time.perf_counter_ns

    def timed(self: Recorder, action: Any) -> Any:
        start = clock()
        result = step(self, action)
        times.append(clock() - start)
        return result

    def taken() -> list[int]:
        nonlocal times
        found, times = times, []
        return found

    Recorder.step = timed  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        Recorder.step = step  # type: ignore[method-assign]


def measure(shape: str, length: int, rounds: int) -> list[dict[str, dict[str, float]]]:
    """Return the figures of each iteration in microseconds a step, by round and variant."""
    measured = []
    with (
        tempfile.TemporaryDirectory() as folder,
        timed_steps() as taken,
        trainings(SHAPES[shape], length, Path(folder), (WITHOUT,)) as algorithms,
    ):
        meters = {name: Meter(algorithms[name]) for name in (WITHOUT, WITH)}
        for number in range(rounds + WARM_UP_ROUNDS):
            found = {}
            for name in (WITHOUT, WITH) if number % 2 else (WITH, WITHOUT):
                taken()
                iteration, times = meters[name].iteration(), taken()
                figures = {"iteration": iteration.update + iteration.other, "CPU time": iteration.cpu}
                found[name] = {what: seconds * 1e6 for what, seconds in figures.items()}
                if times:  # empty if other processes run the envs
                    us = (np.percentile(times, PERCENTILES) / 1000).tolist()
                    found[name] |= dict(zip(PERCENTILES_IN_WORDS, us, strict=True))
            measured.append(found)
    return measured[WARM_UP_ROUNDS:]


def main() -> None:
    import ray

    from rsc.rllib.train import quieten

    parser = parser_of(__doc__, rounds=30)
    parser.add_argument("--shape", choices=SHAPES, action="append", help="0x8, 2x4 and 0x32-light")
    parser.add_argument("--length", type=int, default=250, help="steps of an episode: 250")
    given = parser.parse_args()
    quieten()
    warnings.filterwarnings("ignore", message=".*Overriding environment.*")
    ray.init(address="local", num_cpus=16, include_dashboard=False, logging_level="ERROR")
    table = Table(("shape", "us a step", "without rows", "with rows", "with / without"))
    for shape in given.shape or ["0x8", "2x4", "0x32-light"][: 1 if given.quick else 3]:
        measured = measure(shape, given.length, 1 if given.quick else given.rounds)
        print(f"{shape} is measured", file=sys.stderr)  # all shapes together take half an hour
        for what in measured[0][WITHOUT]:
            without, with_rows = ([one[name][what] for one in measured] for name in (WITHOUT, WITH))
            ratios = [b / a for a, b in zip(without, with_rows, strict=True)]
            lower, upper = interval_of_median(ratios)
            middle = f"{statistics.median(ratios):.3f} [{lower:.3f}, {upper:.3f}]"
            row = (statistics.median(without), statistics.median(with_rows))
            table.rows.append((str(SHAPES[shape]), what, *row, middle))
    report("steps", [table], given)


if __name__ == "__main__":
    main()
