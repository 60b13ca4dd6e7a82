"""Measure where the CPU time of recording goes inside a training: the own time of each part, for each step of an env.

    python benchmarks/inside.py
    python benchmarks/inside.py --shape 0x32 --length 3000

Timers around the parts read the CPU time of their thread. A part's own time is its time without the timed parts that it
calls. The time that the timers themselves take is measured by empty functions, one for each step, and subtracted.

Only a shape without remote env runners can be measured, because the timers are in this process.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from harness import Table, parser_of, report
from training import BATCH_STEPS, SHAPES, WARM_UP_ROUNDS, Meter, trainings

Times = dict[str, float]
_EMPTY = "an empty function"


class Timers:
    """Timers around functions, which count the own CPU time of each part in all threads, in nanoseconds."""

    def __init__(self) -> None:
        self._own: dict[str, int] = defaultdict(int)
        self._calls: dict[str, int] = defaultdict(int)
        self._nested: dict[str, int] = defaultdict(int)  # timed calls that a part made
        self._thread = threading.local()
        self._empty = self.around("", self.around(_EMPTY, lambda: None))

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that also counts its own CPU time for a part."""
        clock, own, calls, nested, thread = time.thread_time_ns, self._own, self._calls, self._nested, self._thread

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            stack = thread.__dict__.setdefault("stack", [])
            within = [0, 0]  # nanoseconds and number of the timed calls in this one
            stack.append(within)
            start = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent = clock() - start
                stack.pop()
                own[part] += spent - within[0]
                calls[part] += 1
                nested[part] += within[1]
                if stack:
                    stack[-1][0] += spent
                    stack[-1][1] += 1

        return timed

    def after_empty(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that first calls an empty timed function inside an empty timed function.

        So the timers' own time is measured where they are used: there it is several times what it is in a loop.
        """
        empty = self._empty

        @functools.wraps(function)
        def after(*args: Any, **kwargs: Any) -> Any:
            empty()
            return function(*args, **kwargs)

        return after

    def taken(self) -> tuple[Times, dict[str, int]]:
        """Return the own time without that of the timers, and the number of calls, of each part since the last call."""
        own, calls, nested = dict(self._own), dict(self._calls), dict(self._nested)
        for counts in (self._own, self._calls, self._nested):
            counts.clear()
        empties = max(calls.pop(_EMPTY, 0), calls.pop("", 0), 1)
        inside = own.pop(_EMPTY, 0) / empties
        outside = own.pop("", 0) / empties - inside
        return {part: ns - calls[part] * inside - nested[part] * outside for part, ns in own.items()}, calls


def parts() -> list[tuple[str, Any, str]]:
    """Return the timed functions: their part, and where they are."""
    import rsc.recording.recorder as recorder
    import rsc.rllib.rows as rows
    from journal.format.encoding import encoder_of
    from journal.format.slots import SlotLayout
    from journal.write.sealing import SealingWriter
    from journal.write.tail import Tail
    from journal.write.writer import JournalWriter
    from rsc.metrics import RunningMetrics
    from rsc.rllib.callbacks import EpisodeCallbacks
    from rsc.rllib.closings import Closing
    from rsc.trading.env import TradingEnv

    encoder = type(encoder_of(()))
    return [
        ("env", TradingEnv, "step"),
        ("env", TradingEnv, "reset"),
        ("step: account and action", recorder.Recorder, "step"),
        ("step: append", JournalWriter, "append"),
        ("opening: header of the env", recorder.Recorder, "_begin"),
        ("opening: names, header, lease", recorder, "begin_journal"),
        ("opening: files", JournalWriter, "_open"),
        ("callbacks", recorder, "close_journal"),
        ("closing: the rest", Closing, "close"),
        ("closing: slots into columns", SlotLayout, "columns"),
        ("closing: metrics", RunningMetrics, "fold"),
        ("closing: Arrow message", encoder, "encode"),
        ("closing: write, footer", SealingWriter, "_write_seal"),
        ("closing: tail", Tail, "retire"),
        ("callbacks", EpisodeCallbacks, "on_episode_start"),
        ("callbacks", EpisodeCallbacks, "on_episode_end"),
        ("rows: the rest of the thread", rows.RowWriter, "_write"),
        ("rows: their figures", rows, "_ended"),
        ("rows: writing them", rows.RowWriter, "_write_all"),
    ]


@contextmanager
def timed_parts(timers: Timers) -> Iterator[None]:
    """Time all parts."""
    from rsc.recording.recorder import Recorder

    with ExitStack() as undo:
        for part, where, name in parts():
            function = getattr(where, name)
            setattr(where, name, timers.around(part, function))
            undo.callback(setattr, where, name, function)
        Recorder.step = timers.after_empty(Recorder.step)  # type: ignore[method-assign]
        yield


def measure(shape: str, length: int, rounds: int) -> tuple[list[Times], list[Times]]:
    """Return the microseconds of each part, and the number of its calls, for each step, by round."""
    times, calls = [], []
    timers = Timers()
    with (
        tempfile.TemporaryDirectory() as folder,
        timed_parts(timers),
        trainings(SHAPES[shape], length, Path(folder), ()) as algorithms,
    ):
        meter = Meter(algorithms["journal+sqlite"])
        for _ in range(rounds + WARM_UP_ROUNDS):
            timers.taken()
            iteration = meter.iteration()
            ns, count = timers.taken()
            times.append({"all": iteration.cpu * 1e6, **{part: one / BATCH_STEPS / 1000 for part, one in ns.items()}})
            calls.append({part: one / BATCH_STEPS for part, one in count.items()})
    return times[WARM_UP_ROUNDS:], calls[WARM_UP_ROUNDS:]


def main() -> None:
    import ray

    from rsc.rllib.train import quieten

    parser = parser_of(__doc__, rounds=12)
    local = [name for name, shape in SHAPES.items() if not shape.runners and not shape.vector]
    parser.add_argument("--shape", choices=local, default="0x8", help="0x8")
    parser.add_argument("--length", type=int, default=250, help="steps of an episode: 250")
    given = parser.parse_args()
    quieten()
    warnings.filterwarnings("ignore", message=".*Overriding environment.*")
    ray.init(address="local", num_cpus=16, include_dashboard=False, logging_level="ERROR")
    times, calls = measure(given.shape, given.length, 1 if given.quick else given.rounds)
    table = Table(("part", "us of CPU time a step", "% of the training", "calls a step"))
    middle = {part: statistics.median(one.get(part, 0.0) for one in times) for part in times[-1]}
    order = dict.fromkeys(part for part, _, _ in parts())
    recording = sum(middle.get(part, 0.0) for part in order if part != "env")
    rows = [(part, middle.get(part, 0.0)) for part in order]
    for part, us in [("training", middle["all"]), *rows, ("recording", recording)]:
        often = statistics.median(one[part] for one in calls) if part in calls[-1] else ""
        table.rows.append((part, us, 100 * us / middle["all"], often))
    report("inside", [table], given)


if __name__ == "__main__":
    main()
